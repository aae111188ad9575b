#include "tracee/stop.h"

#include <fmt/format.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "proc/process.h"
#include "sys/holder.h"
#include "sys/procfs.h"
#include "sys/tasks.h"
#include "tracee/system_call.h"

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
  see_call_to_be_made_again(thread.tid, thread.registers);
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

Result<StoppedProcess> StoppedProcess::stop(Pid process, std::chrono::milliseconds patience, long options) {
  StoppedProcess stopped(process, options);
  Clock::time_point deadline = Clock::now() + patience;
  bool first_has_ended = false;
  while (TRY(stopped.seize_new_threads(deadline, first_has_ended))) TRY(stopped.wait_for_stops(deadline));
  if (stopped.threads_.empty()) return failed("it has ended");
  return stopped;
}

Result<StoppedProcess> StoppedProcess::stop_newborn(Pid process, long options) {
  StoppedProcess newborn(process, options);
  Thread thread;
  thread.tid = process;
  std::optional<sys::WaitStatus> status = TRY(sys::wait_thread(process, true));
  if (!status.has_value() || status->exited()) return failed("a new process ended at once");
  TRY(stopped(thread));
  newborn.threads_.push_back(thread);
  newborn.settled_ = 1;
  return newborn;
}

namespace {

// Whether a thread has ended but is still shown: for a moment, or if it is the first of its process, for as long as
// others run.
bool has_ended(Pid process, Pid tid) {
  Result<std::string> text = sys::read_proc(process, fmt::format("task/{}/stat", tid.number));
  if (!text.has_value()) return true;
  Result<proc::Stat> stat = proc::parse_stat(*text);
  return stat.has_value() && (stat->state == 'Z' || stat->state == 'X');
}

}  // namespace

namespace {

// Why ptrace(2) says EPERM.
Error not_to_be_traced(Pid tid) {
  Result<std::string> text = sys::read_proc(tid, "status");
  Result<proc::Status> status = text ? proc::parse_status(*text) : Result<proc::Status>(std::move(text).error());
  if (status && status->tracer_pid != 0) {
    return refused(fmt::format("thread {} is traced by {}, and has room for one tracer: end that first", tid.number,
                               sys::title_of(Pid{status->tracer_pid})));
  }
  return refused(
      fmt::format("thread {} cannot be traced: it is another user's, or has more privileges than we (see ptrace(2) and "
                  "kernel.yama.ptrace_scope)",
                  tid.number));
}

}  // namespace

// True when there were any, or some were about to go.
Result<bool> StoppedProcess::seize_new_threads(Clock::time_point deadline, bool& first_has_ended) {
  bool found = false;
  for (Pid tid : TRY(sys::list_threads(pid_))) {
    if (std::ranges::any_of(threads_, [&](const Thread& known) { return known.tid == tid; })) continue;
    Result<> seized = sys::ptrace_seize(tid, kOptions | options_);
    int refusal = seized.has_value() ? 0 : seized.error().os_errno();
    if (refusal == ESRCH) continue;
    if (refusal == EPERM && has_ended(pid_, tid) && (tid == pid_ || Clock::now() < deadline)) {
      // Of the first it is known from then on; but before it ended it may have made others, not listed here.
      found |= tid != pid_ || !std::exchange(first_has_ended, true);
      continue;
    }
    Result<> interrupted = sys::ptrace_interrupt(tid);
    // Ours it is already where the first thread has ended for a program that another one executes, under its number.
    bool ours = seized.has_value() || (refusal == EPERM && interrupted.has_value());
    if (!ours) return refusal == EPERM ? not_to_be_traced(tid) : std::move(seized).error();
    Thread thread;
    thread.tid = tid;
    threads_.push_back(thread);
    if (!interrupted.has_value() && !gone(interrupted.error())) return std::move(interrupted).error();
    found = true;
  }
  return found;
}

Result<> StoppedProcess::wait_for_stops(Clock::time_point deadline) {
  while (settled_ < threads_.size()) {
    Pid tid = threads_[settled_].tid;
    Settled now = TRY(settle(threads_[settled_]));
    // Of the end of a first thread a tracer is told with that of the last.
    if (now == Settled::kNotYet && tid == pid_ && has_ended(pid_, tid)) now = Settled::kGone;
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

}  // namespace

namespace {

// Without these the program is lost, or stands still for as long as we live: whatever else may have gone wrong, each is
// tried again. When the thread is gone (killed) there is nobody to tell it to.
template <class Call>
void insist(const Call& call) {
  for (int attempt = 0; attempt < 3 && !call().has_value(); ++attempt) continue;
}

}  // namespace

namespace {

enum class Stand { kStopped, kAtSystemCall, kRuns };

// Whoever let a thread go on as far as its next stop, and then failed, has left it running, or at the edge of a call:
// what the kernel does next is not what the registers say that it is given.
Stand stand_of(const Thread& thread) {
  Result<bool> at_call = sys::at_system_call_stop(thread.tid);
  // Whom we take for running, we wait for: sure is sure.
  if (!at_call.has_value()) at_call = sys::at_system_call_stop(thread.tid);
  if (!at_call.has_value()) return gone(at_call.error()) ? Stand::kRuns : Stand::kStopped;
  return *at_call ? Stand::kAtSystemCall : Stand::kStopped;
}

// To a stop from which the kernel's rules for interrupted calls hold for the registers that it is given.
void stop_again(const Thread& thread, Stand stand) {
  constexpr int kAttempts = 10;
  bool goes = stand == Stand::kRuns;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    (void)sys::ptrace_interrupt(thread.tid).has_value();
    if (!goes) goes = sys::ptrace_continue(thread.tid).has_value();
    if (!goes) continue;
    Result<std::optional<sys::WaitStatus>> told = sys::wait_thread(thread.tid, true);
    if (!told.has_value() && gone(told.error())) return;
    if (!told.has_value() || !told->has_value()) continue;
    if ((*told)->exited() || (*told)->event() == PTRACE_EVENT_STOP) return;
    goes = false;
  }
}

}  // namespace

Result<> give_back(const Thread& thread) {
  TRY(sys::set_signal_mask(thread.tid, thread.signal_mask));
  return sys::set_registers(thread.tid, thread.registers);
}

namespace {

// A thread that did not come to its stop in time cannot be detached, and would stand still when it comes to it.
void await_stop(Thread& thread) {
  constexpr std::chrono::seconds kPatience{2};  // with one inside vfork(2); it is let go when we end
  Clock::time_point deadline = Clock::now() + kPatience;
  while (Clock::now() < deadline) {
    Result<Settled> now = settle(thread);
    if (!now.has_value() || *now != Settled::kNotYet) return;
    short_nap();
  }
}

}  // namespace

void release(Thread& thread) {
  if (!thread.known) await_stop(thread);
  if (thread.known) {
    if (Stand stand = stand_of(thread); stand != Stand::kStopped) stop_again(thread, stand);
    // With a signal due, the kernel's own rules hold: the call ends with EINTR if a handler runs, else it is made
    // again.
    bool resume = thread.in_runner && !signal_is_due(thread);
    const sys::Registers registers = resume ? *thread.in_runner : thread.registers;
    insist([&] { return sys::set_signal_mask(thread.tid, thread.signal_mask); });
    insist([&] { return sys::set_registers(thread.tid, registers); });
  }
  insist([&] { return sys::ptrace_detach(thread.tid); });
}

namespace {

// The order in which threads go on. The kernel decides for each, as it goes, whether its call is made again or ends
// with EINTR, and what a call waits for stays there until it comes; but a wake of a futex is lost on a thread that does
// not sleep yet. So these go first, and nobody who might wake them before they sleep; those without a timeout before
// those whose time may be over.
enum Turn { kWaitsForWake, kWaitsForWakeOrTime, kWaits, kSleeps, kRuns, kHasNotStopped };

Turn turn_of(const Thread& thread) {
  if (!thread.known) return kHasNotStopped;
  if (thread.in_runner) return kWaits;
  std::optional<uint64_t> call = call_of(thread.tid, thread.registers);
  if (!call) return kRuns;
  switch (*call) {
    case SYS_futex:
    case SYS_futex_waitv:
      return thread.registers.r10 == 0 ? kWaitsForWake : kWaitsForWakeOrTime;
    case SYS_restart_syscall:
      return kWaitsForWakeOrTime;
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
      return kSleeps;
    default:
      return kWaits;
  }
}

// How long the thread has been on a processor, ever; 0 where the kernel does not tell.
int64_t time_on_processor_ns(Pid tid) {
  return std::strtoll(sys::read_proc(tid, "schedstat").value_or("").c_str(), nullptr, 10);
}

char state_of(Pid tid) {
  std::string text = sys::read_proc(tid, "stat").value_or("");
  size_t name_end = text.rfind(')');
  return name_end != text.npos && name_end + 2 < text.size() ? text[name_end + 2] : '\0';
}

// A thread that was let go, and what it takes to see that it sleeps in its call, or has left it already.
struct Released {
  Pid tid;
  int64_t on_processor_ns = 0;  // before
};

// A thread that waits for a lock of the kernel's (D), as on its memory, is not there yet. That it runs in its own code,
// because what it waits for is there already, shows only by its time; in which a virtual machine counts what its host
// takes away.
void let_it_enter(const Released& thread, Clock::time_point deadline) {
  constexpr int64_t kEnoughToEnter = 4'000'000;
  while (Clock::now() < deadline) {
    char state = state_of(thread.tid);
    if (state != 'R' && state != 't' && state != 'D') return;
    if (time_on_processor_ns(thread.tid) > thread.on_processor_ns + kEnoughToEnter) return;
    short_nap();
  }
}

struct InTurn {
  Turn turn;
  Thread thread;
};

std::vector<InTurn> in_turns(std::span<StoppedProcess* const> processes) {
  std::vector<InTurn> order;
  for (StoppedProcess* process : processes) {
    for (const Thread& thread : process->threads()) order.push_back({turn_of(thread), thread});
    process->forget();
  }
  std::ranges::stable_sort(order, {}, &InTurn::turn);
  return order;
}

}  // namespace

void thaw_together(std::span<StoppedProcess* const> processes) {
  constexpr std::chrono::seconds kPatience{1};  // with a machine that gives them no processor
  Clock::time_point deadline = Clock::now() + kPatience;
  std::vector<Released> entering;
  Turn now = kWaitsForWake;
  for (auto& [turn, thread] : in_turns(processes)) {
    if (turn > now) {
      for (const Released& before : entering) let_it_enter(before, deadline);
      entering.clear();
      now = turn;
    }
    if (turn <= kWaitsForWakeOrTime) entering.push_back({thread.tid, time_on_processor_ns(thread.tid)});
    release(thread);
  }
}

void StoppedProcess::thaw() {
  StoppedProcess* self = this;
  thaw_together({&self, 1});
}

namespace {

enum class Came { kToTheStop, kPastIt };

// Lets a thread go on as far as a job-control stop by this signal, which it is about to receive or which its process
// has begun. Where it does not come to one (SIGTSTP, in an orphaned process group) it is interrupted, and has not run.
Result<Came> go_to_stop(Pid tid, int signal) {
  TRY(sys::ptrace_interrupt(tid));
  TRY(sys::ptrace_continue(tid));
  for (bool delivered = false;;) {
    std::optional<sys::WaitStatus> told = TRY(sys::wait_thread(tid, true));
    if (!told.has_value() || told->exited()) return failed("it has ended");
    bool stop = told->event() == PTRACE_EVENT_STOP;
    if (stop && told->signal() == signal) return Came::kToTheStop;
    if (stop && delivered) return Came::kPastIt;
    bool delivery = told->event() == 0 && told->signal() == signal;
    if (delivery) {
      TRY(sys::ptrace_interrupt(tid));
      delivered = true;
    }
    TRY(sys::ptrace_continue(tid, delivery ? signal : 0));
  }
}

}  // namespace

// No other signal is let in before the stop: whatever waits for the process waits until it is continued.
Result<bool> StoppedProcess::bring_to_stop(int signal) {
  for (Thread& thread : threads_) {
    TRY(sys::set_registers(thread.tid, thread.registers));
    TRY(sys::set_signal_mask(thread.tid, ~(uint64_t{1} << (signal - 1))));
  }
  ::kill(pid_.number, signal);
  // The first one begins the stop for all.
  for (Thread& thread : threads_)
    if (TRY(go_to_stop(thread.tid, signal)) == Came::kPastIt) return false;
  return true;
}

Result<> StoppedProcess::thaw_into_stop(int signal) {
  constexpr int kLooks = 50'000;
  if (!TRY(bring_to_stop(signal))) return failed("it does not stop again");
  Pid seen = seen_as();
  thaw();
  for (int look = 0; look < kLooks; ++look) {
    char state = state_of(seen);
    if (state == 'T') return {};
    if (state == '\0') break;
    short_nap();
  }
  return failed("it does not stop again");
}

Result<> StoppedProcess::stop_and_continue() {
  if (!TRY(bring_to_stop(SIGSTOP))) return failed("it does not stop");
  ::kill(pid_.number, SIGCONT);
  // The kernel tells of the continuation when the thread moves, and stops it again to say so to its tracer.
  TRY(sys::ptrace_interrupt(representative().tid));
  TRY(sys::ptrace_continue(representative().tid));
  std::optional<sys::WaitStatus> told = TRY(sys::wait_thread(representative().tid, true));
  if (!told.has_value() || told->exited()) return failed("it has ended");
  return {};
}

namespace {

// Until a thread that was sent a deadly signal is gone. There may be stops to be told of before that, one of them,
// unless it is SIGKILL, for the delivery of the signal.
void wait_for_end(Pid tid, int signal) {
  for (;;) {
    Result<std::optional<sys::WaitStatus>> status = sys::wait_thread(tid, true);
    if (!status || !status->has_value() || (*status)->exited()) return;
    if (signal != SIGKILL) (void)sys::ptrace_continue(tid, (*status)->event() == 0 ? (*status)->signal() : 0);
  }
}

}  // namespace

Result<> StoppedProcess::die_with_us() {
  for (const Thread& thread : threads_)
    TRY(sys::ptrace_set_options(thread.tid, kOptions | options_ | PTRACE_O_EXITKILL));
  return {};
}

void StoppedProcess::kill(int signal) {
  ::kill(pid_.number, signal);
  if (signal != SIGKILL) (void)sys::ptrace_continue(pid_);
  // Only when its tracer has waited for a dead thread does its parent learn of the end. The leader's end shows last.
  // Threads that were made in it just now are traced, too, and are not among ours.
  for (Pid tid : sys::list_threads(pid_).value_or(std::vector<Pid>()))
    if (tid != pid_) wait_for_end(tid, signal);
  wait_for_end(pid_, signal);
  threads_.clear();
}

}  // namespace stint::tracee
