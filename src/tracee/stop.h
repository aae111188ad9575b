// Stopping a process so that it cannot tell, and letting it go on.
//
// Every thread is seized and interrupted until a pass over /proc/PID/task finds nobody new: a thread that is still running
// may clone meanwhile. A signal that arrives first is delivered as it would have been (its handler's frame is laid; the
// thread stops before the handler's first instruction). A thread inside vfork(2) does not stop before its child has
// executed or exited: it is waited for. A job-control stop stays what it is: the kernel re-enters it when we detach.
#pragma once

#include <chrono>
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
  // Where the runner finishes a call that the stop has cut short, or 0 (RunnerFrame with STINT_FINISH_RESUME).
  uint64_t resume_frame = 0;
  uint64_t runner = 0;  // the runner that goes with it
};

// Whether the thread was inside a system call when it stopped (and not in user code).
bool in_system_call(const sys::Registers& registers);

class StoppedProcess {
 public:
  // Stops every thread. kRefused when one does not stop within `patience`, or somebody else traces the process.
  // `options`: PTRACE_O_* beyond those that every stop needs.
  static Result<StoppedProcess> stop(Pid process, std::chrono::milliseconds patience, long options = 0);

  StoppedProcess(StoppedProcess&& other) noexcept;
  StoppedProcess& operator=(StoppedProcess&&) = delete;
  ~StoppedProcess();  // thaws

  Pid pid() const { return pid_; }
  std::vector<Thread>& threads() { return threads_; }
  const std::vector<Thread>& threads() const { return threads_; }
  Thread& leader() { return threads_.front(); }

  // Puts the program's registers and masks back and lets all threads go on. Threads that are gone are passed over.
  void thaw();
  // SIGKILLs it while it is stopped: it never runs again.
  void kill();

 private:
  StoppedProcess(Pid pid, long options) : pid_(pid), options_(options) {}
  Result<bool> seize_new_threads();
  Result<> wait_for_stops(std::chrono::steady_clock::time_point deadline);

  Pid pid_;
  long options_;
  std::vector<Thread> threads_;
  size_t settled_ = 0;  // the first so many threads are known to be stopped
};

// Lets one stopped thread go on: its own registers and mask, or into the runner where resume_frame says so.
void release(Thread& thread);

}  // namespace stint::tracee
