// The timers of a process: the three interval timers and the POSIX timers. How much time is left only the process
// itself can ask; /proc/PID/timers tells which POSIX timers there are and how they notify.
#pragma once

#include <map>

#include "image/task_records.h"
#include "tracee/table.h"

namespace stint::task {

class TimerQuestions {
 public:
  // Reads /proc/PID/timers. `job_tid` translates our thread numbers to the job's.
  static Result<TimerQuestions> make(tracee::Table& table, Pid process, const std::map<int, int>& job_tid);
  void answer(const tracee::Table& table, image::ProcessRecord& record) const;

 private:
  uint64_t interval_timers_ = 0;
  struct PosixQuestion {
    image::PosixTimer timer;
    uint64_t left = 0;
    size_t overrun = 0;
  };
  std::vector<PosixQuestion> posix_;
};

// Creates the POSIX timers with their ids, disarmed, then arms all timers with the time that was left: the last thing
// before the process goes on. Run by a thread of the process, after all threads are there.
Result<> restore_timers(const image::ProcessRecord& record, tracee::Hands& hands, tracee::Thread& thread, Pid process);

}  // namespace stint::task
