#include "restore/plan.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <ranges>
#include <set>

#include "task/cpu.h"
#include "tracee/hands.h"

namespace stint::restore {
namespace {

using image::RecordType;

// Far from what the kernel fills first, and within reach of 47-bit addresses.
constexpr uint64_t kLowestArea = 0x10000000, kHighestArea = 0x7f0000000000;
constexpr uint64_t kMargin = 16 << 20;  // a stack or a heap may grow

// The records by process, as they come.
class Reading {
 public:
  Result<> add(const image::Record& record) {
    switch (record.type) {
      case RecordType::kJob:
        plan_.job = TRY(image::decode<image::JobRecord>(record.payload));
        return {};
      case RecordType::kProcess: {
        image::ProcessRecord process = TRY(image::decode<image::ProcessRecord>(record.payload));
        int32_t pid = process.pid;
        processes_[pid].record = std::move(process);
        return {};
      }
      case RecordType::kThread: {
        image::ThreadRecord thread = TRY(image::decode<image::ThreadRecord>(record.payload));
        processes_[thread.pid].threads.push_back(std::move(thread));
        return {};
      }
      case RecordType::kVma: {
        image::VmaRecord vma = TRY(image::decode<image::VmaRecord>(record.payload));
        processes_[vma.pid].vmas.push_back(std::move(vma));
        return {};
      }
      case RecordType::kAioRing: {
        image::AioRingRecord ring = TRY(image::decode<image::AioRingRecord>(record.payload));
        processes_[ring.pid].aio_rings.push_back(std::move(ring));
        return {};
      }
      case RecordType::kZombie:
        plan_.zombies.push_back(TRY(image::decode<image::ZombieRecord>(record.payload)));
        return {};
      case RecordType::kSharedMemory:
        plan_.shared_memory.push_back(TRY(image::decode<image::SharedMemoryRecord>(record.payload)));
        return {};
      default:
        return {};
    }
  }

  void add(ipc::Objects objects) { plan_.ipc = std::move(objects); }

  Result<Plan> finish() {
    auto root = processes_.find(plan_.job.root_pid);
    if (plan_.job.root_pid == 0 || root == processes_.end()) return damaged("the checkpoint holds no process");
    plan_.processes.push_back(std::move(root->second));
    processes_.erase(root);
    for (auto& [pid, process] : processes_) plan_.processes.push_back(std::move(process));
    for (ProcessPlan& process : plan_.processes) TRY(check_consistent(process));
    TRY(add_segments());
    return std::move(plan_);
  }

 private:
  // Each that is mapped, once for each way of attaching it.
  Result<> add_segments() {
    std::set<uint64_t> wanted;
    for (const ProcessPlan& process : plan_.processes)
      for (const image::VmaRecord& vma : process.vmas)
        if (vma.backing == image::Backing::kSharedMemory && (vma.object & image::kSysvSegment) != 0)
          wanted.insert(vma.object);
    for (uint64_t object : wanted) {
      uint64_t id = object & ~(image::kSysvSegment | image::kSysvReadOnly);
      auto segment = std::ranges::find(plan_.ipc.segments, static_cast<int>(id),
                                       [](const image::SegmentRecord& record) { return record.owner.id; });
      if (segment == plan_.ipc.segments.end()) return damaged(fmt::format("there is no System V segment {}", id));
      image::SharedMemoryRecord memory;
      memory.id = object;
      memory.size = segment->size;
      plan_.shared_memory.push_back(memory);
    }
    return {};
  }

  static Result<> check_consistent(ProcessPlan& process) {
    if (process.record.pid <= 0 || process.threads.empty()) return damaged("a process without its record or threads");
    std::ranges::stable_partition(process.threads, [](const image::ThreadRecord& t) { return t.tid == t.pid; });
    if (process.threads.front().tid != process.record.pid)
      return damaged(fmt::format("process {} lacks its first thread", process.record.pid));
    bool others_ended = std::ranges::any_of(process.threads | std::views::drop(1), &image::ThreadRecord::ended);
    if (others_ended || (process.threads.front().ended && process.threads.size() == 1))
      return damaged(fmt::format("process {} has a thread that cannot have ended", process.record.pid));
    if ((process.record.shared_with_parent & ~uint32_t{CLONE_FS | CLONE_FILES}) != 0)
      return damaged(fmt::format("process {} shares with its parent what no process can", process.record.pid));
    std::ranges::sort(process.vmas, {}, &image::VmaRecord::start);
    uint64_t end = 0;
    for (const image::VmaRecord& vma : process.vmas) {
      if (vma.start < end || vma.end <= vma.start || vma.start % kPageSize != 0 || vma.end % kPageSize != 0)
        return damaged(fmt::format("process {}: mapping {:#x} is no mapping", process.record.pid, vma.start));
      end = vma.end;
    }
    return check_rings(process);
  }

  // Each has its mapping, and each mapping of one its ring.
  static Result<> check_rings(const ProcessPlan& process) {
    size_t mapped = 0;
    for (const image::VmaRecord& vma : process.vmas) {
      if (vma.backing != image::Backing::kAioRing) continue;
      auto ring = std::ranges::find(process.aio_rings, vma.start, &image::AioRingRecord::start);
      if (ring == process.aio_rings.end() || ring->content.size() != vma.end - vma.start)
        return damaged(fmt::format("process {}: mapping {:#x} has no ring", process.record.pid, vma.start));
      ++mapped;
    }
    if (mapped != process.aio_rings.size())
      return damaged(fmt::format("process {}: a ring has no mapping", process.record.pid));
    return {};
  }

  Plan plan_;
  std::map<int32_t, ProcessPlan> processes_;
};

std::vector<Range> everything_mapped(const Plan& plan) {
  std::vector<Range> mapped;
  for (const ProcessPlan& process : plan.processes)
    for (const image::VmaRecord& vma : process.vmas) mapped.push_back({vma.start, vma.end});
  std::ranges::sort(mapped, {}, &Range::start);
  return mapped;
}

Range widest_gap(const std::vector<Range>& mapped) {
  Range widest;
  uint64_t from = kLowestArea;
  auto consider = [&](uint64_t to) {
    if (to > from && to - from > widest.size()) widest = {from, to};
  };
  for (const Range& range : mapped) {
    consider(std::min(range.start, kHighestArea));
    from = std::max(from, range.end);
  }
  consider(kHighestArea);
  return widest;
}

// In the middle of the widest gap.
Result<> find_room(Plan& plan) {
  size_t threads = 0;
  for (const ProcessPlan& process : plan.processes) threads = std::max(threads, process.threads.size());
  uint64_t area = tracee::area_size(threads);
  uint64_t size = 2 * area + kPageSize;
  for (const image::SharedMemoryRecord& object : plan.shared_memory)
    if (!object.memfd) size += page_up(object.size) + kPageSize;
  Range gap = widest_gap(everything_mapped(plan));
  if (gap.size() < size + 2 * kMargin) return unfit("its address space has no room left for the table-runner");
  uint64_t at = page_down(gap.start + (gap.size() - size) / 2);
  plan.areas[0] = {at, at + area};
  plan.areas[1] = {at + area + kPageSize, at + 2 * area + kPageSize};
  at = plan.areas[1].end + kPageSize;
  for (const image::SharedMemoryRecord& object : plan.shared_memory) {
    if (object.memfd) continue;
    plan.staging[object.id] = at;
    at += page_up(object.size) + kPageSize;
  }
  plan.ours = {plan.areas[0].start, at};
  return {};
}

}  // namespace

Result<Plan> read_plan(const image::Source& source) {
  Reading reading;
  for (const image::Record& record : source.records()) TRY(reading.add(record));
  reading.add(TRY(ipc::read_objects(source)));
  Plan plan = TRY(reading.finish());
  TRY(find_room(plan));
  return plan;
}

Result<> check_host(const Plan& plan) {
  std::vector<std::string> missing = task::missing_features(plan.job.cpu_features);
  if (missing.empty()) return {};
  std::string list;
  for (const std::string& name : missing) list += (list.empty() ? "" : " ") + name;
  return unfit(fmt::format("this processor lacks what the program may be using since it was started on {}: {}",
                           plan.job.host, list));
}

}  // namespace stint::restore
