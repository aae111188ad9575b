#include "sys/sysv.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "sys/call.h"
#include "sys/file.h"

namespace stint::sys {
namespace {

constexpr int kCopyMessage = 040000;  // MSG_COPY

// As the calls take it: the type, and then the text.
Bytes message_buffer(size_t size) { return Bytes(sizeof(long) + size); }

// The objects lie in a table: SHM_STAT and its like take a place in it, of which the highest in use is known.
template <class Object, class Status>
Result<std::vector<Object>> list(Result<long> highest, Unreadable unreadable, const char* name, Status status) {
  if (!highest.has_value()) return std::move(highest).error();
  std::vector<Object> objects;
  for (int place = 0; place <= *highest; ++place) {
    Object object;
    Result<long> id = call(name, [&] { return status(place, object); });
    if (!id.has_value()) {
      // A free place, or an object that has gone just now.
      if (id.error().os_errno() == EINVAL || id.error().os_errno() == EIDRM) continue;
      if (id.error().os_errno() == EACCES && unreadable == Unreadable::kSkip) continue;
      return std::move(id).error();
    }
    object.id = static_cast<int>(*id);
    objects.push_back(object);
  }
  return objects;
}

union SemaphoreArgument {
  int value;
  semid_ds* status;
  uint16_t* array;
  seminfo* info;
};

}  // namespace

Result<> choose_next_id(IpcKind kind, int id) {
  constexpr const char* kFiles[] = {"shm_next_id", "msg_next_id", "sem_next_id"};
  std::string path = std::string("/proc/sys/kernel/") + kFiles[static_cast<int>(kind)];
  UniqueFd file = TRY(open(path, O_WRONLY).in("the kernel needs CONFIG_CHECKPOINT_RESTORE"));
  return write_all(file.get(), bytes_of(std::to_string(id))).in(path);
}

Result<std::vector<Segment>> list_segments(Unreadable unreadable) {
  shm_info info{};
  Result<long> highest = call("SHM_INFO", [&] { return ::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&info)); });
  return list<Segment>(std::move(highest), unreadable, "SHM_STAT",
                       [](int place, Segment& segment) { return ::shmctl(place, SHM_STAT, &segment.status); });
}

Result<uint64_t> segments_in_swap() {
  shm_info info{};
  TRY(call("SHM_INFO", [&] { return ::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&info)); }));
  return info.shm_swp * kPageSize;
}

Result<int> make_segment(int key, uint64_t size, unsigned mode) {
  int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(mode);
  return static_cast<int>(TRY(call("shmget", [&] { return ::shmget(key, size, flags); })));
}

Result<void*> attach_segment(int id, bool read_only) {
  if (int injected = fault::take("shmat")) return os_error("shmat", injected);
  void* at = ::shmat(id, nullptr, read_only ? SHM_RDONLY : 0);
  if (at == reinterpret_cast<void*>(-1)) return os_error("shmat");
  return at;
}

Result<> detach_segment(const void* at) {
  TRY(call("shmdt", [&] { return ::shmdt(at); }));
  return {};
}

Result<> set_segment_owner(int id, uid_t uid, gid_t gid, unsigned mode) {
  shmid_ds status{};
  status.shm_perm.uid = uid, status.shm_perm.gid = gid, status.shm_perm.mode = static_cast<unsigned short>(mode);
  TRY(call("shmctl IPC_SET", [&] { return ::shmctl(id, IPC_SET, &status); }));
  return {};
}

Result<> lock_segment(int id) {
  TRY(call("SHM_LOCK (see ulimit -l)", [&] { return ::shmctl(id, SHM_LOCK, nullptr); }));
  return {};
}

Result<std::vector<MessageQueue>> list_message_queues(Unreadable unreadable) {
  msginfo info{};
  Result<long> highest = call("MSG_INFO", [&] { return ::msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&info)); });
  return list<MessageQueue>(std::move(highest), unreadable, "MSG_STAT",
                            [](int place, MessageQueue& queue) { return ::msgctl(place, MSG_STAT, &queue.status); });
}

Result<std::optional<WaitingMessage>> copy_message(int id, unsigned place, size_t size) {
  Bytes buffer = message_buffer(size);
  Result<long> got = call("msgrcv MSG_COPY", [&] {
    return ::msgrcv(id, buffer.data(), size, static_cast<long>(place), kCopyMessage | IPC_NOWAIT);
  });
  if (!got.has_value()) {
    if (got.error().os_errno() == ENOMSG) return std::optional<WaitingMessage>();
    return std::move(got).error();
  }
  WaitingMessage message;
  std::memcpy(&message.type, buffer.data(), sizeof(long));
  const std::byte* text = buffer.data() + sizeof(long);
  message.text.assign(text, text + *got);
  return std::optional(std::move(message));
}

Result<int> make_message_queue(int key, unsigned mode) {
  int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(mode);
  return static_cast<int>(TRY(call("msgget", [&] { return ::msgget(key, flags); })));
}

Result<> send_to_queue(int id, long type, ByteView text) {
  Bytes buffer = message_buffer(text.size());
  std::memcpy(buffer.data(), &type, sizeof(type));
  if (!text.empty()) std::memcpy(buffer.data() + sizeof(type), text.data(), text.size());
  TRY(call("msgsnd", [&] { return ::msgsnd(id, buffer.data(), text.size(), IPC_NOWAIT); }));
  return {};
}

Result<> set_message_queue(int id, uid_t uid, gid_t gid, unsigned mode, uint64_t most_bytes) {
  msqid_ds status{};
  status.msg_perm.uid = uid, status.msg_perm.gid = gid, status.msg_perm.mode = static_cast<unsigned short>(mode);
  status.msg_qbytes = most_bytes;
  TRY(call("msgctl IPC_SET", [&] { return ::msgctl(id, IPC_SET, &status); }));
  return {};
}

Result<std::vector<SemaphoreSet>> list_semaphore_sets(Unreadable unreadable) {
  seminfo info{};
  Result<long> highest = call("SEM_INFO", [&] { return ::semctl(0, 0, SEM_INFO, SemaphoreArgument{.info = &info}); });
  return list<SemaphoreSet>(std::move(highest), unreadable, "SEM_STAT", [](int place, SemaphoreSet& set) {
    return ::semctl(place, 0, SEM_STAT, SemaphoreArgument{.status = &set.status});
  });
}

Result<std::vector<uint16_t>> semaphore_values(int id, size_t count) {
  std::vector<uint16_t> values(count);
  TRY(call("semctl GETALL", [&] { return ::semctl(id, 0, GETALL, SemaphoreArgument{.array = values.data()}); }));
  return values;
}

Result<pid_t> semaphore_user(int id, size_t semaphore) {
  return static_cast<pid_t>(
      TRY(call("semctl GETPID", [&] { return ::semctl(id, static_cast<int>(semaphore), GETPID); })));
}

Result<int> make_semaphore_set(int key, size_t count, unsigned mode) {
  int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(mode);
  return static_cast<int>(TRY(call("semget", [&] { return ::semget(key, static_cast<int>(count), flags); })));
}

Result<> set_semaphore_values(int id, std::vector<uint16_t>& values) {
  TRY(call("semctl SETALL", [&] { return ::semctl(id, 0, SETALL, SemaphoreArgument{.array = values.data()}); }));
  return {};
}

Result<> set_semaphore_owner(int id, uid_t uid, gid_t gid, unsigned mode) {
  semid_ds status{};
  status.sem_perm.uid = uid, status.sem_perm.gid = gid, status.sem_perm.mode = static_cast<unsigned short>(mode);
  TRY(call("semctl IPC_SET", [&] { return ::semctl(id, 0, IPC_SET, SemaphoreArgument{.status = &status}); }));
  return {};
}

}  // namespace stint::sys
