// Restarting a checkpoint. This is the table of contents; the steps are in plan, husk, mem/ and task/.
#pragma once

#include <array>
#include <functional>

#include "job/family.h"
#include "restore/plan.h"

namespace stint::restore {

struct RestartOptions {
  std::string checkpoint;     // its directory
  std::string job_directory;  // of the job that it will be
  std::string state_directory;
  std::string kept_directory;  // where what is cut off files goes
  bool stopped_then = false;   // the job was killed in this very checkpoint: nothing of it ran on
  bool user_namespace = true;  // FamilyPlan::user_namespace
  std::array<int, 3> streams{0, 1, 2};
  bool terminal = false;  // one of the streams is a terminal
  std::optional<winsize> size;
  std::string sleeps_file;
  // The processes are there, and none has gone on yet: the job's directory is to say so.
  std::function<Result<>(const image::JobRecord&, const job::Family&)> before_run;
};

struct Restarted {
  job::Family family;
  image::JobRecord job;
  std::vector<std::string> remarks;  // for the user: what was put back
};

// The program runs when this returns; or nothing of it is left, and the files are as they were before. The caller is
// single-threaded and has all signals blocked, as for start_family().
Result<Restarted> restart(const RestartOptions& options);

}  // namespace stint::restore
