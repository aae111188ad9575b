// Owners of what the kernel lends us: a descriptor, a mapping. Each gives it back when it goes out of scope.
#pragma once

#include <utility>

#include "base/bytes.h"

namespace stint::sys {

class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  // Closes the descriptor now.
  void reset();

 private:
  int fd_;
};

class Mapping {
 public:
  Mapping() = default;
  Mapping(void* start, size_t size) : start_(start), size_(size) {}
  Mapping(Mapping&& other) noexcept
      : start_(std::exchange(other.start_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(start_, other.start_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Mapping();

  std::byte* data() const { return static_cast<std::byte*>(start_); }
  size_t size() const { return size_; }
  ByteView bytes() const { return {data(), size_}; }

 private:
  void* start_ = nullptr;
  size_t size_ = 0;
};

}  // namespace stint::sys
