#include "task/relations.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "sys/process.h"
#include "sys/procfs.h"
#include "sys/tasks.h"

namespace stint::task {
namespace {

// Not as an orphan, nor in a session that its parent has left.
bool is_born_directly(const image::ProcessRecord& parent, const image::ProcessRecord& child) {
  return child.sid == parent.sid || child.sid == child.pid;
}

int innermost(const std::vector<int>& numbers, int otherwise) { return numbers.empty() ? otherwise : numbers.back(); }

}  // namespace

void Relations::add(tracee::StoppedProcess& process, tracee::Hands& hands, const ProcessFacts& facts,
                    image::ProcessRecord& record) {
  members_.push_back({&process, &hands, &facts, &record});
  for (auto [ours, theirs] : facts.job_tids) numbers_[ours] = theirs;
  // A group or session whose leader is in a PID namespace above ours is 0 to us: it has no number that we could know.
  if (facts.stat.pgrp != 0) numbers_[facts.stat.pgrp] = record.pgid;
  if (facts.stat.session != 0) numbers_[facts.stat.session] = record.sid;
  record.exit_signal = facts.stat.exit_signal;
  record.controlling_terminal = is_job_terminal(facts.stat.tty_nr);
  if (record.controlling_terminal && facts.stat.tpgid > 0 && numbers_.contains(facts.stat.tpgid))
    foreground_ = numbers_[facts.stat.tpgid];
}

bool Relations::is_job_terminal(int tty_nr) const {
  return tty_nr != 0 && terminal_device_ != 0 && proc::terminal_device(tty_nr) == terminal_device_;
}

// As wait4(2) would give it, asked in the parent: /proc/PID/stat tells it of a process that was not dumpable to nobody.
Result<int32_t> Relations::exit_status(int32_t parent, int32_t child) const {
  auto is_parent = [&](const Member& member) { return member.record->pid == parent; };
  auto found = std::ranges::find_if(members_, is_parent);
  if (found == members_.end()) return failed(fmt::format("process {} has ended without a parent", child));
  siginfo_t told = TRY(ask(*found, child, WEXITED));
  // Until whoever traced it has let it go, or its last thread is gone.
  if (told.si_pid == 0)
    return not_now(fmt::format("process {} has just ended, and its parent is not told yet; try again", child));
  if (told.si_code == CLD_EXITED) return (told.si_status & 0xff) << 8;
  return told.si_status | (told.si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

Result<> Relations::add(const tracee::Zombie& zombie) {
  proc::Stat stat = TRY(proc::parse_stat(TRY(sys::read_proc(zombie.pid, "stat"))));
  proc::Status status = TRY(proc::parse_status(TRY(sys::read_proc(zombie.pid, "status"))));
  auto parent = numbers_.find(stat.ppid);
  // A child of the stand-in is reaped by it in this very moment.
  if (parent == numbers_.end()) return {};
  image::ZombieRecord record;
  record.pid = innermost(status.nspid, stat.pid);
  record.pgid = innermost(status.nspgid, stat.pgrp);
  record.sid = innermost(status.nssid, stat.session);
  record.ppid = parent->second;
  record.comm = stat.comm;
  record.uid = status.uids[0];
  record.exit_code = TRY(exit_status(parent->second, record.pid));
  record.exit_signal = stat.exit_signal;
  numbers_[stat.pid] = record.pid;
  zombies_.push_back(record);
  if (WCOREDUMP(record.exit_code))
    return not_now(
        fmt::format("process {} ({}) has dumped core, and its parent has not waited for it yet: such an end "
                    "cannot be made again; try again when it has",
                    stat.pid, stat.comm));
  return {};
}

const Relations::Member* Relations::parent_of(const Member& child) const {
  auto found = std::ranges::find(members_, child.record->ppid, [](const Member& one) { return one.record->pid; });
  return found == members_.end() ? nullptr : &*found;
}

Result<> Relations::note_shared() {
  struct Shared {
    int type;
    uint32_t flag;  // with which a process is born again that has it from its parent; 0: it cannot be
    const char* what;
  };
  constexpr Shared kShared[] = {{KCMP_VM, 0, "memory (CLONE_VM)"},
                                {KCMP_FILES, CLONE_FILES, "descriptor table (CLONE_FILES)"},
                                {KCMP_FS, CLONE_FS, "working directory (CLONE_FS)"},
                                {KCMP_SIGHAND, 0, "signal actions (CLONE_SIGHAND)"}};
  for (const Shared& shared : kShared) {
    std::optional<Error> failure;
    auto before = [&](const Member* a, const Member* b) {
      Result<std::strong_ordering> order =
          sys::compare_resources(a->process->seen_as(), b->process->seen_as(), shared.type);
      if (order.has_value()) return *order == std::strong_ordering::less;
      if (!failure) failure = std::move(order).error();
      return a < b;
    };
    std::set<const Member*, decltype(before)> seen(before);
    for (const Member& member : members_) {
      auto [place, fresh] = seen.insert(&member);
      const Member* parent = fresh ? nullptr : parent_of(member);
      bool from_parent =
          parent != nullptr && is_born_directly(*parent->record, *member.record) && seen.find(parent) == place;
      if (failure) return std::move(*failure).in("what processes share (CONFIG_KCMP)");
      if (from_parent) member.record->shared_with_parent |= shared.flag;
      if (fresh || (from_parent && shared.flag != 0)) continue;
      return refused(
          fmt::format("processes {} and {} share their {}, {}: such a pair cannot be made again yet; wait until one of "
                      "them has ended",
                      (*place)->process->pid().number, member.process->pid().number, shared.what,
                      shared.flag == 0 ? "which threads of one process do" : "and neither has it from its parent"));
    }
  }
  return {};
}

Result<> Relations::note_terminals(const std::map<int, int>& ptys) {
  int root_session = members_.front().facts->stat.session;
  for (const Member& member : members_) {
    const proc::Stat& stat = member.facts->stat;
    if (stat.tty_nr == 0 || is_job_terminal(stat.tty_nr)) continue;
    auto pty = ptys.find(stat.session);
    if (pty != ptys.end()) {
      member.record->controlling_pty = pty->second;
      if (stat.session == stat.pid) member.record->pty_foreground = TRY(foreground_of(member));
    } else if (stat.session != root_session) {
      return refused(
          fmt::format("process {} ({}): the terminal that controls it ({}:{}) is not the job's own; run it "
                      "outside of the job",
                      stat.pid, stat.comm, stat.tty_nr >> 8 & 0xfff, stat.tty_nr & 0xff));
    }
  }
  return {};
}

// The kernel sends a parent death signal at the end of the thread that is the parent, and that is the one that forked.
Result<> Relations::note_parent_threads() {
  std::map<int, image::ProcessRecord*> by_number;
  for (const Member& member : members_) by_number[member.facts->stat.pid] = member.record;
  for (const Member& parent : members_)
    for (const tracee::Thread& thread : parent.process->threads()) {
      if (thread.tid == parent.process->pid()) continue;
      for (Pid child : TRY(sys::list_children_of_thread(parent.process->pid(), thread.tid)))
        if (auto found = by_number.find(child.number); found != by_number.end())
          found->second->parent_thread = numbers_.at(thread.tid.number);
    }
  return {};
}

// By the job's number: asked of the leader, for a group that has ended has none that we could translate.
Result<int32_t> Relations::foreground_of(const Member& leader) const {
  const proc::Stat& stat = leader.facts->stat;
  if (auto known = numbers_.find(stat.tpgid); known != numbers_.end()) return known->second;
  tracee::Thread& thread = leader.process->representative();
  tracee::Table open(*leader.hands);
  constexpr char kPath[] = "/dev/tty";
  uint64_t flags = O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK;
  uint64_t path = open.in(bytes_of({kPath, sizeof(kPath)}));
  size_t opened = open.must("open /dev/tty", SYS_openat, {static_cast<uint64_t>(AT_FDCWD), path, flags});
  TRY(open.run(thread, leader.process->seen_as()));
  uint64_t terminal = static_cast<uint64_t>(open.result(opened));
  tracee::Table ask(*leader.hands);
  uint64_t group = ask.out<int32_t>();
  size_t asked = ask.ask(SYS_ioctl, {terminal, TIOCGPGRP, group});
  ask.must("close", SYS_close, {terminal});
  TRY(ask.run(thread, leader.process->seen_as()));
  return ask.result(asked) < 0 ? 0 : ask.value<int32_t>(group);
}

// What a parent would be told of one child, or of all (0), were it to wait now. Nothing: si_pid is 0.
Result<siginfo_t> Relations::ask(const Member& parent, int32_t child, int what) const {
  tracee::Table table(*parent.hands);
  uint64_t info = table.out<siginfo_t>();
  uint64_t whom = child == 0 ? P_ALL : P_PID;
  uint64_t options = static_cast<uint64_t>(what | WNOHANG | WNOWAIT | __WALL);
  size_t wait = table.ask(SYS_waitid, {whom, static_cast<uint64_t>(child), info, options, 0});
  TRY(table.run(parent.process->representative(), parent.process->seen_as()));
  return table.result(wait) < 0 ? siginfo_t{} : table.value<siginfo_t>(info);
}

Result<bool> Relations::would_be_told(const Member& parent, int32_t child, int what) const {
  return TRY(ask(parent, child, what)).si_pid != 0;
}

Result<> Relations::note_stops() {
  std::map<int, const Member*> by_number;
  for (const Member& member : members_) by_number[member.facts->stat.pid] = &member;
  std::map<const Member*, bool> has_continued;
  for (const Member& member : members_) {
    auto found = by_number.find(member.facts->stat.ppid);
    if (found == by_number.end()) continue;
    const Member* parent = found->second;
    image::ProcessRecord& record = *member.record;
    if (record.stop_signal != 0) {
      record.stop_is_known = !TRY(would_be_told(*parent, record.pid, WSTOPPED));
      continue;
    }
    if (!has_continued.contains(parent)) has_continued[parent] = TRY(would_be_told(*parent, 0, WCONTINUED));
    if (has_continued[parent]) record.continuation_is_known = !TRY(would_be_told(*parent, record.pid, WCONTINUED));
  }
  return {};
}

}  // namespace stint::task
