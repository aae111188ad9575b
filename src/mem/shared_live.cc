// Memory that several processes share: one writes, the other reads, also after a restart; each has it where it had it,
// and as much of it.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include <list>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

constexpr size_t kPage = 4096;

char* map_shared(size_t size, int fd = -1, off_t offset = 0, void* at = nullptr, int prot = PROT_READ | PROT_WRITE) {
  void* memory = mmap(at, size, prot, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, offset);
  if (memory == MAP_FAILED) fail_call(__FILE__, __LINE__, "mmap");
  return static_cast<char*>(memory);
}

std::string text_at(const char* memory, size_t size) { return {memory, size}; }

void put(char* memory, std::string_view text) { memcpy(memory, text.data(), text.size()); }

// Writes into the first and the last page and reads what the other has written there.
int answer(const Line& line, char* memory, size_t size) {
  line.stand_by();
  EXPECT_EQ(text_at(memory, 5), "first");
  EXPECT_EQ(text_at(memory + size - kPage, 4), "last");
  put(memory, "FIRST");
  put(memory + size - kPage, "LAST");
  line.say("written");
  return 0;
}

void expect_answer(Child& child, char* memory, size_t size) {
  child.await();
  freeze_point();
  put(memory, "first");
  put(memory + size - kPage, "last");
  child.go_on();
  EXPECT_EQ(child.line().hear(), "written");
  EXPECT_EQ(text_at(memory, 5), "FIRST");
  EXPECT_EQ(text_at(memory + size - kPage, 4), "LAST");
  EXPECT_EQ(child.wait_status(), 0);
}

LIVE_TEST(anonymous_memory_is_shared_by_parent_and_child) {
  constexpr size_t kSize = 64 * kPage;
  char* memory = map_shared(kSize);
  const std::string content = pattern(kSize);
  put(memory, content);
  Child child([&](Line& line) { return answer(line, memory, kSize); });
  child.await();
  freeze_point();
  EXPECT_EQ(text_at(memory, kSize), content);
  child.go_on();
  // What it expects is not there yet.
  EXPECT_EQ(child.wait_status(), 1 << 8);
  put(memory, content);
  Child second([&](Line& line) { return answer(line, memory, kSize); });
  expect_answer(second, memory, kSize);
  munmap(memory, kSize);
}

LIVE_TEST(memory_is_shared_by_siblings_at_different_addresses) {
  constexpr size_t kSize = 8 * kPage;
  char* memory = map_shared(kSize);
  Child child([&](Line& line) {
    char* there = map_shared(kSize, -1);
    void* moved = mremap(memory, kSize, kSize, MREMAP_MAYMOVE | MREMAP_FIXED, there);
    EXPECT_TRUE(moved == there);
    return answer(line, there, kSize);
  });
  expect_answer(child, memory, kSize);
  munmap(memory, kSize);
}

LIVE_TEST(each_of_two_processes_has_another_part_of_the_memory) {
  constexpr size_t kSize = 8 * kPage;
  char* memory = map_shared(kSize);
  const std::string content = pattern(kSize);
  put(memory, content);
  Child child([&](Line& line) {
    munmap(memory, 2 * kPage);
    munmap(memory + 6 * kPage, 2 * kPage);
    line.stand_by();
    EXPECT_EQ(text_at(memory + 2 * kPage, 4 * kPage), content.substr(2 * kPage, 4 * kPage));
    put(memory + 3 * kPage, "from the child");
    return 0;
  });
  child.await();
  munmap(memory + 4 * kPage, kPage);
  freeze_point();
  EXPECT_EQ(text_at(memory, 3 * kPage), content.substr(0, 3 * kPage));
  EXPECT_EQ(text_at(memory + 5 * kPage, 3 * kPage), content.substr(5 * kPage));
  child.finish();
  EXPECT_EQ(text_at(memory + 3 * kPage, 14), "from the child");
  munmap(memory, 4 * kPage);
  munmap(memory + 5 * kPage, 3 * kPage);
}

LIVE_TEST(memory_that_only_the_child_still_has) {
  constexpr size_t kSize = 8 * kPage;
  char* memory = map_shared(kSize);
  const std::string content = pattern(kSize, 3);
  put(memory, content);
  Child child([&](Line& line) {
    Child grandchild([&](Line& own) {
      own.stand_by();
      put(memory, "grandchild");
      return 0;
    });
    grandchild.await();
    line.stand_by();
    EXPECT_EQ(text_at(memory, kSize), content);
    grandchild.finish();
    EXPECT_EQ(text_at(memory, 10), "grandchild");
    return 0;
  });
  child.await();
  munmap(memory, kSize);
  freeze_point();
  child.finish();
}

LIVE_TEST(one_may_only_read_what_the_other_writes) {
  constexpr size_t kSize = 4 * kPage;
  char* memory = map_shared(kSize);
  Child child([&](Line& line) {
    EXPECT_OK(mprotect(memory, kSize, PROT_READ));
    line.stand_by();
    EXPECT_EQ(text_at(memory, 4), "here");
    // Through a system call: the kernel refuses instead of raising a signal.
    const Ends pipe = make_pipe();
    write_all(pipe.write, "x");
    errno = 0;
    EXPECT_EQ(read(pipe.read, memory, 1), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_OK(mprotect(memory, kSize, PROT_READ | PROT_WRITE));
    put(memory, "HERE");
    return 0;
  });
  child.await();
  freeze_point();
  put(memory, "here");
  child.finish();
  EXPECT_EQ(text_at(memory, 4), "HERE");
  munmap(memory, kSize);
}

// Shrunk and grown again: what lies behind was nobody's mapping for a while, and is still there.
LIVE_TEST(shared_memory_that_was_shrunk_and_grown_again_by_mremap) {
  constexpr size_t kSize = 8 * kPage;
  char* memory = map_shared(kSize);
  const std::string content = pattern(kSize, 4);
  put(memory, content);
  Child child([&](Line& line) {
    EXPECT_TRUE(mremap(memory, kSize, 2 * kPage, 0) == memory);
    line.stand_by();
    EXPECT_TRUE(mremap(memory, 2 * kPage, kSize, 0) == memory);
    EXPECT_EQ(text_at(memory, kSize), content);
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
  munmap(memory, kSize);
}

// A mapping may be longer than the memory behind it: no page is there.
LIVE_TEST(end_of_shared_memory_stays_where_it_was) {
  char* memory = map_shared(2 * kPage);
  put(memory, "begin");
  char* longer = static_cast<char*>(mremap(memory, 2 * kPage, 4 * kPage, MREMAP_MAYMOVE));
  EXPECT_TRUE(longer != MAP_FAILED);
  Child child([&](Line& line) {
    line.stand_by();
    const Ends pipe = make_pipe();
    write_all(pipe.write, "xy");
    EXPECT_EQ(read(pipe.read, longer + kPage, 1), 1);
    errno = 0;
    EXPECT_EQ(read(pipe.read, longer + 2 * kPage, 1), -1);
    EXPECT_EQ(errno, EFAULT);
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
  EXPECT_EQ(text_at(longer, 5), "begin");
  EXPECT_EQ(longer[kPage], 'x');
  munmap(longer, 4 * kPage);
}

LIVE_TEST(large_shared_memory_with_little_in_it) {
  constexpr size_t kSize = size_t{1} << 30;
  char* memory = static_cast<char*>(
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  EXPECT_TRUE(memory != MAP_FAILED);
  put(memory + kSize / 2, "middle");
  Child child([&](Line& line) {
    line.stand_by();
    EXPECT_EQ(text_at(memory + kSize / 2, 6), "middle");
    put(memory + kSize - kPage, "end");
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
  EXPECT_EQ(text_at(memory + kSize - kPage, 3), "end");
  munmap(memory, kSize);
}

LIVE_TEST(two_areas_of_shared_memory_are_not_mixed_up) {
  char* first = map_shared(4 * kPage);
  char* second = map_shared(4 * kPage);
  put(first, "first");
  put(second, "second");
  Child child([&](Line& line) {
    line.stand_by();
    EXPECT_EQ(text_at(first, 5), "first");
    EXPECT_EQ(text_at(second, 6), "second");
    put(first, "FIRST");
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
  EXPECT_EQ(text_at(first, 5), "FIRST");
  EXPECT_EQ(text_at(second, 6), "second");
  munmap(first, 4 * kPage);
  munmap(second, 4 * kPage);
}

LIVE_TEST(memfd_is_shared_by_its_descriptor_and_by_mappings) {
  const Fd memfd(EXPECT_OK(memfd_create("shared", MFD_CLOEXEC)));
  EXPECT_OK(ftruncate(memfd, 4 * kPage));
  char* memory = map_shared(4 * kPage, memfd);
  Child child([&](Line& line) {
    char* there = map_shared(2 * kPage, memfd, 2 * kPage);
    munmap(memory, 4 * kPage);
    line.stand_by();
    EXPECT_EQ(text_at(there, 3), "two");
    put(there + kPage, "three");
    EXPECT_OK(pwrite(memfd, "zero", 4, 0));
    EXPECT_OK(ftruncate(memfd, 6 * kPage));
    return 0;
  });
  child.await();
  freeze_point();
  put(memory + 2 * kPage, "two");
  child.finish();
  EXPECT_EQ(text_at(memory, 4), "zero");
  EXPECT_EQ(text_at(memory + 3 * kPage, 5), "three");
  EXPECT_EQ(stat_of(memfd).st_size, 6 * 4096);
  munmap(memory, 4 * kPage);
}

LIVE_TEST(memfd_of_which_only_a_childs_mapping_is_left) {
  Child child([](Line& line) {
    Fd memfd(EXPECT_OK(memfd_create("only mapped", MFD_CLOEXEC)));
    EXPECT_OK(ftruncate(memfd, 2 * kPage));
    char* memory = map_shared(2 * kPage, memfd);
    memfd.reset();
    put(memory + kPage, "kept");
    line.stand_by();
    EXPECT_EQ(text_at(memory + kPage, 4), "kept");
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

LIVE_TEST(file_is_mapped_shared_by_two_processes) {
  const Scratch scratch;
  const std::string path = scratch.file("mapped");
  write_whole(path, std::string(3 * kPage, '.'));
  const Fd file = open_file(path, O_RDWR | O_CLOEXEC);
  char* memory = map_shared(3 * kPage, file);
  Child child([&](Line& line) {
    const Fd own = open_file(path, O_RDWR | O_CLOEXEC);
    char* there = map_shared(kPage, own, kPage);
    line.stand_by();
    EXPECT_EQ(text_at(there, 6), "parent");
    put(there + 100, "child");
    return 0;
  });
  child.await();
  freeze_point();
  put(memory + kPage, "parent");
  child.finish();
  EXPECT_EQ(text_at(memory + kPage + 100, 5), "child");
  EXPECT_EQ(read_whole(path).substr(kPage + 100, 5), "child");
  munmap(memory, 3 * kPage);
}

// ---- What they wait for in it

LIVE_TEST(futex_in_shared_memory_wakes_sleepers_in_other_processes) {
  SharedValue<std::atomic<unsigned>> word;
  std::list<Child> sleepers;
  for (int i = 0; i < 4; ++i) {
    sleepers.emplace_back([&](Line& line) {
      line.say("here");
      while (*word == 0) futex(*word, FUTEX_WAIT, 0);
      EXPECT_EQ(line.hear(), "go on");
      return 0;
    });
  }
  for (Child& sleeper : sleepers) sleeper.await();
  for (Child& sleeper : sleepers) wait_until_process_blocked(sleeper.pid(), SYS_futex);
  freeze_point();
  *word = 1;
  futex(*word, FUTEX_WAKE, 100);
  for (Child& sleeper : sleepers) sleeper.finish();
}

LIVE_TEST(semaphore_between_processes_counts_every_post) {
  SharedValue<sem_t> semaphore;
  EXPECT_OK(sem_init(&*semaphore, 1, 0));
  std::list<Child> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&](Line& line) {
      line.say("here");
      for (int n = 0; n < 10; ++n) {
        while (sem_wait(&*semaphore) != 0) EXPECT_EQ(errno, EINTR);
      }
      EXPECT_EQ(line.hear(), "go on");
      return 0;
    });
  }
  for (Child& waiter : waiters) waiter.await();
  for (int n = 0; n < 15; ++n) EXPECT_OK(sem_post(&*semaphore));
  freeze_point();
  for (int n = 0; n < 15; ++n) EXPECT_OK(sem_post(&*semaphore));
  for (Child& waiter : waiters) waiter.finish();
  int value = -1;
  EXPECT_OK(sem_getvalue(&*semaphore, &value));
  EXPECT_EQ(value, 0);
  sem_destroy(&*semaphore);
}

class SharedMutex {
 public:
  explicit SharedMutex(bool robust, int protocol = PTHREAD_PRIO_NONE) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (robust) pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setprotocol(&attributes, protocol);
    EXPECT_EQ(pthread_mutex_init(&*mutex_, &attributes), 0);
    pthread_mutexattr_destroy(&attributes);
  }
  ~SharedMutex() { pthread_mutex_destroy(&*mutex_); }
  int lock() { return pthread_mutex_lock(&*mutex_); }
  int try_lock() { return pthread_mutex_trylock(&*mutex_); }
  int unlock() { return pthread_mutex_unlock(&*mutex_); }
  int make_consistent() { return pthread_mutex_consistent(&*mutex_); }

 private:
  SharedValue<pthread_mutex_t> mutex_;
};

void expect_mutex_kept(int protocol, long call) {
  SharedMutex mutex(false, protocol);
  EXPECT_EQ(mutex.lock(), 0);
  Child child([&](Line& line) {
    line.say("here");
    EXPECT_EQ(mutex.lock(), 0);
    EXPECT_EQ(mutex.unlock(), 0);
    EXPECT_EQ(line.hear(), "go on");
    return 0;
  });
  child.await();
  wait_until_process_blocked(child.pid(), call);
  freeze_point();
  EXPECT_EQ(mutex.unlock(), 0);
  child.finish();
}

LIVE_TEST(mutex_between_processes_is_handed_to_its_waiter) { expect_mutex_kept(PTHREAD_PRIO_NONE, SYS_futex); }
LIVE_TEST(priority_inheriting_mutex_between_processes_is_handed_to_its_waiter) {
  expect_mutex_kept(PTHREAD_PRIO_INHERIT, SYS_futex);
}

LIVE_TEST(robust_mutex_of_a_process_that_ends_is_handed_on) {
  SharedMutex mutex(true);
  Child owner([&](Line& line) {
    EXPECT_EQ(mutex.lock(), 0);
    line.stand_by();
    return 0;
  });
  owner.await();
  Child waiter([&](Line& line) {
    line.say("here");
    EXPECT_EQ(mutex.lock(), EOWNERDEAD);
    EXPECT_EQ(mutex.make_consistent(), 0);
    EXPECT_EQ(mutex.unlock(), 0);
    EXPECT_EQ(line.hear(), "go on");
    return 0;
  });
  waiter.await();
  wait_until_process_blocked(waiter.pid(), SYS_futex);
  freeze_point();
  EXPECT_EQ(mutex.try_lock(), EBUSY);
  owner.finish();
  waiter.finish();
  EXPECT_EQ(mutex.lock(), 0);
  EXPECT_EQ(mutex.unlock(), 0);
}

LIVE_TEST(processes_that_count_under_a_shared_mutex_lose_no_count) {
  struct Counter {
    long guarded = 0;
    std::atomic<long> atomic = 0;
    std::atomic<bool> stop = false;
  };
  SharedMutex mutex(false);
  SharedValue<Counter> counter;
  const Ends sums = make_pipe();
  std::list<Child> children;
  for (int i = 0; i < 4; ++i) {
    children.emplace_back([&](Line&) {
      long own = 0;
      while (!counter->stop) {
        EXPECT_EQ(mutex.lock(), 0);
        ++counter->guarded;
        EXPECT_EQ(mutex.unlock(), 0);
        ++counter->atomic;
        ++own;
      }
      EXPECT_OK(write(sums.write, &own, sizeof own));
      return 0;
    });
  }
  sleep_for(0.02);
  freeze_point();
  sleep_for(0.02);
  counter->stop = true;
  long total = 0;
  for (Child& child : children) {
    EXPECT_EQ(child.wait_status(), 0);
    long own = 0;
    EXPECT_OK(read(sums.read, &own, sizeof own));
    total += own;
  }
  EXPECT_EQ(counter->guarded, total);
  EXPECT_EQ(counter->atomic.load(), total);
}

LIVE_TEST(barrier_between_processes_opens_when_the_last_comes) {
  SharedValue<pthread_barrier_t> barrier;
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  EXPECT_EQ(pthread_barrier_init(&*barrier, &attributes, 4), 0);
  std::list<Child> children;
  for (int i = 0; i < 3; ++i) {
    children.emplace_back([&](Line& line) {
      line.say("here");
      const int result = pthread_barrier_wait(&*barrier);
      EXPECT_EQ(line.hear(), "go on");
      return result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : 1;
    });
  }
  for (Child& child : children) child.await();
  for (Child& child : children) wait_until_process_blocked(child.pid(), SYS_futex);
  freeze_point();
  pthread_barrier_wait(&*barrier);
  for (Child& child : children) child.finish();
  pthread_barrier_destroy(&*barrier);
}

// Private memory stays private: what both had at the fork, each has changed for itself.
LIVE_TEST(private_memory_of_parent_and_child_stays_apart) {
  std::string content = pattern(200 * kPage, 5);
  Child child([&](Line& line) {
    std::string own = content;
    for (size_t at = 0; at < own.size(); at += 3 * kPage) content[at] = own[at] = 'c';
    line.stand_by();
    EXPECT_TRUE(content == own);
    return 0;
  });
  child.await();
  std::string expected = content;
  for (size_t at = 0; at < content.size(); at += 2 * kPage) content[at] = expected[at] = 'p';
  freeze_point();
  EXPECT_TRUE(content == expected);
  content.assign(content.size(), 'q');
  child.finish();
}

}  // namespace
}  // namespace live
