// What belongs to a process as a whole, but for its memory and its descriptors.
#pragma once

#include <map>
#include <utility>

#include "image/task_records.h"
#include "proc/process.h"
#include "tracee/table.h"

namespace stint::task {

// What is known of a process before it is stopped or asked: /proc/PID.
struct ProcessFacts {
  proc::Stat stat;
  proc::Status status;
  std::string exe, cwd, root;
  Bytes auxv;
  std::map<int, int> job_tids;         // our number of each thread -> the job's
  std::map<int, proc::Status> threads;  // by our number
};
Result<ProcessFacts> look_at_process(Pid process, const std::vector<tracee::Thread>& threads);

// A process that is not dumpable has its /proc closed even for its own user. While one of these is there, it is open.
class Readable {
 public:
  static Result<Readable> make(tracee::StoppedProcess& process);
  Readable(Readable&& other) noexcept
      : process_(std::exchange(other.process_, nullptr)), dumpable_(other.dumpable_) {}
  Readable& operator=(Readable&&) = delete;
  ~Readable();  // as it was

  uint32_t dumpable() const { return dumpable_; }

 private:
  Readable(tracee::StoppedProcess& process, uint32_t dumpable) : process_(&process), dumpable_(dumpable) {}

  tracee::StoppedProcess* process_;
  uint32_t dumpable_;
};

// What the job's CLOCK_MONOTONIC and CLOCK_BOOTTIME show more than ours (/proc/PID/timens_offsets).
struct ClockOffsets {
  int64_t monotonic_ns = 0, boottime_ns = 0;
};
Result<ClockOffsets> clock_offsets(Pid process);

// Refuses threads under a seccomp filter. Before any call is made in the process: a filter may kill it for that.
Result<> check_enterable(const std::vector<tracee::Thread>& threads);

// Refuses by name what cannot be restored and shows in /proc/PID alone: a chroot, other users' ids.
Result<> check_supported(const ProcessFacts& facts);

Result<image::ProcessRecord> capture_process(tracee::StoppedProcess& process, tracee::Hands& hands,
                                             const ProcessFacts& facts);

// In the new process itself, as ordinary code, before it is emptied: directory, umask, limits, actions, flags.
Result<> restore_process_inside(const image::ProcessRecord& record);

// From outside, when memory and threads are there: PR_SET_MM_MAP; exe_fd is a descriptor of the new process.
Result<> restore_memory_map(const image::ProcessRecord& record, int exe_fd, tracee::Table& table);
// ... and at the end, shared signals, timers, personality.
Result<> restore_process_last(tracee::StoppedProcess& process, tracee::Hands& hands,
                              const image::ProcessRecord& record);
// When nothing of ours is left inside: from then on its memory may be closed to us.
Result<> restore_dumpable(tracee::StoppedProcess& process, const image::ProcessRecord& record);

}  // namespace stint::task
