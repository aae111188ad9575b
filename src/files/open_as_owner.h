// A descriptor outlives its file's permissions: open(path, O_CREAT | O_RDWR, 0444) writes a file that nobody can open
// for writing again. The owner can, by changing the mode for the time of the open.
#pragma once

#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace stint::files {

// Opens what is there; where its mode forbids that to its owner, the mode is changed and put back.
Result<sys::UniqueFd> open_as_owner(const std::string& path, int flags);

}  // namespace stint::files
