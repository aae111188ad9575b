#include "restore/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "task/cpu.h"
#include "tracee/hands.h"

namespace stint::restore {
namespace {

using image::RecordType;

// Far from what the kernel fills first, and within reach of 47-bit addresses.
constexpr uint64_t kLowestArea = 0x10000000, kHighestArea = 0x7f0000000000;
constexpr uint64_t kMargin = 16 << 20;  // a stack or a heap may grow

Result<> add(Plan& plan, const image::Record& record) {
  switch (record.type) {
    case RecordType::kJob: plan.job = TRY(image::decode<image::JobRecord>(record.payload)); return {};
    case RecordType::kProcess:
      if (plan.process.pid != 0) return damaged("more than one process");
      plan.process = TRY(image::decode<image::ProcessRecord>(record.payload));
      return {};
    case RecordType::kThread: plan.threads.push_back(TRY(image::decode<image::ThreadRecord>(record.payload))); return {};
    case RecordType::kVma: plan.vmas.push_back(TRY(image::decode<image::VmaRecord>(record.payload))); return {};
    case RecordType::kSharedMemory:
      plan.shared_memory.push_back(TRY(image::decode<image::SharedMemoryRecord>(record.payload)));
      return {};
    default: return {};
  }
}

Result<> check_consistent(Plan& plan) {
  if (plan.job.root_pid == 0 || plan.process.pid == 0 || plan.threads.empty())
    return damaged("the checkpoint holds no process");
  std::ranges::stable_partition(plan.threads, [](const image::ThreadRecord& t) { return t.tid == t.pid; });
  if (plan.threads.front().tid != plan.process.pid) return damaged("the checkpoint lacks the process's first thread");
  std::ranges::sort(plan.vmas, {}, &image::VmaRecord::start);
  uint64_t end = 0;
  for (const image::VmaRecord& vma : plan.vmas) {
    if (vma.start < end || vma.end <= vma.start || vma.start % kPageSize != 0 || vma.end % kPageSize != 0)
      return damaged(fmt::format("mapping {:#x} is no mapping", vma.start));
    end = vma.end;
  }
  return {};
}

// The middle of the widest gap.
Result<Range> find_room(const Plan& plan) {
  uint64_t size = tracee::area_size(plan.threads.size());
  Range widest;
  uint64_t from = kLowestArea;
  auto consider = [&](uint64_t to) {
    if (to > from && to - from > widest.size()) widest = {from, to};
  };
  for (const image::VmaRecord& vma : plan.vmas) {
    consider(std::min(vma.start, kHighestArea));
    from = std::max(from, vma.end);
  }
  consider(kHighestArea);
  if (widest.size() < size + 2 * kMargin) return unfit("its address space has no room left for the table-runner");
  uint64_t start = page_down(widest.start + (widest.size() - size) / 2);
  return Range{start, start + size};
}

}  // namespace

Result<Plan> read_plan(const image::Source& source) {
  Plan plan;
  for (const image::Record& record : source.records()) TRY(add(plan, record));
  TRY(check_consistent(plan));
  plan.area = TRY(find_room(plan));
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
