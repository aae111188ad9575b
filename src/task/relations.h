// How the processes of a tree belong together: parents, groups, sessions, the terminal that controls them, the numbers
// by which they know one another; the dead that nobody has waited for; and what some share that others have for
// themselves (memory, descriptor table, signal actions: clone(2) without fork's copies).
#pragma once

#include <signal.h>

#include <map>

#include "image/task_records.h"
#include "task/process.h"
#include "tracee/hands.h"
#include "tracee/tree.h"

namespace stint::task {

class Relations {
 public:
  // `terminal_device`: st_rdev of the job's own terminal, 0 for none.
  Relations(uint64_t terminal_device, const image::JobRecord& job) : terminal_device_(terminal_device), job_(job) {}

  // Parents come before their children. All that is given outlives this; the records are completed.
  void add(tracee::StoppedProcess& process, tracee::Hands& hands, const ProcessFacts& facts,
           image::ProcessRecord& record);
  Result<> add(const tracee::Zombie& zombie);

  // `ptys`: of the job's own, by the session (our number) that each controls.
  Result<> note_terminals(const std::map<int, int>& ptys);
  // What processes share that fork(2) gives to each. kRefused where it cannot be made again: what is born with it gets
  // it from its parent.
  Result<> note_shared();
  // Which children belong to another thread of their parents than the first.
  Result<> note_parent_threads();
  // Whether parents know of the stops and continuations of their children: asked in the parents.
  Result<> note_stops();

  const std::vector<image::ZombieRecord>& zombies() const { return zombies_; }
  // Of the job's terminal; 0 when none of the job's groups has it.
  int32_t foreground_group() const { return foreground_; }
  // Processes, threads and groups: our numbers, and the job's.
  const std::map<int, int>& numbers() const { return numbers_; }

 private:
  struct Member {
    tracee::StoppedProcess* process;
    tracee::Hands* hands;
    const ProcessFacts* facts;
    image::ProcessRecord* record;
  };
  Result<int32_t> exit_status(int32_t parent, int32_t child) const;
  Result<siginfo_t> ask(const Member& parent, int32_t child, int what) const;
  Result<bool> would_be_told(const Member& parent, int32_t child, int what) const;
  const Member* parent_of(const Member& child) const;
  Result<int32_t> foreground_of(const Member& leader) const;
  bool is_job_terminal(int tty_nr) const;

  uint64_t terminal_device_;
  const image::JobRecord& job_;
  std::vector<Member> members_;
  std::vector<image::ZombieRecord> zombies_;
  std::map<int, int> numbers_;
  int32_t foreground_ = 0;
};

}  // namespace stint::task
