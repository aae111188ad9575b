// Opens the job's files for the restored process, inside it: a description belongs to the credentials and the mount
// namespace of its maker. check_files() and put_back() come before.
//
// A file without a name is made again with its saved content: by O_TMPFILE where it never had one, else created under
// its old path and unlinked at once, so that /proc/self/fd shows what it showed; without a name at all where the path
// is taken by now; in the state directory where its directory is gone. All descriptions and mappings of it share one
// inode, as they did.
#pragma once

#include <map>
#include <string>

#include "files/check.h"
#include "sys/fd.h"

namespace stint::files {

class OpenFiles {
 public:
  // The source must outlive this.
  static Result<OpenFiles> make(const image::Source& source, FilePlan plan, CheckOptions options);

  // A description of its own for the file of a FileStateRecord, with these flags of F_GETFL, at position 0.
  Result<sys::UniqueFd> open_file(uint64_t file_state, int flags);

  // A descriptor to map the file of a MappedFileRecord with. `writable`: for a shared mapping that may be written.
  Result<sys::UniqueFd> open_mapped_file(uint64_t mapped_file, bool writable);

 private:
  OpenFiles(const image::Source& source, FilePlan plan, CheckOptions options)
      : source_(&source), plan_(std::move(plan)), options_(std::move(options)) {}

  struct Nameless {
    std::string path;  // that it had
    uint64_t size = 0, space = 0;
    uint32_t mode = 0600;
    int64_t mtime_ns = 0;
  };
  // The path under /proc/self/fd of the one inode, made when it is first asked for.
  Result<std::string> nameless(uint64_t space, const Nameless& file);
  Result<sys::UniqueFd> create_nameless(const std::string& path);
  Result<> lay_out_bundled(const image::MappedFileRecord& record, const std::string& path);

  const image::Source* source_;
  FilePlan plan_;
  CheckOptions options_;
  std::map<uint64_t, image::FileStateRecord> states_;
  std::map<uint64_t, image::MappedFileRecord> mapped_;
  std::map<uint64_t, sys::UniqueFd> nameless_;  // by space
};

}  // namespace stint::files
