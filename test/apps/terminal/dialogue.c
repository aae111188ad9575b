/* Talks to a person at a terminal: first by the line, then with the terminal set raw, and keeps a log of what it saw. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static void say_terminal(FILE* log) {
  struct termios modes;
  struct winsize size;
  if (tcgetattr(0, &modes) || ioctl(0, TIOCGWINSZ, &size)) {
    fprintf(log, "no terminal\n");
    return;
  }
  fprintf(log, "terminal: canonical %d echo %d, %dx%d, foreground %d\n", !!(modes.c_lflag & ICANON), !!(modes.c_lflag & ECHO),
          size.ws_col, size.ws_row, tcgetpgrp(0) == getpgrp());
}

int main(int argc, char** argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 3;
  FILE* log = fopen("dialogue.log", "w");
  char line[256];
  if (!log) return 1;
  say_terminal(log);
  for (int n = 0; n < rounds; n++) {
    printf("word %d? ", n);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 2;
    line[strcspn(line, "\n")] = 0;
    fprintf(log, "%d: %s\n", n, line);
    printf("%zu letters\n", strlen(line));
  }
  struct termios before, raw;
  if (tcgetattr(0, &before)) return 3;
  raw = before;
  raw.c_lflag &= ~(ICANON | ECHO);
  raw.c_cc[VMIN] = 1;
  tcsetattr(0, TCSANOW, &raw);
  say_terminal(log);
  for (int n = 0; n < rounds; n++) {
    printf("key %d? ", n);
    fflush(stdout);
    char key;
    if (read(0, &key, 1) != 1) return 4;
    fprintf(log, "key %d: %d\n", n, key);
    printf("%d\n", key);
  }
  say_terminal(log);
  tcsetattr(0, TCSANOW, &before);
  say_terminal(log);
  printf("good bye\n");
  return fclose(log) ? 5 : 17;
}
