// Copying memory before the stop, so that a large program stands still only for what it writes meanwhile.
//
// A process with much memory of its own is stopped for a moment in which its writes begin to be followed (mem/dirty);
// then all that it has is copied while it runs. What it wrote during that is taken in another such moment and copied
// again, until little is left, or it writes about as fast as we copy. At the stop proper the rest is copied, and what
// was not written any more is kept as it was copied.
//
// All this is only to make the pause shorter. Wherever something is not as it should be (a process ends, becomes
// another program, may not be followed), that process is copied while it stands still, as all others.
#pragma once

#include <list>
#include <optional>
#include <vector>

#include "capture/process.h"
#include "mem/dirty.h"
#include "tracee/tree.h"

namespace stint::capture {

enum class PreCopyWhen {
  kWhereItPays,
  kAlways,  // however small, for tests
  kNever,
};

class PreCopy {
 public:
  // All outlive this.
  PreCopy(tracee::TreeRoots roots, const abi::Ledger& ledger, task::Deadlines& deadlines, image::Sink& sink)
      : roots_(std::move(roots)), ledger_(ledger), deadlines_(deadlines), sink_(sink) {}

  // Whether it pays for any of these, which are the job's. They run.
  bool pays(const std::vector<Pid>& processes, PreCopyWhen when);
  // Where it does. Fails only with the sink.
  Result<> copy();

  bool any() const { return !copied_.empty(); }
  // What was put of the process; null for nothing. While the job stands still, the page table tells what has been
  // written since.
  const CopiedAhead* copied(Pid process) const;
  // For how long it has let processes stand still, all in all.
  int64_t paused_ns() const { return paused_ns_; }
  // Drops what was put of those that are not in the job any more, whose numbers are given.
  Result<> forget_all_but(const std::list<ProcessCapture>& processes);
  // Nothing is followed any more. The job runs: with much memory this takes some time.
  void end();

 private:
  struct Copied {
    Pid pid;
    int32_t job_pid = 0;
    bool has_parent = false;                // in the job
    std::optional<mem::Follower> follower;  // none: it is not followed any more
    std::vector<Range> unreadable;          // by the program itself, at the beginning
    CopiedAhead ahead;                      // in `pages`, what was not written again by the last round
    uint64_t last_bytes = 0;                // of the last round
  };
  Result<> begin(Copied& copied, std::vector<Range>& written);
  Result<> in_short_stop(Pid pid, const std::function<Result<>(ProcessCapture&)>& act);
  Result<bool> copy_again(Copied& copied);
  Result<> put(Copied& copied, std::vector<Range> written);

  const tracee::TreeRoots roots_;
  const abi::Ledger& ledger_;
  task::Deadlines& deadlines_;
  image::Sink& sink_;
  int64_t paused_ns_ = 0;
  uint64_t little_ = 0;  // bytes that are not worth another stop
  std::vector<Copied> large_;
  std::list<Copied> copied_;
};

}  // namespace stint::capture
