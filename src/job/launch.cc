#include "job/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>

#include <algorithm>
#include <cstdio>

#include "agent/embedded.h"
#include "files/agent_install.h"
#include "job/report.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/process.h"
#include "sys/signal.h"
#include "sys/terminal.h"

namespace stint::job {
namespace {

// What the root must put back before it becomes the program.
struct Caller {
  sigset_t mask;
  bool child_ignored;
};

int become_program(const std::string& path, const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment, const Caller& caller) {
  Result<> ready = sys::set_ignored(SIGCHLD, caller.child_ignored);
  if (ready) ready = sys::set_signal_mask(caller.mask);
  Error error = ready ? sys::exec(path, arguments, environment) : ready.error();
  if (error.os_errno() == ENOEXEC) {
    // A script without its first line: execvp(3) gives it to the shell.
    std::vector<std::string> shell = {"/bin/sh", path};
    shell.insert(shell.end(), arguments.begin() + 1, arguments.end());
    error = sys::exec("/bin/sh", shell, environment);
  }
  std::fprintf(stderr, "stint: %s: %s\n", arguments[0].c_str(), error.text().c_str());
  return exit_status_of(error);
}

Result<std::vector<std::string>> job_environment(const std::string& directory) {
  files::AgentPaths agent = TRY(files::install_agent(TRY(state_directory())));
  std::string ledger = directory + "/ledger";
  TRY(files::create_ledger(ledger));
  return files::build_environment(sys::environment(), agent, ledger);
}

Result<Job> describe(const LaunchPlan& plan) {
  Job job;
  job.name = plan.claim.name;
  job.directory = plan.claim.directory;
  job.arguments = plan.arguments;
  job.working_directory = TRY(sys::working_directory());
  job.uid = sys::effective_user();
  job.gid = sys::effective_group();
  job.contained = plan.contained;
  job.streams = inspect_streams();
  job.agent_hash = agent::embedded_agent().hash;
  return job;
}

// The job's own terminal has taken the place of the streams that were the user's.
Result<> note_terminal(Job& job, const Family& family, bool terminal) {
  for (Stream& stream : job.streams) {
    if (terminal && stream.terminal)
      stream.outside = false;
    else
      stream.terminal = false;
  }
  if (!terminal) return {};
  sys::UniqueFd slave = TRY(sys::open_pty_slave(family.master.get(), false));
  job.terminal_device = TRY(sys::fstat(slave.get())).st_rdev;
  return {};
}

Result<Family> start(const LaunchPlan& plan, Job& job, const Caller& caller, std::optional<TerminalRelay>& terminal) {
  std::string path = TRY(program_to_run(plan.arguments[0]));
  std::vector<std::string> environment = TRY(job_environment(job.directory));
  if (int fd = terminal_to_relay(); fd >= 0) terminal.emplace(TRY(TerminalRelay::open(fd)));
  FamilyPlan family;
  family.directory = job.directory;
  family.contained = plan.contained;
  family.own_ipc = plan.own_ipc && (plan.contained || sys::has_capability(CAP_SYS_ADMIN));
  family.user_namespace = needs_user_namespace();
  family.terminal = terminal.has_value();
  family.own_pts = family.terminal || std::ranges::none_of(job.streams, &Stream::terminal);
  if (terminal) family.modes = terminal->modes();
  if (terminal) family.size = terminal->size();
  family.root_main = [&](int slave) {
    if (Result<> taken = take_terminal(slave); !taken) return kOurFailure;
    return become_program(path, plan.arguments, environment, caller);
  };
  // It runs only when it is known by name: whatever becomes of us, it is found.
  family.before_root = [&](const Family& started) -> Result<> {
    TRY(note_terminal(job, started, terminal.has_value()));
    TRY(note_family(job, started));
    return write_job(job);
  };
  return start_family(family);
}

}  // namespace

bool contained_by_default() {
  return !sys::has_capability(CAP_CHECKPOINT_RESTORE) && !sys::has_capability(CAP_SYS_ADMIN);
}

bool needs_user_namespace() { return sys::effective_user() != 0 || !sys::has_capability(CAP_SYS_ADMIN); }

Result<> note_family(Job& job, const Family& family) {
  job.supervisor = TRY(member(Pid{sys::own_pid()}, JobPid{}));
  if (family.init.number != 0) job.init = TRY(member(family.init, JobPid{1}));
  job.stand_in = TRY(member(family.stand_in, family.job_stand_in));
  job.root = TRY(member(family.root, family.job_root));
  if (job.stand_ins.empty()) {
    int stand_in = family.job_stand_in.number;
    job.stand_ins = {{stand_in, stand_in, stand_in}};
  }
  job.started = sys::realtime_s();
  return {};
}

Result<std::string> program_to_run(const std::string& name) {
  std::string path = TRY(sys::find_program(name).in(name));
  struct stat found = TRY(sys::stat(path));
  bool other_user = (found.st_mode & S_ISUID) != 0 && found.st_uid != sys::effective_user();
  bool other_group =
      (found.st_mode & S_ISGID) != 0 && (found.st_mode & S_IXGRP) != 0 && found.st_gid != sys::effective_group();
  if (other_user || other_group) {
    return refused(
        fmt::format("{} is set-{}-id: it runs with rights that its user does not have, so the kernel lets the "
                    "user neither look into it nor make it again. Run it without stint",
                    path, other_user ? "user" : "group"));
  }
  if (sys::effective_user() != 0 && sys::has_file_capabilities(path)) {
    return refused(path +
                   " has file capabilities (see getcap): it runs with rights that its user does not have, so the "
                   "kernel lets the user neither look into it nor make it again. Run it without stint");
  }
  return path;
}

int exit_status_of(const Error& error) {
  if (error.os_errno() == ENOENT || error.os_errno() == ENOTDIR) return kNotFound;
  return error.os_errno() != 0 ? kCannotRun : kOurFailure;
}

std::array<Stream, 3> inspect_streams() {
  std::array<Stream, 3> streams;
  for (int fd = 0; fd < 3; ++fd) {
    Result<struct stat> found = sys::fstat(fd);
    if (!found) continue;
    bool terminal = S_ISCHR(found->st_mode) && sys::is_terminal(fd);
    bool outside = terminal || S_ISFIFO(found->st_mode) || S_ISSOCK(found->st_mode);
    streams[static_cast<size_t>(fd)] = {true, found->st_dev, found->st_ino, found->st_rdev, outside, terminal};
  }
  return streams;
}

int terminal_to_relay() {
  std::array<Stream, 3> streams = inspect_streams();
  // In `stint run sim | less` the keys are the pager's, and we cannot know when the program wants one: so it is given
  // the user's terminal as it is.
  Result<struct stat> output = sys::fstat(1);
  if (output && S_ISFIFO(output->st_mode)) return -1;
  for (int fd = 0; fd < 3; ++fd) {
    if (streams[static_cast<size_t>(fd)].terminal) return fd;
  }
  return -1;
}

Result<> take_terminal(int slave) {
  if (slave < 0) return {};
  for (int fd = 0; fd < 3; ++fd) {
    if (sys::is_terminal(fd)) TRY(sys::replace_stream(fd, slave));
  }
  return {};
}

Result<Detached> detach(const std::string& log) {
  std::pair<sys::UniqueFd, sys::UniqueFd> ends = TRY(sys::message_pair());
  if (TRY(sys::fork_process()) == 0) {
    TRY(sys::new_session());
    TRY(sys::redirect_input_to_nothing());
    TRY(sys::redirect_output(log));
    return Detached{true, std::move(ends.second)};
  }
  ends.second.reset();
  ReportTaken taken = TRY(take_report(ends.first.get(), true));
  if (taken.ended) return failed("the supervisor was killed while it started the job; see " + log);
  const Report& report = *taken.report;
  if (report.kind == ReportKind::kFailed) {
    return Error(static_cast<ErrorKind>(report.value), report.text, report.detail);
  }
  return Detached{false, sys::UniqueFd()};
}

Result<int> stay_with(const Job& job, Family& family, std::optional<TerminalRelay>& terminal,
                      const SupervisorOptions& options, bool keep) {
  Outcome outcome = TRY(supervise(job, family, terminal, options));
  // A regular file is the program's too: a line of ours in it would be a change by somebody else when it is restarted.
  Result<struct stat> errors = sys::fstat(2);
  bool may_speak = !errors || !S_ISREG(errors->st_mode);
  if (outcome.stopped_by && may_speak) {
    std::fprintf(stderr, "stint: %s was stopped by checkpoint %d; `stint restart %s` takes it up\n", job.name.c_str(),
                 *outcome.stopped_by, job.name.c_str());
  } else if (!outcome.ending && outcome.others_left) {
    std::fprintf(stderr, "stint: the stand-in of %s was killed; the job runs on, and its end will not be seen\n",
                 job.name.c_str());
  } else if (!outcome.ending) {
    std::fprintf(stderr, "stint: %s was killed with its stand-in\n", job.name.c_str());
  }
  // Who restarts it wants its numbers, and an orphan's are free only when somebody has reaped it.
  if (!outcome.others_left && outcome.stopped_by) {
    Result<sys::ChildState> gone = sys::wait_pid(job.contained ? family.init.number : family.stand_in.number);
    // Not our child: its parent reaps it.
    if (!gone && gone.error().os_errno() != ECHILD) return std::move(gone).error();
  }
  if (keep || outcome.stopped_by || outcome.others_left) return outcome.exit_status;
  // It has run, its status goes to the caller, nothing is left to tell. What cannot be removed harms nobody.
  (void)forget_job(job).has_value();
  return outcome.exit_status;
}

Result<int> launch(LaunchPlan plan) {
  Detached detached;
  if (plan.detached) {
    detached = TRY(detach(plan.claim.directory + "/log"));
    if (!detached.child) return 0;
  }
  Caller caller{TRY(sys::block_signals()), sys::is_ignored(SIGCHLD)};
  Job job = TRY(describe(plan));
  std::optional<TerminalRelay> terminal;
  Result<Family> family = start(plan, job, caller, terminal);
  if (!family) {
    Error error = std::move(family).error();
    if (Result<> gone = remove_job(job.directory); !gone) error = std::move(error).in(gone.error().text());
    if (!detached.child) return error;
    if (!send_failure(detached.parent.get(), error)) sys::exit_now(kOurFailure);
    sys::exit_now(kOurFailure);
  }
  unlock_job(std::move(plan.claim.lock));
  for (const std::string& note : family->notes) std::fprintf(stderr, "stint: %s: %s\n", job.name.c_str(), note.c_str());
  if (detached.child) TRY(send_report(detached.parent.get(), ReportKind::kRoot, family->root.number));
  detached.parent.reset();
  Result<int> status = stay_with(job, *family, terminal, plan.supervisor, plan.detached);
  if (detached.child) sys::exit_now(status ? *status : kOurFailure);
  return status;
}

}  // namespace stint::job
