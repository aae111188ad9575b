// Paths into /proc, /sys and cgroups: what an open file or directory there is opened by again. A path into /proc that
// leads to a process names it by the job's number; the job has the same numbers after a restart.
#pragma once

#include "fd/kind.h"

namespace stint::fd {

// kRefused for the files of processes outside of the job, and of single threads.
Result<std::string> find_kernel_path(const Facts& facts, const CaptureContext& context);

// Whether it shows a process other than this one, which must be there when it is opened.
bool shows_another_process(const std::string& path, JobPid maker);

// Opens a path that shows the maker, in which this runs, or no process.
Result<sys::UniqueFd> open_kernel_path(const std::string& path, int flags, JobPid maker);

}  // namespace stint::fd
