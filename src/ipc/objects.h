// The objects of an IPC namespace: System V shared memory, message queues and semaphores; POSIX message queues. A job
// has a namespace of its own (job/family.h), so all that is in it is the job's, and its ids and keys are free when it
// is made again. Both functions are ordinary code of a process inside that namespace.
//
// Not kept, because no call sets them: times, and the numbers of the processes that last did something (shm_cpid,
// shm_lpid, msg_lspid, msg_lrpid, GETPID of semctl).
#pragma once

#include "image/ipc_records.h"
#include "image/record.h"

namespace stint::ipc {

struct Objects {
  static constexpr const char* kName = "IPC objects";
  std::vector<image::SegmentRecord> segments;
  std::vector<image::MessageQueueRecord> queues;
  std::vector<image::SemaphoreSetRecord> sets;
  std::vector<image::PosixQueueRecord> posix_queues;
  template <class A>
  void fields(A& a) {
    a("segments", segments), a("queues", queues), a("sets", sets), a("posix_queues", posix_queues);
  }
};

// Everything in the namespace of this process but the content of segments and SEM_UNDO. Whoever could notice is
// stopped. `queue_directory`: sys::message_queue_directory's.
Result<Objects> look_at_objects(int queue_directory);

Result<Objects> read_objects(const image::Source& source);
// Makes all of it in the namespace of this process, with the content of the segments. A segment that was removed stays
// to be removed when it is attached.
Result<> make_objects(const Objects& objects, const image::Source& source);

}  // namespace stint::ipc
