#include "task/signals.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "sys/call.h"

namespace stint::task {
namespace {

constexpr int kSignals = 64;

// struct kernel_sigaction of x86-64, which differs from libc's struct sigaction.
struct KernelAction {
  uint64_t handler, flags, restorer, mask;
};
static_assert(sizeof(KernelAction) == 32);

bool can_be_caught(int signal) { return signal != SIGKILL && signal != SIGSTOP; }

}  // namespace

ActionQuestions::ActionQuestions(tracee::Table& table) : first_(table.room(kSignals * sizeof(KernelAction))) {
  for (int signal = 1; signal <= kSignals; ++signal)
    table.must("rt_sigaction", SYS_rt_sigaction,
               {static_cast<uint64_t>(signal), 0, first_ + (signal - 1) * sizeof(KernelAction), sizeof(uint64_t)});
}

void ActionQuestions::answer(const tracee::Table& table, image::ProcessRecord& record) const {
  for (int signal = 1; signal <= kSignals; ++signal) {
    KernelAction action = table.value<KernelAction>(first_ + (signal - 1) * sizeof(KernelAction));
    record.actions.push_back({action.handler, action.flags, action.restorer, action.mask});
  }
}

namespace {

Result<std::vector<Bytes>> peek(Pid thread, bool shared) {
  std::vector<Bytes> pending;
  for (const siginfo_t& info : TRY(sys::peek_signals(thread, shared))) {
    ByteView bytes(reinterpret_cast<const std::byte*>(&info), sizeof(info));
    pending.emplace_back(bytes.begin(), bytes.end());
  }
  return pending;
}

}  // namespace

Result<Pending> capture_pending(const tracee::StoppedProcess& process) {
  Pending pending;
  pending.shared = TRY(peek(process.threads().front().tid, true));
  for (const tracee::Thread& thread : process.threads()) pending.own[thread.tid.number] = TRY(peek(thread.tid, false));
  return pending;
}

Result<> restore_actions(const image::ProcessRecord& record, tracee::Table& table) {
  if (record.actions.size() != kSignals) return damaged("not 64 signal actions");
  for (int signal = 1; signal <= kSignals; ++signal) {
    if (!can_be_caught(signal)) continue;
    const image::SignalAction& saved = record.actions[static_cast<size_t>(signal - 1)];
    KernelAction action{saved.handler, saved.flags, saved.restorer, saved.mask};
    table.must("rt_sigaction", SYS_rt_sigaction,
               {static_cast<uint64_t>(signal), table.in(action), 0, sizeof(uint64_t)});
  }
  return {};
}

Result<> queue_pending(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                       const std::vector<Bytes>& pending, int32_t pid, int32_t tid, bool shared) {
  constexpr size_t kAtOnce = 128;  // what a table and its scratch memory hold
  for (size_t first = 0; first < pending.size(); first += kAtOnce) {
    tracee::Table table(hands);
    for (size_t i = first; i < std::min(pending.size(), first + kAtOnce); ++i) {
      uint64_t at = table.in(pending[i]);
      uint64_t signal = 0;
      std::memcpy(&signal, pending[i].data(), sizeof(int));
      uint64_t group = static_cast<uint64_t>(pid), one = static_cast<uint64_t>(tid);
      if (shared)
        table.must("rt_sigqueueinfo", SYS_rt_sigqueueinfo, {group, signal, at});
      else
        table.must("rt_tgsigqueueinfo (see ulimit -i)", SYS_rt_tgsigqueueinfo, {group, one, signal, at});
    }
    TRY(table.run(thread, process.seen_as()));
  }
  return {};
}

}  // namespace stint::task
