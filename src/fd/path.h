// The name under which an open file can be found again. The kernel keeps the name up to date when the file is renamed;
// " (deleted)" at its end may be the kernel's remark or a part of the name.
#pragma once

#include "fd/kind.h"

namespace stint::fd {

struct FoundPath {
  std::string path;       // absolute; of an unlinked file: what it was
  bool unlinked = false;  // no name leads to it any more
};
// kRefused when a name that should lead to the object leads to another one, or only a name that we do not know does.
Result<FoundPath> find_path(const Facts& facts);

// Names in the directory of `path` that may lead to an inode of this number. sem_open(3) makes a file under a name that
// it takes away when it has linked it to the right one beside it: what the kernel shows then is the name that is gone.
std::vector<std::string> names_beside(const std::string& path, uint64_t inode);

// Whether the object lies in a file system that the kernel makes up.
enum class FileSystem { kOrdinary, kKernel, kRefused };
Result<FileSystem> file_system_of(const Facts& facts);
Result<bool> is_message_queue(const Facts& facts);

// Opens a path by calls in a process that will have it, at this position (0: as it is opened); the number there.
Result<int> open_in(const std::string& path, int flags, uint64_t position, Receiver& holder);

// The flags with which a description like this one is opened again: what open(2) did once is left out.
int reopen_flags(uint32_t recorded);

}  // namespace stint::fd
