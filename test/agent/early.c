// Opens a file before every other code of the program: in DT_PREINIT_ARRAY, in a library's constructor
// (early_library.c), in a constructor of its own. A descriptor that is open in main proves that the code ran.
#include <fcntl.h>

static void open_in_preinit(void) { (void)open("preinit", O_RDONLY | O_CREAT, 0600); }
__attribute__((section(".preinit_array"), used)) static void (*preinit)(void) = open_in_preinit;

__attribute__((constructor)) static void open_in_constructor(void) {
  (void)open("constructor", O_RDONLY | O_CREAT, 0600);
}

int library_descriptor(void);

int main(void) { return library_descriptor() >= 0 ? 0 : 1; }
