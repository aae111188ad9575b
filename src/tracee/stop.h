// Stopping a process so that it cannot tell, and letting it go on.
//
// Every thread is seized and interrupted until a pass over /proc/PID/task finds nobody new: a thread that is still
// running may clone meanwhile. A signal that arrives first is delivered as it would have been (its handler's frame is
// laid; the thread stops before the handler's first instruction). A thread inside vfork(2) does not stop before its
// child has executed or exited: it is waited for. A job-control stop stays what it is: the kernel re-enters it when we
// detach.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "base/remote.h"
#include "base/result.h"
#include "sys/ptrace.h"

namespace stint::tracee {

// One thread of the target, seized and stopped. `registers` and `signal_mask` are the program's: whatever the hands do
// in between, thaw() leaves the thread with them.
struct Thread {
  Pid tid;
  sys::Registers registers{};
  uint64_t signal_mask = 0;
  bool known = false;  // whether the two were read
  int group_stop = 0;  // the signal of a job-control stop that it was in, 0 for none
  // With which it goes on instead where a call that the stop has cut short is finished by the runner
  // (STINT_FINISH_RESUME).
  std::optional<sys::Registers> in_runner;
  struct AlternateStack {          // sigaltstack(2)
    uint64_t start = 0, size = 0;  // size 0: none
    uint64_t known = 0;
  } alternate;
};

class StoppedProcess {
 public:
  // Stops every thread. kRefused when one does not stop within `patience`, or somebody else traces the process.
  // `options`: PTRACE_O_* beyond those that every stop needs.
  static Result<StoppedProcess> stop(Pid process, std::chrono::milliseconds patience, long options = 0);

  // A child of a process that is traced with PTRACE_O_TRACEFORK or TRACECLONE: it stops before its first instruction.
  static Result<StoppedProcess> stop_newborn(Pid process, long options);

  StoppedProcess(StoppedProcess&& other) noexcept;
  StoppedProcess& operator=(StoppedProcess&&) = delete;
  ~StoppedProcess();  // thaws

  Pid pid() const { return pid_; }  // its number
  std::vector<Thread>& threads() { return threads_; }
  const std::vector<Thread>& threads() const { return threads_; }
  // In which calls are made for the process: its first thread, or where that has ended (tracee/first_thread), another.
  Thread& representative() { return threads_.front(); }
  // Under this number its memory, its descriptors and all that it has are found.
  Pid seen_as() const { return threads_.empty() ? pid_ : threads_.front().tid; }

  // Puts the program's registers and masks back and lets all threads go on. Threads that are gone are passed over.
  void thaw();
  // Lets it go on into a job-control stop, and waits until it is there.
  Result<> thaw_into_stop(int signal);
  // Until it is thawed it dies when we do, so that it cannot go on.
  Result<> die_with_us();
  // Of a process with one thread: lets it stop and be continued, so that its parent can learn of that. It stands where
  // it stood; SIGCONT is left in its queue.
  Result<> stop_and_continue();
  // SIGKILLs it while it is stopped: it never runs again. Or by another signal that ends it.
  void kill(int signal = SIGKILL);
  // It has ended by what it was made to do, and was waited for.
  void forget() { threads_.clear(); }

 private:
  StoppedProcess(Pid pid, long options) : pid_(pid), options_(options) {}
  Result<bool> seize_new_threads(std::chrono::steady_clock::time_point deadline, bool& first_has_ended);
  Result<bool> bring_to_stop(int signal);
  Result<> wait_for_stops(std::chrono::steady_clock::time_point deadline);

  Pid pid_;
  long options_;
  std::vector<Thread> threads_;
  size_t settled_ = 0;  // the first so many threads are known to be stopped
};

// Lets the threads of all these go on, in an order in which none can be woken before it sleeps again.
void thaw_together(std::span<StoppedProcess* const> processes);

// Puts a stopped thread's own mask and registers back, in the order in which what was begun in it heals at every
// moment.
Result<> give_back(const Thread& thread);

// Lets one stopped thread go on: its own registers and mask, or into the runner.
void release(Thread& thread);

}  // namespace stint::tracee
