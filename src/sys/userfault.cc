#include "sys/userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/call.h"
#include "sys/pagemap.h"

namespace stint::sys {
namespace {

// Newer than the headers that we build with.
constexpr uint64_t kShmem = uint64_t{1} << 12, kUnpopulated = uint64_t{1} << 13, kAsync = uint64_t{1} << 15;

}  // namespace

const int kUserfaultFlags = O_CLOEXEC | UFFD_USER_MODE_ONLY;

Result<> set_asynchronous_write_protect(int userfault) {
  uffdio_api wanted{};
  wanted.api = UFFD_API;
  wanted.features = kAsync | kUnpopulated | kShmem;
  TRY(call("UFFDIO_API", [&] { return ::ioctl(userfault, UFFDIO_API, &wanted); }));
  return {};
}

Result<> follow_writes(int userfault, Range range) {
  uffdio_register wanted{};
  wanted.range = {range.start, range.size()};
  wanted.mode = UFFDIO_REGISTER_MODE_WP;
  TRY(call("UFFDIO_REGISTER", [&] { return ::ioctl(userfault, UFFDIO_REGISTER, &wanted); }));
  return {};
}

Result<> unprotect(int userfault, Range range) {
  uffdio_writeprotect wanted{};
  wanted.range = {range.start, range.size()};
  TRY(call("UFFDIO_WRITEPROTECT", [&] { return ::ioctl(userfault, UFFDIO_WRITEPROTECT, &wanted); }));
  return {};
}

Result<> try_to_follow_writes() {
  UniqueFd userfault(
      static_cast<int>(TRY(call("userfaultfd", [] { return ::syscall(SYS_userfaultfd, kUserfaultFlags); }))));
  return set_asynchronous_write_protect(userfault.get());
}

bool can_follow_writes() {
  static const bool can = best_pagemap_method() == PagemapMethod::kScan && try_to_follow_writes().has_value();
  return can;
}

}  // namespace stint::sys
