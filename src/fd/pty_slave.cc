// The slave of a pseudoterminal whose master is in the job, too: a terminal for whoever runs in it. It is opened
// through the master, so that its name need not be there.
#include <fcntl.h>

#include "fd/kinds.h"
#include "fd/path.h"
#include "fd/pty.h"
#include "sys/pty.h"

namespace stint::fd {
namespace {

using image::PtyRecord;

bool recognises(const Facts& facts, const CaptureContext& context) {
  Result<const Facts*> master = find_master(facts, context);
  return master.has_value() && *master != nullptr;
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  const Facts* master = TRY(find_master(facts, context));
  if (master == nullptr) return refusal(facts, "its master is gone", "close it");
  PtyRecord record;
  record.description = description;
  record.number = TRY(sys::pty_number(master->ours.get()));
  record.path = facts.link;
  record.exclusive = TRY(sys::terminal_exclusive(facts.ours.get()));
  return put_record(context.sink, kPtySlave.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  PtyRecord record = TRY(image::decode<PtyRecord>(bytes));
  int master = TRY(restored_master(record.number, context));
  return sys::open_pty_peer(master, reopen_flags(record.description.flags) | O_NONBLOCK);
}

Result<> finish(ByteView bytes, int fd, RestoreContext&) {
  PtyRecord record = TRY(image::decode<PtyRecord>(bytes));
  return record.exclusive ? sys::set_terminal_exclusive(fd) : Result<>();
}

}  // namespace

const Kind kPtySlave = {
    .name = "pseudoterminal slave",
    .kept = "with its master, when that is in the job, too",
    .refused = "its master is outside of the job (but for the job's own terminal)",
    .type = image::RecordType::kPtySlave,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
    .finish = finish,
};

}  // namespace stint::fd
