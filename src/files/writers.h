// Who else has a file open for writing. Growth can be the job's own only where nobody else writes the file.
//
// The kernel answers yes or no with a read lease, over all processes of this host, but only to the file's owner. Who it
// is stands in /proc, as far as we may look: the descriptors of our own processes. Neither knows of other hosts on a
// shared file system, nor of a program that wrote and has closed the file: what was changed last, and when, must tell
// that.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace stint::files {

// "process 42 (tail)", or "another program" where it cannot be seen; empty if nobody has it open for writing as far as
// can be seen. `fd` is any descriptor of ours for the file that was not opened for writing.
Result<std::optional<std::string>> find_writer(int fd);

}  // namespace stint::files
