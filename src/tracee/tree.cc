#include "tracee/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "sys/tasks.h"
#include "tracee/first_thread.h"

namespace stint::tracee {
namespace {

using Clock = std::chrono::steady_clock;

struct Member {
  Pid pid, parent;
};

// Breadth first; whom the stand-ins have adopted last, for a process that ends while we look leaves its children to
// them.
Result<std::vector<Member>> members(const TreeRoots& roots) {
  std::vector<Member> found{{roots.root, Pid{}}};
  std::set<Pid> known{roots.root};
  known.insert(roots.stand_ins.begin(), roots.stand_ins.end());
  auto add_children = [&](Pid parent) {
    for (Pid child : sys::list_children(parent).value_or(std::vector<Pid>()))
      if (known.insert(child).second) found.push_back({child, parent});
  };
  size_t looked_at = 0;
  auto look_at_all = [&] {
    for (; looked_at < found.size(); ++looked_at) add_children(found[looked_at].pid);
  };
  look_at_all();
  for (Pid stand_in : roots.stand_ins) add_children(stand_in);
  look_at_all();
  return found;
}

}  // namespace

Result<std::vector<Pid>> list_tree(const TreeRoots& roots) {
  std::vector<Pid> living;
  for (const Member& member : TRY(members(roots)))
    if (life_of(member.pid) == Life::kLives) living.push_back(member.pid);
  return living;
}

Result<StoppedTree> StoppedTree::stop(const TreeRoots& roots, std::chrono::milliseconds patience) {
  StoppedTree tree;
  Clock::time_point deadline = Clock::now() + patience;
  // A process may end, and be reaped, between our looks at its parent and at whoever adopts its children: where there
  // are several, two passes in a row must find nothing new.
  for (int quiet_passes = 0; quiet_passes < 2;) {
    bool found = TRY(tree.stop_newcomers(roots, deadline));
    quiet_passes = found ? 0 : quiet_passes + 1;
    if (!found && tree.processes_.size() + tree.zombies_.size() <= 1) break;
    if (found && Clock::now() > deadline)
      return refused("its processes fork faster than they can be stopped; try again when they do not");
  }
  if (tree.processes_.empty() || tree.processes_.front().pid() != roots.root) return failed("it has ended");
  return tree;
}

// True when there were any, or one has ended since the pass before.
Result<bool> StoppedTree::stop_newcomers(const TreeRoots& roots, Clock::time_point deadline) {
  bool found = false;
  std::vector<Zombie> before = std::exchange(zombies_, {});
  for (const Member& member : TRY(members(roots))) {
    auto same = [&](const StoppedProcess& known) { return known.pid() == member.pid; };
    if (std::ranges::any_of(processes_, same)) continue;
    Life life = life_of(member.pid);
    if (life != Life::kLives && member.pid == roots.root) return failed("it has ended");
    if (life == Life::kZombie) zombies_.push_back({member.pid, member.parent});
    if (life != Life::kLives) {
      found |= std::ranges::find(before, member.pid, &Zombie::pid) == before.end();
      continue;
    }
    std::chrono::milliseconds left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    Result<StoppedProcess> stopped = StoppedProcess::stop(member.pid, std::max(left, std::chrono::milliseconds(1)));
    found = true;
    if (stopped.has_value()) {
      processes_.push_back(*std::move(stopped));
    } else if (life_of(member.pid) == Life::kLives) {
      return std::move(stopped).error().in(fmt::format("process {}", member.pid.number));
    }
  }
  return found;
}

void StoppedTree::thaw() {
  std::vector<StoppedProcess*> all;
  for (StoppedProcess& process : processes_) all.push_back(&process);
  thaw_together(all);
  processes_.clear();
}

Result<> StoppedTree::die_with_us() {
  for (StoppedProcess& process : processes_) TRY(process.die_with_us());
  return {};
}

void StoppedTree::kill() {
  for (auto process = processes_.rbegin(); process != processes_.rend(); ++process) process->kill();
  processes_.clear();
}

}  // namespace stint::tracee
