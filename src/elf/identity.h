// Who a file is. Read-only memory is not kept in a checkpoint: it comes back from the same file, and this is how "the
// same" is told. The build-id alone is not enough (a file can be edited in place, and many have none), nor is the path.
#pragma once

#include <cstdint>
#include <string>

#include "base/hash.h"
#include "base/result.h"

namespace stint::elf {

struct FileIdentity {
  std::string build_id;  // lower-case hexadecimal; empty for none, and for what is not ELF
  uint64_t size = 0;
  Hash128 content;
  bool operator==(const FileIdentity&) const = default;
};

// Reads the whole file through `fd`, which may stand anywhere and does not move. It is read, not mapped: a file that
// somebody cuts meanwhile is then short, instead of a SIGBUS for us.
Result<FileIdentity> identify(int fd);

}  // namespace stint::elf
