// Reading whole files of /proc. They have no size and come in pieces; a process that is gone shows as ESRCH or ENOENT.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/remote.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// "/proc/42/maps" for (42, "maps"); "/proc/self/maps" for Pid{0}.
std::string proc_path(Pid pid, std::string_view name);

// The whole of one file of /proc/PID. The error names the file.
Result<std::string> read_proc(Pid pid, std::string_view name);

// The whole of smaps. The kernel looks at every page of a mapping to tell of it, and does so again when what it has
// to tell did not fit into the page that it fills for one read(2): so that it never tries two mappings in one, little
// is asked for at a time.
Result<std::string> read_smaps(Pid pid);

// The whole of any file that is read in one go, up to `limit` bytes; longer is an error.
Result<std::string> read_whole(const std::string& path, size_t limit = size_t{1} << 30);

Result<UniqueFd> open_proc(Pid pid, std::string_view name, int flags);

}  // namespace stint::sys
