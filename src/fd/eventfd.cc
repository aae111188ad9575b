// An eventfd is a 64-bit counter. fdinfo shows it, and since 6.5 whether it is a semaphore; before that only a read
// would tell, which would change it, so it is refused there.
#include "sys/event.h"

#include "fd/kinds.h"

namespace stint::fd {
namespace {

using image::EventfdRecord;

bool recognises(const Facts& facts, const CaptureContext&) { return facts.info.eventfd.has_value(); }

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  if (!facts.info.eventfd->semaphore)
    return refusal(facts, "this kernel does not show whether the eventfd is a semaphore", "use Linux 6.5 or later");
  EventfdRecord record;
  record.description = description;
  record.count = facts.info.eventfd->count;
  record.semaphore = *facts.info.eventfd->semaphore;
  return put_record(context.sink, kEventfd.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  EventfdRecord record = TRY(image::decode<EventfdRecord>(bytes));
  return sys::eventfd(record.count, record.semaphore);
}

}  // namespace

const Kind kEventfd = {
    .name = "eventfd",
    .kept = "count, EFD_SEMAPHORE",
    .refused = "never on Linux 6.5 and later; before, the kernel does not tell EFD_SEMAPHORE",
    .type = image::RecordType::kEventfd,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
