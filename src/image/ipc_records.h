// Records of System V IPC objects and POSIX message queues: all those of the job's own IPC namespace.
#pragma once

#include "image/codec.h"

namespace stint::image {

// Segments are mapped as shared memory objects whose ids have this bit; their pages lie under kObjectSpace | the same.
inline constexpr uint64_t kSysvSegment = uint64_t{1} << 58;
inline constexpr uint64_t kSysvReadOnly = uint64_t{1} << 57;  // of a mapping: attached with SHM_RDONLY

// What every kind of object has.
struct IpcOwner {
  int32_t id = 0, key = 0;
  uint32_t uid = 0, gid = 0, creator_uid = 0, creator_gid = 0;
  uint32_t mode = 0;  // permission bits alone
  template <class A>
  void fields(A& a) {
    a("id", id), a("key", key), a("uid", uid), a("gid", gid), a("creator_uid", creator_uid);
    a("creator_gid", creator_gid), a("mode", mode);
  }
};

struct SegmentRecord {
  static constexpr const char* kName = "System V shared memory record";
  IpcOwner owner;
  uint64_t size = 0;
  bool removed = false;  // goes with its last attachment
  bool locked = false;   // SHM_LOCK
  template <class A>
  void fields(A& a) {
    a("owner", owner), a("size", size), a("removed", removed), a("locked", locked);
  }
};

struct SysvMessage {
  int64_t type = 0;
  Bytes text;
  template <class A>
  void fields(A& a) {
    a("type", type), a("text", text);
  }
};

struct MessageQueueRecord {
  static constexpr const char* kName = "System V message queue record";
  IpcOwner owner;
  uint64_t most_bytes = 0;  // msg_qbytes
  std::vector<SysvMessage> messages;
  template <class A>
  void fields(A& a) {
    a("owner", owner), a("most_bytes", most_bytes), a("messages", messages);
  }
};

struct PosixMessage {
  uint32_t priority = 0;
  Bytes text;
  template <class A>
  void fields(A& a) {
    a("priority", priority), a("text", text);
  }
};

struct PosixQueueRecord {
  static constexpr const char* kName = "POSIX message queue record";
  std::string name;  // with its slash
  uint32_t uid = 0, gid = 0, mode = 0;
  uint64_t most_messages = 0, message_size = 0;
  std::vector<PosixMessage> messages;  // in the order in which they are received
  template <class A>
  void fields(A& a) {
    a("name", name), a("uid", uid), a("gid", gid), a("mode", mode), a("most_messages", most_messages);
    a("message_size", message_size), a("messages", messages);
  }
};

// What is added to a semaphore when the process ends (SEM_UNDO).
struct SemaphoreUndo {
  int32_t pid = 0;
  uint32_t semaphore = 0;
  int32_t adjustment = 0;
  template <class A>
  void fields(A& a) {
    a("pid", pid), a("semaphore", semaphore), a("adjustment", adjustment);
  }
};

struct SemaphoreSetRecord {
  static constexpr const char* kName = "System V semaphore set record";
  IpcOwner owner;
  std::vector<uint16_t> values;
  std::vector<SemaphoreUndo> undo;
  template <class A>
  void fields(A& a) {
    a("owner", owner), a("values", values), a("undo", undo);
  }
};

}  // namespace stint::image
