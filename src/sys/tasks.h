// Which tasks there are: the threads of a process, the children of a thread.
#pragma once

#include <vector>

#include "base/remote.h"
#include "base/result.h"

namespace stint::sys {

// The thread ids in /proc/PID/task, in the kernel's order (the leader first).
Result<std::vector<Pid>> list_threads(Pid process);

// The children that a thread has forked, or that came to it, living and dead (/proc/PID/task/TID/children).
Result<std::vector<Pid>> list_children_of_thread(Pid process, Pid thread);
// Those of all threads of a process.
Result<std::vector<Pid>> list_children(Pid process);

}  // namespace stint::sys
