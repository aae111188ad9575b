// A whole tree of processes, stopped. Parents are stopped before their children: who runs can still fork, so passes
// over the tree go on until one finds nobody new.
#pragma once

#include <list>

#include "tracee/stop.h"

namespace stint::tracee {

// Whose descendants belong to the tree.
struct TreeRoots {
  Pid root;                    // part of it
  std::vector<Pid> stand_ins;  // not part of it, but all their other children are
};

// A process that has ended and was not waited for.
struct Zombie {
  Pid pid, parent;
};

class StoppedTree {
 public:
  // kRefused when the tree grows faster than it can be stopped, or one process does not stop within `patience`. Whoever
  // was stopped goes on then.
  static Result<StoppedTree> stop(const TreeRoots& roots, std::chrono::milliseconds patience);

  StoppedTree(StoppedTree&&) = default;
  StoppedTree& operator=(StoppedTree&&) = delete;
  ~StoppedTree() { thaw(); }

  // The root first, parents before their children.
  std::list<StoppedProcess>& processes() { return processes_; }
  const std::vector<Zombie>& zombies() const { return zombies_; }

  void thaw();
  // Until they are thawed they die when we do.
  Result<> die_with_us();
  // SIGKILLs all while they are stopped, the root last: none of them ever runs again.
  void kill();

 private:
  StoppedTree() = default;
  Result<bool> stop_newcomers(const TreeRoots& roots, std::chrono::steady_clock::time_point deadline);

  std::list<StoppedProcess> processes_;
  std::vector<Zombie> zombies_;
};

// The living processes of a tree, the root first, as they are at this moment; nobody is stopped.
Result<std::vector<Pid>> list_tree(const TreeRoots& roots);

}  // namespace stint::tracee
