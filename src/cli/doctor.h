// What `stint doctor` finds out about a program before it runs, and about a process that runs.
#pragma once

#include <string>
#include <vector>

#include "base/remote.h"
#include "base/result.h"

namespace stint::cli {

struct Finding {
  bool refused = false;  // a checkpoint, or already `stint run`, would refuse it; else a thing to know
  std::string text;
};
using Findings = std::vector<Finding>;

// A failure means that it could not be examined.
Result<Findings> examine_program(const std::string& name);
// Of all its processes; it goes on as after any checkpoint.
Result<Findings> examine_process(Pid pid);

}  // namespace stint::cli
