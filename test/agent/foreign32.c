// A 32-bit program, made without 32-bit headers or start files.
int puts(const char*);
void exit(int);

void _start(void) {
  puts("32 bits");
  exit(0);
}
