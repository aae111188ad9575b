#include "job/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "job/interval.h"
#include "job/report.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/poll.h"
#include "sys/process.h"
#include "sys/signal.h"

namespace stint::job {
namespace {

constexpr int64_t kBackgroundLook_ms = 500;  // how soon after `fg` the keys come to us: the shell sends no signal then

class Supervisor {
 public:
  Supervisor(const Job& job, Family& family, std::optional<TerminalRelay>& terminal, const SupervisorOptions& options)
      : job_(job), family_(family), terminal_(terminal), options_(options) {}

  Result<Outcome> run() {
    sigset_t every;
    sigfillset(&every);
    signals_ = TRY(sys::signal_fd(every));
    if (terminal_) terminal_->connect(family_.master.get());
    if (terminal_) terminal_->take();
    set_next_checkpoint();
    while (!outcome_) TRY(round());
    // It holds the job's lock until the job is gone, and whoever sees our status 85 may restart it at once.
    if (checkpointer_ != 0 && outcome_->stopped_by) TRY(sys::wait_pid(checkpointer_));
    if (terminal_) {
      terminal_->drain();
      terminal_->give_back();
    }
    return *outcome_;
  }

 private:
  Result<> round() {
    std::array<pollfd, 4> watched = {pollfd{family_.socket.get(), POLLIN, 0}, pollfd{signals_.get(), POLLIN, 0},
                                     pollfd{-1, 0, 0}, pollfd{-1, 0, 0}};
    if (terminal_) std::ranges::copy(terminal_->watched(), watched.begin() + 2);
    TRY(sys::poll(watched, timeout_ms()));
    if (terminal_ && !terminal_->in_foreground()) terminal_->take();
    if (terminal_) terminal_->relay({watched[2], watched[3]});
    if (watched[0].revents != 0) TRY(take_reports());
    if (watched[1].revents != 0) TRY(take_signals());
    if (next_checkpoint_ms_ != 0 && sys::monotonic_ms() >= next_checkpoint_ms_) {
      start_checkpoint(false);
      set_next_checkpoint();
    }
    return {};
  }

  void set_next_checkpoint() {
    int64_t interval = options_.mtbf_ms > 0 ? best_interval_ms(cost_ms_, options_.mtbf_ms) : options_.every_ms;
    if (interval > 0) next_checkpoint_ms_ = sys::monotonic_ms() + interval;
  }

  int timeout_ms() const {
    int64_t wait = -1;
    if (terminal_ && !terminal_->in_foreground()) wait = kBackgroundLook_ms;
    if (next_checkpoint_ms_ != 0) {
      int64_t left = std::max<int64_t>(0, next_checkpoint_ms_ - sys::monotonic_ms());
      wait = wait < 0 ? left : std::min(wait, left);
    }
    return static_cast<int>(std::min<int64_t>(wait, 1 << 30));
  }

  Result<> take_reports() {
    while (!outcome_) {
      ReportTaken taken = TRY(take_report(family_.socket.get(), false));
      if (taken.ended) return end_without_a_word();
      if (!taken.report) return {};
      const Report& report = *taken.report;
      switch (report.kind) {
        case ReportKind::kStopped:
          TRY(stop_with(report.value));
          break;
        case ReportKind::kExited:
          end({false, report.value}, report.detail);
          break;
        case ReportKind::kKilled:
          end({true, report.value}, report.detail);
          break;
        case ReportKind::kFailed:
          return failed(report.text);
        default:
          break;
      }
    }
    return {};
  }

  void end(Ending ending, int detail) {
    Outcome outcome{ending.exit_status(), ending, stopped_by(job_.directory), (detail & kOthersLeft) != 0};
    if (outcome.stopped_by) outcome.exit_status = kStoppedByCheckpoint;
    outcome_ = outcome;
  }

  // The stand-in was killed. The job may live on: as an orphan, or below its init.
  Result<> end_without_a_word() {
    outcome_ = Outcome{128 + SIGKILL, std::nullopt, stopped_by(job_.directory), is_alive(job_.root)};
    if (outcome_->stopped_by) outcome_->exit_status = kStoppedByCheckpoint;
    return {};
  }

  // The root was stopped: so are we, as the shell's job that we are, until somebody lets us go on.
  Result<> stop_with(int signal) {
    if (terminal_) {
      terminal_->drain();
      terminal_->give_back();
    }
    TRY(sys::suffer(signal, terminal_ && signal == SIGTSTP));
    return go_on();
  }

  Result<> go_on() {
    if (terminal_) {
      terminal_->take();
      terminal_->follow_size();
    }
    return signal_group(SIGCONT);
  }

  Result<> take_signals() {
    while (std::optional<sys::TakenSignal> taken = TRY(sys::take_signal(signals_.get()))) {
      switch (taken->number) {
        case SIGCHLD:
          TRY(reap());
          break;
        case SIGCONT:
          TRY(go_on());
          break;
        case SIGWINCH:
          if (terminal_)
            terminal_->follow_size();
          else
            TRY(pass_on(*taken));
          break;
        // These tell us that we are in the background, which is nothing to the job: it has a terminal of its own.
        case SIGTTIN:
        case SIGTTOU:
          break;
        default:
          if (taken->number == options_.signal)
            start_checkpoint(options_.signal_stops);
          else
            TRY(pass_on(*taken));
      }
    }
    return {};
  }

  // What the terminal sends, it sends to all of the foreground group; what a process sends, it meant for the program.
  Result<> pass_on(const sys::TakenSignal& taken) {
    if (taken.code == SI_KERNEL) return signal_group(taken.number);
    if (!family_.root_pidfd.valid()) return {};
    Result<> sent = sys::pidfd_signal(family_.root_pidfd.get(), taken.number);
    if (!sent && sent.error().os_errno() != ESRCH) return sent;
    return {};
  }

  Result<> signal_group(int signal) {
    pid_t group = family_.master.valid() ? sys::foreground_group(family_.master.get()) : 0;
    if (group <= 0) group = sys::process_group(family_.root.number);
    if (group <= 0) return {};
    Result<> sent = sys::kill(-group, signal);
    if (!sent && sent.error().os_errno() != ESRCH) return sent;
    return {};
  }

  // A process of its own takes the checkpoint: it may fail or be killed, and neither the job nor we are touched.
  void start_checkpoint(bool stop) {
    if (checkpointer_ != 0) return;  // One at a time; the one under way is as good.
    Result<pid_t> child = sys::fork_process();
    if (!child) return say(child.error().text());
    if (*child != 0) {
      checkpointer_ = *child;
      checkpoint_began_ms_ = sys::monotonic_ms();
      return;
    }
    Error error = run_checkpoint(stop);
    std::fprintf(stderr, "stint: checkpoint %s: %s\n", job_.name.c_str(), error.text().c_str());
    sys::exit_now(kOurFailure);
  }

  // In the child. Returns only when it could not be started.
  Error run_checkpoint(bool stop) {
    std::vector<std::string> command = {"stint"};
    command.insert(command.end(), options_.checkpoint_command.begin(), options_.checkpoint_command.end());
    if (stop) command.push_back("--stop");
    Result<std::string> state = state_directory();
    if (!state) return std::move(state).error();
    command.insert(command.end(), {"--dir", *state, job_.name});
    Result<> quiet = sys::redirect_output(job_.directory + "/checkpoint.log");
    if (!quiet) return std::move(quiet).error();
    if (Result<> unblocked = sys::unblock_signals(); !unblocked) return std::move(unblocked).error();
    return sys::exec("/proc/self/exe", command, sys::environment());
  }

  Result<> reap() {
    for (;;) {
      Result<sys::ChildState> child = sys::wait_child(false, false);
      if (!child && child.error().os_errno() == ECHILD) return {};
      sys::ChildState found = TRY(std::move(child));
      if (found.pid == 0) return {};
      if (found.pid != checkpointer_) continue;
      checkpointer_ = 0;
      if (found.code != CLD_EXITED || found.status != 0) {
        say("no checkpoint was taken: see " + job_.directory + "/checkpoint.log");
        continue;
      }
      cost_ms_ = std::max<int64_t>(1, sys::monotonic_ms() - checkpoint_began_ms_);
      if (options_.mtbf_ms > 0) set_next_checkpoint();
    }
  }

  void say(const std::string& text) {
    // In raw mode a newline does not go back to the left edge.
    bool raw = terminal_ && terminal_->in_foreground();
    std::fprintf(stderr, "stint: %s: %s%s\n", job_.name.c_str(), text.c_str(), raw ? "\r" : "");
  }

  const Job& job_;
  Family& family_;
  std::optional<TerminalRelay>& terminal_;
  const SupervisorOptions& options_;
  sys::UniqueFd signals_;
  std::optional<Outcome> outcome_;
  int64_t next_checkpoint_ms_ = 0;  // 0: none by the clock
  int64_t checkpoint_began_ms_ = 0;
  int64_t cost_ms_ = kSupposedCost_ms;  // how long the last one took
  pid_t checkpointer_ = 0;
};

}  // namespace

Result<Outcome> supervise(const Job& job, Family& family, std::optional<TerminalRelay>& terminal,
                          const SupervisorOptions& options) {
  return Supervisor(job, family, terminal, options).run();
}

}  // namespace stint::job
