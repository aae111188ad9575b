// The regular files that a job holds open, or mapped shared and writable, as they are at the moment of the checkpoint.
//
// A file is no part of a process: it can be changed, moved or removed by anybody between the checkpoint and the
// restart. The kernel tells size, mtime and ctime, but a store through a shared mapping to a page that is already dirty
// changes none of them, and neither does a second write within one tick of its clock. So what the job can write is held
// by its content's hash; up to `saved_up_to` bytes the content itself is saved, so that the file can be put back
// (put_back.h), and what has no name any more is saved whatever its size.
//
// What must be read while the job is stopped is what the job can write: at the rate of the page cache, once. Files that
// it only reads are hashed after it runs again, and files that it could write but has left alone are known from before
// the stop.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "fd/kind.h"
#include "files/hash_cache.h"
#include "image/file_records.h"
#include "image/record.h"

namespace stint::files {

// The spaces of files' content in a checkpoint: apart from those of shared memory, which are numbered by inode.
inline constexpr uint64_t kFileStateSpace = image::kObjectSpace | uint64_t{1} << 62;
inline constexpr uint64_t kMappedFileSpace = image::kObjectSpace | uint64_t{1} << 61;

struct FileStatesOptions {
  uint64_t saved_up_to = 64 << 20;   // content of files that the job can write
  uint64_t hashed_up_to = 64 << 20;  // of files that it only reads: larger ones are held by their times alone
};

class FileStates final : public fd::FileRegistry {
 public:
  // The cache must outlive this.
  explicit FileStates(HashCache& cache, FileStatesOptions options = {}) : cache_(cache), options_(options) {}

  // While the job runs: reads a file that it has open for writing and that is too large to be saved, in the hope that
  // it is left alone until the stop. `fd` is a descriptor of ours for it. A file that cannot be read now is settle()'s
  // affair.
  void look_ahead(int fd);

  // While it is stopped: notes a file, keeping a descriptor of its own.
  Result<uint64_t> note(int fd, const struct stat& stat, std::string_view path, bool unlinked, bool written) override;
  // The same for a file that is mapped shared and may be written through the mapping.
  Result<uint64_t> note_shared_mapping(int fd, const struct stat& stat, std::string_view path, bool unlinked);

  // While it is stopped, after all notes: reads what the job could change once it runs again.
  Result<> settle(image::Sink& sink);

  // After it runs again: hashes the rest, and writes one FileStateRecord for each file.
  Result<> save(image::Sink& sink);

  // The id of a noted file that the job can write or that has no name; 0 if it is not noted as such. Others do not
  // change.
  uint64_t changing_file(uint64_t device, uint64_t inode) const;

  // Our descriptors of the noted files whose inodes have this number, on whichever device.
  std::vector<int> descriptors_of(uint64_t inode) const;

 private:
  struct Entry {
    image::FileStateRecord record;
    sys::UniqueFd fd;
    struct stat stat{};
    bool settled = false;
  };
  Entry* find(const struct stat& stat);
  Result<> settle(Entry& entry, image::Sink& sink);
  Result<> settle_content(Entry& entry, image::Sink& sink);

  HashCache& cache_;
  FileStatesOptions options_;
  std::vector<Entry> entries_;                                // the id is the index + 1
  std::map<std::pair<uint64_t, uint64_t>, size_t> by_inode_;  // (device, inode)
};

}  // namespace stint::files
