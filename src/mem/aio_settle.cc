#include "mem/aio_settle.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstring>

#include "mem/aio_noops.h"
#include "mem/aio_ring.h"
#include "proc/cpu_list.h"
#include "sys/clock.h"
#include "sys/poll.h"
#include "sys/procfs.h"
#include "sys/scheduling.h"
#include "tracee/memory.h"

namespace stint::mem {
namespace {

constexpr int64_t kPatienceNs = 500'000'000;  // for all contexts of a process; nobody runs meanwhile
constexpr int kLongestWaitMs = 50;
constexpr int kMostRounds = 1000;

Result<Bytes> read_mapping(Pid process, Range range) {
  Bytes content(range.size());
  size_t got = TRY(sys::read_memory(process, range.start, content.data(), content.size()));
  if (got != content.size()) return failed("its ring cannot be read");
  return content;
}

// One context, and its requests.
class Probe {
 public:
  Probe(tracee::StoppedProcess& process, tracee::Hands& hands, Range range, std::span<const uint32_t> cpus)
      : process_(process), hands_(hands), range_(range), cpus_(cpus) {}

  // Whether none was under way. What was done before is in the ring, in any case. `everywhere`: on each processor.
  Result<bool> none_under_way(bool everywhere) {
    everywhere_ = everywhere;
    ring_ = TRY(read_aio_ring(TRY(read_mapping(process_.seen_as(), range_))));
    uint32_t most = aio_most_requests(ring_.slots, cpus_.size());
    if (ring_.waiting.size() >= most) return true;
    passed_ = 0;
    untaken_ = ring_.waiting.size();
    Result<bool> none = use_up(most - ring_.waiting.size());
    TRY(undo());
    return none;
  }

 private:
  // What they do is to be noted before there are others.
  Result<AioNoops> noops() {
    Bytes affinity = TRY(sys::get_affinity(process_.representative().tid));
    AioNoops made = TRY(AioNoops::prepare(process_, hands_, {range_.start, serial_ + 1}, std::move(affinity)));
    ++serial_;
    request_ = made.request();
    noted_ = false;
    return made;
  }

  // In one table, which ends with the ring as it was when no request was under way and no event waited: killed then, we
  // leave nothing behind.
  Result<bool> use_up(uint64_t available) {
    AioNoops noops = TRY(this->noops());
    std::vector<size_t> groups;
    uint64_t held_back = 2 * aio_batch(ring_.slots, cpus_.size());
    if (!everywhere_) groups.push_back(noops.submit(available));
    for (uint32_t cpu : everywhere_ ? cpus_ : std::span<const uint32_t>()) {
      noops.go_to(cpu);
      groups.push_back(noops.submit(groups.empty() ? available : std::min(available, held_back)));
    }
    noops.take_events(ring_.slots);
    uint64_t rest = ring_.slots - available;
    noops.submit(rest);
    noops.take_events(rest - ring_.waiting.size());
    TRY(noops.run());
    uint64_t used = 0;
    for (size_t group : groups) used += noops.submitted(group);
    return used == available;
  }

  // Whatever became of what we have begun.
  Result<> undo() {
    constexpr int kAttempts = 10;  // in about a second
    Result<> undone;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      if (attempt > 0) (void)sys::poll({}, 1 << attempt);
      undone = try_to_undo();
      if (undone.has_value()) return {};
    }
    return std::move(undone).in("its ring is not what it was");
  }

  Result<> try_to_undo() {
    TRY(hands_.call(process_.representative(), "getpid", {SYS_getpid}));  // No table is under way any more.
    if (!noted_) TRY(note_events());
    for (int round = 0; !has_come_round() && round < kMostRounds; ++round) TRY(pass_some(round));
    return put_back();
  }

  // As many of our events have passed as there are slots: who has looked at the ring before it stopped, and takes
  // events from it without a system call, finds them where they were. And for each event that waits, one of ours has
  // not been taken: so the kernel does not give out again what it holds for that.
  bool has_come_round() const { return passed_ % ring_.slots == 0 && untaken_ >= ring_.waiting.size(); }

  Result<> pass_some(int round) {
    uint64_t kept = ring_.waiting.size();
    uint64_t left = ring_.slots - passed_ % ring_.slots;
    if (left < kept) left += ring_.slots;
    AioNoops noops = TRY(this->noops());
    if (everywhere_) noops.go_to(cpus_[static_cast<size_t>(round) % cpus_.size()]);
    noops.take_events(ring_.slots);
    noops.submit(left > kept ? left - kept : kept);
    if (left > kept) noops.take_events(ring_.slots);
    TRY(noops.run());
    return note_events();
  }

  // The events of the last table: ours are counted, the others kept. They are no more than there are slots.
  Result<> note_events() {
    Bytes content = TRY(read_mapping(process_.seen_as(), range_));
    AioRingHeader header;
    std::memcpy(&header, content.data(), sizeof(header));
    auto is_ours = [&](const io_event& event) { return event.obj == request_ && event.data == serial_; };
    uint64_t ours = 0;
    for (uint32_t at = 0; at < ring_.slots; ++at) ours += is_ours(aio_event_at(content, at));
    uint32_t tail = header.tail % ring_.slots;
    uint64_t others = ring_.distance(ring_.after(ring_.tail, ours), tail);
    std::vector<io_event> came;
    for (uint64_t i = 0; i < ours + others; ++i) {
      io_event event = aio_event_at(content, ring_.after(ring_.tail, i));
      if (!is_ours(event)) came.push_back(event);
    }
    if (came.size() != others) return failed("its events are not those of its requests");
    ring_.waiting.insert(ring_.waiting.end(), came.begin(), came.end());
    ring_.tail = tail;
    untaken_ = ring_.distance(header.head % ring_.slots, tail);
    passed_ += ours;
    noted_ = true;
    return {};
  }

  // What waits, just before the tail.
  Result<> put_back() {
    ring_.head = ring_.after(ring_.tail, ring_.slots - ring_.waiting.size());
    uint32_t at = ring_.head;
    for (const io_event& event : ring_.waiting) {
      TRY(tracee::poke(process_.seen_as(), range_.start + aio_event_offset(at), &event, sizeof(event)));
      at = ring_.after(at, 1);
    }
    return tracee::poke(process_.seen_as(), RemotePtr<uint32_t>(range_.start + offsetof(AioRingHeader, head)),
                        ring_.head);
  }

  tracee::StoppedProcess& process_;
  tracee::Hands& hands_;
  Range range_;
  std::span<const uint32_t> cpus_;
  bool everywhere_ = false;
  AioRing ring_;          // as the program is to find it, but for what is not noted yet
  uint64_t untaken_ = 0;  // events in it, of whomever, when that was noted
  uint64_t passed_ = 0;   // events of ours
  // Of the last table; its events say it. No checkpoint before had the same.
  uint64_t serial_ = static_cast<uint64_t>(sys::clock_ns(CLOCK_REALTIME));
  uint64_t request_ = 0;  // as they name it
  bool noted_ = true;
};

// Whatever else is stopped, requests go on to their ends.
Result<> wait_until_none(Probe& probe, int64_t deadline) {
  for (int wait_ms = 1;; wait_ms = std::min(2 * wait_ms, kLongestWaitMs)) {
    for (bool everywhere : {false, true})
      if (TRY(probe.none_under_way(everywhere))) return {};
    if (sys::clock_ns(CLOCK_MONOTONIC) > deadline)
      return not_now(
          "a request of it is still under way (a poll for what has not come, or I/O that takes its time); try again");
    (void)sys::poll({}, wait_ms);
  }
}

Result<bool> has_context(tracee::StoppedProcess& process, tracee::Hands& hands, uint64_t start) {
  tracee::Call none_of_its_events{SYS_io_getevents, {start, 0, 0, 0, 0}};
  int64_t result = TRY(hands.run(process.representative(), {&none_of_its_events, 1})).front();
  if (result < 0 && result != -EINVAL) return os_error("io_getevents", static_cast<int>(-result));
  return result >= 0;
}

// Only the events that wait: of the others nobody knows any more what they were.
void leave_out_the_past(Bytes& content, const AioRing& ring) {
  std::fill(content.begin() + sizeof(AioRingHeader), content.end(), std::byte{0});
  uint32_t at = ring.head;
  for (const io_event& event : ring.waiting) {
    put_aio_event(content, at, event);
    at = ring.after(at, 1);
  }
}

}  // namespace

Result<std::vector<image::AioRingRecord>> settle_aio(tracee::StoppedProcess& process, tracee::Hands& hands,
                                                     int32_t job_pid, std::span<const proc::Vma> vmas) {
  std::vector<image::AioRingRecord> records;
  std::vector<uint32_t> cpus;
  int64_t deadline = sys::clock_ns(CLOCK_MONOTONIC) + kPatienceNs;
  std::vector<const proc::Vma*> parts;
  for (const proc::Vma& vma : vmas)
    if (is_aio_ring(vma)) parts.push_back(&vma);
  for (const proc::Vma* vma : parts) {
    auto settle = [&]() -> Result<> {
      image::AioRingRecord record{job_pid, vma->range.start, TRY(has_context(process, hands, vma->range.start)), {}};
      bool in_parts =
          std::ranges::any_of(parts, [&](const proc::Vma* o) { return o != vma && o->inode == vma->inode; });
      if (!vma->read || !vma->write || (record.has_context && (in_parts || vma->offset != 0)))
        return refused("its ring has been changed by mprotect(2), madvise(2) or munmap(2): leave it as it was made");
      if (record.has_context) {
        if (cpus.empty())
          cpus = TRY(proc::parse_cpu_list(TRY(sys::read_whole("/sys/devices/system/cpu/possible", 1 << 16))));
        Probe probe(process, hands, vma->range, cpus);
        TRY(wait_until_none(probe, deadline));
      }
      record.content = TRY(read_mapping(process.seen_as(), vma->range));
      if (record.has_context) leave_out_the_past(record.content, TRY(read_aio_ring(record.content)));
      records.push_back(std::move(record));
      return {};
    };
    TRY(settle().in(fmt::format("asynchronous I/O context {:#x}", vma->range.start)));
  }
  return records;
}

}  // namespace stint::mem
