// What a pseudoterminal has beyond a terminal: its number, packet mode, the lock on its slave; and what is asked of
// both ends without disturbing what they hold.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

Result<int> pty_number(int master);
// The master of that number, nonblocking, the slave not locked: the kernel gives the lowest that is free, so those
// below it are held for a moment. EBUSY when it is taken.
Result<UniqueFd> open_pty_number(const std::string& ptmx, int number);
// The slave, with these O_* flags.
Result<UniqueFd> open_pty_peer(int master, int flags);

// The session that the slave controls; 0 when it controls none.
Result<int> session_of_pty(int master);
// The device of the terminal behind a descriptor, as tty_nr in /proc/PID/stat; of one that was opened as /dev/tty, the
// real one's.
Result<int> terminal_number(int fd);

Result<bool> pty_packet_mode(int master);
Result<> set_pty_packet_mode(int master, bool on);
Result<bool> pty_locked(int master);
Result<> set_pty_locked(int master, bool locked);
Result<bool> terminal_exclusive(int fd);
Result<> set_terminal_exclusive(int fd);
Result<int> line_discipline(int fd);

// struct termios2, with speeds of any sort; of either end of a pty, it is the slave's.
Result<Bytes> terminal_modes2(int fd);
Result<> set_terminal_modes2(int fd, ByteView modes);

// What waits at the master is taken, whole, and what was taken before a failure is in `output`, too: the kernel first
// finishes what it still has on the way (n_tty_poll flushes it). In packet mode that must be switched off first, else
// there are control bytes in it.
Result<> take_output(int master, Bytes& output);
// Puts it back by the way of the slave, whose output modes are others for that moment.
Result<> put_output(int slave, ByteView output);
// Whether output is stopped (TCOOFF, or the STOP character). Asked of a slave with nothing waiting.
Result<bool> output_stopped(int slave);
Result<> stop_output(int slave, bool stopped);

// Input that waits at the slave: in a terminal that reads by lines each whole line, which ends with a newline or with
// what no read shows (an EOF character); else all bytes in one piece.
struct InputPiece {
  Bytes text;
  bool ended_by_eof = false;
};
Result<> take_input(int slave, std::vector<InputPiece>& pieces);
// The line that is being typed: FIONREAD does not count it, and only reading shows it. After take_input(). Empty where
// input is not read by lines.
Result<Bytes> take_typed_line(int slave);
// Puts both back, by the way of the master, without an echo and without any meaning of the bytes; the modes are others
// for that moment, and whoever is killed in it leaves them so, and the input lost.
Result<> put_input(int master, int slave, const std::vector<InputPiece>& pieces, ByteView typed);

}  // namespace stint::sys
