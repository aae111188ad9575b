#include "ipc/undo.h"

#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include <algorithm>

#include "sys/process.h"

namespace stint::ipc {
namespace {

using image::SemaphoreSetRecord;
using image::SemaphoreUndo;

constexpr int kMost = 32767;      // SEMVMX, SEMAEM
constexpr int kStep = kMost / 2;  // what can be added to any value or taken from it
constexpr size_t kAtATime = 64;   // semaphores in one call, which takes 500 operations

sembuf operation(size_t semaphore, int by, int flags = 0) {
  return {static_cast<unsigned short>(semaphore), static_cast<short>(by), static_cast<short>(flags | IPC_NOWAIT)};
}

class Operations {
 public:
  // 0 would wait for a semaphore to be 0.
  void add(size_t semaphore, int by, int flags = 0) {
    if (by != 0) operations_.push_back(operation(semaphore, by, flags));
  }
  // What cannot succeed, whatever the value.
  void fail_at(size_t semaphore) {
    for (int i = 0; i < 3; ++i) add(semaphore, -kMost);
  }
  ByteView bytes() const {
    return {reinterpret_cast<const std::byte*>(operations_.data()), operations_.size() * sizeof(sembuf)};
  }
  size_t size() const { return operations_.size(); }

 private:
  std::vector<sembuf> operations_;
};

// Whether the adjustment is above `limit` (0 to 32766): the value is taken to its highest and from there down, which
// adds to the adjustment.
void ask_above(Operations& operations, size_t semaphore, int value, int limit) {
  operations.add(semaphore, kMost - value);
  operations.add(semaphore, limit - kMost, SEM_UNDO);
}

// Whether it is below -`limit`: likewise from 0 up, twice where once is not enough. Leaves the value low.
void ask_below(Operations& operations, size_t semaphore, int value, int limit) {
  operations.add(semaphore, -value);
  int up = kMost + 1 - limit;
  operations.add(semaphore, std::min(up, kMost), SEM_UNDO);
  if (up <= kMost) return;
  operations.add(semaphore, -kMost);
  operations.add(semaphore, up - kMost, SEM_UNDO);
}

// What the process gets for an array that cannot succeed: ERANGE (true) or EAGAIN (false).
Result<bool> is_out_of_range(Member& member, int set, Operations& operations, size_t last) {
  operations.fail_at(last);
  tracee::Table table(member.hands);
  uint64_t array = table.in(operations.bytes());
  size_t call = table.ask(SYS_semop, {static_cast<uint64_t>(set), array, operations.size()});
  TRY(table.run(member.process.representative(), member.process.seen_as()));
  int64_t result = table.result(call);
  if (result == -ERANGE) return true;
  // One that may not change the semaphores has not done so.
  if (result == -EAGAIN || result == -EACCES) return false;
  return os_error("semop", static_cast<int>(-result));
}

using Ask = void (*)(Operations&, size_t, int, int);

// The first of these semaphores and all after it: does any have an adjustment on this side?
Result<bool> any_adjusted(Member& member, const SemaphoreSetRecord& set, size_t first, size_t end, Ask ask) {
  Operations operations;
  for (size_t semaphore = first; semaphore < end; ++semaphore) ask(operations, semaphore, set.values[semaphore], 0);
  return is_out_of_range(member, set.owner.id, operations, end - 1);
}

// How far it lies on this side; 0 when it does not.
Result<int> distance(Member& member, const SemaphoreSetRecord& set, size_t semaphore, Ask ask) {
  int low = 0, high = kMost;  // The distance is in here.
  while (low < high) {
    int middle = (low + high) / 2;
    Operations operations;
    ask(operations, semaphore, set.values[semaphore], middle);
    if (TRY(is_out_of_range(member, set.owner.id, operations, semaphore)))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Result<> capture_in(Member& member, SemaphoreSetRecord& set) {
  for (size_t first = 0; first < set.values.size(); first += kAtATime) {
    size_t end = std::min(set.values.size(), first + kAtATime);
    bool above = TRY(any_adjusted(member, set, first, end, ask_above));
    bool below = TRY(any_adjusted(member, set, first, end, ask_below));
    if (!above && !below) continue;
    for (size_t semaphore = first; semaphore < end; ++semaphore) {
      int adjustment = TRY(distance(member, set, semaphore, ask_above));
      if (adjustment == 0) adjustment = -TRY(distance(member, set, semaphore, ask_below));
      if (adjustment != 0) set.undo.push_back({member.pid, static_cast<uint32_t>(semaphore), adjustment});
    }
  }
  return {};
}

// Two processes that share their adjustments (CLONE_SYSVSEM) would both have them.
Result<> check_not_shared(std::span<Member> members) {
  for (size_t i = 0; i < members.size(); ++i)
    for (size_t other = i + 1; other < members.size(); ++other) {
      Result<std::strong_ordering> order =
          sys::compare_resources(members[i].process.seen_as(), members[other].process.seen_as(), KCMP_SYSVSEM);
      if (TRY(std::move(order)) == std::strong_ordering::equal)
        return refused(
            fmt::format("processes {} and {} share what they have to undo of semaphores (CLONE_SYSVSEM), "
                        "which cannot be made again",
                        members[i].pid, members[other].pid));
    }
  return {};
}

}  // namespace

Result<> capture_undo(std::span<Member> members, std::vector<SemaphoreSetRecord>& sets) {
  if (sets.empty()) return {};
  for (Member& member : members)
    for (SemaphoreSetRecord& set : sets)
      TRY(capture_in(member, set).in(fmt::format("process {}: semaphores {}", member.pid, set.owner.id)));
  std::vector<Member> adjusting;
  for (Member& member : members) {
    bool any = std::ranges::any_of(sets, [&](const SemaphoreSetRecord& set) {
      return std::ranges::any_of(set.undo, [&](const SemaphoreUndo& undo) { return undo.pid == member.pid; });
    });
    if (any) adjusting.push_back(member);
  }
  return check_not_shared(adjusting);
}

// An operation and its opposite, the one with SEM_UNDO and the other without.
Result<> restore_undo(Member& member, const std::vector<SemaphoreSetRecord>& sets) {
  for (const SemaphoreSetRecord& set : sets)
    for (const SemaphoreUndo& undo : set.undo) {
      if (undo.pid != member.pid) continue;
      if (undo.semaphore >= set.values.size()) return damaged("semaphore record: there is no such semaphore");
      int value = set.values[undo.semaphore];
      for (int left = undo.adjustment; left != 0;) {
        int step = std::clamp(left, -kStep, kStep);
        Operations operations;
        bool undone_first = value - step >= 0 && value - step <= kMost;
        operations.add(undo.semaphore, undone_first ? -step : step, undone_first ? SEM_UNDO : 0);
        operations.add(undo.semaphore, undone_first ? step : -step, undone_first ? 0 : SEM_UNDO);
        tracee::Table table(member.hands);
        uint64_t array = table.in(operations.bytes());
        table.must("semop", SYS_semop, {static_cast<uint64_t>(set.owner.id), array, operations.size()});
        TRY(table.run(member.process.representative(), member.process.seen_as()));
        left -= step;
      }
    }
  return {};
}

}  // namespace stint::ipc
