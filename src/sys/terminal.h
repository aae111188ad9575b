// Terminals: a pty of our own, the modes and the size of any terminal, and who is in its foreground.
#pragma once

#include <sys/ioctl.h>
#include <sys/types.h>
#include <termios.h>

#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

bool is_terminal(int fd);

// The master of a new pseudoterminal, nonblocking. While nobody has the slave open, reading it gives EIO and polling it
// POLLHUP; both end when the slave is opened again.
Result<UniqueFd> open_pty();
// The slave of a master, found through the master: needs no path, so it works across mount namespaces. `control`: it
// becomes the controlling terminal of this process, which must lead a session that has none.
Result<UniqueFd> open_pty_slave(int master, bool control);

Result<termios> terminal_modes(int fd);
// At once, without waiting for output (which a stopped terminal would never take).
Result<> set_terminal_modes(int fd, const termios& modes);
// What `modes` become when every byte passes as it is, in both directions.
termios raw_modes(termios modes);

Result<winsize> terminal_size(int fd);
// The foreground group of the terminal gets SIGWINCH if the size has changed.
Result<> set_terminal_size(int fd, const winsize& size);

// 0 when it has none. As the caller's pid namespace numbers it.
pid_t foreground_group(int fd);
Result<> set_foreground_group(int fd, pid_t group);

}  // namespace stint::sys
