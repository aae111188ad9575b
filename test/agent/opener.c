// Opens the file it is given and ends; with a second argument it then ends by that signal. Built in several ways.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  if (argc < 2 || open(argv[1], O_RDONLY) < 0) {
    perror("opener");
    return 1;
  }
  if (argc > 2) raise(atoi(argv[2]));
  return 0;
}
