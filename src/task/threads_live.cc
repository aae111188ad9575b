// Threads: how many, their ids and names, their thread-local data, who waits for whom, and what the kernel does when
// one of them ends (clear-child-tid, robust locks).
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

thread_local int local_initialised = 7;
thread_local int local_zeroed;

struct Worker {
  pid_t tid = 0;
  pid_t tid_after = 0;
  int local_after = 0;
  std::string name_after;
};

// Starts `count` threads, waits until all of them wait, freezes, lets them go, and looks at what each of them saw.
void expect_threads_kept(int count) {
  std::mutex mutex;
  std::condition_variable changed;
  int waiting = 0;
  bool go = false;
  std::vector<Worker> workers(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      Worker& worker = workers[static_cast<size_t>(i)];
      prctl(PR_SET_NAME, ("live-" + std::to_string(i)).c_str());
      local_zeroed = i;
      worker.tid = gettid();
      std::unique_lock lock(mutex);
      ++waiting;
      changed.notify_all();
      changed.wait(lock, [&] { return go; });
      char name[16];
      prctl(PR_GET_NAME, name);
      worker.name_after = name;
      worker.tid_after = gettid();
      worker.local_after = local_zeroed + local_initialised;
    });
  }
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return waiting == count; });
  }
  freeze_point();
  {
    const std::lock_guard lock(mutex);
    go = true;
  }
  changed.notify_all();
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < count; ++i) {
    const Worker& worker = workers[static_cast<size_t>(i)];
    EXPECT_EQ(worker.tid_after, worker.tid);
    EXPECT_EQ(worker.local_after, i + 7);
    EXPECT_EQ(worker.name_after, "live-" + std::to_string(i));
  }
}

LIVE_TEST(one_thread_is_as_it_was) { expect_threads_kept(1); }
LIVE_TEST(twenty_threads_are_as_they_were) { expect_threads_kept(20); }
LIVE_TEST(two_hundred_threads_are_as_they_were) { expect_threads_kept(200); }

LIVE_TEST(threads_that_count_lose_no_count) {
  std::atomic<bool> stop = false;
  std::atomic<long> atomic_sum = 0;
  long guarded_sum = 0;
  std::mutex mutex;
  std::vector<long> own(6);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < own.size(); ++i) {
    threads.emplace_back([&, i] {
      while (!stop) {
        for (int n = 0; n < 100; ++n) ++atomic_sum;
        const std::lock_guard lock(mutex);
        guarded_sum += 100;
        own[i] += 100;
      }
    });
  }
  sleep_for(0.02);
  freeze_point();
  sleep_for(0.02);
  stop = true;
  long total = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    threads[i].join();
    total += own[i];
  }
  EXPECT_EQ(atomic_sum.load(), total);
  EXPECT_EQ(guarded_sum, total);
}

LIVE_TEST(producers_and_consumers_pass_every_item_once) {
  constexpr int kItems = 3000;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<int> queue;
  std::vector<int> seen(kItems);
  int consumed = 0;
  std::vector<std::thread> consumers;
  for (int i = 0; i < 3; ++i) {
    consumers.emplace_back([&] {
      std::unique_lock lock(mutex);
      while (consumed < kItems) {
        if (!changed.wait_for(lock, std::chrono::milliseconds(3), [&] { return !queue.empty() || consumed == kItems; }))
          continue;
        if (queue.empty()) return;
        ++seen[static_cast<size_t>(queue.front())];
        queue.pop_front();
        ++consumed;
      }
      changed.notify_all();
    });
  }
  for (int i = 0; i < kItems; ++i) {
    if (i % 1000 == 500) freeze_point();
    const std::lock_guard lock(mutex);
    queue.push_back(i);
    changed.notify_one();
  }
  for (std::thread& consumer : consumers) consumer.join();
  for (int times : seen) EXPECT_EQ(times, 1);
}

LIVE_TEST(detached_thread_goes_on) {
  const auto done = std::make_shared<std::atomic<unsigned>>(0);
  const Ends pipe = make_pipe();
  const int read_end = pipe.read;
  std::thread([done, read_end] {
    *done = read_once(read_end) == "go on" ? 1 : 2;
    futex(*done, FUTEX_WAKE_PRIVATE, 1);
  }).detach();
  freeze_point();
  write_all(pipe.write, "go on");
  while (*done == 0) futex(*done, FUTEX_WAIT_PRIVATE, 0);
  EXPECT_EQ(done->load(), 1U);
}

LIVE_TEST(thread_that_is_being_joined_wakes_its_joiner) {
  // pthread_join() waits for the word that the kernel clears when a thread ends.
  const Ends pipe = make_pipe();
  BlockedThread ending(SYS_read, [&] { EXPECT_EQ(read_once(pipe.read), "end"); });
  BlockedThread joining(SYS_futex, [&] { ending.join(); });
  freeze_point();
  write_all(pipe.write, "end");
  joining.join();
  EXPECT_TRUE(ending.ended());
}

LIVE_TEST(threads_can_be_made_after_the_cut) {
  freeze_point();
  std::atomic<int> ran = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) threads.emplace_back([&] { ++ran; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ran.load(), 20);
}

LIVE_TEST(robust_lock_of_a_thread_that_ends_is_handed_on) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_t mutex;
  EXPECT_EQ(pthread_mutex_init(&mutex, &attributes), 0);
  const Ends pipe = make_pipe();
  BlockedThread owner(SYS_read, [&] {
    EXPECT_EQ(pthread_mutex_lock(&mutex), 0);
    read_once(pipe.read);
  });
  int locked = -1;
  BlockedThread waiter(SYS_futex, [&] {
    locked = pthread_mutex_lock(&mutex);
    pthread_mutex_consistent(&mutex);
    pthread_mutex_unlock(&mutex);
  });
  freeze_point();
  write_all(pipe.write, "x");
  owner.join();
  waiter.join();
  EXPECT_EQ(locked, EOWNERDEAD);
  pthread_mutex_destroy(&mutex);
  pthread_mutexattr_destroy(&attributes);
}

LIVE_TEST(mutex_owner_is_known_by_its_tid) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_t mutex;
  EXPECT_EQ(pthread_mutex_init(&mutex, &attributes), 0);
  EXPECT_EQ(pthread_mutex_lock(&mutex), 0);
  freeze_point();
  EXPECT_EQ(pthread_mutex_lock(&mutex), EDEADLK);
  EXPECT_EQ(pthread_mutex_unlock(&mutex), 0);
  EXPECT_EQ(pthread_mutex_unlock(&mutex), EPERM);
  pthread_mutex_destroy(&mutex);
  pthread_mutexattr_destroy(&attributes);
}

LIVE_TEST(wake_that_goes_with_no_change_of_its_word_finds_every_sleeper) {
  constexpr int kSleepers = 12;
  std::atomic<unsigned> word = 0;
  std::vector<std::unique_ptr<BlockedThread>> sleepers;
  for (int i = 0; i < kSleepers; ++i) {
    sleepers.push_back(
        std::make_unique<BlockedThread>(SYS_futex, [&] { EXPECT_EQ(futex(word, FUTEX_WAIT_PRIVATE, 0), 0); }));
  }
  freeze_point();
  // A cut in here is followed at once by the wake.
  const double start = monotonic_seconds();
  while (monotonic_seconds() - start < 0.01) {
  }
  EXPECT_EQ(futex(word, FUTEX_WAKE_PRIVATE, kSleepers), kSleepers);
}

// Which each has from the one that made it.
LIVE_TEST(every_thread_has_what_its_process_was_given) {
  Child child([](Line& line) {
    constexpr unsigned long kAsk = 0xffffffff;
    EXPECT_OK(personality(static_cast<unsigned long>(personality(kAsk)) | ADDR_NO_RANDOMIZE));
    const bool may_drop = prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT) == 0;
    const Ends gate = make_pipe();
    BlockedThread other(SYS_read, [&] {
      EXPECT_EQ(read_once(gate.read), "go");
      EXPECT_TRUE((personality(kAsk) & ADDR_NO_RANDOMIZE) != 0);
      if (may_drop) EXPECT_EQ(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT), 0);
    });
    line.stand_by();
    write_all(gate.write, "go");
    other.join();
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

LIVE_TEST(process_shared_semaphore_in_shared_memory_still_wakes) {
  const Fd memfd(EXPECT_OK(memfd_create("semaphore", 0)));
  EXPECT_OK(ftruncate(memfd, 4096));
  auto map = [&] { return static_cast<sem_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0)); };
  sem_t* const first = map();
  sem_t* const second = map();
  EXPECT_OK(sem_init(first, 1, 0));
  BlockedThread waiter(SYS_futex, [&] { EXPECT_OK(sem_wait(first)); });
  freeze_point();
  EXPECT_OK(sem_post(second));
  waiter.join();
  munmap(first, 4096);
  munmap(second, 4096);
}

}  // namespace
}  // namespace live
