// The processes of a job come to be: each is born from its parent by clone3(2), with its number, in its session, while
// the parent's memory is empty yet, so that a birth costs little. The kernel gives a process the session of its parent
// at birth, and lets only a process without a group of its own leave it: so children that stay in the parent's old
// session are born before the parent makes its new one. An orphan whose parent did not bring it into the world is born
// from somebody in its session, through a process in between that ends at once: then it goes to whoever adopts orphans
// there, as it did the first time.
//
// A child that shares pages with its parent is born when its parent has its memory (bear_heirs).
//
// Process groups come last: their leaders first, and for a group whose leader is gone, one that is there for a moment.
#pragma once

#include <linux/ptrace.h>

#include <list>
#include <map>

#include "restore/plan.h"
#include "tracee/table.h"

namespace stint::restore {

// A process that was born and waits, stopped, to become what it was.
struct Newborn {
  const ProcessPlan* plan = nullptr;            // of one that lives; or
  const image::ZombieRecord* zombie = nullptr;  // of one that is to end again
  tracee::StoppedProcess process;
  int area = 0;           // which of Plan::areas is its own
  bool full = false;      // has its memory, or that of the parent which it was born from
  uint64_t exe_file = 0;  // the MappedFileRecord of what it executes; 0: still what the maker did
  int32_t pid = 0, ppid = 0, pgid = 0, sid = 0;  // as it is now, in the job's numbers
  int32_t pty = -1;                              // that controls its session, of the job's own

  Range area_range(const Plan& all) const { return all.areas[area]; }
};

class Births {
 public:
  // The options with which the root must be traced.
  static constexpr long kOptions = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL;

  // `root` is stopped, its memory empty but for its area and what all shall inherit. `ptys`: the slaves, by number,
  // that the leaders of sessions are to take for their controlling terminals.
  Births(const Plan& plan, tracee::StoppedProcess root, std::map<int32_t, int> ptys);

  // Everybody of the plan that needs no memory of its parent; the root first, parents before their children.
  Result<> run();
  // The children of `parent`, which has its memory, that have pages of it; and theirs.
  Result<> bear_heirs(Newborn& parent);
  // When the last heir is there: orphans that had to wait for somebody of their session. How many were born.
  Result<size_t> bear_waiting_orphans();
  // The threads of a process, if they are not there yet.
  Result<> make_threads(Newborn& one);
  // Everybody is there: process groups, and the terminals of their sessions.
  Result<> settle_groups();
  Result<> settle_terminals();
  std::list<Newborn>& everybody() { return born_; }
  // Lets those end that were zombies, and takes what that told their parents: before these have their signal actions
  // back, which may say that zombies go at once.
  Result<> end_zombies();
  // Those that had been continued, of which their parents do not know.
  Result<> tell_continuations();
  // A stop of which its parent knew already.
  Result<> take_stop(Newborn& stopped);
  void kill_all();

 private:
  struct Wanted {
    const ProcessPlan* plan = nullptr;
    const image::ZombieRecord* zombie = nullptr;
    int32_t pid = 0, ppid = 0, pgid = 0, sid = 0;
    int32_t exit_signal = 0;

    // Of pages of its parent.
    bool is_heir() const { return plan != nullptr && plan->record.memory_from != 0; }
  };

  Result<> beget(Newborn& parent);
  Result<Newborn*> bear(Newborn& parent, const Wanted& child);
  Result<tracee::Thread*> thread_to_bear(Newborn& parent, const Wanted& child);
  Result<> adopt(const Wanted& orphan);
  bool must_wait(const Wanted& orphan);
  Result<> bear_through(Newborn& creator, const Wanted& between, const Wanted& orphan);
  Result<> settle_group(int32_t group, const std::vector<Newborn*>& members);
  Result<> make_own_area(Newborn& child, const Newborn& parent);
  Result<> end_as_before(Newborn& zombie);
  Result<> drop_signals(Newborn& parent);
  void remove(int32_t pid);
  Result<> let_end(Newborn& parent, Newborn& child);
  Result<int64_t> call(Newborn& in, const char* name, const tracee::Call& call);
  Result<> new_session(Newborn& leader);
  Result<> take_terminal(Newborn& leader, int32_t pty);
  Result<> settle_terminal(Newborn& one);
  Result<> set_foreground(Newborn& leader);
  Newborn* find(int32_t pid);
  Newborn* somebody_in_session(int32_t sid, int32_t below);
  static bool will_lead(const Newborn& parent);
  bool is_born_after(const Newborn& parent, const Wanted& child);
  bool stems_from(const Wanted& leader, int32_t sid);
  bool descends(const Newborn& whom, int32_t ancestor);
  int32_t unused_number();

  const Plan& plan_;
  std::map<int32_t, int> ptys_;
  std::vector<Wanted> wanted_;
  std::multimap<int32_t, const Wanted*> children_;  // by parent
  std::list<Newborn> born_;
  std::map<int32_t, Newborn*> by_number_;
  std::vector<const Wanted*> orphans_;
  std::map<int32_t, std::vector<const Wanted*>> heirs_;  // and who comes after them: by parent, in the order of births
  int32_t next_unused_ = 0;
};

}  // namespace stint::restore
