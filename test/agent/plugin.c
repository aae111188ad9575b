#include <fcntl.h>

int plugin_open(const char* name) { return open(name, O_RDONLY); }
