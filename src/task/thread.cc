#include "task/thread.h"

#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/rseq.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "sys/procfs.h"
#include "sys/scheduling.h"
#include "task/memory_policy.h"
#include "task/rare_state.h"
#include "task/signals.h"
#include "tracee/memory.h"

namespace stint::task {
namespace {

// An alternate stack that a handler runs on at the moment is shown with SS_ONSTACK, which cannot be set.
constexpr uint32_t kSettableStackFlags = SS_DISABLE | (1u << 31);  // SS_AUTODISARM

void note_alternate_stack(tracee::Thread& thread, const image::ThreadRecord& record) {
  bool none = (record.altstack_flags & SS_DISABLE) != 0;
  thread.alternate = {.start = record.altstack_sp, .size = none ? 0 : record.altstack_size, .known = 1};
}

std::string without_newline(std::string text) {
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

Result<> abort_critical_section(Pid process, tracee::Thread& thread) {
  sys::RseqConfiguration rseq = TRY(sys::get_rseq(thread.tid));
  if (rseq.address == 0) return {};
  RemotePtr<uint64_t> pointer(rseq.address + offsetof(struct rseq, rseq_cs));
  uint64_t section_address = TRY(tracee::peek(process, pointer));
  if (section_address == 0) return {};
  rseq_cs section = TRY(tracee::peek(process, RemotePtr<rseq_cs>(section_address)));
  if (thread.registers.rip - section.start_ip >= section.post_commit_offset) return {};
  thread.registers.rip = section.abort_ip;
  return tracee::poke(process, pointer, uint64_t{0});
}

Result<image::ThreadRecord> capture_thread(tracee::StoppedProcess& process, tracee::Thread& thread,
                                           tracee::Hands& hands, int32_t job_pid, int32_t job_tid,
                                           const proc::Status& status) {
  image::ThreadRecord record;
  record.pid = job_pid, record.tid = job_tid;
  record.comm = without_newline(TRY(sys::read_proc(thread.tid, "comm")));
  record.registers = Bytes(sizeof(thread.registers));
  std::memcpy(record.registers.data(), &thread.registers, sizeof(thread.registers));
  record.xstate = TRY(sys::get_xstate(thread.tid));
  record.signal_mask = thread.signal_mask;
  sys::RobustList robust = TRY(sys::get_robust_list(thread.tid));
  record.robust_list = robust.head, record.robust_list_size = robust.size;
  sys::RseqConfiguration rseq = TRY(sys::get_rseq(thread.tid));
  record.rseq = rseq.address, record.rseq_size = rseq.size, record.rseq_signature = rseq.signature;
  record.sched_attr = TRY(sys::get_sched_attr(thread.tid));
  record.affinity = TRY(sys::get_affinity(thread.tid));
  record.io_priority = TRY(sys::get_io_priority(thread.tid));

  record.capabilities = {status.cap_inheritable, status.cap_permitted, status.cap_effective, status.cap_bounding,
                         status.cap_ambient};
  record.no_new_privs = status.no_new_privs;

  TRY(check_rare_state(process, thread, hands));
  tracee::Table table(hands);
  size_t securebits = table.must("PR_GET_SECUREBITS", SYS_prctl, {PR_GET_SECUREBITS});
  uint64_t stack = table.out<stack_t>(), clear_tid = table.out<uint64_t>(), death = table.out<int>();
  table.must("sigaltstack", SYS_sigaltstack, {0, stack});
  table.must("PR_GET_TID_ADDRESS", SYS_prctl, {PR_GET_TID_ADDRESS, clear_tid});
  table.must("PR_GET_PDEATHSIG", SYS_prctl, {PR_GET_PDEATHSIG, death});
  size_t slack = table.must("PR_GET_TIMERSLACK", SYS_prctl, {PR_GET_TIMERSLACK});
  PolicyQuestion policy = ask_for_thread_policy(table);
  TRY(table.run(thread, process.seen_as()));
  record.memory_policy = policy_in(table, policy);
  stack_t alternate = table.value<stack_t>(stack);
  record.altstack_sp = reinterpret_cast<uint64_t>(alternate.ss_sp);
  record.altstack_size = alternate.ss_size;
  record.altstack_flags = static_cast<uint32_t>(alternate.ss_flags) & kSettableStackFlags;
  note_alternate_stack(thread, record);
  record.clear_child_tid = table.value<uint64_t>(clear_tid);
  record.death_signal = table.value<int>(death);
  record.timer_slack_ns = static_cast<uint64_t>(table.result(slack));
  record.securebits = static_cast<uint32_t>(table.result(securebits));
  return record;
}

Result<image::ThreadRecord> look_at_ended_thread(const proc::Stat& stat, const proc::Status& status) {
  Pid tid{status.pid};
  image::ThreadRecord record;
  record.ended = true;
  record.exit_status = static_cast<uint32_t>(stat.exit_code) >> 8 & 0xff;
  record.comm = without_newline(TRY(sys::read_proc(tid, "comm")));
  record.signal_mask = status.sig_blocked;
  record.altstack_flags = SS_DISABLE;
  record.sched_attr = TRY(sys::get_sched_attr(tid));
  record.affinity = TRY(sys::get_affinity(tid));
  record.io_priority = TRY(sys::get_io_priority(tid));
  record.capabilities = {status.cap_inheritable, status.cap_permitted, status.cap_effective, status.cap_bounding,
                         status.cap_ambient};
  record.no_new_privs = status.no_new_privs;
  return record;
}

namespace {

// Only what differs is set: setting back what is the default already may need a privilege.
Result<> restore_scheduling(Pid tid, const image::ThreadRecord& record) {
  if (TRY(sys::get_sched_attr(tid)) != record.sched_attr)
    TRY(sys::set_sched_attr(tid, record.sched_attr).as(ErrorKind::kUnfit));
  if (TRY(sys::get_io_priority(tid)) != record.io_priority)
    TRY(sys::set_io_priority(tid, record.io_priority).as(ErrorKind::kUnfit));
  Bytes now = TRY(sys::get_affinity(tid));
  if (now == record.affinity) return {};
  // Only the processors that there are: sched_setaffinity(2) takes the intersection, and refuses an empty one.
  Result<> set = sys::set_affinity(tid, record.affinity);
  if (!set.has_value() && set.error().os_errno() != EINVAL) return set;
  return {};
}

void ask_for_thread_state(tracee::Table& table, const image::ThreadRecord& record) {
  if ((record.altstack_flags & SS_DISABLE) == 0) {
    stack_t stack{};
    stack.ss_sp = reinterpret_cast<void*>(record.altstack_sp);
    stack.ss_size = record.altstack_size;
    stack.ss_flags = static_cast<int>(record.altstack_flags);
    table.must("sigaltstack", SYS_sigaltstack, {table.in(stack), 0});
  }
  // Where it has none, too: the maker had one.
  uint64_t size = record.robust_list != 0 ? record.robust_list_size : sizeof(robust_list_head);
  table.must("set_robust_list", SYS_set_robust_list, {record.robust_list, size});
  table.must("set_tid_address", SYS_set_tid_address, {record.clear_child_tid});
  std::array<char, 16> name{};
  std::memcpy(name.data(), record.comm.data(), std::min<size_t>(record.comm.size(), 15));
  table.must("PR_SET_NAME", SYS_prctl, {PR_SET_NAME, table.in(name)});
  if (record.death_signal != 0)
    table.must("PR_SET_PDEATHSIG", SYS_prctl, {PR_SET_PDEATHSIG, static_cast<uint64_t>(record.death_signal)});
  table.must("PR_SET_TIMERSLACK", SYS_prctl, {PR_SET_TIMERSLACK, record.timer_slack_ns});
  set_thread_policy(table, record.memory_policy);
  if (record.rseq != 0) table.must("rseq", SYS_rseq, {record.rseq, record.rseq_size, 0, record.rseq_signature});
}

}  // namespace

Result<> restore_thread(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                        const image::ThreadRecord& record) {
  if (!record.ended && record.registers.size() != sizeof(thread.registers)) return damaged("registers of another size");
  tracee::Table table(hands);
  ask_for_thread_state(table, record);
  TRY(table.run(thread, process.seen_as()));
  TRY(queue_pending(process, thread, hands, record.pending, record.pid, record.tid, false));
  TRY(restore_scheduling(thread.tid, record));
  thread.signal_mask = record.signal_mask;
  if (record.ended) return {};
  TRY(sys::set_xstate(thread.tid, record.xstate).in("the processor's extended state").as(ErrorKind::kUnfit));
  std::memcpy(&thread.registers, record.registers.data(), sizeof(thread.registers));
  note_alternate_stack(thread, record);
  return {};
}

namespace {

// Capabilities stay for the calls that follow. With the old ids the kernel takes the parent death signal, and closes
// the process to its tracer's eyes in /proc.
Result<> restore_ids(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                     const image::ProcessRecord& owner, const image::ThreadRecord& record) {
  proc::Status now = TRY(proc::parse_status(TRY(sys::read_proc(thread.tid, "status"))));
  if (now.uids == owner.uids && now.gids == owner.gids) return {};
  tracee::Table table(hands);
  const uint32_t uid = owner.uids[0], gid = owner.gids[0];  // All four are the same.
  std::vector<size_t> calls{table.ask(SYS_prctl, {PR_SET_KEEPCAPS, 1})};
  if (now.groups != owner.groups)
    calls.push_back(table.ask(SYS_setgroups, {owner.groups.size(), table.in(std::as_bytes(std::span(owner.groups)))}));
  calls.push_back(table.ask(SYS_setresgid, {gid, gid, gid}));
  calls.push_back(table.ask(SYS_setresuid, {uid, uid, uid}));
  table.must("PR_SET_DUMPABLE", SYS_prctl, {PR_SET_DUMPABLE, 1});
  table.must("PR_SET_PDEATHSIG", SYS_prctl, {PR_SET_PDEATHSIG, static_cast<uint64_t>(record.death_signal)});
  TRY(table.run(thread, process.seen_as()));
  for (size_t call : calls)
    if (table.result(call) < 0)
      return os_error("setresuid", static_cast<int>(-table.result(call)))
          .in(fmt::format("it belonged to user {}, group {}: restart it as that user, or as root", uid, gid))
          .as(ErrorKind::kUnfit);
  return {};
}

}  // namespace

Result<> restore_credentials(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                             const image::ProcessRecord& owner, const image::ThreadRecord& record) {
  TRY(restore_ids(process, thread, hands, owner, record));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  auto low = [](uint64_t set) { return static_cast<uint32_t>(set); };
  auto high = [](uint64_t set) { return static_cast<uint32_t>(set >> 32); };
  const auto& [inheritable, permitted, effective, bounding, ambient] = record.capabilities;
  __user_cap_data_struct data[2] = {{low(effective), low(permitted), low(inheritable)},
                                    {high(effective), high(permitted), high(inheritable)}};
  tracee::Table table(hands);
  // keepcaps (16) may be set by anybody, the others by CAP_SETPCAP, which goes with the next call.
  constexpr uint64_t kKeepCaps = 16;
  bool others = (record.securebits & ~kKeepCaps) != 0;
  if (others) table.must("PR_SET_SECUREBITS", SYS_prctl, {PR_SET_SECUREBITS, record.securebits});
  table.must("capset", SYS_capset, {table.in(header), table.in(data)});
  for (uint64_t capability = 0; capability < 64; ++capability)
    if (ambient >> capability & 1)
      table.must("PR_CAP_AMBIENT_RAISE", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability});
  if (!others && record.securebits != 0) table.must("PR_SET_KEEPCAPS", SYS_prctl, {PR_SET_KEEPCAPS, 1});
  if (record.no_new_privs) table.must("PR_SET_NO_NEW_PRIVS", SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0});
  return table.run(thread, process.seen_as());
}

}  // namespace stint::task
