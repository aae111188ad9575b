// The timers of a process: the three interval timers and the POSIX timers. How much time is left only the process
// itself can ask; /proc/PID/timers tells which POSIX timers there are and how they notify.
#pragma once

#include <map>

#include "image/task_records.h"
#include "task/signals.h"
#include "tracee/table.h"

namespace stint::task {

// The timers into the record, and the signals that wait, both of one moment: that of a timer which expires in between
// would be in neither, or in both. `job_tid` translates our thread numbers to the job's.
Result<Pending> capture_timers(tracee::StoppedProcess& process, tracee::Hands& hands, const std::map<int, int>& job_tid,
                               image::ProcessRecord& record);

// Creates the POSIX timers with their ids, disarmed, then arms all timers with the time that was left: the last thing
// before the process goes on. Run by a thread of the process, after all threads are there.
Result<> restore_timers(const image::ProcessRecord& record, tracee::Hands& hands, tracee::Thread& thread, Pid process);

}  // namespace stint::task
