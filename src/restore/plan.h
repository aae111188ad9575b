// What a checkpoint says, decoded and in order, and what is decided before anything is touched: whether this host fits,
// and where in every process of the job there is room for what is ours.
#pragma once

#include <map>

#include "image/file_records.h"
#include "image/memory_records.h"
#include "image/record.h"
#include "image/task_records.h"
#include "ipc/objects.h"

namespace stint::restore {

// One process that lives.
struct ProcessPlan {
  image::ProcessRecord record;
  std::vector<image::ThreadRecord> threads;  // the leader first
  std::vector<image::VmaRecord> vmas;        // by address
  std::vector<image::AioRingRecord> aio_rings;
};

struct Plan {
  image::JobRecord job;
  std::vector<ProcessPlan> processes;  // the root first
  std::vector<image::ZombieRecord> zombies;
  std::vector<image::SharedMemoryRecord> shared_memory;  // and the System V segments that are attached
  ipc::Objects ipc;
  // Where no mapping of any process is. A child is born with its parent's area and makes one of its own beside it: two
  // places, used by turns from one generation to the next.
  Range areas[2];
  Range ours;  // both, and the staging
  // Where anonymous shared memory waits until each process has mapped what it has of it; by object id.
  std::map<uint64_t, uint64_t> staging;

  const ProcessPlan& root() const { return processes.front(); }
};

// kDamaged when records are missing or contradict each other.
Result<Plan> read_plan(const image::Source& source);

// kUnfit when this host cannot run it: the processor lacks features.
Result<> check_host(const Plan& plan);

}  // namespace stint::restore
