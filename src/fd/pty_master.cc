// The master of a pseudoterminal: what a terminal emulator, script(1) or expect(1) holds. Modes and size belong to the
// slave and can be asked of the master; its number is the lowest that was free. A pty whose slave was never opened
// differs from one whose slave was closed: only the latter gives EIO.
//
// What waits between the ends cannot be seen without taking it, and is put back at once: whoever is killed in that
// moment loses it. Not kept: what was written to a master before the slave was ever opened.
#include <fcntl.h>
#include <poll.h>
#include <sys/sysmacros.h>

#include "fd/kinds.h"
#include "fd/pty.h"
#include "sys/descriptor.h"
#include "sys/poll.h"
#include "sys/pty.h"
#include "sys/terminal.h"

namespace stint::fd {
namespace {

using image::PtyRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  return S_ISCHR(facts.stat.st_mode) && facts.stat.st_rdev == makedev(5, 2) && (facts.info.flags & O_PATH) == 0;
}

Result<> record_state(const Facts& facts, PtyRecord& record) {
  int fd = facts.ours.get();
  record.number = TRY(sys::pty_number(fd));
  record.path = facts.link;
  record.modes = TRY(sys::terminal_modes2(fd));
  winsize size = TRY(sys::terminal_size(fd));
  record.rows = size.ws_row, record.columns = size.ws_col, record.width = size.ws_xpixel,
  record.height = size.ws_ypixel;
  record.packets = TRY(sys::pty_packet_mode(fd));
  record.locked = TRY(sys::pty_locked(fd));
  record.exclusive = TRY(sys::terminal_exclusive(fd));
  record.hung_up = (TRY(sys::poll_now(fd, 0)) & POLLHUP) != 0;
  return {};
}

// A slave to ask and to write to: the job's own, or, when it has none, one that is open for the moment.
struct SlaveEnd {
  int fd = -1;
  sys::UniqueFd opened;
};

SlaveEnd slave_end(const Facts& master, const Facts* slave, bool opened_before) {
  SlaveEnd end;
  if (slave != nullptr) end.fd = slave->ours.get();
  // One that was never opened has nothing on the way, and is to stay so; TIOCEXCL and a lock keep us out.
  if (slave != nullptr || !opened_before) return end;
  Result<sys::UniqueFd> opened = sys::open_pty_peer(master.ours.get(), O_RDWR | O_NONBLOCK);
  if (!opened.has_value()) return end;
  end.opened = std::move(*opened);
  end.fd = end.opened.get();
  return end;
}

// Whatever fails: what was taken is put back, and stopped output is stopped again.
Result<> look_at_output(int master, int slave, PtyRecord& record) {
  Result<> taken = sys::take_output(master, record.output);
  Result<bool> stopped = sys::output_stopped(slave);
  record.stopped = stopped.value_or(false);
  bool start = record.stopped && !record.output.empty();
  Result<> put = start ? sys::stop_output(slave, false) : Result<>();
  if (!record.output.empty()) put = sys::put_output(slave, record.output);
  Result<> stopped_again = start ? sys::stop_output(slave, true) : Result<>();
  TRY(std::move(taken));
  TRY(std::move(stopped));
  TRY(std::move(put));
  return stopped_again;
}

Result<> record_output(const Facts& facts, int slave, PtyRecord& record) {
  int master = facts.ours.get();
  if ((TRY(sys::poll_now(master, POLLIN | POLLPRI)) & POLLPRI) != 0)
    return passing_refusal(facts, "a control byte of its packet mode waits in this pseudoterminal",
                           "try again when it has been read");
  if (slave < 0 && TRY(sys::bytes_queued(master)) != 0)
    return passing_refusal(facts, "output waits in this pseudoterminal, which lets nobody open its slave",
                           "try again when it has been read");
  if (slave < 0) return {};
  if (record.packets) TRY(sys::set_pty_packet_mode(master, false));
  Result<> looked = look_at_output(master, slave, record);
  if (record.packets) TRY(sys::set_pty_packet_mode(master, true));
  return looked;
}

Result<> record_input(const Facts& facts, int slave, PtyRecord& record) {
  constexpr int kMost =
      4000;  // More may wait behind what the terminal has room for (N_TTY_BUF_SIZE), not read into it yet.
  if (TRY(sys::bytes_queued(slave)) > kMost)
    return passing_refusal(facts, "much input waits in this pseudoterminal", "try again when it has been read");
  std::vector<sys::InputPiece> pieces;
  Result<> taken = sys::take_input(slave, pieces);
  Result<Bytes> typed = taken.has_value() ? sys::take_typed_line(slave) : Bytes();
  TRY(sys::put_input(facts.ours.get(), slave, pieces, typed.has_value() ? ByteView(*typed) : ByteView()));
  TRY(std::move(taken));
  record.typed = TRY(std::move(typed));
  for (sys::InputPiece& piece : pieces) record.input.push_back({std::move(piece.text), piece.ended_by_eof});
  return {};
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  PtyRecord record;
  record.description = description;
  TRY(record_state(facts, record));
  const Facts* slave = TRY(find_slave(facts, context));
  if (slave != nullptr && TRY(sys::line_discipline(slave->ours.get())) != 0)
    return refusal(facts, "has a line discipline other than that of terminals", "take it away (TIOCSETD)");
  if (!context.only_look) {
    bool controls = TRY(sys::session_of_pty(facts.ours.get())) != 0;
    SlaveEnd end = slave_end(facts, slave, controls || record.hung_up);
    TRY(record_output(facts, end.fd, record));
    if (end.fd >= 0 && !record.hung_up) TRY(record_input(facts, end.fd, record));
  }
  return put_record(context.sink, kPtyMaster.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  PtyRecord record = TRY(image::decode<PtyRecord>(bytes));
  int master = TRY(restored_master(record.number, context));
  if (record.hung_up) sys::UniqueFd opened_once = TRY(sys::open_pty_peer(master, O_RDWR | O_NONBLOCK));
  return sys::duplicate(master);
}

Result<> fill(int master, const PtyRecord& record) {
  sys::UniqueFd slave = TRY(sys::open_pty_peer(master, O_RDWR | O_NONBLOCK));
  std::vector<sys::InputPiece> pieces;
  for (const image::PtyInput& input : record.input) pieces.push_back({input.text, input.ended_by_eof});
  TRY(sys::put_input(master, slave.get(), pieces, record.typed));
  if (!record.output.empty()) TRY(sys::put_output(slave.get(), record.output));
  return record.stopped ? sys::stop_output(slave.get(), true) : Result<>();
}

// Slaves that are open stay so; the lock and TIOCEXCL concern who comes later.
Result<> finish(ByteView bytes, int fd, RestoreContext&) {
  PtyRecord record = TRY(image::decode<PtyRecord>(bytes));
  TRY(sys::set_terminal_modes2(fd, record.modes));
  TRY(sys::set_terminal_size(fd, {record.rows, record.columns, record.width, record.height}));
  if (!record.output.empty() || !record.input.empty() || !record.typed.empty() || record.stopped) TRY(fill(fd, record));
  if (record.packets) TRY(sys::set_pty_packet_mode(fd, true));
  if (record.exclusive) TRY(sys::set_terminal_exclusive(fd));
  return record.locked ? sys::set_pty_locked(fd, true) : Result<>();
}

}  // namespace

const Kind kPtyMaster = {
    .name = "pseudoterminal master",
    .kept =
        "number, modes, size, packet mode, lock, TIOCEXCL, stopped output, a slave that was never opened or is closed "
        "again, the bytes that wait in it either way, a line that is being typed",
    .refused =
        "a control byte of packet mode waits in it; its number is taken where it is restarted and the job is not "
        "contained",
    .type = image::RecordType::kPtyMaster,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .finish = finish,
};

}  // namespace stint::fd
