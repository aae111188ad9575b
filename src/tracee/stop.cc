#include "tracee/stop.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <linux/ptrace.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "sys/procfs.h"
#include "sys/tasks.h"

namespace stint::tracee {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kOptions = PTRACE_O_TRACESYSGOOD;
constexpr int kSystemCallStop = SIGTRAP | 0x80;

bool gone(const Error& error) { return error.os_errno() == ESRCH || error.os_errno() == ECHILD; }

void short_nap() {
  timespec nap{0, 20'000};
  ::nanosleep(&nap, nullptr);
}

enum class Settled { kStopped, kGone, kNotYet };

// What thaw() will put back is known from the very stop on: after any error the thread can be let go again.
Result<Settled> stopped(Thread& thread) {
  thread.registers = TRY(sys::get_registers(thread.tid));
  thread.signal_mask = TRY(sys::get_signal_mask(thread.tid));
  thread.known = true;
  return Settled::kStopped;
}

// Looks whether one interrupted thread has stopped.
Result<Settled> settle(Thread& thread) {
  Result<std::optional<sys::WaitStatus>> status = sys::wait_thread(thread.tid, false);
  if (!status.has_value()) {
    if (gone(status.error())) return Settled::kGone;
    return std::move(status).error();
  }
  if (!status->has_value()) return Settled::kNotYet;
  const sys::WaitStatus& told = **status;
  if (told.exited()) return Settled::kGone;
  if (told.event() == PTRACE_EVENT_STOP) {
    if (told.signal() != SIGTRAP) thread.group_stop = told.signal();
    Result<Settled> read = stopped(thread);
    if (!read.has_value() && gone(read.error())) return Settled::kNotYet;  // Killed: its end is the next to be told.
    return read;
  }
  // A signal came first: it is delivered, and the interrupt is taken before the handler's first instruction.
  int signal = told.event() == 0 && told.signal() != kSystemCallStop ? told.signal() : 0;
  Result<> went_on = sys::ptrace_continue(thread.tid, signal);
  if (!went_on.has_value() && !gone(went_on.error())) return std::move(went_on).error();
  return Settled::kNotYet;
}

}  // namespace

bool in_system_call(const sys::Registers& registers) { return static_cast<int64_t>(registers.orig_rax) >= 0; }

Result<StoppedProcess> StoppedProcess::stop(Pid process, std::chrono::milliseconds patience, long options) {
  StoppedProcess stopped(process, options);
  Clock::time_point deadline = Clock::now() + patience;
  while (TRY(stopped.seize_new_threads())) TRY(stopped.wait_for_stops(deadline));
  if (stopped.threads_.empty()) return failed("it has ended");
  return stopped;
}

// True when there were any.
Result<bool> StoppedProcess::seize_new_threads() {
  bool found = false;
  for (Pid tid : TRY(sys::list_threads(pid_))) {
    if (std::ranges::any_of(threads_, [&](const Thread& known) { return known.tid == tid; })) continue;
    Result<> seized = sys::ptrace_seize(tid, kOptions | options_);
    if (!seized.has_value()) {
      if (seized.error().os_errno() == ESRCH) continue;
      if (seized.error().os_errno() == EPERM)
        return refused(
            fmt::format("thread {} cannot be traced: another tracer (gdb, strace) has it, it is another "
                        "user's, or it has ended while others of its process run on",
                        tid.number));
      return std::move(seized).error();
    }
    Thread thread;
    thread.tid = tid;
    threads_.push_back(thread);
    Result<> interrupted = sys::ptrace_interrupt(tid);
    if (!interrupted.has_value() && !gone(interrupted.error())) return std::move(interrupted).error();
    found = true;
  }
  return found;
}

Result<> StoppedProcess::wait_for_stops(Clock::time_point deadline) {
  while (settled_ < threads_.size()) {
    Settled now = TRY(settle(threads_[settled_]));
    if (now == Settled::kStopped) {
      ++settled_;
    } else if (now == Settled::kGone) {
      threads_.erase(threads_.begin() + static_cast<ptrdiff_t>(settled_));
    } else if (Clock::now() > deadline) {
      return refused(
          fmt::format("thread {} did not stop: it is inside vfork(2), waiting for its child, or in an "
                      "uninterruptible system call; try again",
                      threads_[settled_].tid.number));
    } else {
      short_nap();
    }
  }
  return {};
}

StoppedProcess::StoppedProcess(StoppedProcess&& other) noexcept
    : pid_(other.pid_), options_(other.options_), threads_(std::move(other.threads_)), settled_(other.settled_) {
  other.threads_.clear();
}

StoppedProcess::~StoppedProcess() { thaw(); }

namespace {

// The signals that the thread's process handles (bit n-1 for signal n).
uint64_t caught_signals(Pid thread) {
  constexpr std::string_view kKey = "SigCgt:";
  std::string text = sys::read_proc(thread, "status").value_or("");
  size_t at = text.find(kKey);
  return at == text.npos ? 0 : std::strtoull(text.c_str() + at + kKey.size(), nullptr, 16);
}

// Whether a signal waits for which the thread will run a handler at once. One that is ignored interrupts nothing.
bool signal_is_due(const Thread& thread) {
  for (bool shared : {false, true}) {
    Result<std::vector<siginfo_t>> pending = sys::peek_signals(thread.tid, shared);
    if (!pending.has_value()) return false;
    for (const siginfo_t& info : *pending)
      if ((thread.signal_mask >> (info.si_signo - 1) & 1) == 0 &&
          (caught_signals(thread.tid) >> (info.si_signo - 1) & 1) != 0)
        return true;
  }
  return false;
}

// Into the runner, which finishes the call that the stop cut off. (Not further: a thread that is let go from a stop
// inside a system call is always interrupted once, and the call would end with EINTR.)
sys::Registers into_runner(const Thread& thread) {
  sys::Registers registers = thread.registers;
  registers.rbx = thread.resume_frame;
  registers.rip = thread.runner;
  registers.rax = 0;
  registers.orig_rax = ~uint64_t{0};
  return registers;
}

}  // namespace

void release(Thread& thread) {
  if (!thread.known) {
    (void)sys::ptrace_detach(thread.tid);
    return;
  }
  // With a signal due, the kernel's own rules hold: the call ends with EINTR if a handler runs, else it is made again.
  bool resume = thread.resume_frame != 0 && !signal_is_due(thread);
  // A failure here means that the thread is gone (killed): there is nobody to tell it to.
  (void)sys::set_signal_mask(thread.tid, thread.signal_mask);
  const sys::Registers registers = resume ? into_runner(thread) : thread.registers;
  // Without them the program is lost: whatever else may have gone wrong, it is tried again.
  for (int attempt = 0; attempt < 3 && !sys::set_registers(thread.tid, registers).has_value(); ++attempt) continue;
  (void)sys::ptrace_detach(thread.tid);
}

namespace {

// The order in which threads go on. A call that is made anew has not begun until the thread has run a little: who might
// wake it, or send it a signal to end it, must not run before that.
enum Turn { kFinishesCall, kWaits, kSleeps, kRuns };

Turn turn_of(const Thread& thread) {
  if (thread.resume_frame != 0) return kFinishesCall;
  if (!in_system_call(thread.registers)) return kRuns;
  uint64_t call = thread.registers.orig_rax;
  bool sleeps = call == SYS_nanosleep || call == SYS_clock_nanosleep || call == SYS_restart_syscall;
  return sleeps ? kSleeps : kWaits;
}

// Waits until the thread sleeps in its call; for a short time, for it may have found what it waited for.
void let_it_enter(Pid tid) {
  constexpr int kLooks = 100;
  std::string path = fmt::format("/proc/{}/stat", tid.number);
  for (int look = 0; look < kLooks; ++look) {
    Result<std::string> text = sys::read_whole(path);
    if (!text.has_value()) return;
    size_t name_end = text->rfind(')');
    if (name_end != text->npos && name_end + 2 < text->size() && (*text)[name_end + 2] == 'S') return;
    short_nap();
  }
}

}  // namespace

void StoppedProcess::thaw() {
  std::ranges::stable_sort(threads_, {}, turn_of);
  bool entered = false;
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (turn_of(threads_[i]) >= kSleeps && !entered) {
      for (size_t before = 0; before < i; ++before) let_it_enter(threads_[before].tid);
      entered = true;
    }
    release(threads_[i]);
  }
  threads_.clear();
}

namespace {

// Until a thread that was sent SIGKILL is gone. There may be stops of its own still to be told of before that.
void wait_for_end(Pid tid) {
  for (;;) {
    Result<std::optional<sys::WaitStatus>> status = sys::wait_thread(tid, true);
    if (!status || !status->has_value()) return;
    if (WIFEXITED((*status)->raw) || WIFSIGNALED((*status)->raw)) return;
  }
}

}  // namespace

void StoppedProcess::kill() {
  ::kill(pid_.number, SIGKILL);
  // Only when its tracer has waited for a dead thread does its parent learn of the end. The leader's end shows last.
  for (auto thread = threads_.rbegin(); thread != threads_.rend(); ++thread) wait_for_end(thread->tid);
  threads_.clear();
}

}  // namespace stint::tracee
