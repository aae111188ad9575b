#include <fcntl.h>

static int descriptor = -1;

__attribute__((constructor)) static void open_in_library(void) {
  descriptor = open("library-constructor", O_RDONLY | O_CREAT, 0600);
}

int library_descriptor(void) { return descriptor; }
