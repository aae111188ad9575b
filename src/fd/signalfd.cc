// A signalfd is a mask: it reads the queue of whoever reads it, and that queue belongs to the process and its threads.
#include "fd/kinds.h"
#include "sys/event.h"

namespace stint::fd {
namespace {

using image::SignalfdRecord;

bool recognises(const Facts& facts, const CaptureContext&) { return facts.info.signalfd_mask.has_value(); }

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  SignalfdRecord record;
  record.description = description;
  record.mask = *facts.info.signalfd_mask;
  return put_record(context.sink, kSignalfd.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext&) {
  SignalfdRecord record = TRY(image::decode<SignalfdRecord>(bytes));
  return sys::signalfd(record.mask);
}

}  // namespace

const Kind kSignalfd = {
    .name = "signalfd",
    .kept = "mask",
    .refused = "never",
    .type = image::RecordType::kSignalfd,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
