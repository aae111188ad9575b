// Standard streams given by whoever started the program: pipes, files, a terminal. What is written before and after a
// cut must arrive once and in order (the harness holds the output of every run against that of the uncut one), and
// input goes on at the byte where it was.
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

std::string read_line(int fd) {
  std::string line;
  for (std::string byte = read_once(fd, 1); !byte.empty() && byte != "\n"; byte = read_once(fd, 1)) line += byte;
  return line;
}

LIVE_TEST(what_stdio_has_buffered_is_written_once) {
  setvbuf(stdout, nullptr, _IOFBF, 4096);
  printf("buffered before, ");
  freeze_point();
  printf("and after\n");
  fflush(stdout);
}

LIVE_TEST(output_before_and_after_arrives_once_and_in_order) {
  write_all(STDOUT_FILENO, "first\n");
  freeze_point();
  write_all(STDOUT_FILENO, "second\n");
  freeze_point();
  write_all(STDOUT_FILENO, "third\n");
}

LIVE_TEST(standard_streams_keep_their_kind) {
  const mode_t input = stat_of(STDIN_FILENO).st_mode & S_IFMT;
  const mode_t output = stat_of(STDOUT_FILENO).st_mode & S_IFMT;
  const int flags = fcntl(STDOUT_FILENO, F_GETFL);
  freeze_point();
  EXPECT_EQ(stat_of(STDIN_FILENO).st_mode & S_IFMT, input);
  EXPECT_EQ(stat_of(STDOUT_FILENO).st_mode & S_IFMT, output);
  EXPECT_EQ(fcntl(STDOUT_FILENO, F_GETFL), flags);
}

LIVE_TEST_THAT_NEEDS(input_goes_on_at_the_next_line, Needs::kStreams) {
  EXPECT_EQ(read_line(STDIN_FILENO), "line 1");
  freeze_point();
  EXPECT_EQ(read_line(STDIN_FILENO), "line 2");
  freeze_point();
  EXPECT_EQ(read_line(STDIN_FILENO), "line 3");
  EXPECT_EQ(read_line(STDIN_FILENO), "");
}

LIVE_TEST_THAT_NEEDS(input_that_stdio_has_read_ahead_is_not_lost, Needs::kStreams) {
  char line[64];
  EXPECT_TRUE(fgets(line, sizeof line, stdin) != nullptr);
  EXPECT_EQ(std::string(line), "line 1\n");
  freeze_point();
  EXPECT_TRUE(fgets(line, sizeof line, stdin) != nullptr);
  EXPECT_EQ(std::string(line), "line 2\n");
}

LIVE_TEST_THAT_NEEDS(terminal_keeps_its_modes, Needs::kTerminal) {
  termios before;
  EXPECT_OK(tcgetattr(STDIN_FILENO, &before));
  termios raw = before;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  raw.c_cc[VMIN] = 3;
  raw.c_cc[VINTR] = 7;
  EXPECT_OK(tcsetattr(STDIN_FILENO, TCSANOW, &raw));
  freeze_point();
  termios after;
  EXPECT_OK(tcgetattr(STDIN_FILENO, &after));
  EXPECT_EQ(after.c_iflag, raw.c_iflag);
  EXPECT_EQ(after.c_oflag, raw.c_oflag);
  EXPECT_EQ(after.c_lflag, raw.c_lflag);
  EXPECT_EQ(after.c_cc[VMIN], 3);
  EXPECT_EQ(after.c_cc[VINTR], 7);
  EXPECT_OK(tcsetattr(STDIN_FILENO, TCSANOW, &before));
}

LIVE_TEST_THAT_NEEDS(line_typed_after_the_cut_is_read, Needs::kTerminal) {
  freeze_point();
  EXPECT_EQ(read_line(STDIN_FILENO), "typed line");
}

LIVE_TEST_THAT_NEEDS(thread_reading_the_terminal_gets_the_line, Needs::kTerminal) {
  std::string line;
  BlockedThread reader(SYS_read, [&] { line = read_line(STDIN_FILENO); });
  freeze_point();
  reader.join();
  EXPECT_EQ(line, "typed line");
}

LIVE_TEST_THAT_NEEDS(terminal_is_still_the_controlling_one_and_ours, Needs::kTerminal) {
  winsize before;
  EXPECT_OK(ioctl(STDIN_FILENO, TIOCGWINSZ, &before));
  const pid_t session = getsid(0);
  EXPECT_EQ(tcgetpgrp(STDIN_FILENO), getpgrp());
  freeze_point();
  EXPECT_TRUE(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO));
  EXPECT_EQ(tcgetpgrp(STDIN_FILENO), getpgrp());
  EXPECT_EQ(tcgetsid(STDIN_FILENO), session);
  winsize after;
  EXPECT_OK(ioctl(STDIN_FILENO, TIOCGWINSZ, &after));
  EXPECT_EQ(after.ws_row, before.ws_row);
  EXPECT_EQ(after.ws_col, before.ws_col);
  const Fd tty = open_file("/dev/tty", O_RDWR);
  EXPECT_EQ(tcgetpgrp(tty), getpgrp());
}

}  // namespace
}  // namespace live
