#include "job/stand_in.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <array>

#include "job/report.h"
#include "job/state.h"
#include "sys/file.h"
#include "sys/poll.h"
#include "sys/process.h"
#include "sys/signal.h"

namespace stint::job {
namespace {

class StandIn {
 public:
  explicit StandIn(StandInPlace place) : place_(std::move(place)) {}

  Result<> run() {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    signals_ = TRY(sys::signal_fd(children));
    sys::close_all_but({place_.socket.get(), place_.master.get(), place_.slave.get(), signals_.get()});
    // One round before the first wait: a child may have ended before there was a descriptor to tell.
    while (TRY(reap())) TRY(wait());
    // What the last of them wrote is still in the terminal.
    while (!place_.socket.valid() && drain_terminal()) continue;
    return {};
  }

 private:
  // False when no child is left. Nothing that fails here may end the stand-in while the job lives: without a
  // supervisor reports go nowhere, on a full disk `status` is not written, and the job goes on.
  Result<bool> reap() {
    for (;;) {
      Result<sys::ChildState> child = sys::wait_child(false, true);
      if (!child && child.error().os_errno() == ECHILD) return false;
      sys::ChildState found = TRY(std::move(child));
      if (found.pid == 0) return true;
      if (found.pid == place_.root) root_changed(found);
    }
  }

  void root_changed(const sys::ChildState& state) {
    switch (state.code) {
      case CLD_STOPPED:
        return report(ReportKind::kStopped, state.status, 0);
      case CLD_CONTINUED:
        return report(ReportKind::kContinued, 0, 0);
      default:
        break;
    }
    bool exited = state.code == CLD_EXITED;
    // Where that cannot be written, the job still ends, and the supervisor is told.
    (void)write_ending(place_.directory, {!exited, state.status});
    // Its number may be another's from now on.
    place_.root = 0;
    int detail = (state.code == CLD_DUMPED ? kDumpedCore : 0) | (has_child() ? kOthersLeft : 0);
    report(exited ? ReportKind::kExited : ReportKind::kKilled, state.status, detail);
  }

  static bool has_child() {
    Result<bool> any = sys::has_child();
    return !any || *any;
  }

  void report(ReportKind kind, int value, int detail) {
    if (!place_.socket.valid()) return;
    if (!send_report(place_.socket.get(), kind, value, detail)) place_.socket.reset();
  }

  // Until a child changed, the supervisor died, or the terminal has something to say that nobody else hears.
  Result<> wait() {
    bool alone = !place_.socket.valid();
    std::array<pollfd, 3> watched = {pollfd{signals_.get(), POLLIN, 0}, pollfd{place_.socket.get(), 0, 0},
                                     pollfd{alone ? place_.master.get() : -1, POLLIN, 0}};
    TRY(sys::poll(watched, -1));
    if (watched[0].revents != 0) {
      while (TRY(sys::take_signal(signals_.get()))) continue;
    }
    if (watched[1].revents != 0) supervisor_died();
    if (watched[2].revents != 0) drain_terminal();
    return {};
  }

  void supervisor_died() {
    place_.socket.reset();
    if (!place_.master.valid()) return;
    Result<sys::UniqueFd> log = sys::open(place_.directory + "/log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log) log_ = *std::move(log);
  }

  // A terminal that nobody reads would fill up and stop the job. False when there was nothing.
  bool drain_terminal() {
    if (!place_.master.valid()) return false;
    std::array<std::byte, 4096> buffer;
    Result<size_t> size = sys::read(place_.master.get(), buffer);
    if (!size || *size == 0) return false;
    if (log_.valid() && !sys::write_all(log_.get(), {buffer.data(), *size})) log_.reset();
    return true;
  }

  StandInPlace place_;
  sys::UniqueFd signals_;
  sys::UniqueFd log_;
};

}  // namespace

void stand_in_main(StandInPlace place) {
  StandIn stand_in(std::move(place));
  sys::exit_now(stand_in.run() ? 0 : 1);
}

}  // namespace stint::job
