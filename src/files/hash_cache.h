// Hashes of files that were read before, so that a library of 90 MB is not read at each checkpoint. An entry counts
// only while device, inode, size, mtime and ctime are what they were, and only if the file had been left alone for a
// while when it was hashed: the kernel's clock for file times ticks every few milliseconds (some file systems' every
// two seconds), so a file that was changed just now can be changed again without its times showing it.
//
// The cache is a file in the state directory, replaced by one rename. It is only ever a gain in speed: one that is
// missing, damaged or of another version is taken as empty.
#pragma once

#include <sys/stat.h>

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "base/hash.h"
#include "base/result.h"

namespace stint::files {

// Younger than this, equal times prove nothing.
inline constexpr int64_t kTimesSettleNs = 2'000'000'000;

// True if a later change of the file would show in its times. `now` is CLOCK_REALTIME from before the file was looked
// at.
bool times_tell(const struct stat& stat, int64_t now_ns);

// What is known of a file's content.
struct KnownFile {
  Hash128 content;
  std::string build_id;  // hex; empty for none, or no ELF file
};

class HashCache {
 public:
  // In memory only.
  HashCache() = default;
  // Kept in the file `path`, of at most `limit` entries.
  explicit HashCache(std::string path, size_t limit = 4096);

  std::optional<KnownFile> find(const struct stat& stat);
  void remember(const struct stat& stat, const KnownFile& known);

  // Writes the cache if it has learned something.
  Result<> store();
  size_t size() const { return entries_.size(); }

 private:
  using Key = std::tuple<uint64_t, uint64_t, uint64_t, int64_t, int64_t>;  // device, inode, size, mtime, ctime
  struct Entry {
    KnownFile known;
    uint64_t used = 0;  // grows with each use: the smallest goes first
  };
  static Key key_of(const struct stat& stat);
  void load();

  std::string path_;
  size_t limit_ = 4096;
  std::map<Key, Entry> entries_;
  uint64_t uses_ = 0;
  bool learned_ = false;
};

// What is known of the file behind `fd`, from the cache or by reading it. kRefused when the file changes meanwhile: its
// content belongs to no single moment. `fd` must be readable; its position is not touched.
Result<KnownFile> know_file(int fd, HashCache& cache);

}  // namespace stint::files
