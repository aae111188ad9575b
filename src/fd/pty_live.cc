// A pseudoterminal of the program's own, both ends inside: modes, size, number, both directions, the two states of a
// master without a slave, and a slave without a master.
#include <poll.h>
#include <termios.h>

#include "test/live/program/pty.h"

namespace live {
namespace {

bool hung_up(int fd) {
  pollfd one{fd, POLLIN, 0};
  EXPECT_OK(poll(&one, 1, 0));
  return (one.revents & POLLHUP) != 0;
}

LIVE_TEST(pseudoterminal_keeps_its_number_modes_and_size) {
  const Fd master = new_pty_master();
  const Fd slave = pty_slave_of(master);
  int number = -1, then = -1;
  EXPECT_OK(ioctl(master, TIOCGPTN, &number));
  termios modes;
  EXPECT_OK(tcgetattr(slave, &modes));
  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  modes.c_cc[VEOF] = 5;
  EXPECT_OK(tcsetattr(slave, TCSANOW, &modes));
  const winsize size = {33, 77, 5, 6};
  EXPECT_OK(ioctl(master, TIOCSWINSZ, &size));
  freeze_point();
  EXPECT_OK(ioctl(master, TIOCGPTN, &then));
  EXPECT_EQ(then, number);
  termios kept;
  EXPECT_OK(tcgetattr(slave, &kept));
  EXPECT_EQ(kept.c_lflag, modes.c_lflag);
  EXPECT_EQ(kept.c_cc[VEOF], modes.c_cc[VEOF]);
  winsize now;
  EXPECT_OK(ioctl(slave, TIOCGWINSZ, &now));
  EXPECT_EQ(now.ws_row, size.ws_row);
  EXPECT_EQ(now.ws_xpixel, size.ws_xpixel);
  write_all(master, "in\n");
  EXPECT_EQ(read_once(slave), "in\n");
  write_all(slave, "out");
  EXPECT_EQ(read_once(master), "out");
}

LIVE_TEST(terminal_master_whose_slave_is_closed_differs_from_one_whose_slave_was_never_open) {
  const Fd fresh = new_pty_master(), closed = new_pty_master();
  pty_slave_of(closed);
  freeze_point();
  EXPECT_FALSE(hung_up(fresh));
  EXPECT_TRUE(hung_up(closed));
  const Fd slave = pty_slave_of(closed);
  write_all(slave, "again");
  EXPECT_EQ(read_once(closed), "again");
}

LIVE_TEST(pseudoterminal_slave_whose_master_is_gone_is_hung_up) {
  Fd master = new_pty_master();
  const Fd slave = pty_slave_of(master), still_there = new_pty_master();
  master.reset();
  freeze_point();
  EXPECT_TRUE(hung_up(slave));
  char byte;
  EXPECT_EQ(read(slave, &byte, 1), 0);
  EXPECT_EQ(write(slave, "x", 1), -1);
  EXPECT_EQ(errno, EIO);
  termios modes;
  EXPECT_EQ(tcgetattr(slave, &modes), -1);
  EXPECT_EQ(errno, EIO);
  const Fd other = pty_slave_of(still_there);
  write_all(other, "out");
  EXPECT_EQ(read_once(still_there), "out");
}

void set_modes(int fd, tcflag_t on, tcflag_t off) {
  termios modes;
  EXPECT_OK(tcgetattr(fd, &modes));
  modes.c_lflag = (modes.c_lflag | on) & ~off;
  EXPECT_OK(tcsetattr(fd, TCSANOW, &modes));
}

// Waits: what is written at one end is at the other after a moment only.
std::string read_all_waiting(int fd) {
  std::string all;
  pollfd one{fd, POLLIN, 0};
  while (poll(&one, 1, 50) == 1 && (one.revents & POLLIN) != 0) all += read_once(fd, 1000);
  return all;
}

LIVE_TEST(pseudoterminal_output_that_waits_is_read_afterwards) {
  const Fd master = new_pty_master();
  const Fd slave = pty_slave_of(master);
  std::string written;
  for (int i = 0; i < 250; ++i) written += "a line of output that waits\n";
  const ssize_t taken = EXPECT_OK(write(slave, written.data(), written.size()));
  freeze_point();
  write_all(slave, "tail\n");
  std::string expected;
  for (const char character : written.substr(0, static_cast<size_t>(taken)) + "tail\n")
    expected += character == '\n' ? std::string("\r\n") : std::string(1, character);
  EXPECT_EQ(read_all_waiting(master), expected);
}

LIVE_TEST(pseudoterminal_output_waits_though_its_slave_is_closed) {
  const Fd master = new_pty_master();
  {
    const Fd slave = pty_slave_of(master);
    write_all(slave, "last words");
  }
  freeze_point();
  EXPECT_EQ(read_once(master, 100), "last words");
  char byte;
  EXPECT_EQ(read(master, &byte, 1), -1);
  EXPECT_EQ(errno, EIO);
}

LIVE_TEST(pseudoterminal_in_packet_mode_keeps_its_output) {
  const Fd master = new_pty_master();
  const Fd slave = pty_slave_of(master);
  const int on = 1;
  EXPECT_OK(ioctl(master, TIOCPKT, &on));
  write_all(slave, "packet");
  freeze_point();
  EXPECT_EQ(read_once(master, 100), std::string("\0packet", 7));
}

LIVE_TEST(pseudoterminal_whose_output_is_stopped_stays_so) {
  const Fd master = new_pty_master();
  const Fd slave = pty_slave_of(master);
  write_all(slave, "before");
  EXPECT_OK(tcflow(slave, TCOOFF));
  freeze_point();
  pollfd one{slave, POLLOUT, 0};
  EXPECT_EQ(poll(&one, 1, 0), 0);
  EXPECT_EQ(read_once(master, 100), "before");
  EXPECT_OK(tcflow(slave, TCOON));
  write_all(slave, "after");
  EXPECT_EQ(read_once(master, 100), "after");
}

LIVE_TEST(pseudoterminal_lines_that_wait_are_read_one_by_one) {
  const Fd master = new_pty_master();
  const Fd slave = pty_slave_of(master);
  set_modes(slave, 0, ECHO);
  write_all(master, "first\nsecond\n\x04no end\x04\nbeing ty");
  pollfd one{slave, POLLIN, 0};
  EXPECT_OK(poll(&one, 1, 1000));
  freeze_point();
  EXPECT_EQ(read_once(slave, 100), "first\n");
  EXPECT_EQ(read_once(slave, 3), "sec");
  EXPECT_EQ(read_once(slave, 100), "ond\n");
  EXPECT_EQ(read_once(slave, 100), "");
  EXPECT_EQ(read_once(slave, 100), "no end");
  EXPECT_EQ(read_once(slave, 100), "\n");
  EXPECT_EQ(poll(&one, 1, 0), 0);
  write_all(master, "ped\n");
  EXPECT_EQ(read_once(slave, 100), "being typed\n");
  EXPECT_EQ(read_all_waiting(master), "");
}

LIVE_TEST(pseudoterminal_raw_bytes_that_wait_are_read_as_they_were) {
  const Fd master = new_pty_master();
  const Fd slave = pty_slave_of(master);
  set_modes(slave, 0, ECHO | ICANON | ISIG);
  std::string typed;
  for (int i = 1; i < 256; ++i) typed += static_cast<char>(i == '\r' || i == 17 || i == 19 || i == 22 ? 'x' : i);
  write_all(master, typed);
  pollfd one{slave, POLLIN, 0};
  EXPECT_OK(poll(&one, 1, 1000));
  freeze_point();
  EXPECT_EQ(read_exactly(slave, typed.size()), typed);
}

LIVE_TEST(pseudoterminal_slave_that_was_opened_close_on_exec_may_be_none_of_it) {
  const Fd master = new_pty_master();
  const Fd slave(EXPECT_OK(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)));
  EXPECT_OK(fcntl(slave, F_SETFD, 0));
  const Fd other(EXPECT_OK(fcntl(slave, F_DUPFD_CLOEXEC, 0)));
  freeze_point();
  EXPECT_EQ(fcntl(slave, F_GETFD), 0);
  EXPECT_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
}

}  // namespace
}  // namespace live
