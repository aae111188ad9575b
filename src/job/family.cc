#include "job/family.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "job/report.h"
#include "job/stand_in.h"
#include "proc/process.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/namespace.h"
#include "sys/pipe.h"
#include "sys/poll.h"
#include "sys/process.h"
#include "sys/procfs.h"
#include "sys/ptrace.h"
#include "sys/signal.h"
#include "sys/socket.h"
#include "tracee/first_thread.h"

namespace stint::job {
namespace {

constexpr int kFailedStart = 125;
constexpr const char* kStandInName = "stint stand-in";
constexpr gid_t kTtyGroup = 5;  // of every distribution: base-passwd, and udev and systemd are built with it

// What the processes of a starting family share: each is a fork of the one before it.
struct Start {
  const FamilyPlan& plan;
  sys::UniqueFd socket;     // to the supervisor
  sys::UniqueFd master{};   // made by the stand-in, in the job's mount namespace
  uint64_t capabilities{};  // that exec could give to the program out here
  int supervisor_end = -1;  // the other end of `socket`, which only the supervisor is to hold
  // This is the builder of a plain job: it ends at once, and what it forks is to be the supervisor's child.
  bool in_builder = false;
  // For a root in a session that nobody leads any more: the end of it is the end of the leader.
  sys::UniqueFd leader_is_gone{};
};

// Who has the number that we need. Best effort: it may be gone by now, or belong to a group without leader.
std::string holder(int number) {
  Result<std::string> text = sys::read_proc(Pid{number}, "stat");
  Result<proc::Stat> stat = text ? proc::parse_stat(*text) : Result<proc::Stat>(std::move(text).error());
  Result<struct stat> owner = sys::stat(fmt::format("/proc/{}", number));
  if (!stat || !owner) return "a process group or session that outlived its leader";
  return fmt::format("process {} ({}, user {})", number, stat->comm, owner->st_uid);
}

// A number may be held by a process that has ended and that nobody has reaped yet: a slow pid 1 takes a second. Or by
// a stand-in of the job's last run, which is about to end.
constexpr int kLeaving_ms = 3000;

bool may_be_leaving(int number) {
  Result<std::string> text = sys::read_proc(Pid{number}, "stat");
  Result<proc::Stat> stat = text ? proc::parse_stat(*text) : Result<proc::Stat>(std::move(text).error());
  return stat && (tracee::life_of(*stat) == tracee::Life::kZombie || stat->comm == kStandInName);
}

Result<pid_t> fork_exactly(int number, bool as_sibling) {
  const pid_t numbers[] = {number};
  for (int waited = 0;; waited += 5) {
    Result<pid_t> child = sys::fork_process({.numbers = numbers, .as_sibling = as_sibling});
    if (child || child.error().os_errno() != EEXIST || waited >= kLeaving_ms || !may_be_leaving(number)) return child;
    TRY(sys::poll({}, 5));
  }
}

// A fork with a number of its own, or any (0).
Result<pid_t> fork_numbered(int number, bool as_sibling = false) {
  if (number == 0) return sys::fork_process({.numbers = {}, .as_sibling = as_sibling});
  Result<pid_t> child = fork_exactly(number, as_sibling);
  if (child) return child;
  Error error = std::move(child).error();
  if (error.os_errno() == EEXIST) {
    return unfit(
        fmt::format("pid {} is taken here by {}; restart when it has ended, or contained", number, holder(number)));
  }
  std::string doing = fmt::format("a process with the number {}", number);
  if (error.os_errno() == EINVAL) return std::move(error).in(doing + " (see kernel.pid_max)").as(ErrorKind::kUnfit);
  return std::move(error).in(doing);
}

// Says what went wrong and ends this process of the family; its children, if any, were not started yet.
[[noreturn]] void give_up(const Start& start, const Error& error) {
  // The supervisor may be gone; then there is nobody to tell.
  if (!send_failure(start.socket.get(), error)) sys::exit_now(kFailedStart);
  sys::exit_now(kFailedStart);
}

// In the root: waits for the supervisor's word. False when none will come, for the supervisor is gone or has given up.
Result<bool> let_go(const Start& start) {
  std::byte word;
  std::optional<sys::Message> message = TRY(sys::receive_message(start.socket.get(), {&word, 1}, true));
  return message && message->size > 0;
}

Result<> wait_for_end_of_leader(Start& start) {
  std::byte nothing;
  if (start.leader_is_gone.valid()) TRY(sys::read(start.leader_is_gone.get(), {&nothing, 1}));
  start.leader_is_gone.reset();
  return {};
}

Result<int> root_main(Start& start, int terminal) {
  sys::UniqueFd(start.supervisor_end).reset();
  TRY(wait_for_end_of_leader(start));
  if (start.plan.root_group >= 0) {
    TRY(sys::set_process_group(0, start.plan.root_group));
    if (terminal >= 0) TRY(sys::set_foreground_group(terminal, sys::process_group()));
  }
  // A user namespace gives its first process every capability there is; exec must not find more than there were.
  if (start.plan.contained && start.plan.user_namespace) TRY(sys::limit_bounding_set(start.capabilities));
  TRY(send_report(start.socket.get(), ReportKind::kRoot, sys::own_pid()));
  if (!TRY(let_go(start))) sys::exit_now(kFailedStart);
  start.socket.reset();
  start.master.reset();
  return start.plan.root_main(terminal);
}

// Until it is killed, or the supervisor is gone.
[[noreturn]] void wait_for_nobody(const Start& start) {
  sys::UniqueFd(start.supervisor_end).reset();
  pollfd supervisor{start.socket.get(), 0, 0};
  Result<bool> gone = sys::poll({&supervisor, 1}, -1);
  sys::exit_now(gone ? 0 : kFailedStart);
}

// A job that was started without us may have its root in a group whose leader is not in the job (a script that ran it).
// A group needs its leader only to begin: once the root is in it, its number stays taken, and the leader can go.
class GroupLeader {
 public:
  // None for a group that is there already, or that the root makes itself.
  static Result<GroupLeader> make(const Start& start) {
    int group = start.plan.root_group;
    bool there = group <= 0 || group == sys::own_pid() || group == sys::process_group() || group == sys::session();
    if (there) return GroupLeader(0);
    pid_t leader = TRY(fork_numbered(group));
    if (leader == 0) wait_for_nobody(start);
    TRY(sys::set_process_group(leader, leader));
    return GroupLeader(leader);
  }

  Result<> hand_over(pid_t root) {
    if (leader_ == 0) return {};
    TRY(sys::set_process_group(root, leader_));
    TRY(sys::kill(leader_, SIGKILL));
    TRY(sys::wait_pid(leader_));
    return {};
  }

 private:
  explicit GroupLeader(pid_t leader) : leader_(leader) {}
  pid_t leader_;
};

// Both in the parent of the root; neither returns in the root.
Result<pid_t> fork_root(Start& start, int terminal) {
  GroupLeader leader = TRY(GroupLeader::make(start).in("leader of the root's process group"));
  pid_t root = TRY(fork_numbered(start.plan.root_pid).in("root"));
  if (root == 0) {
    Result<int> status = root_main(start, terminal);
    if (!status) give_up(start, status.error());
    sys::exit_now(*status);
  }
  TRY(leader.hand_over(root));
  return root;
}

Result<pid_t> lead_session(Start& start, int terminal) {
  TRY(sys::new_session());
  if (start.master.valid()) TRY(sys::open_pty_slave(start.master.get(), true).in("the job's terminal"));
  return fork_root(start, terminal);
}

// In a session whose leader is neither the root nor its parent: a leader forks the root and ends, as it did before the
// job was taken up, and the root becomes the child of the stand-in, who is its subreaper.
Result<pid_t> fork_root_in_session(Start& start, int terminal) {
  sys::PipeEnds pipe = TRY(sys::pipe());
  start.leader_is_gone = std::move(pipe.read);
  pid_t leader = TRY(fork_numbered(start.plan.root_session).in("leader of the session"));
  if (leader == 0) {
    pipe.write.reset();
    Result<pid_t> root = lead_session(start, terminal);
    if (!root) give_up(start, root.error());
    sys::exit_now(0);
  }
  TRY(sys::wait_pid(leader));
  start.leader_is_gone.reset();
  return start.plan.root_pid;
}

Result<> open_terminal(Start& start) {
  if (!start.plan.terminal) return {};
  start.master = TRY(sys::open_pty());
  if (start.plan.modes) TRY(sys::set_terminal_modes(start.master.get(), *start.plan.modes));
  if (start.plan.size) TRY(sys::set_terminal_size(start.master.get(), *start.plan.size));
  return {};
}

// In the process that becomes the stand-in: forks the root and looks after it.
Result<> stand_in(Start& start) {
  TRY(sys::become_subreaper());
  if (start.plan.own_ipc && !start.plan.contained)
    TRY(sys::unshare(CLONE_NEWIPC).in("an IPC namespace (needs CAP_SYS_ADMIN, or a contained job)"));
  int session = start.plan.root_session;
  bool elsewhere = session != 0 && session != sys::session();
  sys::UniqueFd slave;
  TRY(open_terminal(start).in("the job's terminal"));
  if (start.master.valid()) slave = TRY(sys::open_pty_slave(start.master.get(), !elsewhere).in("the job's terminal"));
  TRY(send_stand_in(start.socket.get(), sys::own_pid(), start.master.get()));
  pid_t root = TRY(elsewhere ? fork_root_in_session(start, slave.get()) : fork_root(start, slave.get()));
  sys::set_name(kStandInName);
  TRY(sys::change_directory("/"));  // Else it would keep a file system busy.
  stand_in_main({start.plan.directory, std::move(start.socket), std::move(start.master), std::move(slave), root});
}

// Waits until no child is left.
void reap_all() {
  for (;;) {
    Result<sys::ChildState> child = sys::wait_child(true, false);
    if (!child) return;
  }
}

// A process that only has a number (init, a leader of the session): holds nothing, ends when its descendants have.
[[noreturn]] void idle(const char* name) {
  sys::set_name(name);
  sys::close_all_but({});
  Result<> moved = sys::change_directory("/");  // Else it would keep a file system busy.
  reap_all();
  sys::exit_now(moved ? 0 : 1);
}

// Forks the stand-in, and before it the leader of its session if that is another process.
Result<> fork_stand_in(Start& start) {
  const image::StandIn& wanted = start.plan.stand_in;
  if (start.plan.outside_session) {
    pid_t child = TRY(fork_numbered(wanted.pid).in("stand-in"));
    return child != 0 ? Result<>() : stand_in(start);
  }
  bool led_by_another = wanted.sid != 0 && wanted.sid != wanted.pid;
  if (wanted.pgid != 0 && wanted.pgid != wanted.pid && wanted.pgid != wanted.sid) {
    return unfit(fmt::format("the parent of the job's root was in process group {}, whose leader was not in the job",
                             wanted.pgid));
  }
  if (led_by_another) {
    pid_t leader = TRY(fork_numbered(wanted.sid, start.in_builder).in("leader of the session"));
    if (leader != 0) return {};
    TRY(sys::new_session());
  }
  pid_t child = TRY(fork_numbered(wanted.pid, start.in_builder && !led_by_another).in("stand-in"));
  if (child != 0) {
    if (led_by_another) idle("stint leader");
    return {};
  }
  if (!led_by_another) TRY(sys::new_session());
  if (led_by_another && wanted.pgid == wanted.pid) TRY(sys::set_process_group(0, 0));
  return stand_in(start);
}

Result<> note(const Start& start, const std::string& what, const Result<>& mounted) {
  if (mounted) return {};
  std::string text = "the job sees this system's " + what + " of its own: " + mounted.error().text();
  return send_report(start.socket.get(), ReportKind::kNote, 0, 0, text);
}

// Where it may not, the job does without, and it is said.
Result<> mount_own(const Start& start) {
  TRY(note(start, "/proc, not one", sys::mount_proc()));
  bool has_pts = start.plan.own_pts && sys::stat("/dev/pts").has_value();
  // In a user namespace no group but the user's own is mapped.
  std::optional<gid_t> group;
  if (!start.plan.user_namespace) group = kTtyGroup;
  return has_pts ? note(start, "terminals, not some", sys::mount_pts(group)) : Result<>();
}

[[noreturn]] void init_main(Start& start) {
  Result<> result;
  if (!start.plan.outside_session) result = sys::new_session();
  if (result) result = send_report(start.socket.get(), ReportKind::kInit, sys::own_pid());
  if (!result) give_up(start, result.error());
  result = mount_own(start);
  if (!result) give_up(start, result.error());
  // A root that was an orphan is its child.
  result = start.plan.stand_in.pid == sys::own_pid() ? stand_in(start) : fork_stand_in(start);
  if (!result) give_up(start, result.error());
  idle("stint init");
}

Result<> enter_namespaces(const FamilyPlan& plan) {
  int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWTIME | (plan.own_ipc ? CLONE_NEWIPC : 0);
  uid_t uid = sys::effective_user();
  gid_t gid = sys::effective_group();
  Result<> entered = sys::unshare(flags | (plan.user_namespace ? CLONE_NEWUSER : 0));
  if (!entered) return namespaces_refused(std::move(entered).error());
  if (plan.user_namespace) {
    Result<> mapped = sys::map_own_ids(uid, gid);
    if (!mapped) return namespaces_refused(std::move(mapped).error());
  } else {
    TRY(sys::make_mounts_slave());  // With a user namespace they are from the start.
  }
  return {};
}

Result<> builder(Start& start) {
  const FamilyPlan& plan = start.plan;
  if (plan.contained) TRY(enter_namespaces(plan));
  if (!plan.contained)
    TRY(sys::unshare(CLONE_NEWTIME).in("a time namespace (needs CAP_SYS_ADMIN, or a contained job)"));
  if (plan.monotonic_offset_ns != 0 || plan.boottime_offset_ns != 0) {
    TRY(sys::move_clocks(plan.monotonic_offset_ns, plan.boottime_offset_ns));
  }
  if (!plan.contained) {
    start.in_builder = true;
    return fork_stand_in(start);
  }
  if (plan.outside_session) TRY(sys::new_session());
  // The supervisor becomes the parent of init, so that it learns of its end even when nobody is left to report it.
  if (TRY(sys::fork_process({.as_sibling = true})) == 0) init_main(start);
  return {};
}

// Runs in a child what the supervisor itself must not enter.
Result<> fork_builder(Start& start) {
  pid_t child = TRY(sys::fork_process());
  if (child == 0) {
    Result<> built = builder(start);
    if (!built) give_up(start, built.error());
    sys::exit_now(0);
  }
  TRY(sys::wait_pid(child));  // What went wrong in it, it has reported.
  return {};
}

// Plain, and no clock to move: the stand-in is the supervisor's own child.
Result<> fork_directly(Start& start) {
  pid_t supervisor = sys::own_pid();
  Result<> forked = fork_stand_in(start);
  if (sys::own_pid() == supervisor) return forked;
  give_up(start, forked.error());
}

Error failure_of(const Report& report) {
  return Error(static_cast<ErrorKind>(report.value), report.text, report.detail);
}

// Until the root is there, or somebody has failed.
Result<> meet(Family& family) {
  while (family.root.number == 0) {
    ReportTaken taken = TRY(take_report(family.socket.get(), true));
    if (taken.ended) return failed("a process of ours was killed while the job was being started");
    const Report& report = *taken.report;
    switch (report.kind) {
      case ReportKind::kInit:
        family.init = report.sender;
        break;
      case ReportKind::kStandIn:
        family.stand_in = report.sender;
        family.job_stand_in = JobPid{report.value};
        family.master = std::move(taken.master);
        break;
      case ReportKind::kRoot:
        family.root = report.sender;
        family.job_root = JobPid{report.value};
        break;
      case ReportKind::kNote:
        family.notes.emplace_back(report.text);
        break;
      case ReportKind::kFailed:
        return failure_of(report);
      default:
        return failed("the job's root ended before it was started");
    }
  }
  return {};
}

}  // namespace

Error namespaces_refused(Error error) {
  std::string advice =
      "this system lets an ordinary user have no user namespace, which a job needs to find its process numbers free at "
      "a "
      "restart. An administrator can allow it: ";
  Result<std::string> restricted = sys::read_whole("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
  Result<std::string> allowed = sys::read_whole("/proc/sys/kernel/unprivileged_userns_clone");
  Result<std::string> most = sys::read_whole("/proc/sys/user/max_user_namespaces");
  if (restricted && restricted->starts_with("1")) {
    advice += "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for stint with `userns,`";
  } else if (allowed && allowed->starts_with("0")) {
    advice += "sysctl kernel.unprivileged_userns_clone=1";
  } else if (most && most->starts_with("0")) {
    advice += "sysctl user.max_user_namespaces=15000";
  } else {
    advice +=
        "see user.max_user_namespaces and user.max_pid_namespaces, and the seccomp filter of the container, if this is "
        "one";
  }
  advice +=
      "; or setcap cap_checkpoint_restore,cap_sys_ptrace+ep on the stint binary, and jobs need no namespace. "
      "`stint run --plain` starts the job without; it can then be restarted only where one of these is allowed";
  return std::move(error).in(advice).as(ErrorKind::kUnfit);
}

namespace {

Result<> start_into(Family& family, const FamilyPlan& plan) {
  std::pair<sys::UniqueFd, sys::UniqueFd> ends = TRY(sys::message_pair());
  family.socket = std::move(ends.first);
  Start start{.plan = plan,
              .socket = std::move(ends.second),
              .capabilities = sys::bounding_set(),
              .supervisor_end = family.socket.get()};
  bool ignored = sys::is_ignored(SIGCHLD);
  if (ignored) TRY(sys::set_ignored(SIGCHLD, false));  // Else nobody of the family could wait for its children.
  bool moves_clocks = plan.monotonic_offset_ns != 0 || plan.boottime_offset_ns != 0;
  TRY(plan.contained || moves_clocks ? fork_builder(start) : fork_directly(start));
  start.socket.reset();  // Or we would never see that the others are gone.
  TRY(meet(family));
  family.root_pidfd = TRY(sys::pidfd_open(family.root.number));
  if (plan.before_root) TRY(plan.before_root(family));
  constexpr std::byte kGo{1};
  return sys::send_message(family.socket.get(), {&kGo, 1});
}

// Whether nobody holds the socket any more.
bool all_gone(const Family& family) {
  for (;;) {
    Result<ReportTaken> taken = take_report(family.socket.get(), false);
    if (!taken || taken->ended) return true;
    if (!taken->report) return false;
  }
}

}  // namespace

Result<Family> start_family(const FamilyPlan& plan) {
  Family family;
  Result<> started = start_into(family, plan);
  if (started) return family;
  if (Result<> ended = end_family(family); !ended)
    return failed(fmt::format("{}; and: {}", started.error().text(), ended.error().text()));
  return std::move(started).error();
}

Result<> end_family(Family& family) {
  if (!family.socket.valid()) return {};
  TRY(sys::shut_down(family.socket.get(), SHUT_WR));  // A root that waits for our word ends.
  // Init takes all the others along. A stand-in ends with its last child.
  bool contained = family.init.number != 0;
  Result<> sent;
  if (contained)
    sent = sys::kill(family.init.number, SIGKILL);
  else if (family.root_pidfd.valid())
    sent = sys::pidfd_signal(family.root_pidfd.get(), SIGKILL);
  if (!sent && sent.error().os_errno() != ESRCH) return sent;
  // Those that we traced end only when we have waited for them, and so does the init above them.
  constexpr int kPatience_ms = 10'000;
  for (int waited = 0; waited < kPatience_ms; ++waited) {
    Result<std::optional<sys::WaitStatus>> child = sys::wait_thread(Pid{-1}, false);
    if (!child && child.error().os_errno() != ECHILD) return std::move(child).error();
    if (!child && all_gone(family)) return {};
    TRY(sys::poll({}, 1));
  }
  return failed("processes of ours are left that do not end");
}

}  // namespace stint::job
