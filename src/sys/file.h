// Files and directories by path or descriptor. Every descriptor is made with O_CLOEXEC.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode = 0);
// `name` as seen from the directory behind `directory`.
Result<UniqueFd> open_at(int directory, const std::string& name, int flags, mode_t mode = 0);

// What is there, at most to.size() bytes; 0 at the end of the file.
Result<size_t> read(int fd, std::span<std::byte> to);
Result<size_t> pread(int fd, std::span<std::byte> to, uint64_t offset);
// Exactly to.size() bytes; a file that ends before is an error.
Result<> pread_all(int fd, std::span<std::byte> to, uint64_t offset);
// What fits now, at most bytes.size(); EAGAIN when nothing does and the description is nonblocking.
Result<size_t> write(int fd, ByteView bytes);
Result<> write_all(int fd, ByteView bytes);
// pwrite(2) may write less than it was given, on a full disk for one: the rest is tried again, so that the error shows.
Result<> pwrite_all(int fd, ByteView bytes, uint64_t offset);
// All that read(2) gives until it gives nothing: right for /proc too, where st_size is 0.
Result<Bytes> read_to_end(int fd);
Result<Bytes> read_file(const std::string& path);

Result<struct stat> stat(const std::string& path);   // follows a symbolic link
Result<struct stat> lstat(const std::string& path);  // does not
Result<struct stat> fstat(int fd);
Result<> fsync(int fd);
Result<> ftruncate(int fd, uint64_t size);
// Gives the file `size` bytes that are on the disk, not a hole: a store through a mapping of it does not meet a full
// disk.
Result<> allocate(int fd, uint64_t size);
// Gives back what these bytes take on the disk; they read as zeros from then on, and the file's size stays. False where
// the file system cannot (NFS before 4.2).
Result<bool> punch_hole(int fd, Range bytes);

Result<> mkdir(const std::string& path, mode_t mode);
// The directory and those above it that are missing; one that is there already is fine.
Result<> make_directories(const std::string& path, mode_t mode);
Result<> rmdir(const std::string& path);
Result<> unlink(const std::string& path);
Result<> rename(const std::string& from, const std::string& to);
// Fails with EEXIST where `to` is there already, be it an empty directory that rename(2) would replace; with EINVAL on
// file systems that cannot look and rename at once (NFS).
Result<> rename_to_new(const std::string& from, const std::string& to);
// Makes `link`, which leads to `target`.
Result<> symlink(const std::string& target, const std::string& link);
// A symbolic link's text.
Result<std::string> readlink(const std::string& path);
// An absolute path without symbolic links; what of it is not there yet stays as it is.
Result<std::string> resolve_links(const std::string& path);
// The names in a directory but "." and "..", sorted.
Result<std::vector<std::string>> list_directory(const std::string& path);
// Its names with their inode numbers, in no order; "." and ".." are not among them. At most `most` of them.
struct DirectoryEntry {
  std::string name;
  uint64_t inode = 0;  // of a mount point: what is below it
  bool directory = false;
};
Result<std::vector<DirectoryEntry>> list_entries(const std::string& path, size_t most);
// A directory and all below it; does not follow links. One that is not there is fine.
Result<> remove_tree(const std::string& path);

enum class Lock { kShared = 1, kExclusive = 2 };
// flock(2): belongs to the open file description, and goes with it. True when it is ours now, false when another has
// it.
Result<bool> try_lock(int fd, Lock lock);
Result<> lock(int fd, Lock lock);
// For all duplicates of the descriptor, in whatever process: closing it would wait for the last of them.
Result<> unlock(int fd);

}  // namespace stint::sys
