// What a checkpoint says, decoded and in order, and what is decided before anything is touched: whether this host fits,
// and where in the new process there is room for the table-runner.
#pragma once

#include "image/file_records.h"
#include "image/memory_records.h"
#include "image/record.h"
#include "image/task_records.h"

namespace stint::restore {

struct Plan {
  image::JobRecord job;
  image::ProcessRecord process;
  std::vector<image::ThreadRecord> threads;  // the leader first
  std::vector<image::VmaRecord> vmas;        // by address
  std::vector<image::SharedMemoryRecord> shared_memory;
  Range area;  // where no mapping of the program's is
};

// kDamaged when records are missing or contradict each other.
Result<Plan> read_plan(const image::Source& source);

// kUnfit when this host cannot run it: the processor lacks features.
Result<> check_host(const Plan& plan);

}  // namespace stint::restore
