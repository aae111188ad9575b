#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "sys/call.h"

namespace stint::sys {
namespace {

// pwrite(2) and read(2) move at most 0x7ffff000 bytes; smaller pieces keep a stop from waiting for one of them.
constexpr size_t kLargestPiece = 64 << 20;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode) { return open_at(AT_FDCWD, path, flags, mode); }

Result<UniqueFd> open_at(int directory, const std::string& name, int flags, mode_t mode) {
  return UniqueFd(static_cast<int>(
      TRY(call("open", [&] { return ::openat(directory, name.c_str(), flags | O_CLOEXEC, mode); }).in(name))));
}

Result<size_t> read(int fd, std::span<std::byte> to) {
  return static_cast<size_t>(
      TRY(call("read", [&] { return ::read(fd, to.data(), std::min(to.size(), kLargestPiece)); })));
}

Result<size_t> pread(int fd, std::span<std::byte> to, uint64_t offset) {
  return static_cast<size_t>(TRY(call("pread", [&] {
    return ::pread(fd, to.data(), std::min(to.size(), kLargestPiece), static_cast<off_t>(offset));
  })));
}

Result<> pread_all(int fd, std::span<std::byte> to, uint64_t offset) {
  while (!to.empty()) {
    size_t got = TRY(pread(fd, to, offset));
    if (got == 0) return failed("pread: the file ends too early");
    to = to.subspan(got);
    offset += got;
  }
  return {};
}

Result<size_t> write(int fd, ByteView bytes) {
  return static_cast<size_t>(
      TRY(call("write", [&] { return ::write(fd, bytes.data(), std::min(bytes.size(), kLargestPiece)); })));
}

Result<> write_all(int fd, ByteView bytes) {
  while (!bytes.empty()) bytes = bytes.subspan(TRY(write(fd, bytes)));
  return {};
}

Result<> pwrite_all(int fd, ByteView bytes, uint64_t offset) {
  while (!bytes.empty()) {
    long put = TRY(call("pwrite", [&] {
      return ::pwrite(fd, bytes.data(), std::min(bytes.size(), kLargestPiece), static_cast<off_t>(offset));
    }));
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

Result<Bytes> read_to_end(int fd) {
  Bytes content;
  size_t piece = 4096;
  for (;;) {
    size_t before = content.size();
    content.resize(before + piece);
    size_t got = TRY(read(fd, std::span(content).subspan(before)));
    content.resize(before + got);
    if (got == 0) return content;
    if (got == piece) piece = std::min<size_t>(piece * 4, 1 << 20);
  }
}

Result<Bytes> read_file(const std::string& path) {
  UniqueFd file = TRY(open(path, O_RDONLY));
  return read_to_end(file.get()).in(path);
}

Result<struct stat> stat(const std::string& path) {
  struct stat found;
  TRY(call("stat", [&] { return ::stat(path.c_str(), &found); }).in(path));
  return found;
}

Result<struct stat> lstat(const std::string& path) {
  struct stat found;
  TRY(call("lstat", [&] { return ::lstat(path.c_str(), &found); }).in(path));
  return found;
}

Result<struct stat> fstat(int fd) {
  struct stat found;
  TRY(call("fstat", [&] { return ::fstat(fd, &found); }));
  return found;
}

Result<> fsync(int fd) {
  TRY(call("fsync", [&] { return ::fsync(fd); }));
  return {};
}

Result<> ftruncate(int fd, uint64_t size) {
  TRY(call("ftruncate", [&] { return ::ftruncate(fd, static_cast<off_t>(size)); }));
  return {};
}

Result<> allocate(int fd, uint64_t size) {
  Result<long> allocated = call("fallocate", [&] { return ::fallocate(fd, 0, 0, static_cast<off_t>(size)); });
  if (allocated.has_value()) return {};
  if (allocated.error().os_errno() != EOPNOTSUPP) return std::move(allocated).error();
  Bytes zeros(std::min<uint64_t>(size, 1 << 20));
  for (uint64_t offset = 0; offset < size; offset += zeros.size()) {
    TRY(pwrite_all(fd, ByteView(zeros).first(std::min<uint64_t>(zeros.size(), size - offset)), offset));
  }
  return {};
}

Result<bool> punch_hole(int fd, Range bytes) {
  Result<long> punched = call("fallocate", [&] {
    return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(bytes.start),
                       static_cast<off_t>(bytes.size()));
  });
  if (punched.has_value()) return true;
  if (punched.error().os_errno() == EOPNOTSUPP) return false;
  return std::move(punched).error();
}

Result<> mkdir(const std::string& path, mode_t mode) {
  TRY(call("mkdir", [&] { return ::mkdir(path.c_str(), mode); }).in(path));
  return {};
}

Result<> make_directories(const std::string& path, mode_t mode) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    std::string upto = path.substr(0, slash);
    Result<> made = mkdir(upto, mode);
    // A directory that is there may lie on a read-only file system, or where we may not write.
    if (!made.has_value()) {
      Result<struct stat> there = stat(upto);
      if (!there.has_value() && made.error().os_errno() == EEXIST) return std::move(there).error();
      if (!there.has_value()) return made;
      if (!S_ISDIR(there->st_mode)) return os_error("mkdir", ENOTDIR).in(upto);
    }
    if (slash == std::string::npos) return {};
  }
}

Result<> rmdir(const std::string& path) {
  TRY(call("rmdir", [&] { return ::rmdir(path.c_str()); }).in(path));
  return {};
}

Result<> unlink(const std::string& path) {
  TRY(call("unlink", [&] { return ::unlink(path.c_str()); }).in(path));
  return {};
}

Result<> rename(const std::string& from, const std::string& to) {
  TRY(call("rename", [&] { return ::rename(from.c_str(), to.c_str()); }).in(to));
  return {};
}

Result<> rename_to_new(const std::string& from, const std::string& to) {
  TRY(call("renameat2", [&] {
        return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
      }).in(to));
  return {};
}

Result<> symlink(const std::string& target, const std::string& link) {
  TRY(call("symlink", [&] { return ::symlink(target.c_str(), link.c_str()); }).in(link));
  return {};
}

Result<std::string> resolve_links(const std::string& path) {
  std::string there = path, missing;
  while (there.size() > 1 && there.ends_with('/')) there.pop_back();
  for (;;) {
    std::unique_ptr<char, decltype(&::free)> resolved(nullptr, ::free);
    Result<long> found = call("realpath", [&] {
      resolved.reset(::realpath(there.c_str(), nullptr));
      return resolved != nullptr ? 0 : -1;
    });
    if (found.has_value()) return (missing.empty() || resolved.get()[1] != 0 ? resolved.get() : "") + missing;
    size_t name = there.rfind('/');
    if (found.error().os_errno() != ENOENT || name == std::string::npos) return std::move(found).error().in(path);
    missing = there.substr(name) + missing;
    there.resize(std::max<size_t>(name, 1));
  }
}

Result<std::string> readlink(const std::string& path) {
  std::string text(4096, '\0');
  long size = TRY(call("readlink", [&] { return ::readlink(path.c_str(), text.data(), text.size()); }).in(path));
  text.resize(static_cast<size_t>(size));
  return text;
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  UniqueFd fd = TRY(open(path, O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(fd.get()));
  if (directory == nullptr) return os_error("fdopendir").in(path);
  fd.release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return os_error("readdir").in(path);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::vector<DirectoryEntry>> list_entries(const std::string& path, size_t most) {
  UniqueFd fd = TRY(open(path, O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(fd.get()));
  if (directory == nullptr) return os_error("fdopendir").in(path);
  fd.release();
  std::vector<DirectoryEntry> entries;
  while (entries.size() < most) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") entries.push_back({std::move(name), entry->d_ino, entry->d_type == DT_DIR});
  }
  if (errno != 0) return os_error("readdir").in(path);
  return entries;
}

Result<> remove_tree(const std::string& path) {
  Result<struct stat> there = lstat(path);
  if (!there.has_value()) {
    if (there.error().os_errno() == ENOENT) return {};
    return std::move(there).error();
  }
  if (!S_ISDIR(there->st_mode)) return unlink(path);
  for (const std::string& name : TRY(list_directory(path))) TRY(remove_tree(path + "/" + name));
  return rmdir(path);
}

Result<bool> try_lock(int fd, Lock lock) {
  int how = lock == Lock::kShared ? LOCK_SH : LOCK_EX;
  Result<long> locked = call("flock", [&] { return ::flock(fd, how | LOCK_NB); });
  if (locked.has_value()) return true;
  if (locked.error().os_errno() == EWOULDBLOCK) return false;
  return std::move(locked).error();
}

Result<> unlock(int fd) {
  TRY(call("flock", [&] { return ::flock(fd, LOCK_UN); }));
  return {};
}

Result<> lock(int fd, Lock lock) {
  TRY(call("flock", [&] { return ::flock(fd, lock == Lock::kShared ? LOCK_SH : LOCK_EX); }));
  return {};
}

}  // namespace stint::sys
