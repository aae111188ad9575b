// What an inode can be asked beyond reading and writing: where its holes are, who else holds it, its times, its file
// system.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// A second open file description of the file behind `fd`, with a position and flags of its own; also of one that has no
// name any more. The inode's permissions are asked anew: a file that was opened and then made unreadable stays closed.
Result<UniqueFd> reopen(int fd, int flags);

// The first range of the file behind `fd` from `offset` on that is not a hole; empty at the end. Moves the position.
Result<Range> next_data(int fd, uint64_t offset, uint64_t size);

// F_GETFL.
Result<int> status_flags(int fd);

// Whether anybody has the file open for writing, or mapped shared and writable, in any process of this host. `fd` must
// be O_RDONLY. Asks for a read lease, which the kernel grants only when there is no writer. Empty where leases are not
// to be had: the file of another user, a file system without.
Result<std::optional<bool>> has_writer(int fd);

// Makes the files' times; ctime cannot be made.
Result<> set_mtime(int fd, int64_t mtime_ns);
Result<> fchmod(int fd, mode_t mode);
Result<> fchown(int fd, uid_t uid, gid_t gid);
Result<> chmod(const std::string& path, mode_t mode);
Result<> chown(const std::string& path, uid_t uid, gid_t gid);

// Copies within the kernel, by reference where the file system can.
Result<> copy_range(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size);

// Swaps two names, at once. EINVAL on file systems that cannot.
Result<> exchange(const std::string& one, const std::string& other);

// An inode without a name in the file system of `directory`.
Result<UniqueFd> open_nameless(const std::string& directory, int flags, mode_t mode);

// procfs, sysfs, cgroups and their like: the kernel makes the content up while it is read; size and times say nothing.
Result<bool> content_is_made_up(int fd);

struct FileSystemSpace {
  uint64_t device = 0;
  uint64_t free = 0;  // bytes that this user may still write
};
Result<FileSystemSpace> space_at(const std::string& path);

// CLOCK_REALTIME.
int64_t realtime_ns();

inline int64_t mtime_ns(const struct stat& stat) { return stat.st_mtim.tv_sec * 1'000'000'000 + stat.st_mtim.tv_nsec; }
inline int64_t ctime_ns(const struct stat& stat) { return stat.st_ctim.tv_sec * 1'000'000'000 + stat.st_ctim.tv_nsec; }

}  // namespace stint::sys
