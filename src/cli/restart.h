// Taking a job up from a checkpoint: `restart`, and `run --resume`.
#pragma once

#include <string>

#include "base/result.h"
#include "job/supervisor.h"

namespace stint::cli {

struct RestartWishes {
  std::string checkpoint;  // JOB, JOB@N or a path
  std::string name;        // of the new job; empty: the old one's
  bool detached = false;
  job::SupervisorOptions supervisor;
};

// Stays with the job to its end; what this process is to exit with.
Result<int> restart_job(const RestartWishes& wishes);

}  // namespace stint::cli
