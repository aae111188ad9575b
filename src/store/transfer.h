// A checkpoint as one stream, for a pipe: through ssh to another machine, or to an archive. It leans on nothing:
// whatever blocks it consists of, wherever they lay, come along.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "image/page_index.h"
#include "image/record.h"
#include "image/task_records.h"
#include "store/manifest.h"

namespace stint::store {

// Writes the checkpoint in this directory to `fd`. Each block is verified before it is written.
Result<> export_checkpoint(const std::string& directory, int fd);

// A stream that is being read: first what it is, then, when it is known where it shall go, all of it.
class Import {
 public:
  static Result<Import> begin(int fd);

  const image::JobRecord& job() const { return job_; }
  const Manifest& manifest() const { return manifest_; }
  // As the next checkpoint in `checkpoints`: its number. All of it is verified, and durable, before it has a name.
  Result<uint64_t> finish(const std::string& checkpoints);

 private:
  explicit Import(int fd) : fd_(fd) {}
  Result<> read_pages(int to);

  int fd_;
  Manifest manifest_;
  Bytes records_;
  image::JobRecord job_;
  image::PageIndex index_;
};

}  // namespace stint::store
