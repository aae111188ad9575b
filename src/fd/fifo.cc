// A FIFO is a pipe with a name. Its buffer lives as long as anybody has it open, so while it is being made again it is
// held open for reading and writing: then no open(2) of an end waits for the other one. Whoever has it open outside of
// the job is not seen when both kinds of end are inside; he sees the job leave as if it had been killed. With
// --external=close one who has the other end alone counts as gone; whoever has the FIFO open when the job is restarted
// is its other end then, as with any FIFO.
#include <fcntl.h>
#include <poll.h>

#include "fd/kinds.h"
#include "fd/path.h"
#include "fd/pipe.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/inode.h"
#include "sys/pipe.h"

namespace stint::fd {
namespace {

using image::PipeRecord;

bool recognises(const Facts& facts, const CaptureContext&) {
  return S_ISFIFO(facts.stat.st_mode) && facts.link.starts_with('/');
}

// poll(2) says POLLHUP to a reader only when there has been a writer since it opened the FIFO; read(2) says the end
// whenever there is none. So it is told who waits for the first one, from who has a writer outside.
Result<bool> waits_for_first_writer(const Facts& facts, const EndsInside& ends) {
  if (ends.writing || (TRY(sys::poll_now(facts.ours.get(), 0)) & POLLHUP) != 0) return false;
  return sys::pipe_is_at_end(facts.ours.get());
}

// Of several readers, some may have seen a writer and others not: their FIFO must then be opened in an order that is
// not kept.
Result<bool> all_wait(const Facts& facts, const EndsInside& ends, const CaptureContext& context) {
  auto [first, last] = context.by_inode.equal_range(facts.stat.st_ino);
  for (auto entry = first; entry != last; ++entry) {
    bool same = entry->second->stat.st_dev == facts.stat.st_dev && entry->second->ours.valid();
    if (same && !TRY(waits_for_first_writer(*entry->second, ends))) return false;
  }
  return true;
}

// What is queued goes with the reader; with a job that ends by its checkpoint it must not stay behind in the FIFO, too.
Result<> leave_outside(const Facts& facts, const EndsInside& ends, CaptureContext& context, PipeRecord& record) {
  if (!ends.reading) record.carries_content = false;  // What the reader outside has not read yet is in nobody's way.
  if (record.queued.empty()) return {};
  sys::UniqueFd reading = TRY(sys::reopen(facts.ours.get(), O_RDONLY | O_NONBLOCK));
  context.unread_input.push_back({std::move(reading), record.queued.size()});
  return {};
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  FoundPath found = TRY(find_path(facts));
  if (found.unlinked)
    return refusal(facts, "is a FIFO that has no name any more", "keep its name until the job has ended");
  if ((description.flags & O_PATH) != 0) return refusal(facts, "is a FIFO opened with O_PATH", "close it");
  EndsInside ends = ends_inside(facts, context);
  PipeRecord record;
  record.waits_for_writer = ends.reading && TRY(all_wait(facts, ends, context));
  ends.cut_off = !record.waits_for_writer && !TRY(is_ours_alone(facts, ends));
  if (ends.cut_off)
    TRY(cut_off(facts, context, "the other end of this FIFO is open outside of the job",
                "run both ends under one `stint run`"));
  record.description = description;
  record.path = found.path;
  TRY(record_buffer(facts, ends, context, record));
  if (ends.cut_off) TRY(leave_outside(facts, ends, context, record));
  return put_record(context.sink, kFifo.type, record);
}

Result<sys::UniqueFd> open_fifo(const std::string& path, int flags) {
  sys::UniqueFd fd = TRY(sys::open(path, flags).as(ErrorKind::kUnfit));
  struct stat there = TRY(sys::fstat(fd.get()));
  if (S_ISFIFO(there.st_mode)) return fd;
  return unfit(path + " is no FIFO any more: make it again with mkfifo(1)");
}

// As long as this one is the first to open it, and nobody may write, poll(2) will not say POLLHUP.
Result<sys::UniqueFd> open_before_any_writer(const PipeRecord& record) {
  sys::UniqueFd fd = TRY(open_fifo(record.path, O_RDONLY | O_NONBLOCK));
  if (record.carries_content) TRY(refill_buffer(fd.get(), fd.get(), record).in(record.path));
  return fd;
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  PipeRecord record = TRY(image::decode<PipeRecord>(bytes));
  if (record.waits_for_writer) return open_before_any_writer(record);
  sys::UniqueFd& both = context.fifos[record.pipe];
  if (!both.valid()) both = TRY(open_fifo(record.path, O_RDWR | O_NONBLOCK));
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
        "it has no name any more; one end only is inside and the other is open outside, without --external=close; of "
        "several readers some wait for their first writer and others have seen one",
    .type = image::RecordType::kFifo,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
