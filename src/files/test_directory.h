// A directory for one test's files, and what tests of files need around it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "sys/file.h"
#include "sys/inode.h"

namespace stint::files {

class TestDirectory {
 public:
  explicit TestDirectory(const std::string& base = "/var/tmp") : path_(base + "/stint-files-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  ~TestDirectory() { EXPECT_TRUE(sys::remove_tree(path_).has_value()); }
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void write_file(const std::string& path, std::string_view text) {
  sys::UniqueFd file = std::move(*sys::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  ASSERT_TRUE(sys::write_all(file.get(), bytes_of(text)).has_value());
}

inline void append(const std::string& path, std::string_view text) {
  sys::UniqueFd file = std::move(*sys::open(path, O_WRONLY | O_APPEND));
  ASSERT_TRUE(sys::write_all(file.get(), bytes_of(text)).has_value());
}

inline std::string content(const std::string& path) {
  Result<Bytes> bytes = sys::read_file(path);
  return bytes.has_value() ? std::string(text_of(*bytes)) : "(" + bytes.error().text() + ")";
}

inline struct stat stat_of(const std::string& path) {
  struct stat found{};
  ::lstat(path.c_str(), &found);
  return found;
}

// Makes a file look as if it had been left alone for a minute; ctime stays now, so that hashing it sets it apart.
inline void age(const std::string& path) {
  sys::UniqueFd file = std::move(*sys::open(path, O_RDONLY));
  ASSERT_TRUE(sys::set_mtime(file.get(), sys::realtime_ns() - 60'000'000'000).has_value());
}

inline bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace stint::files
