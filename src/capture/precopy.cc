#include "capture/precopy.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <time.h>

#include <algorithm>

#include "mem/aio_ring.h"
#include "mem/copy.h"
#include "mem/inherit.h"
#include "proc/process.h"
#include "sys/clock.h"
#include "sys/holder.h"
#include "sys/pagemap.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "tracee/first_thread.h"

namespace stint::capture {
namespace {

// A short stop costs the program about what copying so much does (bench/run --only precopy).
constexpr uint64_t kWorthAStop = 32 << 20;
constexpr uint64_t kLittle = 16 << 20;
constexpr int kMostRounds = 4;
// A process that does not stop at once (it is inside vfork, or in a system call that takes its time) is left alone.
constexpr std::chrono::milliseconds kPatience{200};

Result<proc::Status> status_of(Pid pid) { return proc::parse_status(TRY(sys::read_proc(pid, "status"))); }

// A program that has one could not register any memory of its own with it that we have registered with ours. Of
// one that is closed to us nothing is known.
bool has_userfault(Pid pid) {
  return sys::has_open(tracee::living_thread(pid), "anon_inode:[userfaultfd]").value_or(true);
}

// Pages that a request under way has looked up are written to unseen, once they are protected after that.
bool has_aio(const ProcessCapture& process) { return std::ranges::any_of(process.mappings(), mem::is_aio_ring); }

// Another that runs while it stands still could take the number of the descriptor that we open in it, or write to its
// memory.
Result<> check_unshared(Pid pid, const std::vector<Pid>& processes) {
  for (Pid other : processes) {
    if (other == pid) continue;
    for (int type : {KCMP_VM, KCMP_FILES}) {
      Result<std::strong_ordering> order =
          sys::compare_resources(tracee::living_thread(pid), tracee::living_thread(other), type);
      if (!order.has_value() && order.error().os_errno() == ESRCH) break;
      if (TRY(std::move(order)) == std::strong_ordering::equal) return refused("it shares memory or descriptors");
    }
  }
  return {};
}

// Those of which the page table does not tell count as shared.
std::vector<Range> shared_pages(const sys::Pagemap& pagemap, const std::vector<Range>& ranges) {
  std::vector<Range> shared;
  for (const Range& range : ranges) {
    Result<std::vector<Range>> some = pagemap.shared_pages(range);
    if (!some.has_value()) some = std::vector{range};
    shared.insert(shared.end(), some->begin(), some->end());
  }
  return shared;
}

// Looks again shortly before the copier reads: a page that the program has given back meanwhile would be there again
// for being read; where the kernel has no page of zeroes it takes memory.
Result<> add_what_is_there(const sys::Pagemap& pagemap, const Range& range, bool through_file, mem::Copier& copier,
                           std::vector<Range>& added) {
  for (uint64_t at = range.start; at < range.end; at += image::kPageBufferSize) {
    Result<std::vector<sys::PageRun>> there = pagemap.own_pages({at, std::min(at + image::kPageBufferSize, range.end)});
    if (!there.has_value()) return {};  // The process has ended.
    for (const sys::PageRun& run : *there) {
      if (run.guard) continue;
      TRY(copier.add(run.range.start, run.range.start, run.range.size(), through_file));
      added.push_back(run.range);
    }
  }
  return {};
}

}  // namespace

bool PreCopy::pays(const std::vector<Pid>& processes, PreCopyWhen when) {
  if (when == PreCopyWhen::kNever) return false;
  bool always = when == PreCopyWhen::kAlways;
  little_ = always ? 1 : kLittle;
  for (Pid pid : processes) {
    Result<proc::Status> status = status_of(tracee::living_thread(pid));
    if (!status.has_value()) continue;
    if (!always && status->rss_anon + status->vm_swap < kWorthAStop) continue;
    Copied& large = large_.emplace_back();
    large.pid = pid;
    large.has_parent = std::ranges::find(processes, Pid{status->ppid}) != processes.end();
  }
  return !large_.empty() && mem::can_follow() && std::ranges::none_of(processes, has_userfault);
}

Result<> PreCopy::copy() {
  for (Copied& large : large_) {
    std::vector<Range> written;
    if (!begin(large, written).has_value())
      large.follower.reset();
    else
      TRY(put(copied_.emplace_back(std::move(large)), std::move(written)));
  }
  bool again = true;
  for (int round = 1; round < kMostRounds && again; ++round) {
    again = false;
    for (Copied& copied : copied_) again |= TRY(copy_again(copied));
  }
  return {};
}

// All of a process stands still for this; it sees nothing of it.
Result<> PreCopy::in_short_stop(Pid pid, const std::function<Result<>(ProcessCapture&)>& act) {
  deadlines_.look_ahead(pid);
  image::Quiet quiet(sink_);
  int64_t stopped_at = sys::clock_ns(CLOCK_MONOTONIC);
  tracee::StoppedProcess process = TRY(tracee::StoppedProcess::stop(pid, kPatience));
  ProcessCapture visit(process, ledger_, deadlines_);
  Result<> done = visit.enter_for_a_moment();
  if (done.has_value()) done = act(visit);
  Result<> left = visit.leave();
  visit.note_sleeps();
  process.thaw();
  paused_ns_ += sys::clock_ns(CLOCK_MONOTONIC) - stopped_at;
  TRY(deadlines_.carry_over());
  return done.has_value() ? left : done;
}

Result<> PreCopy::begin(Copied& copied, std::vector<Range>& written) {
  return in_short_stop(copied.pid, [&](ProcessCapture& visit) -> Result<> {
    if (has_aio(visit)) return refused("it does asynchronous I/O");
    // Whom it shares them with is known now that it cannot make another process.
    TRY(check_unshared(copied.pid, TRY(tracee::list_tree(roots_))));
    copied.job_pid = visit.facts().job_number();
    copied.follower = TRY(mem::Follower::start(visit.process(), visit.hands(), visit.mappings()));
    copied.ahead.followed = copied.follower->followed();
    written = TRY(copied.follower->take_written());
    for (const proc::Vma& vma : visit.mappings())
      if (!vma.read) copied.unreadable.push_back(vma.range);
    return {};
  });
}

// One more round, if it helps: any may be the last.
Result<bool> PreCopy::copy_again(Copied& copied) {
  if (!copied.follower.has_value()) return false;
  Result<uint64_t> bytes = copied.follower->bytes_written();
  if (!bytes.has_value() || *bytes < little_ || *bytes > copied.last_bytes / 2) return false;
  std::vector<Range> written;
  Result<> taken = in_short_stop(copied.pid, [&](ProcessCapture& visit) -> Result<> {
    if (has_aio(visit)) return refused("it does asynchronous I/O by now");
    written = TRY(copied.follower->take_written());
    return {};
  });
  if (!taken.has_value()) {  // Or only in part.
    copied.follower.reset();
    copied.ahead = {};
    return false;
  }
  copied.ahead.pages = mem::subtract(copied.ahead.pages, written);
  TRY(put(copied, std::move(written)));
  return true;
}

// While it runs. What a child still shares with its parent is likely to be saved with the parent, and not here.
Result<> PreCopy::put(Copied& copied, std::vector<Range> written) {
  copied.last_bytes = 0;
  Pid seen_as = tracee::living_thread(copied.pid);
  Result<sys::Pagemap> pagemap = sys::Pagemap::open(seen_as);
  if (!pagemap.has_value()) return {};  // It has ended.
  if (copied.has_parent) written = mem::subtract(written, shared_pages(*pagemap, written));
  mem::Copier copier(seen_as, static_cast<uint64_t>(copied.job_pid), sink_, mem::Unreadable::kLeftOut);
  std::vector<Range> put;
  for (const Range& range : mem::subtract(written, copied.unreadable))
    TRY(add_what_is_there(*pagemap, range, false, copier, put));
  TRY(copier.finish());
  for (const Range& range : mem::intersect(written, copied.unreadable))
    TRY(add_what_is_there(*pagemap, range, true, copier, put));
  TRY(copier.finish());
  std::vector<Range> left_out = copier.left_out();
  std::ranges::sort(left_out, {}, &Range::start);
  std::ranges::sort(put, {}, &Range::start);
  copied.ahead.pages = mem::unite(copied.ahead.pages, mem::subtract(put, left_out));
  copied.last_bytes = copier.bytes();
  return {};
}

const CopiedAhead* PreCopy::copied(Pid process) const {
  auto found = std::ranges::find(copied_, process, &Copied::pid);
  return found == copied_.end() ? nullptr : &found->ahead;
}

Result<> PreCopy::forget_all_but(const std::list<ProcessCapture>& processes) {
  for (const Copied& copied : copied_)
    if (std::ranges::find(processes, copied.job_pid, &ProcessCapture::job_pid) == processes.end())
      TRY(sink_.settle(static_cast<uint64_t>(copied.job_pid), {}, {}));
  return {};
}

void PreCopy::end() {
  for (Copied& copied : copied_)
    if (copied.follower.has_value()) copied.follower->unprotect();
  for (Copied& copied : copied_) copied.follower.reset();
}

}  // namespace stint::capture
