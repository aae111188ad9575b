// A pipe is one kernel buffer with two ends, often in different processes. /proc shows neither its size nor the bytes
// still queued. The size comes from F_GETPIPE_SZ; the bytes from tee(2), which copies without draining, so that the
// program can run on. One end may have several descriptions (opened anew through /proc/PID/fd), and one end may be
// gone; whether the missing end is closed or held by somebody outside, poll(2) tells: POLLHUP, POLLERR only when it is
// closed. Not kept: splice()d pages lose their link to the file.
//
// With --external=close an end that is held outside counts as closed: a reader gets what is queued and then the end, a
// writer EPIPE.
#include "fd/pipe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include "fd/kinds.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/holder.h"
#include "sys/inode.h"
#include "sys/pipe.h"
#include "sys/process.h"

namespace stint::fd {

using image::PipeRecord;

EndsInside ends_inside(const Facts& facts, const CaptureContext& context) {
  EndsInside ends;
  auto [first, last] = context.by_inode.equal_range(facts.stat.st_ino);
  for (auto entry = first; entry != last; ++entry) {
    const Facts& other = *entry->second;
    if (other.stat.st_dev != facts.stat.st_dev || !S_ISFIFO(other.stat.st_mode)) continue;
    int access = static_cast<int>(other.info.flags) & O_ACCMODE;
    if (access != O_WRONLY) ends.reading = true;
    if (access == O_RDONLY) continue;
    ends.writing = true;
    if ((other.info.flags & O_DIRECT) != 0) ends.packets = true;
  }
  return ends;
}

Result<bool> is_ours_alone(const Facts& facts, const EndsInside& ends) {
  if (ends.reading && ends.writing) return true;
  short gone = ends.reading ? POLLHUP : POLLERR;
  return (TRY(sys::poll_now(facts.ours.get(), 0)) & gone) != 0;
}

Result<> record_buffer(const Facts& facts, const EndsInside& ends, CaptureContext& context, PipeRecord& record) {
  record.pipe = facts.stat.st_ino;
  record.capacity = TRY(sys::pipe_size(facts.ours.get()));
  if (context.only_look || !context.contents_recorded.insert(record.pipe).second) return {};
  record.carries_content = true;
  if (ends.cut_off && !ends.reading) return {};
  // Any description will do, but it must be open for reading.
  bool readable = (static_cast<int>(facts.info.flags) & O_ACCMODE) != O_WRONLY;
  sys::UniqueFd reading;
  if (!readable) reading = TRY(sys::reopen(facts.ours.get(), O_RDONLY | O_NONBLOCK));
  sys::PipeContent content = TRY(sys::peek_pipe(readable ? facts.ours.get() : reading.get()));
  record.queued = std::move(content.bytes);
  if (ends.packets) record.packets = std::move(content.pieces);
  return {};
}

namespace {

Result<> write_packets(int write, const PipeRecord& record) {
  int flags = TRY(sys::status_flags(write));
  TRY(sys::set_status_flags(write, flags | O_DIRECT));
  ByteView rest = record.queued;
  for (uint32_t size : record.packets) {
    if (size > rest.size()) return damaged("pipe record: packets larger than its content");
    TRY(sys::write_all(write, rest.first(size)));
    rest = rest.subspan(size);
  }
  if (!rest.empty()) return damaged("pipe record: content beyond its packets");
  return sys::set_status_flags(write, flags);
}

}  // namespace

Result<> refill_buffer(int read, int write, const PipeRecord& record) {
  if (TRY(sys::pipe_size(read)) != record.capacity)
    TRY(sys::set_pipe_size(read, record.capacity).in("pipe capacity (see fs.pipe-max-size)").as(ErrorKind::kUnfit));
  if (record.queued.empty()) return {};
  if (record.queued.size() > record.capacity) return damaged("pipe record: more content than capacity");
  // A write that would have to wait would wait for ever: nobody reads yet.
  int flags = TRY(sys::status_flags(write));
  TRY(sys::set_status_flags(write, flags | O_NONBLOCK));
  TRY((record.packets.empty() ? sys::write_all(write, record.queued) : write_packets(write, record))
          .in("what was queued in the pipe"));
  return sys::set_status_flags(write, flags);
}

namespace {

// O_LARGEFILE as the kernel has it (libc's is 0 here): every open(2) sets it, pipe(2) does not.
constexpr int kOpenedAnew = 0100000;

bool recognises(const Facts& facts, const CaptureContext&) {
  return S_ISFIFO(facts.stat.st_mode) && facts.link.starts_with("pipe:[");
}

// Who has the other end; empty where that cannot be seen. We ourselves have duplicates of all.
std::string outside_holder(const Facts& facts, const CaptureContext& context) {
  Result<std::vector<Pid>> holders = sys::processes_with(facts.link);
  for (Pid holder : holders.value_or(std::vector<Pid>())) {
    auto entry = context.by_number.lower_bound({holder.number, 0});
    bool inside = entry != context.by_number.end() && entry->first.first == holder.number;
    if (!inside && holder.number != sys::own_pid()) return ", in " + sys::title_of(holder);
  }
  return "";
}

Result<> capture(const Facts& facts, const image::Description& description, CaptureContext& context) {
  EndsInside ends = ends_inside(facts, context);
  ends.cut_off = !TRY(is_ours_alone(facts, ends));
  if (ends.cut_off)
    TRY(cut_off(facts, context,
                fmt::format("the other end of this pipe is open outside of the job{} and it is no standard stream",
                            outside_holder(facts, context)),
                "run both ends under one `stint run`, or close it (exec 7<&- in a shell) before"));
  PipeRecord record;
  record.description = description;
  TRY(record_buffer(facts, ends, context, record));
  return put_record(context.sink, kPipe.type, record);
}

Result<sys::UniqueFd> restore(ByteView bytes, RestoreContext& context) {
  PipeRecord record = TRY(image::decode<PipeRecord>(bytes));
  auto [place, fresh] = context.pipes.try_emplace(record.pipe);
  Ends& ends = place->second;
  if (fresh) {
    sys::PipeEnds made = TRY(sys::pipe());
    ends = {.first = std::move(made.read), .second = std::move(made.write)};
  }
  if (record.carries_content) TRY(refill_buffer(ends.first.get(), ends.second.get(), record));
  int flags = static_cast<int>(record.description.flags);
  int access = flags & O_ACCMODE;
  int end = access == O_WRONLY ? ends.second.get() : ends.first.get();
  // The context keeps its own descriptors of both ends until all descriptions are there.
  if ((flags & kOpenedAnew) == 0) return sys::duplicate(end);
  return sys::reopen(end, access | O_NONBLOCK);
}

}  // namespace

const Kind kPipe = {
    .name = "pipe",
    .kept = "capacity, queued bytes, packet mode and packets, an end that is gone, several descriptions of one end",
    .refused = "the other end is open outside of the job (standard streams: see there), without --external=close",
    .type = image::RecordType::kPipe,
    .recognises = recognises,
    .capture = capture,
    .restore = restore,
};

}  // namespace stint::fd
