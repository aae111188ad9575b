#include "restore/births.h"

#include <fmt/format.h>
#include <linux/ptrace.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <set>

#include "mem/rebuild.h"
#include "proc/process.h"
#include "sys/procfs.h"
#include "tracee/memory.h"

namespace stint::restore {
namespace {

constexpr uint64_t kMapFixedNoReplace = 0x100000;

struct CloneArgs {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size;
};

// The number by which the job knows a process of which we know ours.
Result<int32_t> job_number(Pid pid) {
  proc::Status status = TRY(proc::parse_status(TRY(sys::read_proc(pid, "status"))));
  return status.nspid.empty() ? pid.number : status.nspid.back();
}

}  // namespace

Births::Births(const Plan& plan, tracee::StoppedProcess root, std::map<int32_t, int> ptys)
    : plan_(plan), ptys_(std::move(ptys)) {
  auto add = [&](const auto& record) -> Wanted& {
    Wanted wanted;
    wanted.pid = record.pid, wanted.ppid = record.ppid, wanted.pgid = record.pgid, wanted.sid = record.sid;
    wanted.exit_signal = record.exit_signal;
    return wanted_.emplace_back(wanted);
  };
  for (const ProcessPlan& process : plan.processes) add(process.record).plan = &process;
  for (const image::ZombieRecord& zombie : plan.zombies) add(zombie).zombie = &zombie;
  std::set<int32_t> living;
  for (const ProcessPlan& process : plan.processes) living.insert(process.record.pid);
  for (size_t i = 1; i < wanted_.size(); ++i) {
    if (living.contains(wanted_[i].ppid))
      children_.emplace(wanted_[i].ppid, &wanted_[i]);
    else
      orphans_.push_back(&wanted_[i]);
  }
  const image::ProcessRecord& first = plan.root().record;
  // Its group it has already; a session of its own it makes when its children of the old one are there.
  bool leads = first.sid == first.pid;
  born_.push_back({&plan.root(), nullptr, std::move(root), 0, false, 0, first.pid, first.ppid, leads ? 0 : first.pgid,
                   leads ? 0 : first.sid, -1});
  by_number_[first.pid] = &born_.front();
}

Result<> Births::run() {
  TRY(beget(born_.front()));
  TRY(bear_waiting_orphans());
  return {};
}

// Its session's leader is to come yet, or to make it.
bool Births::must_wait(const Wanted& orphan) {
  if (orphan.sid == orphan.pid) return false;
  if (Newborn* leader = find(orphan.sid)) return leader->sid != orphan.sid;
  return std::ranges::any_of(wanted_, [&](const Wanted& wanted) { return wanted.pid == orphan.sid; });
}

Result<size_t> Births::bear_waiting_orphans() {
  size_t born = 0;
  std::vector<const Wanted*> waiting;
  while (!orphans_.empty()) {
    const Wanted* orphan = orphans_.back();
    orphans_.pop_back();
    if (must_wait(*orphan)) {
      waiting.push_back(orphan);
      continue;
    }
    TRY(adopt(*orphan).in(fmt::format("process {}", orphan->pid)));
    ++born;
  }
  orphans_ = std::move(waiting);
  return born;
}

Result<> Births::bear_heirs(Newborn& parent) {
  std::vector<const Wanted*> heirs = std::move(heirs_[parent.pid]);
  for (const Wanted* child : heirs) {
    if (is_born_after(parent, *child)) TRY(new_session(parent));
    TRY(beget(*TRY(bear(parent, *child).in(fmt::format("process {}", child->pid)))));
  }
  if (!heirs.empty() && will_lead(parent)) TRY(new_session(parent));
  return {};
}

bool Births::will_lead(const Newborn& parent) {
  return parent.plan != nullptr && parent.plan->record.sid == parent.pid && parent.sid != parent.pid;
}

// Whether a child is from a time when its parent, which is still to make its own session, had it already.
bool Births::is_born_after(const Newborn& parent, const Wanted& child) {
  if (!will_lead(parent)) return false;
  return child.sid == child.pid ? stems_from(child, parent.pid) : child.sid == parent.pid;
}

// Whether a leader must have been in session `sid` before it made its own: a child of it has stayed there.
bool Births::stems_from(const Wanted& leader, int32_t sid) {
  auto [first, last] = children_.equal_range(leader.pid);
  return std::any_of(first, last, [&](const auto& entry) {
    const Wanted& child = *entry.second;
    return child.sid == child.pid ? stems_from(child, sid) : child.sid == sid;
  });
}

// Bears the children of one process, and theirs; but heirs, and who comes after one of them, have to wait.
Result<> Births::beget(Newborn& parent) {
  if (parent.plan == nullptr) return {};
  std::vector<const Wanted*> before, after;
  auto [first, last] = children_.equal_range(parent.pid);
  for (auto entry = first; entry != last; ++entry) {
    const Wanted* child = entry->second;
    if (is_born_after(parent, *child))
      after.push_back(child);
    else if (child->sid == child->pid || child->sid == parent.sid)
      before.push_back(child);
    else
      orphans_.push_back(child);
  }
  auto heirs = [](const std::vector<const Wanted*>& children) {
    return std::ranges::any_of(children, &Wanted::is_heir);
  };
  bool waits = will_lead(parent) && heirs(before);
  std::vector<const Wanted*> born;
  for (const std::vector<const Wanted*>* batch : {&before, &after}) {
    bool late = batch == &after;
    if (late && !waits && will_lead(parent)) TRY(new_session(parent));
    for (const Wanted* child : *batch) {
      if (child->is_heir() || (late && waits)) {
        heirs_[parent.pid].push_back(child);
        continue;
      }
      TRY(bear(parent, *child).in(fmt::format("process {}", child->pid)));
      born.push_back(child);
    }
  }
  for (const Wanted* child : born) TRY(beget(*find(child->pid)));
  return {};
}

Result<Newborn*> Births::bear(Newborn& parent, const Wanted& child) {
  tracee::Thread* thread = TRY(thread_to_bear(parent, child));
  tracee::Hands hands = tracee::Hands::borrow_area(parent.process, parent.area_range(plan_));
  tracee::Table table(hands);
  CloneArgs args{};
  if (child.plan != nullptr) args.flags = child.plan->record.shared_with_parent;
  args.exit_signal = static_cast<uint64_t>(child.exit_signal);
  args.set_tid = table.in(child.pid);
  args.set_tid_size = 1;
  size_t clone = table.ask(SYS_clone3, {table.in(args), sizeof(args)});
  TRY(table.run(*thread, parent.process.seen_as()));
  int64_t result = table.result(clone);
  if (result == -EEXIST)
    return unfit(fmt::format("pid {} is taken here; restart when it has ended, or contained", child.pid));
  if (result < 0) return os_error("clone3 with set_tid", static_cast<int>(-result)).as(ErrorKind::kUnfit);
  std::vector<Pid> newborns = hands.take_newborns();
  if (newborns.size() != 1) return failed(fmt::format("process {} was not made", child.pid));
  born_.push_back({child.plan, child.zombie, TRY(tracee::StoppedProcess::stop_newborn(newborns.front(), kOptions)),
                   1 - parent.area, false, parent.exe_file, child.pid, parent.pid, parent.pgid, parent.sid,
                   parent.pty});
  Newborn& newborn = born_.back();
  by_number_[child.pid] = &newborn;
  TRY(make_own_area(newborn, parent));
  newborn.full = parent.full && child.is_heir();
  if (parent.full && !child.is_heir()) {
    tracee::Hands own = tracee::Hands::borrow_area(newborn.process, newborn.area_range(plan_));
    TRY(mem::empty_memory(newborn.process, own, plan_.ours));
  }
  bool to_last = child.plan != nullptr || child.zombie != nullptr;
  if (to_last && child.sid == child.pid && children_.count(child.pid) == 0) TRY(new_session(newborn));
  return &newborn;
}

// Beside the one that it has from its parent: where a child's area is, none of its own children's is.
Result<> Births::make_own_area(Newborn& child, const Newborn& parent) {
  Range own = child.area_range(plan_), inherited = parent.area_range(plan_);
  {
    tracee::Hands hands = tracee::Hands::borrow_area(child.process, inherited);
    constexpr uint64_t kFlags = tracee::kAreaMapFlags | kMapFixedNoReplace;
    tracee::Call map{SYS_mmap, {own.start, own.size(), PROT_READ | PROT_WRITE | PROT_EXEC, kFlags, ~uint64_t{0}, 0}};
    TRY(hands.call(child.process.representative(), "map the table-runner's area", map));
    for (int advice : tracee::kAreaAdvice)
      TRY(hands.call(child.process.representative(), "madvise",
                     {SYS_madvise, {own.start, own.size(), static_cast<uint64_t>(advice)}}));
  }
  Bytes code = tracee::area_code_page();
  TRY(tracee::poke(child.process.seen_as(), own.start, code.data(), code.size()));
  TRY(call(child, "munmap", {SYS_munmap, {inherited.start, inherited.size()}}));
  return {};
}

Result<int64_t> Births::call(Newborn& in, const char* name, const tracee::Call& call) {
  tracee::Hands hands = tracee::Hands::borrow_area(in.process, in.area_range(plan_));
  return hands.call(in.process.representative(), name, call);
}

Result<> Births::new_session(Newborn& leader) {
  TRY(call(leader, "setsid", {SYS_setsid, {}}).in(fmt::format("process {}", leader.pid)));
  leader.sid = leader.pgid = leader.pid;
  leader.pty = -1;
  int32_t pty = leader.plan == nullptr ? -1 : leader.plan->record.controlling_pty;
  // Before its children are born, who inherit it.
  return pty < 0 ? Result<>() : take_terminal(leader, pty).in(fmt::format("process {}", leader.pid));
}

// ---- Threads

// All with their numbers, by the leader, which still has the right to choose them. Each stops at once, before it has
// executed an instruction.
Result<> Births::make_threads(Newborn& one) {
  constexpr uint64_t kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  const std::vector<image::ThreadRecord>& threads = one.plan->threads;
  if (one.process.threads().size() == threads.size()) return {};
  tracee::Hands hands = tracee::Hands::borrow_area(one.process, one.area_range(plan_));
  for (size_t at = 1; at < threads.size(); at += tracee::Hands::kTableCalls) {
    tracee::Table table(hands);
    for (size_t i = at; i < std::min(threads.size(), at + tracee::Hands::kTableCalls); ++i) {
      CloneArgs args{};
      args.flags = kFlags;
      args.set_tid = table.in(threads[i].tid);
      args.set_tid_size = 1;
      table.must("clone3", SYS_clone3, {table.in(args), sizeof(args)});
    }
    TRY(table.run(one.process.representative(), one.process.seen_as()));
  }
  for (Pid tid : hands.take_newborns()) {
    tracee::Thread thread;
    thread.tid = tid;
    TRY(sys::wait_thread(thread.tid, true));
    thread.registers = TRY(sys::get_registers(thread.tid));
    thread.known = true;
    one.process.threads().push_back(thread);
  }
  if (one.process.threads().size() != threads.size()) return failed("a thread was not made");
  return {};
}

// The one whose child `child` is.
Result<tracee::Thread*> Births::thread_to_bear(Newborn& parent, const Wanted& child) {
  int32_t number = child.plan == nullptr ? 0 : child.plan->record.parent_thread;
  if (number == 0 || parent.plan == nullptr || child.ppid != parent.pid) return &parent.process.representative();
  TRY(make_threads(parent));
  const std::vector<image::ThreadRecord>& threads = parent.plan->threads;
  for (size_t i = 0; i < threads.size(); ++i)
    if (threads[i].tid == number) return &parent.process.threads()[i];
  return damaged(fmt::format("process {} has no thread {}", parent.pid, number));
}

// ---- Orphans

Newborn* Births::find(int32_t pid) {
  auto found = by_number_.find(pid);
  return found == by_number_.end() ? nullptr : found->second;
}

bool Births::descends(const Newborn& whom, int32_t ancestor) {
  for (const Newborn* at = &whom; at != nullptr; at = find(at->ppid))
    if (at->pid == ancestor || at->ppid == ancestor) return true;
  return false;
}

// Below whoever is to adopt. The root is below the stand-in. Those that are to be zombies live yet.
Newborn* Births::somebody_in_session(int32_t sid, int32_t below) {
  for (Newborn& candidate : born_)
    if (candidate.sid == sid && descends(candidate, below)) return &candidate;
  return nullptr;
}

// Counted down from the highest, where neither the job nor the kernel's own counting soon comes by.
int32_t Births::unused_number() {
  auto used = [&](int32_t number) {
    for (const Wanted& wanted : wanted_)
      if (wanted.pid == number || wanted.pgid == number || wanted.sid == number) return true;
    for (const ProcessPlan& process : plan_.processes)
      for (const image::ThreadRecord& thread : process.threads)
        if (thread.tid == number) return true;
    return false;
  };
  if (next_unused_ == 0) next_unused_ = 32000;
  while (used(next_unused_)) --next_unused_;
  return next_unused_--;
}

// Whoever has adopted it the first time adopts it again.
Result<> Births::adopt(const Wanted& orphan) {
  if (orphan.plan != nullptr && orphan.plan->record.shared_with_parent != 0)
    return damaged("it shares something with a parent that it is not born from");
  Newborn* adopter = find(orphan.ppid);  // or the stand-in, which is none of them
  Wanted between;
  between.pid = unused_number();
  between.ppid = orphan.ppid;
  int32_t below = adopter == nullptr ? born_.front().ppid : adopter->pid;
  Newborn* creator = orphan.sid == orphan.pid ? nullptr : somebody_in_session(orphan.sid, below);
  if (creator == nullptr) {
    creator = adopter == nullptr ? &born_.front() : adopter;
    // Its session's leader is gone: whoever is in between leads it for this moment.
    if (orphan.sid != orphan.pid) between.pid = between.sid = orphan.sid;
  }
  if (adopter != nullptr) TRY(call(*adopter, "prctl", {SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1}}));
  TRY(bear_through(*creator, between, orphan));
  if (adopter != nullptr) TRY(call(*adopter, "prctl", {SYS_prctl, {PR_SET_CHILD_SUBREAPER, 0}}));
  Newborn* born = find(orphan.pid);
  proc::Stat stat = TRY(proc::parse_stat(TRY(sys::read_proc(born->process.pid(), "stat"))));
  int32_t parent = stat.ppid == 0 ? 0 : TRY(job_number(Pid{stat.ppid}));
  if (parent != orphan.ppid)
    return failed(fmt::format("its parent would be process {}, and was {}", parent, orphan.ppid));
  born->ppid = orphan.ppid;
  return beget(*born);
}

Result<> Births::bear_through(Newborn& creator, const Wanted& between, const Wanted& orphan) {
  Newborn* middle = TRY(bear(creator, between));
  if (between.sid == between.pid) TRY(new_session(*middle));
  TRY(bear(*middle, orphan));
  return let_end(creator, *middle);
}

// One of ours that was only needed for a moment. It tells nobody of its end.
Result<> Births::let_end(Newborn& parent, Newborn& child) {
  child.process.kill();
  uint64_t number = static_cast<uint64_t>(child.pid);
  int32_t pid = child.pid;
  remove(pid);
  TRY(call(parent, "wait4", {SYS_wait4, {number, 0, __WALL, 0}}));
  return {};
}

// ---- Groups

Result<> Births::settle_groups() {
  std::map<int32_t, std::vector<Newborn*>> members;
  for (const Wanted& wanted : wanted_) {
    Newborn* newborn = find(wanted.pid);
    if (newborn->sid != wanted.sid) {
      if (wanted.sid != wanted.pid) return failed(fmt::format("process {} is in another session", wanted.pid));
      TRY(new_session(*newborn));
    }
    if (newborn->pgid != wanted.pgid) members[wanted.pgid].push_back(newborn);
  }
  for (const auto& [group, all] : members) TRY(settle_group(group, all).in(fmt::format("process group {}", group)));
  // One that had led a group for others, and is itself in another.
  for (const Wanted& wanted : wanted_) {
    Newborn& one = *find(wanted.pid);
    if (one.pgid == wanted.pgid) continue;
    TRY(call(one, "setpgid", {SYS_setpgid, {0, static_cast<uint64_t>(wanted.pgid)}}));
    one.pgid = wanted.pgid;
  }
  return {};
}

Result<> Births::settle_group(int32_t group, const std::vector<Newborn*>& members) {
  uint64_t number = static_cast<uint64_t>(group);
  Newborn* leader = find(group);
  bool exists = std::ranges::any_of(born_, [&](const Newborn& one) { return one.pgid == group; });
  Newborn* maker = nullptr;
  if (leader != nullptr && leader->pgid != group) {
    TRY(call(*leader, "setpgid", {SYS_setpgid, {0, 0}}));
    leader->pgid = group;
  } else if (leader == nullptr && !exists) {
    Wanted moment;
    moment.pid = group;
    maker = members.front();
    leader = TRY(bear(*maker, moment));
    TRY(call(*leader, "setpgid", {SYS_setpgid, {0, 0}}));
  }
  for (Newborn* member : members) {
    if (member->pgid == group) continue;
    TRY(call(*member, "setpgid", {SYS_setpgid, {0, number}}).in(fmt::format("process {}", member->pid)));
    member->pgid = group;
  }
  return maker == nullptr ? Result<>() : let_end(*maker, *leader);
}

// ---- Terminals of sessions inside

Result<> Births::take_terminal(Newborn& leader, int32_t pty) {
  auto slave = ptys_.find(pty);
  if (slave == ptys_.end()) return damaged(fmt::format("there is no pseudoterminal {} in the job", pty));
  TRY(call(leader, "TIOCSCTTY", {SYS_ioctl, {static_cast<uint64_t>(slave->second), TIOCSCTTY, 0}}));
  leader.pty = pty;
  return {};
}

Result<> Births::settle_terminals() {
  for (Newborn& one : born_)
    if (one.plan != nullptr) TRY(settle_terminal(one).in(fmt::format("process {}", one.pid)));
  for (Newborn& one : born_)
    if (one.plan != nullptr && one.pty >= 0 && one.sid == one.pid)
      TRY(set_foreground(one).in(fmt::format("process {}", one.pid)));
  return {};
}

// One that has given up the terminal of its session, which it has inherited again.
Result<> Births::settle_terminal(Newborn& one) {
  int32_t wanted = one.plan->record.controlling_pty;
  if (one.pty == wanted) return {};
  if (wanted >= 0 || one.sid == one.pid)
    return failed(fmt::format("it has no way to its terminal, /dev/pts/{}", wanted));
  TRY(call(one, "TIOCNOTTY", {SYS_ioctl, {static_cast<uint64_t>(ptys_.at(one.pty)), TIOCNOTTY}}));
  one.pty = wanted;
  return {};
}

// All signals are blocked: SIGTTOU cannot stop it. A group that has ended is there for a moment.
Result<> Births::set_foreground(Newborn& leader) {
  int32_t group = leader.plan->record.pty_foreground;
  if (group <= 0) return {};
  Newborn* moment = nullptr;
  if (std::ranges::none_of(born_, [&](const Newborn& one) { return one.pgid == group; })) {
    Wanted wanted;
    wanted.pid = group;
    moment = TRY(bear(leader, wanted));
    TRY(call(*moment, "setpgid", {SYS_setpgid, {0, 0}}));
  }
  tracee::Hands hands = tracee::Hands::borrow_area(leader.process, leader.area_range(plan_));
  tracee::Table table(hands);
  table.must("tcsetpgrp", SYS_ioctl, {static_cast<uint64_t>(ptys_.at(leader.pty)), TIOCSPGRP, table.in(group)});
  TRY(table.run(leader.process.representative(), leader.process.seen_as()));
  return moment == nullptr ? Result<>() : let_end(leader, *moment);
}

// ---- Ends

// Exits, or is killed by a signal, as it was.
Result<> Births::end_as_before(Newborn& zombie) {
  const image::ZombieRecord& record = *zombie.zombie;
  std::array<char, 16> name{};
  std::ranges::copy(record.comm.substr(0, 15), name.begin());
  tracee::Thread& leader = zombie.process.representative();
  tracee::Hands hands = tracee::Hands::borrow_area(zombie.process, zombie.area_range(plan_));
  tracee::Table table(hands);
  table.must("PR_SET_NAME", SYS_prctl, {PR_SET_NAME, table.in(name)});
  table.must("setrlimit", SYS_prlimit64, {0, RLIMIT_CORE, table.in(rlimit{}), 0});
  if (proc::Status now = TRY(proc::parse_status(TRY(sys::read_proc(leader.tid, "status")))); now.uids[0] != record.uid)
    table.must("setresuid", SYS_setresuid, {record.uid, record.uid, record.uid});
  TRY(table.run(leader, zombie.process.seen_as()));
  if (int signal = WTERMSIG(record.exit_code); signal != 0) {
    TRY(sys::set_signal_mask(leader.tid, 0));
    zombie.process.kill(signal);
    return {};
  }
  TRY(hands.exit(leader, WEXITSTATUS(record.exit_code)));
  zombie.process.forget();
  return {};
}

// Nothing waits for it yet that was in the checkpoint: whatever does came from the ends that we have arranged.
Result<> Births::drop_signals(Newborn& parent) {
  tracee::Hands hands = tracee::Hands::borrow_area(parent.process, parent.area_range(plan_));
  for (int64_t taken = 1; taken > 0;) {
    tracee::Table table(hands);
    size_t wait = table.ask(SYS_rt_sigtimedwait, {table.in(~uint64_t{0}), 0, table.in(timespec{}), sizeof(uint64_t)});
    TRY(table.run(parent.process.representative(), parent.process.seen_as()));
    taken = table.result(wait);
  }
  return {};
}

Result<> Births::end_zombies() {
  std::vector<Newborn*> zombies;
  for (Newborn& one : born_)
    if (one.zombie != nullptr) zombies.push_back(&one);
  std::set<Newborn*> parents;
  for (Newborn* zombie : zombies) {
    TRY(end_as_before(*zombie).in(fmt::format("process {}, which had ended", zombie->pid)));
    if (Newborn* parent = find(zombie->ppid)) parents.insert(parent);
  }
  for (Newborn* zombie : zombies) remove(zombie->pid);
  for (Newborn* parent : parents) TRY(drop_signals(*parent));
  return {};
}

Result<> Births::take_stop(Newborn& stopped) {
  Newborn* parent = find(stopped.ppid);
  if (parent == nullptr) return {};
  tracee::Call wait{SYS_waitid, {P_PID, static_cast<uint64_t>(stopped.pid), 0, WSTOPPED | WNOHANG, 0}};
  TRY(call(*parent, "waitid", wait));
  return drop_signals(*parent);
}

Result<> Births::tell_continuations() {
  for (Newborn& one : born_) {
    Newborn* parent = find(one.ppid);
    if (one.plan == nullptr || one.plan->record.continuation_is_known || parent == nullptr) continue;
    TRY(one.process.stop_and_continue().in(fmt::format("process {}", one.pid)));
    TRY(drop_signals(one));
    TRY(drop_signals(*parent));
  }
  return {};
}

void Births::remove(int32_t pid) {
  by_number_.erase(pid);
  born_.remove_if([&](const Newborn& one) { return one.pid == pid; });
}

void Births::kill_all() {
  for (Newborn& one : born_) one.process.kill();
}

}  // namespace stint::restore
