// A FIFO is a pipe with a name. Its buffer lives as long as anybody has it open, so while it is being made again it is
// held open for reading and writing: then no open(2) of an end waits for the other one. Whoever has it open outside of
// the job is not seen when both kinds of end are inside; he sees the job leave as if it had been killed.
#include <fcntl.h>
#include <poll.h>

#include "fd/kinds.h"
#include "fd/path.h"
#include "fd/pipe.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"

namespace stint::fd {
namespace {

using image::PipeRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  return S_ISFIFO(facts.stat.st_mode) && facts.link.starts_with('/');
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  FoundPath found = TRY(find_path(facts));
  if (found.unlinked)
    return refusal(facts, "is a FIFO that has no name any more", "keep its name until the job has ended");
  if ((description.flags & O_PATH) != 0) return refusal(facts, "is a FIFO opened with O_PATH", "close it");
  EndsInside ends = ends_inside(facts, context);
  if (!TRY(is_ours_alone(facts, ends)))
    return refusal(facts, "the other end of this FIFO is open outside of the job, or nobody has opened it yet",
                   "run both ends under one `stint run`, or open it for reading and writing");
  PipeRecord record;
  record.description = description;
  record.path = found.path;
  TRY(record_buffer(facts, ends, context, record));
  return put_record(context.sink, kFifo.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  PipeRecord record = TRY(image::decode<PipeRecord>(bytes));
  sys::UniqueFd& both = context.fifos[record.pipe];
  if (!both.valid()) {
    both = TRY(sys::open(record.path, O_RDWR | O_NONBLOCK).as(ErrorKind::kUnfit));
    struct stat there = TRY(sys::fstat(both.get()));
    if (!S_ISFIFO(there.st_mode)) return unfit(record.path + " is no FIFO any more: make it again with mkfifo(1)");
  }
  if (record.carries_content) {
    if (TRY(sys::bytes_queued(both.get())) != 0)
      return unfit(record.path + ": another program has written into this FIFO: empty it first");
    TRY(refill_buffer(both.get(), both.get(), record).in(record.path));
  }
  return sys::reopen(both.get(), static_cast<int>(record.description.flags & O_ACCMODE) | O_NONBLOCK);
}

}  // namespace

const Kind kFifo = {
    .name = "FIFO",
    .kept = "as a pipe; opened again by its name",
    .refused =
        "it has no name any more; one end only is inside and the other is open outside, or nobody has opened it yet",
    .type = image::RecordType::kFifo,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
