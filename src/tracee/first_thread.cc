#include "tracee/first_thread.h"

#include <fmt/format.h>
#include <sys/syscall.h>

#include "sys/poll.h"
#include "sys/procfs.h"
#include "sys/tasks.h"

namespace stint::tracee {
namespace {

Result<proc::Stat> stat_of(Pid task) { return proc::parse_stat(TRY(sys::read_proc(task, "stat"))); }

bool has_ended(const proc::Stat& stat) { return stat.state == 'Z' || stat.state == 'X'; }

}  // namespace

Life life_of(Pid process) {
  Result<proc::Stat> stat = stat_of(process);
  return stat.has_value() ? life_of(*stat) : Life::kGone;
}

Life life_of(const proc::Stat& process) {
  if (process.state == 'X') return Life::kGone;
  return process.state == 'Z' && process.num_threads <= 1 ? Life::kZombie : Life::kLives;
}

Pid living_thread(Pid process) {
  Result<proc::Stat> first = stat_of(process);
  if (!first.has_value() || !has_ended(*first) || first->num_threads <= 1) return process;
  for (Pid thread : sys::list_threads(process).value_or(std::vector<Pid>()))
    if (Result<proc::Stat> stat = stat_of(thread); stat.has_value() && !has_ended(*stat)) return thread;
  return process;
}

namespace {

// It goes on untraced: a traced one would stay its tracer's until that ends, and its parent would not learn of the end
// of the process.
Result<> await_end(Pid thread) {
  constexpr int kLooks = 10'000;  // of a millisecond
  for (int look = 0; look < kLooks; ++look) {
    if (has_ended(TRY(stat_of(thread)))) return {};
    TRY(sys::poll({}, 1));
  }
  return failed(fmt::format("thread {} does not end", thread.number));
}

}  // namespace

Result<> end_first_thread(StoppedProcess& process, const Foothold& foothold, int status) {
  Thread first = process.representative();
  CHECK(first.tid == process.pid());
  sys::Registers registers = first.registers;
  registers.rip = foothold.system_call;
  registers.rax = SYS_exit;
  registers.rdi = static_cast<uint64_t>(status);
  registers.orig_rax = ~uint64_t{0};
  TRY(sys::set_registers(first.tid, registers));
  TRY(sys::set_signal_mask(first.tid, ~uint64_t{0}));
  TRY(to_system_call_stop(first));
  // Inside the call no signal is delivered any more.
  TRY(sys::set_signal_mask(first.tid, first.signal_mask));
  TRY(sys::ptrace_detach(first.tid));
  process.threads().erase(process.threads().begin());
  return await_end(first.tid);
}

}  // namespace stint::tracee
