// Threads of live tests: one that is known to be blocked in a certain system call before the test goes on, and the time
// that things take. Bounds on time are sanity only: a lower one that is exact, an upper one that no loaded machine
// misses.
#pragma once

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "test/live/program/live.h"

namespace live {

inline double monotonic_seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

inline timespec to_timespec(double seconds) {
  const long whole = static_cast<long>(seconds);
  return {whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
}

inline void sleep_for(double seconds) {
  timespec left = to_timespec(seconds);
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

// Waits until thread `tid` of this process is blocked in system call number `call`, or in the restart of one.
inline constexpr long kAnyCall = -1;
void wait_until_blocked(pid_t tid, long call = kAnyCall);
// The same of another process's main thread.
void wait_until_process_blocked(pid_t pid, long call = kAnyCall);

// A thread that runs `body`; the constructor returns when it is blocked in system call number `call`.
class BlockedThread {
 public:
  BlockedThread(long call, std::function<void()> body);
  ~BlockedThread() { join(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  bool ended() const { return ended_; }
  pid_t tid() const { return tid_; }
  pthread_t handle() { return thread_.native_handle(); }

 private:
  std::atomic<pid_t> tid_ = 0;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

inline long futex(std::atomic<unsigned>& word, int operation, unsigned value, const timespec* timeout = nullptr,
                  unsigned bits = FUTEX_BITSET_MATCH_ANY) {
  return syscall(SYS_futex, &word, operation, value, timeout, nullptr, bits);
}

// Installs a handler for a signal for as long as the object lives.
class Handler {
 public:
  Handler(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0, std::initializer_list<int> mask = {});
  ~Handler();
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  int signal_;
  struct sigaction before_;
};

// Blocks signals in this thread, and in those that it makes, for as long as the object lives.
class Blocked {
 public:
  explicit Blocked(std::initializer_list<int> signals);
  ~Blocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  sigset_t before_;
};

sigset_t set_of(std::initializer_list<int> signals);

}  // namespace live
