// The small calls on descriptors that many live tests make. Each ends the test when the kernel says no.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "test/live/program/live.h"

namespace live {

// Closes its descriptor when it goes.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  operator int() const { return fd_; }
  void reset() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

inline Fd open_file(const std::string& path, int flags, mode_t mode = 0600) {
  return Fd(EXPECT_OK(::open(path.c_str(), flags, mode)));
}

struct Ends {
  Fd read;
  Fd write;
};

inline Ends make_pipe(int flags = 0) {
  int fds[2];
  EXPECT_OK(pipe2(fds, flags));
  return {Fd(fds[0]), Fd(fds[1])};
}

// Both ends of a socket pair read and write; the names only say how a test uses them.
inline Ends make_socketpair(int type) {
  int fds[2];
  EXPECT_OK(socketpair(AF_UNIX, type, 0, fds));
  return {Fd(fds[0]), Fd(fds[1])};
}

inline void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = EXPECT_OK(::write(fd, bytes.data(), bytes.size()));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

// What one read(2) gives.
inline std::string read_once(int fd, size_t most = 65536) {
  std::string bytes(most, '\0');
  bytes.resize(static_cast<size_t>(EXPECT_OK(::read(fd, bytes.data(), most))));
  return bytes;
}

inline std::string read_exactly(int fd, size_t size) {
  std::string bytes;
  while (bytes.size() < size) {
    const std::string more = read_once(fd, size - bytes.size());
    if (more.empty()) fail(__FILE__, __LINE__, "end of file after " + shown(bytes.size()) + " bytes");
    bytes += more;
  }
  return bytes;
}

inline std::string read_whole(const std::string& path) {
  const Fd fd = open_file(path, O_RDONLY);
  std::string bytes;
  for (std::string more = read_once(fd); !more.empty(); more = read_once(fd)) bytes += more;
  return bytes;
}

inline void write_whole(const std::string& path, std::string_view bytes) {
  write_all(open_file(path, O_WRONLY | O_CREAT | O_TRUNC), bytes);
}

inline struct stat stat_of(int fd) {
  struct stat status;
  EXPECT_OK(fstat(fd, &status));
  return status;
}

inline bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// `size` bytes that are the same for the same seed, and that no compressor or zero page can stand in for.
inline std::string pattern(size_t size, unsigned seed = 1) {
  std::string bytes(size, '\0');
  unsigned long state = seed * 0x9e3779b97f4a7c15UL + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005UL + 1442695040888963407UL;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

}  // namespace live
