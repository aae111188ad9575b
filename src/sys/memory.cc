#include "sys/memory.h"

#include "base/bytes.h"
#include "sys/call.h"

namespace stint::sys {

Result<Mapping> map_file(int fd, uint64_t size) {
  if (size == 0) return Mapping();
  void* start = nullptr;
  TRY(call("mmap", [&] {
    start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    return start == MAP_FAILED ? -1 : 0;
  }));
  return Mapping(start, size);
}

Result<Mapping> map_huge(uint64_t size) {
  // mmap(2) aligns to 4 KiB only: more is mapped than is needed, and what sticks out is given back.
  uint64_t with_slack = size + kHugePageSize;
  void* start = nullptr;
  TRY(call("mmap", [&] {
    start = ::mmap(nullptr, with_slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return start == MAP_FAILED ? -1 : 0;
  }));
  uint64_t first = reinterpret_cast<uint64_t>(start);
  uint64_t aligned = (first + kHugePageSize - 1) & ~(kHugePageSize - 1);
  if (aligned > first) ::munmap(start, aligned - first);
  uint64_t end = aligned + page_up(size);
  if (first + with_slack > end) ::munmap(reinterpret_cast<void*>(end), first + with_slack - end);
  // A kernel without huge pages says EINVAL; small pages do as well.
  ::madvise(reinterpret_cast<void*>(aligned), size, MADV_HUGEPAGE);
  return Mapping(reinterpret_cast<void*>(aligned), page_up(size));
}

Result<UniqueFd> anonymous_file(const char* name) {
  return UniqueFd(static_cast<int>(TRY(call("memfd_create", [&] { return ::memfd_create(name, MFD_CLOEXEC); }))));
}

Result<> madvise(void* start, size_t size, int advice) {
  TRY(call("madvise", [&] { return ::madvise(start, size, advice); }));
  return {};
}

}  // namespace stint::sys
