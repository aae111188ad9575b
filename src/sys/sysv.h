// System V IPC: segments of shared memory, message queues, sets of semaphores, all of the caller's IPC namespace.
#pragma once

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include <functional>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace stint::sys {

enum class IpcKind { kSegment, kMessageQueue, kSemaphoreSet };

// The next object of the kind gets this id, if it is free. Needs CAP_CHECKPOINT_RESTORE over the namespace, and a
// kernel with CONFIG_CHECKPOINT_RESTORE.
Result<> choose_next_id(IpcKind kind, int id);

// What a listing does about objects that this process may not read.
enum class Unreadable { kFail, kSkip };
// Objects by id. They may come and go meanwhile, unless all who could are stopped.
struct Segment {
  int id = 0;
  shmid_ds status{};
};
Result<std::vector<Segment>> list_segments(Unreadable unreadable = Unreadable::kFail);
// Bytes of all segments that are in swap.
Result<uint64_t> segments_in_swap();
Result<int> make_segment(int key, uint64_t size, unsigned mode);
Result<void*> attach_segment(int id, bool read_only);
Result<> detach_segment(const void* at);
Result<> set_segment_owner(int id, uid_t uid, gid_t gid, unsigned mode);
Result<> lock_segment(int id);

struct MessageQueue {
  int id = 0;
  msqid_ds status{};
};
Result<std::vector<MessageQueue>> list_message_queues(Unreadable unreadable = Unreadable::kFail);
struct WaitingMessage {
  long type = 0;
  Bytes text;
};
// The message at this place, which stays (MSG_COPY); nothing behind the last one. At most `size` bytes of text.
Result<std::optional<WaitingMessage>> copy_message(int id, unsigned place, size_t size);
Result<int> make_message_queue(int key, unsigned mode);
Result<> send_to_queue(int id, long type, ByteView text);
Result<> set_message_queue(int id, uid_t uid, gid_t gid, unsigned mode, uint64_t most_bytes);

struct SemaphoreSet {
  int id = 0;
  semid_ds status{};
};
Result<std::vector<SemaphoreSet>> list_semaphore_sets(Unreadable unreadable = Unreadable::kFail);
Result<std::vector<uint16_t>> semaphore_values(int id, size_t count);
// Who last changed it: GETPID.
Result<pid_t> semaphore_user(int id, size_t semaphore);
Result<int> make_semaphore_set(int key, size_t count, unsigned mode);
Result<> set_semaphore_values(int id, std::vector<uint16_t>& values);
Result<> set_semaphore_owner(int id, uid_t uid, gid_t gid, unsigned mode);

}  // namespace stint::sys
