#include "sys/terminal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/call.h"

namespace stint::sys {

bool is_terminal(int fd) {
  termios modes;
  return ::tcgetattr(fd, &modes) == 0;
}

Result<UniqueFd> open_pty() {
  UniqueFd master(static_cast<int>(TRY(
      call("open", [] { return ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK); }).in("/dev/ptmx"))));
  int locked = 0;
  TRY(call("TIOCSPTLCK", [&] { return ::ioctl(master.get(), TIOCSPTLCK, &locked); }));
  return master;
}

Result<UniqueFd> open_pty_slave(int master, bool control) {
  int flags = O_RDWR | O_CLOEXEC | (control ? 0 : O_NOCTTY);
  return UniqueFd(static_cast<int>(TRY(call("TIOCGPTPEER", [&] { return ::ioctl(master, TIOCGPTPEER, flags); }))));
}

Result<termios> terminal_modes(int fd) {
  termios modes;
  TRY(call("tcgetattr", [&] { return ::tcgetattr(fd, &modes); }));
  return modes;
}

Result<> set_terminal_modes(int fd, const termios& modes) {
  TRY(call("tcsetattr", [&] { return ::tcsetattr(fd, TCSANOW, &modes); }));
  return {};
}

termios raw_modes(termios modes) {
  ::cfmakeraw(&modes);
  return modes;
}

Result<winsize> terminal_size(int fd) {
  winsize size = {};
  TRY(call("TIOCGWINSZ", [&] { return ::ioctl(fd, TIOCGWINSZ, &size); }));
  return size;
}

Result<> set_terminal_size(int fd, const winsize& size) {
  TRY(call("TIOCSWINSZ", [&] { return ::ioctl(fd, TIOCSWINSZ, &size); }));
  return {};
}

pid_t foreground_group(int fd) {
  pid_t group = 0;
  return ::ioctl(fd, TIOCGPGRP, &group) == 0 ? group : 0;
}

Result<> set_foreground_group(int fd, pid_t group) {
  TRY(call("tcsetpgrp", [&] { return ::tcsetpgrp(fd, group); }));
  return {};
}

}  // namespace stint::sys
