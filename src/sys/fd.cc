#include "sys/fd.h"

#include <sys/mman.h>
#include <unistd.h>

namespace stint::sys {

void UniqueFd::reset() {
  // Linux frees the slot even on EINTR: a retry could close a stranger's descriptor.
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Mapping::~Mapping() {
  if (start_ != nullptr) ::munmap(start_, size_);
}

}  // namespace stint::sys
