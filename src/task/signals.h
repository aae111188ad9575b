// Signal actions, and signals that wait to be delivered. The kernel shows the actions only to the process itself
// (rt_sigaction(2)); queued signals are seen from outside (PTRACE_PEEKSIGINFO) and can be put back, with any si_code,
// only by the thread itself (rt_tgsigqueueinfo(2), rt_sigqueueinfo(2)).
#pragma once

#include <map>

#include "image/task_records.h"
#include "tracee/table.h"

namespace stint::task {

// Asks for the actions of signals 1..64. Fills record.actions from a table that has run.
class ActionQuestions {
 public:
  explicit ActionQuestions(tracee::Table& table);
  void answer(const tracee::Table& table, image::ProcessRecord& record) const;

 private:
  uint64_t first_ = 0;
};

// Signals that wait to be delivered, as siginfo_t: to the process, and to single threads, by their number as we see it.
struct Pending {
  std::vector<Bytes> shared;
  std::map<int, std::vector<Bytes>> own;
  bool operator==(const Pending&) const = default;
};
Result<Pending> capture_pending(const tracee::StoppedProcess& process);

// Asks for the actions to be set.
Result<> restore_actions(const image::ProcessRecord& record, tracee::Table& table);

// By the thread that is to have them (private) or any thread of the process (shared); its own mask is not in force yet.
Result<> queue_pending(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                       const std::vector<Bytes>& pending, int32_t pid, int32_t tid, bool shared);

}  // namespace stint::task
