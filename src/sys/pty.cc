#include "sys/pty.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "sys/call.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/poll.h"

namespace stint::sys {
namespace {

Result<int> get(int fd, const char* name, unsigned long request) {
  int value = 0;
  TRY(call(name, [&] { return ::ioctl(fd, request, &value); }));
  return value;
}

Result<> set(int fd, const char* name, unsigned long request, int value) {
  TRY(call(name, [&] { return ::ioctl(fd, request, &value); }));
  return {};
}

Result<termios2> as_modes(ByteView bytes) {
  termios2 modes{};
  if (bytes.size() != sizeof(modes)) return failed("terminal modes of another size");
  std::memcpy(&modes, bytes.data(), sizeof(modes));
  return modes;
}

}  // namespace

Result<int> pty_number(int master) { return get(master, "TIOCGPTN", TIOCGPTN); }

Result<UniqueFd> open_pty_number(const std::string& ptmx, int number) {
  std::vector<UniqueFd> below;
  while (true) {
    UniqueFd master(static_cast<int>(
        TRY(call("open", [&] { return ::open(ptmx.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK); }).in(ptmx))));
    int got = TRY(pty_number(master.get()));
    if (got > number) return os_error("open", EBUSY).in(ptmx);
    if (got == number) {
      TRY(set_pty_locked(master.get(), false));
      return master;
    }
    below.push_back(std::move(master));
  }
}

Result<UniqueFd> open_pty_peer(int master, int flags) {
  // O_CLOEXEC would stay in the description's own flags, and /proc show it of every descriptor from then on.
  UniqueFd slave(
      static_cast<int>(TRY(call("TIOCGPTPEER", [&] { return ::ioctl(master, TIOCGPTPEER, flags | O_NOCTTY); }))));
  TRY(call("F_SETFD", [&] { return ::fcntl(slave.get(), F_SETFD, FD_CLOEXEC); }));
  return slave;
}

Result<int> session_of_pty(int master) {
  Result<int> session = get(master, "TIOCGSID", TIOCGSID);
  return !session.has_value() && session.error().os_errno() == ENOTTY ? 0 : session;
}

Result<int> terminal_number(int fd) { return get(fd, "TIOCGDEV", TIOCGDEV); }

Result<bool> pty_packet_mode(int master) { return TRY(get(master, "TIOCGPKT", TIOCGPKT)) != 0; }
Result<> set_pty_packet_mode(int master, bool on) { return set(master, "TIOCPKT", TIOCPKT, on ? 1 : 0); }
Result<bool> pty_locked(int master) { return TRY(get(master, "TIOCGPTLCK", TIOCGPTLCK)) != 0; }
Result<> set_pty_locked(int master, bool locked) { return set(master, "TIOCSPTLCK", TIOCSPTLCK, locked ? 1 : 0); }
Result<bool> terminal_exclusive(int fd) { return TRY(get(fd, "TIOCGEXCL", TIOCGEXCL)) != 0; }

Result<> set_terminal_exclusive(int fd) {
  TRY(call("TIOCEXCL", [&] { return ::ioctl(fd, TIOCEXCL); }));
  return {};
}

Result<int> line_discipline(int fd) { return get(fd, "TIOCGETD", TIOCGETD); }

Result<Bytes> terminal_modes2(int fd) {
  Bytes modes(sizeof(termios2));
  TRY(call("TCGETS2", [&] { return ::ioctl(fd, TCGETS2, modes.data()); }));
  return modes;
}

Result<> set_terminal_modes2(int fd, ByteView modes) {
  termios2 wanted = TRY(as_modes(modes));
  TRY(call("TCSETS2", [&] { return ::ioctl(fd, TCSETS2, &wanted); }));
  return {};
}

namespace {

Bytes as_bytes(const termios2& modes) {
  Bytes bytes(sizeof(modes));
  std::memcpy(bytes.data(), &modes, sizeof(modes));
  return bytes;
}

bool holds(ByteView line, cc_t character) {
  return std::ranges::find(line, static_cast<std::byte>(character)) != line.end();
}

// Lines, but no echo, and no byte of this one that means anything but itself. Flow control stays where it can: a master
// in packet mode is told of every change.
termios2 plain_lines(termios2 modes, ByteView line) {
  cc_t start = modes.c_cc[VSTART], stop = modes.c_cc[VSTOP];
  bool flow = (modes.c_iflag & IXON) != 0 && !holds(line, start) && !holds(line, stop);
  modes.c_iflag = flow ? IXON : 0;
  modes.c_lflag = ICANON;
  std::memset(modes.c_cc, 0, sizeof(modes.c_cc));
  modes.c_cc[VSTART] = start, modes.c_cc[VSTOP] = stop;
  return modes;
}

// What is written to one end now is at the other when this returns: n_tty_poll flushes what is on its way.
Result<bool> readable(int fd) { return (TRY(poll_now(fd, POLLIN)) & POLLIN) != 0; }

// There was room for it a moment ago, and will be when the kernel has moved what it has got.
Result<> write_patiently(int fd, ByteView bytes) {
  constexpr int kTries = 2000;
  int flags = TRY(status_flags(fd));
  TRY(set_status_flags(fd, flags | O_NONBLOCK));
  Result<> put;
  for (int tries = 0; put.has_value() && !bytes.empty() && tries < kTries; ++tries) {
    Result<size_t> written = write(fd, bytes);
    if (written.has_value())
      bytes = bytes.subspan(*written);
    else if (written.error().os_errno() == EAGAIN)
      (void)poll({}, 1);
    else
      put = std::move(written).error();
  }
  TRY(set_status_flags(fd, flags));
  if (put.has_value() && !bytes.empty()) return failed("a pseudoterminal takes no more bytes");
  return put;
}

// One that means nothing in these bytes, and so can end a line of them.
cc_t unused_in(ByteView bytes, const termios2& modes) {
  for (int character = 1; character < 256; ++character) {
    cc_t one = static_cast<cc_t>(character);
    if (one != '\n' && one != modes.c_cc[VSTART] && one != modes.c_cc[VSTOP] && !holds(bytes, one)) return one;
  }
  return 0;
}

// As it is read: a line, or what there is of raw bytes.
Result<InputPiece> take_piece(int slave, bool lines) {
  constexpr size_t kLongestLine = 4096;
  InputPiece piece;
  piece.text.resize(lines ? kLongestLine : static_cast<size_t>(TRY(bytes_queued(slave))));
  piece.text.resize(TRY(read(slave, piece.text)));
  piece.ended_by_eof = lines && (piece.text.empty() || piece.text.back() != std::byte{'\n'});
  return piece;
}

Result<> take_pieces(int slave, bool lines, std::vector<InputPiece>& pieces) {
  while (TRY(readable(slave))) {
    InputPiece piece = TRY(take_piece(slave, lines));
    if (piece.text.empty() && !lines) break;
    pieces.push_back(std::move(piece));
  }
  return {};
}

// What is written to the master goes its way in the kernel, and must be there before the modes change again. What is no
// whole line, and what is nothing but an end, is not counted.
Result<> wait_for_input(int slave, size_t counted, bool more) {
  constexpr int kTries = 1000, kUncounted_ms = 5;
  for (int tries = 0; tries < kTries && static_cast<size_t>(TRY(bytes_queued(slave))) < counted; ++tries)
    TRY(poll({}, 1));
  if (more) TRY(poll({}, kUncounted_ms));
  return {};
}

termios2 without_waiting(termios2 modes) {
  modes.c_cc[VMIN] = 0, modes.c_cc[VTIME] = 0;
  return modes;
}

}  // namespace

Result<> take_output(int master, Bytes& output) {
  while (TRY(readable(master))) {
    size_t waiting = static_cast<size_t>(TRY(bytes_queued(master))), before = output.size();
    if (waiting == 0) break;
    output.resize(before + waiting);
    Result<size_t> got = read(master, std::span(output).subspan(before));
    output.resize(before + got.value_or(0));
    TRY(std::move(got));
  }
  return {};
}

Result<> put_output(int slave, ByteView output) {
  Bytes before = TRY(terminal_modes2(slave));
  termios2 modes = TRY(as_modes(before));
  modes.c_oflag = 0;
  TRY(set_terminal_modes2(slave, as_bytes(modes)));
  Result<> written = write_patiently(slave, output);
  TRY(set_terminal_modes2(slave, before));
  return written;
}

Result<bool> output_stopped(int slave) { return (TRY(poll_now(slave, POLLOUT)) & POLLOUT) == 0; }

Result<> stop_output(int slave, bool stopped) {
  TRY(call("TCXONC", [&] { return ::ioctl(slave, TCXONC, stopped ? TCOOFF : TCOON); }));
  return {};
}

Result<> take_input(int slave, std::vector<InputPiece>& pieces) {
  Bytes before = TRY(terminal_modes2(slave));
  termios2 modes = TRY(as_modes(before));
  bool lines = (modes.c_lflag & ICANON) != 0;
  if (!lines) TRY(set_terminal_modes2(slave, as_bytes(without_waiting(modes))));
  Result<> taken = take_pieces(slave, lines, pieces);
  if (!lines) TRY(set_terminal_modes2(slave, before));
  return taken;
}

Result<Bytes> take_typed_line(int slave) {
  Bytes before = TRY(terminal_modes2(slave));
  termios2 modes = TRY(as_modes(before));
  if ((modes.c_lflag & ICANON) == 0) return Bytes();
  modes.c_lflag &= ~static_cast<tcflag_t>(ICANON);
  TRY(set_terminal_modes2(slave, as_bytes(without_waiting(modes))));
  Result<int> waiting = bytes_queued(slave);
  Bytes line(static_cast<size_t>(waiting.has_value() ? *waiting : 0));
  Result<size_t> got = line.empty() ? Result<size_t>(size_t{0}) : read(slave, line);
  TRY(set_terminal_modes2(slave, before));
  TRY(std::move(waiting));
  line.resize(TRY(std::move(got)));
  return line;
}

Result<> put_input(int master, int slave, const std::vector<InputPiece>& pieces, ByteView typed) {
  if (pieces.empty() && typed.empty()) return {};
  Bytes all, before = TRY(terminal_modes2(slave));
  for (const InputPiece& piece : pieces) all.insert(all.end(), piece.text.begin(), piece.text.end());
  size_t counted = all.size();
  all.insert(all.end(), typed.begin(), typed.end());
  termios2 old = TRY(as_modes(before)), modes = plain_lines(old, all);
  modes.c_lflag &= old.c_lflag;  // lines only where lines are read
  modes.c_cc[VEOF] = unused_in(all, modes);
  all.clear();
  for (const InputPiece& piece : pieces) {
    all.insert(all.end(), piece.text.begin(), piece.text.end());
    if (piece.ended_by_eof) all.push_back(static_cast<std::byte>(modes.c_cc[VEOF]));
  }
  all.insert(all.end(), typed.begin(), typed.end());
  TRY(set_terminal_modes2(slave, as_bytes(modes)));
  Result<> put = write_patiently(master, all);
  bool more = !typed.empty() || (!pieces.empty() && pieces.back().text.empty());
  if (put.has_value()) put = wait_for_input(slave, counted, more);
  TRY(set_terminal_modes2(slave, before));
  return put;
}

}  // namespace stint::sys
