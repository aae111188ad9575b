// Taking a checkpoint of a running job. This is the table of contents; the steps are in task/, mem/, fd/ and files/.
#pragma once

#include <functional>
#include <optional>

#include "capture/precopy.h"
#include "fd/kind.h"
#include "image/record.h"
#include "image/task_records.h"

namespace stint::capture {

// What is to be captured, and what its caller knows of it.
struct Target {
  Pid root;
  image::JobRecord job;  // name, contained, generation, arguments, directory, stand_ins ...: the rest is filled in
  std::vector<Pid> stand_ins;  // ours, as we see them: their other children are part of the job
  std::vector<fd::OutsideStream> outside_streams;
  uint64_t terminal_device = 0;
  std::string ledger_file;      // of the agent; empty for none
  std::string sleeps_file;      // notes for the next checkpoint (task/deadlines.h); empty for none
  std::string hash_cache_file;  // empty for none
};

struct CheckpointOptions {
  bool stop = false;            // kill the job as soon as the checkpoint is whole, before it runs again
  bool bundle = false;          // keep the files of its mappings in the checkpoint
  bool close_external = false;  // what has its other end outside of the job is recorded as if that had gone
  PreCopyWhen precopy = PreCopyWhen::kWhereItPays;
  std::function<Result<>()> before_kill;  // with `stop`: the last chance to note down why it ended
  std::function<void(image::JobRecord&, int64_t pause_ns)> before_commit;  // the manifest's part
};

struct CheckpointReport {
  int64_t pause_ns = 0;  // of all stops together
  int64_t total_ns = 0;
  uint64_t memory_bytes = 0;
  std::vector<image::ClosedEndRecord> closed;  // by `close_external`
  std::optional<Error> left_over;  // with `stop`: the job has ended by its checkpoint, and something else was not done
};

// Commits the sink, or fails and leaves the job running as it was. kRefused names the object, the process and what the
// user can do.
Result<CheckpointReport> checkpoint(const Target& target, const CheckpointOptions& options, image::Sink& sink);

}  // namespace stint::capture
