// A job in the IPC namespace of the whole system (`stint run --plain`, or one that was started without us): which of
// the objects there it uses, nobody knows for sure. Those with which its processes did something last are refused; of
// the others it is as of the files of others.
#include <fmt/format.h>

#include "ipc/visitor.h"
#include "sys/sysv.h"

namespace stint::ipc {
namespace {

Error shared(const char* what, int id, int pid) {
  return refused(
      fmt::format("pid {} uses the System V {} {}, which is shared with the whole system; run the program under `stint "
                  "run` without --plain, so that it has an IPC namespace of its own",
                  pid, what, id));
}

}  // namespace

Result<> refuse_shared(const std::set<int>& pids) {
  using sys::Unreadable;
  for (const sys::Segment& segment : TRY(sys::list_segments(Unreadable::kSkip)))
    for (int pid : {segment.status.shm_lpid, segment.status.shm_cpid})
      if (pids.contains(pid)) return shared("shared memory segment", segment.id, pid);
  for (const sys::MessageQueue& queue : TRY(sys::list_message_queues(Unreadable::kSkip)))
    for (int pid : {queue.status.msg_lspid, queue.status.msg_lrpid})
      if (pids.contains(pid)) return shared("message queue", queue.id, pid);
  for (const sys::SemaphoreSet& set : TRY(sys::list_semaphore_sets(Unreadable::kSkip)))
    for (size_t i = 0; i < set.status.sem_nsems; ++i) {
      Result<pid_t> pid = sys::semaphore_user(set.id, i);
      if (pid.has_value() && pids.contains(*pid)) return shared("semaphore set", set.id, *pid);
    }
  return {};
}

}  // namespace stint::ipc
