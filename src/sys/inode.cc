#include "sys/inode.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "sys/call.h"

namespace stint::sys {
namespace {

constexpr long kBpfFs = 0xcafe4a11, kTraceFs = 0x74726163, kConfigFs = 0x62656570, kSecurityFs = 0x73636673;

}  // namespace

Result<UniqueFd> reopen(int fd, int flags) {
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  // O_NONBLOCK: a file under a lease would make us wait for its holder, who may be stopped.
  return UniqueFd(static_cast<int>(
      TRY(call("open", [&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); }))));
}

Result<Range> next_data(int fd, uint64_t offset, uint64_t size) {
  if (offset >= size) return Range{size, size};
  Result<long> data = call("lseek", [&] { return ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA); });
  if (!data.has_value() && data.error().os_errno() == ENXIO) return Range{size, size};
  if (!data.has_value() && data.error().os_errno() == EINVAL) return Range{offset, size};  // knows no holes
  uint64_t start = static_cast<uint64_t>(TRY(std::move(data)));
  if (start >= size) return Range{size, size};
  Result<long> hole = call("lseek", [&] { return ::lseek(fd, static_cast<off_t>(start), SEEK_HOLE); });
  uint64_t end = hole.has_value() ? static_cast<uint64_t>(*hole) : size;
  return Range{start, std::min(end, size)};
}

Result<int> status_flags(int fd) {
  return static_cast<int>(TRY(call("F_GETFL", [&] { return ::fcntl(fd, F_GETFL); })));
}

Result<std::optional<bool>> has_writer(int fd) {
  // Who opens the file meanwhile breaks the lease, which would send us SIGIO: SIGURG does nothing.
  TRY(call("F_SETSIG", [&] { return ::fcntl(fd, F_SETSIG, SIGURG); }));
  Result<long> lease = call("F_SETLEASE", [&] { return ::fcntl(fd, F_SETLEASE, F_RDLCK); });
  if (lease.has_value()) {
    TRY(call("F_SETLEASE", [&] { return ::fcntl(fd, F_SETLEASE, F_UNLCK); }));
    return std::optional<bool>(false);
  }
  if (lease.error().os_errno() == EAGAIN) return std::optional<bool>(true);
  return std::optional<bool>();
}

Result<> set_mtime(int fd, int64_t mtime_ns) {
  struct timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                              {.tv_sec = mtime_ns / 1'000'000'000, .tv_nsec = mtime_ns % 1'000'000'000}};
  TRY(call("futimens", [&] { return ::futimens(fd, times); }));
  return {};
}

Result<> fchmod(int fd, mode_t mode) {
  TRY(call("fchmod", [&] { return ::fchmod(fd, mode); }));
  return {};
}

Result<> fchown(int fd, uid_t uid, gid_t gid) {
  TRY(call("fchown", [&] { return ::fchown(fd, uid, gid); }));
  return {};
}

Result<> chmod(const std::string& path, mode_t mode) {
  TRY(call("chmod", [&] { return ::chmod(path.c_str(), mode); }).in(path));
  return {};
}

Result<> chown(const std::string& path, uid_t uid, gid_t gid) {
  TRY(call("chown", [&] { return ::chown(path.c_str(), uid, gid); }).in(path));
  return {};
}

Result<> copy_range(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size) {
  off_t in = static_cast<off_t>(from_offset), out = static_cast<off_t>(to_offset);
  bool in_kernel = true;
  Bytes buffer;
  while (size > 0) {
    if (in_kernel) {
      Result<long> moved = call("copy_file_range", [&] { return ::copy_file_range(from, &in, to, &out, size, 0); });
      int error = moved.has_value() ? 0 : moved.error().os_errno();
      if (moved.has_value() && *moved > 0)
        size -= static_cast<uint64_t>(*moved);
      else if (moved.has_value() || error == EXDEV || error == EINVAL || error == EOPNOTSUPP || error == ENOSYS)
        in_kernel = false;
      else
        return std::move(moved).error();
      continue;
    }
    buffer.resize(1 << 20);
    size_t piece = std::min<uint64_t>(buffer.size(), size);
    long got = TRY(call("pread", [&] { return ::pread(from, buffer.data(), piece, in); }));
    if (got == 0) return failed("pread: the file ends too early");
    long put = TRY(call("pwrite", [&] { return ::pwrite(to, buffer.data(), static_cast<size_t>(got), out); }));
    in += put, out += put, size -= static_cast<uint64_t>(put);
  }
  return {};
}

Result<> exchange(const std::string& one, const std::string& other) {
  TRY(call("renameat2", [&] {
        return ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE);
      }).in(other));
  return {};
}

Result<UniqueFd> open_nameless(const std::string& directory, int flags, mode_t mode) {
  return UniqueFd(static_cast<int>(
      TRY(call("open", [&] { return ::open(directory.c_str(), flags | O_TMPFILE | O_CLOEXEC, mode); }).in(directory))));
}

Result<bool> content_is_made_up(int fd) {
  struct statfs found;
  TRY(call("fstatfs", [&] { return ::fstatfs(fd, &found); }));
  static constexpr std::array<long, 9> kMadeUp = {
      PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC,
      kTraceFs,         kBpfFs,      kConfigFs,          kSecurityFs};
  return std::ranges::find(kMadeUp, static_cast<long>(found.f_type)) != kMadeUp.end();
}

Result<FileSystemSpace> space_at(const std::string& path) {
  struct statfs found;
  TRY(call("statfs", [&] { return ::statfs(path.c_str(), &found); }).in(path));
  struct stat stat;
  TRY(call("stat", [&] { return ::stat(path.c_str(), &stat); }).in(path));
  return FileSystemSpace{.device = stat.st_dev,
                         .free = static_cast<uint64_t>(found.f_bavail) * static_cast<uint64_t>(found.f_frsize)};
}

int64_t realtime_ns() {
  struct timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace stint::sys
