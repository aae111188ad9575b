// System V shared memory, message queues and semaphores: ids, keys, content, what waits, what is undone at the end.
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include <cstring>
#include <vector>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

// Keys of one run do not meet those of another beside it.
key_t own_key(int which) { return static_cast<key_t>(0x5700000 + getpid() * 16 + which); }

class Segment {
 public:
  Segment(key_t key, size_t size, int mode) : id_(EXPECT_OK(shmget(key, size, IPC_CREAT | IPC_EXCL | mode))) {}
  ~Segment() { remove(); }
  int id() const { return id_; }
  void remove() {
    if (!removed_) EXPECT_OK(shmctl(id_, IPC_RMID, nullptr));
    removed_ = true;
  }
  char* attach(int flags = 0) const {
    void* at = shmat(id_, nullptr, flags);
    EXPECT_TRUE(at != reinterpret_cast<void*>(-1));
    return static_cast<char*>(at);
  }
  shmid_ds status() const {
    shmid_ds status;
    EXPECT_OK(shmctl(id_, IPC_STAT, &status));
    return status;
  }

 private:
  int id_;
  bool removed_ = false;
};

LIVE_TEST(sysv_segment_keeps_id_key_content_and_attachments) {
  constexpr size_t kSize = 100'000;
  const Segment passing(IPC_PRIVATE, 4096, 0600);  // So that the id is not the first one.
  const Segment segment(own_key(1), kSize, 0640);
  char* const write = segment.attach();
  const char* const read = segment.attach(SHM_RDONLY);
  const std::string bytes = pattern(kSize);
  memcpy(write, bytes.data(), kSize);
  freeze_point();
  EXPECT_EQ(EXPECT_OK(shmget(own_key(1), 0, 0)), segment.id());
  const shmid_ds status = segment.status();
  EXPECT_EQ(status.shm_nattch, 2UL);
  EXPECT_EQ(status.shm_segsz, kSize);
  EXPECT_EQ(status.shm_perm.mode & 0777, 0640);
  EXPECT_TRUE(std::string(read, kSize) == bytes);
  write[5] = 'x';
  EXPECT_EQ(read[5], 'x');
  EXPECT_OK(shmdt(write));
  EXPECT_OK(shmdt(read));
  EXPECT_EQ(segment.status().shm_nattch, 0UL);
}

LIVE_TEST(sysv_segment_that_nobody_has_attached_is_there) {
  const Segment segment(IPC_PRIVATE, 5000, 0600);
  char* at = segment.attach();
  strcpy(at + 4096, "behind the first page");
  EXPECT_OK(shmdt(at));
  freeze_point();
  at = segment.attach();
  EXPECT_EQ(std::string(at + 4096), "behind the first page");
  EXPECT_OK(shmdt(at));
}

LIVE_TEST(sysv_segment_that_was_removed_lives_as_long_as_it_is_attached) {
  Segment segment(own_key(2), 8192, 0600);
  char* const at = segment.attach();
  strcpy(at, "still here");
  segment.remove();
  freeze_point();
  EXPECT_EQ(std::string(at), "still here");
  EXPECT_TRUE((segment.status().shm_perm.mode & SHM_DEST) != 0);
  EXPECT_EQ(segment.status().shm_nattch, 1UL);
  EXPECT_OK(shmdt(at));
  shmid_ds status;
  EXPECT_EQ(shmctl(segment.id(), IPC_STAT, &status), -1);
}

LIVE_TEST(sysv_segment_of_which_a_part_is_unmapped_and_a_part_is_protected) {
  const size_t page = 4096;
  const Segment segment(IPC_PRIVATE, 4 * page, 0600);
  char* const at = segment.attach();
  for (size_t i = 0; i < 4; ++i) at[i * page] = static_cast<char>('a' + i);
  EXPECT_OK(munmap(at + page, page));
  EXPECT_OK(mprotect(at + 2 * page, page, PROT_READ));
  freeze_point();
  EXPECT_EQ(at[0], 'a');
  EXPECT_EQ(at[2 * page], 'c');
  EXPECT_EQ(at[3 * page], 'd');
  char* const again = segment.attach();
  EXPECT_EQ(again[page], 'b');
  again[2 * page] = 'x';
  EXPECT_EQ(at[2 * page], 'x');
  EXPECT_OK(shmdt(again));
  EXPECT_OK(shmdt(at));
  EXPECT_EQ(segment.status().shm_nattch, 0UL);
}

LIVE_TEST(sysv_segment_is_shared_by_a_process_and_its_child) {
  const Segment segment(IPC_PRIVATE, 4096, 0600);
  char* const at = segment.attach();
  const Ends go = make_pipe();
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    read_exactly(go.read, 1);
    at[0] = static_cast<char>(at[1] + 1);
    _exit(0);
  }
  freeze_point();
  at[1] = 41;
  write_all(go.write, "x");
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(at[0], 42);
  EXPECT_OK(shmdt(at));
}

struct Message {
  long type;
  char text[4000];
};

LIVE_TEST(sysv_message_queue_keeps_its_messages_in_order) {
  const int queue = EXPECT_OK(msgget(own_key(3), IPC_CREAT | IPC_EXCL | 0600));
  auto send = [&](long type, const std::string& text) {
    Message message = {type, {}};
    memcpy(message.text, text.data(), text.size());
    EXPECT_OK(msgsnd(queue, &message, text.size(), 0));
  };
  auto receive = [&](long type) {
    Message message;
    const ssize_t size = EXPECT_OK(msgrcv(queue, &message, sizeof message.text, type, IPC_NOWAIT));
    return std::to_string(message.type) + std::string(message.text, static_cast<size_t>(size));
  };
  const std::string large = pattern(3000);
  send(7, "first");
  send(3, "");
  send(7, large);
  freeze_point();
  EXPECT_EQ(EXPECT_OK(msgget(own_key(3), 0)), queue);
  msqid_ds status;
  EXPECT_OK(msgctl(queue, IPC_STAT, &status));
  EXPECT_EQ(status.msg_qnum, 3UL);
  EXPECT_EQ(receive(3), "3");
  EXPECT_EQ(receive(0), "7first");
  EXPECT_TRUE(receive(7) == "7" + large);
  EXPECT_OK(msgctl(queue, IPC_RMID, nullptr));
}

LIVE_TEST(sysv_receiver_that_waits_gets_the_next_message) {
  const int queue = EXPECT_OK(msgget(IPC_PRIVATE, 0600));
  Message got = {};
  BlockedThread receiver(SYS_msgrcv, [&] { EXPECT_EQ(msgrcv(queue, &got, sizeof got.text, 2, 0), 1); });
  freeze_point();
  Message message = {1, "a"};
  EXPECT_OK(msgsnd(queue, &message, 1, 0));
  message = {2, "b"};
  EXPECT_OK(msgsnd(queue, &message, 1, 0));
  receiver.join();
  EXPECT_EQ(got.text[0], 'b');
  EXPECT_OK(msgctl(queue, IPC_RMID, nullptr));
}

void change(int set, unsigned short semaphore, short by, short flags = 0) {
  sembuf operation = {semaphore, by, flags};
  EXPECT_OK(semop(set, &operation, 1));
}
int value(int set, int semaphore) { return EXPECT_OK(semctl(set, semaphore, GETVAL)); }

LIVE_TEST(sysv_semaphores_keep_their_values_and_whoever_waits_waits) {
  const int set = EXPECT_OK(semget(own_key(4), 3, IPC_CREAT | IPC_EXCL | 0600));
  change(set, 1, 32767);
  change(set, 2, 5);
  BlockedThread waiter(SYS_semtimedop, [&] { change(set, 0, -2); });
  freeze_point();
  EXPECT_EQ(EXPECT_OK(semget(own_key(4), 0, 0)), set);
  EXPECT_EQ(value(set, 0), 0);
  EXPECT_EQ(value(set, 1), 32767);
  EXPECT_EQ(value(set, 2), 5);
  change(set, 0, 3);
  waiter.join();
  EXPECT_EQ(value(set, 0), 1);
  EXPECT_OK(semctl(set, 0, IPC_RMID));
}

// What a child has taken and not given back, and given too much of, is set right at its end.
void expect_undone(int set, const std::vector<short>& changes, const std::vector<short>& values) {
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_OK(semctl(set, static_cast<int>(i), SETVAL, static_cast<int>(values[i])));
  const Ends ready = make_pipe(), go = make_pipe();
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    for (size_t i = 0; i < changes.size(); ++i)
      if (changes[i] != 0) change(set, static_cast<unsigned short>(i), changes[i], SEM_UNDO);
    write_all(ready.write, "x");
    read_exactly(go.read, 1);
    _exit(0);
  }
  read_exactly(ready.read, 1);
  freeze_point();
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(value(set, static_cast<int>(i)), values[i] + changes[i]);
  write_all(go.write, "x");
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(value(set, static_cast<int>(i)), values[i]);
}

LIVE_TEST(sysv_semaphores_are_set_right_when_a_process_ends) {
  const int set = EXPECT_OK(semget(IPC_PRIVATE, 5, 0600));
  expect_undone(set, {-1, 1, 0, 3, -7}, {1, 0, 9, 20000, 32767});
  expect_undone(set, {-30000, 32767, -32767, 1, -1}, {30000, 0, 32767, 32766, 32767});
  EXPECT_OK(semctl(set, 0, IPC_RMID));
}

}  // namespace
}  // namespace live
