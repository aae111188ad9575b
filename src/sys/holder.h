// Which processes have something open, as far as we may look: by the links in /proc/PID/fd.
#pragma once

#include <string>
#include <vector>

#include "base/remote.h"
#include "base/result.h"

namespace stint::sys {

// `link`: "pipe:[4711]", "socket:[4711]". Takes time by the descriptors of all processes: for errors.
Result<std::vector<Pid>> processes_with(const std::string& link);

Result<bool> has_open(Pid process, const std::string& link);

// "process 42 (nginx)".
std::string title_of(Pid process);

}  // namespace stint::sys
