// Our own memory: mappings of files and anonymous ones.
#pragma once

#include <sys/mman.h>

#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// The first `size` bytes of a file, to be read only. A page beyond the file's end is a SIGBUS: ask fstat first. A file
// of no bytes gives an empty Mapping.
Result<Mapping> map_file(int fd, uint64_t size);

// Fresh zero pages, private, readable and writable, aligned to 2 MiB and in huge pages where the kernel has them.
Result<Mapping> map_huge(uint64_t size);

// A file in memory that ends with its last descriptor (memfd_create(2), close-on-exec).
Result<UniqueFd> anonymous_file(const char* name);

Result<> madvise(void* start, size_t size, int advice);

}  // namespace stint::sys
