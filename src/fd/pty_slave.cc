// The slave of a pseudoterminal: a terminal for whoever runs in it. Where its master is in the job, too, it is opened
// through that, so that its name need not be there. One whose master is gone is hung up: it reads as ended, and gives
// EIO to all else. It is made again with a master that is closed at once.
#include <fcntl.h>
#include <poll.h>

#include <algorithm>

#include "fd/kinds.h"
#include "fd/path.h"
#include "fd/pty.h"
#include "sys/descriptor.h"
#include "sys/pty.h"

namespace stint::fd {
namespace {

using image::PtyRecord;

bool recognises(const Facts& facts, const CaptureContext&) { return is_pty_slave(facts); }

Result<> capture_without_master(const Facts& facts, PtyRecord record, CaptureContext& context) {
  bool hung_up = (TRY(sys::poll_now(facts.ours.get(), 0)) & POLLHUP) != 0;
  if (!hung_up)
    TRY(cut_off(facts, context, "is a terminal whose master is outside of the job, and it is not the job's own",
                "close it before the checkpoint"));
  record.number = pty_number_of(facts.stat.st_rdev);
  record.path = facts.link;
  record.master_gone = true;
  return put_record(context.sink, kPtySlave.type, record);
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  PtyRecord record;
  record.description = description;
  const Facts* master = TRY(find_master(facts, context));
  if (master == nullptr) return capture_without_master(facts, std::move(record), context);
  record.number = TRY(sys::pty_number(master->ours.get()));
  record.path = facts.link;
  record.exclusive = TRY(sys::terminal_exclusive(facts.ours.get()));
  return put_record(context.sink, kPtySlave.type, record);
}

// Of the ptys of the job, which may not be there yet.
Result<std::vector<int>> numbers_in_job(const image::Source& source) {
  std::vector<int> numbers;
  for (const image::Record& record : source.records())
    if (record.type == kPtyMaster.type) numbers.push_back(TRY(image::decode<PtyRecord>(record.payload)).number);
  return numbers;
}

// The number is what it was when that is free here; nobody can open the terminal by it any more.
Result<sys::UniqueFd> make_hung_up(const PtyRecord& record, const RestoreContext& context) {
  constexpr int kTries = 1024, kMostBelow = 100;  // that are open for a moment
  std::vector<int> taken = TRY(numbers_in_job(context.source));
  int beyond = taken.empty() ? 0 : *std::ranges::max_element(taken) + 1;
  bool free =
      record.number >= 0 && record.number < kMostBelow && std::ranges::find(taken, record.number) == taken.end();
  Result<sys::UniqueFd> master = free ? sys::open_pty_number("/dev/ptmx", record.number) : os_error("pty", EBUSY);
  for (int i = 0; i < kTries && !master.has_value() && master.error().os_errno() == EBUSY; ++i)
    master = sys::open_pty_number("/dev/ptmx", beyond + i);
  sys::UniqueFd opened = TRY(std::move(master));
  return sys::open_pty_peer(opened.get(), reopen_flags(record.description.flags) | O_NONBLOCK);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  PtyRecord record = TRY(image::decode<PtyRecord>(bytes));
  if (record.master_gone) return make_hung_up(record, context);
  int master = TRY(restored_master(record.number, context));
  return sys::open_pty_peer(master, reopen_flags(record.description.flags) | O_NONBLOCK);
}

Result<> finish(ByteView bytes, int fd, RestoreContext&) {
  PtyRecord record = TRY(image::decode<PtyRecord>(bytes));
  return record.exclusive && !record.master_gone ? sys::set_terminal_exclusive(fd) : Result<>();
}

}  // namespace

const Kind kPtySlave = {
    .name = "pseudoterminal slave",
    .kept = "with its master, when that is in the job, too; that it is hung up, when that is gone",
    .refused = "its master is outside of the job (but for the job's own terminal), without --external=close",
    .type = image::RecordType::kPtySlave,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .finish = finish,
};

}  // namespace stint::fd
