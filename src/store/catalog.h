// Which checkpoints there are: jobs/NAME/checkpoints/N for every job of a state directory.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/manifest.h"

namespace stint::store {

struct CheckpointEntry {
  std::string job;  // empty for one that was named by its path
  uint64_t number = 0;
  std::string path;                  // of its directory
  std::optional<Manifest> manifest;  // nothing when it is lost: the checkpoint is as good
  uint64_t stored_bytes = 0;         // what its files take, by their size
};

class Catalog {
 public:
  // `jobs` is the directory of all jobs; one that is not there holds none.
  explicit Catalog(std::string jobs) : jobs_(std::move(jobs)) {}

  // The directory in which a job's checkpoints lie, there or not.
  std::string checkpoints_of(const std::string& job) const { return jobs_ + "/" + job + "/checkpoints"; }
  // The jobs that have a checkpoint, by name.
  Result<std::vector<std::string>> jobs() const;
  // A job's whole checkpoints, oldest first; none is fine.
  Result<std::vector<CheckpointEntry>> list(const std::string& job) const;
  // JOB (its newest), JOB@N, or the path of a checkpoint's directory (with a slash in it). What is not there is a
  // failure that says what there is.
  Result<CheckpointEntry> resolve(const std::string& named) const;

 private:
  Result<CheckpointEntry> resolve_path(std::string path) const;

  std::string jobs_;
};

}  // namespace stint::store
