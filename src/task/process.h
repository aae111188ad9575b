// What belongs to a process as a whole, but for its memory and its descriptors.
#pragma once

#include <map>
#include <optional>
#include <utility>

#include "image/task_records.h"
#include "proc/process.h"
#include "tracee/table.h"

namespace stint::task {

// What is known of a process without asking it: /proc/PID.
struct ProcessFacts {
  proc::Stat stat;
  proc::Status status;
  std::string exe, cwd, root;
  Bytes auxv;
  std::map<int, int> job_tids;            // our number of each thread -> the job's
  std::map<int, proc::Status> threads;    // by our number
  std::optional<proc::Stat> ended_first;  // of the first thread, where it has ended; its status is among the threads'
  int job_number() const { return status.nstgid.empty() ? stat.pid : status.nstgid.back(); }
};
// stat, status and the threads: what is open to everybody.
Result<ProcessFacts> look_at_tasks(const tracee::StoppedProcess& process);
// The rest, once the process is readable.
Result<> look_at_process(Pid process, ProcessFacts& facts);

// A process that is not dumpable has its /proc closed even for its own user. While one of these is there, it is open.
class Readable {
 public:
  // Nothing where it is open to us as it is. `hands` must outlive this.
  static Result<std::optional<Readable>> open(tracee::StoppedProcess& process, tracee::Hands& hands);
  Readable(Readable&& other) noexcept
      : process_(std::exchange(other.process_, nullptr)), hands_(other.hands_), dumpable_(other.dumpable_) {}
  Readable& operator=(Readable&& other) noexcept {
    std::swap(process_, other.process_), std::swap(hands_, other.hands_), std::swap(dumpable_, other.dumpable_);
    return *this;
  }
  ~Readable();  // as it was

  // What prctl(PR_GET_DUMPABLE) said before.
  uint32_t dumpable() const { return dumpable_; }

 private:
  Readable(tracee::StoppedProcess& process, tracee::Hands& hands, uint32_t dumpable)
      : process_(&process), hands_(&hands), dumpable_(dumpable) {}

  tracee::StoppedProcess* process_;
  tracee::Hands* hands_;
  uint32_t dumpable_;
};

// What the job's CLOCK_MONOTONIC and CLOCK_BOOTTIME show more than ours (/proc/PID/timens_offsets).
struct ClockOffsets {
  int64_t monotonic_ns = 0, boottime_ns = 0;
};
Result<ClockOffsets> clock_offsets(Pid process);

// Refuses threads under a seccomp filter, or with shadow stacks. Before any call is made in the process: it may be
// killed for that.
Result<> check_enterable(const ProcessFacts& facts);

// Refuses by name what cannot be restored and shows in /proc/PID alone: a chroot, other users' ids.
Result<> check_supported(const ProcessFacts& facts);

Result<image::ProcessRecord> capture_process(tracee::StoppedProcess& process, tracee::Hands& hands,
                                             const ProcessFacts& facts);

// In the new process, when its memory is there: directory, umask, actions, flags. It still has the rights of a maker.
Result<> restore_process(tracee::StoppedProcess& process, tracee::Hands& hands, const image::ProcessRecord& record);

// When memory and threads are there: PR_SET_MM_MAP; exe_fd is a descriptor of the new process.
Result<> restore_memory_map(const image::ProcessRecord& record, int exe_fd, tracee::Table& table);
// ... and at the end, limits, shared signals, timers, personality.
Result<> restore_process_last(tracee::StoppedProcess& process, tracee::Hands& hands,
                              const image::ProcessRecord& record);
// When nothing of ours is left inside: from then on its memory may be closed to us.
Result<> restore_dumpable(tracee::StoppedProcess& process, const image::ProcessRecord& record);

}  // namespace stint::task
