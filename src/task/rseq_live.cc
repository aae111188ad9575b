// Restartable sequences: the kernel writes the current processor into an area of each thread, and moves a thread that
// was preempted within a critical section to its abort handler. A thread that is stopped within one and goes on in the
// middle afterwards would commit a stale value: a count would be lost.
#include <sched.h>
#include <sys/rseq.h>

#include <atomic>
#include <thread>
#include <vector>

#include "test/live/program/threads.h"

// bool live_rseq_add(struct rseq* area, long* counters): adds one to the counter of the current processor (one per 64
// bytes) in a critical section long enough to be hit; false when it was aborted.
asm(R"(
.pushsection .data.rel.ro, "aw"
.balign 32
live_rseq_section:
  .long 0, 0
  .quad live_rseq_start, live_rseq_committed - live_rseq_start, live_rseq_abort
.popsection
.pushsection .text
.globl live_rseq_add
live_rseq_add:
  lea live_rseq_section(%rip), %rax
  mov %rax, 8(%rdi)
live_rseq_start:
  mov 4(%rdi), %ecx
  shl $6, %rcx
  mov (%rsi,%rcx), %rax
  add $1, %rax
  mov $300, %edx
1:
  pause
  dec %edx
  jnz 1b
  mov %rax, (%rsi,%rcx)
live_rseq_committed:
  movq $0, 8(%rdi)
  mov $1, %eax
  ret
  .long 0x53053053
live_rseq_abort:
  xor %eax, %eax
  ret
.popsection
)");

extern "C" bool live_rseq_add(void* area, long* counters);

namespace live {
namespace {

struct rseq* rseq_area() {
  if (__rseq_size == 0) skip("the C library has registered no rseq area");
  return reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
}

constexpr int kProcessors = 1024;
constexpr size_t kStride = 64 / sizeof(long);

LIVE_TEST(rseq_critical_section_loses_no_commit) {
  static long counters[kProcessors * kStride];
  for (long& counter : counters) counter = 0;
  std::atomic<bool> stop = false;
  std::atomic<long> commits = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      long own = 0;
      while (!stop) own += live_rseq_add(rseq_area(), counters);
      commits += own;
    });
  }
  sleep_for(0.03);
  freeze_point();
  sleep_for(0.03);
  freeze_point();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  long counted = 0;
  for (long counter : counters) counted += counter;
  EXPECT_EQ(counted, commits.load());
  EXPECT_GT(counted, 0);
}

LIVE_TEST(rseq_area_follows_the_thread_over_processors) {
  cpu_set_t before;
  EXPECT_OK(sched_getaffinity(0, sizeof before, &before));
  freeze_point();
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    EXPECT_OK(sched_setaffinity(0, sizeof one, &one));
    EXPECT_EQ(static_cast<int>(*const_cast<volatile uint32_t*>(&rseq_area()->cpu_id)), cpu);
  }
  EXPECT_OK(sched_setaffinity(0, sizeof before, &before));
}

LIVE_TEST(rseq_area_is_still_registered_for_every_thread) {
  // The kernel refuses a second registration with EBUSY when area, size and signature are those of the first.
  std::atomic<unsigned> go = 0;
  long registration = 0;
  int reason = 0;
  BlockedThread thread(SYS_futex, [&] {
    while (go == 0) futex(go, FUTEX_WAIT_PRIVATE, 0);
    constexpr unsigned kSmallestArea = 32;
    registration = syscall(SYS_rseq, rseq_area(), kSmallestArea, 0, RSEQ_SIG);
    reason = errno;
  });
  freeze_point();
  go = 1;
  futex(go, FUTEX_WAKE_PRIVATE, 1);
  thread.join();
  EXPECT_EQ(registration, -1);
  EXPECT_EQ(reason, EBUSY);
}

}  // namespace
}  // namespace live
