#include "task/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "sys/call.h"
#include "sys/file.h"
#include "sys/procfs.h"
#include "task/signals.h"
#include "task/timers.h"

namespace stint::task {
namespace {

constexpr uint64_t kMembarrierGetRegistrations = 1 << 9;  // MEMBARRIER_CMD_GET_REGISTRATIONS, Linux 6.3

// The membarrier(2) commands that register, and are shown as their own bits.
constexpr int kMembarrierRegister[] = {
    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ};

Result<std::string> link_of(Pid process, const char* name) {
  return sys::readlink(sys::proc_path(process, name)).in(name);
}

int innermost(const std::vector<int>& numbers, int otherwise) { return numbers.empty() ? otherwise : numbers.back(); }

Result<int> job_number(Pid pid, size_t depth) {
  if (pid.number == 0) return 0;
  std::string text = TRY(sys::read_proc(pid, "status"));
  proc::Status status = TRY(proc::parse_status(text));
  return status.nspid.size() == depth ? status.nspid.back() : 0;
}

}  // namespace

Result<ProcessFacts> look_at_tasks(const tracee::StoppedProcess& process) {
  ProcessFacts facts;
  facts.stat = TRY(proc::parse_stat(TRY(sys::read_proc(process.seen_as(), "stat"))));
  facts.status = TRY(proc::parse_status(TRY(sys::read_proc(process.seen_as(), "status"))));
  std::vector<Pid> tids;
  for (const tracee::Thread& thread : process.threads()) tids.push_back(thread.tid);
  if (process.seen_as() != process.pid()) {
    const proc::Stat& first =
        facts.ended_first.emplace(TRY(proc::parse_stat(TRY(sys::read_proc(process.pid(), "stat")))));
    facts.stat.pid = first.pid, facts.stat.comm = first.comm, facts.stat.exit_signal = first.exit_signal;
    tids.push_back(process.pid());
  }
  size_t depth = facts.status.nspid.size();
  for (Pid tid : tids) {
    proc::Status status = TRY(proc::parse_status(TRY(sys::read_proc(tid, "status"))));
    facts.job_tids[tid.number] = depth <= 1 ? tid.number : innermost(status.nspid, tid.number);
    facts.threads[tid.number] = std::move(status);
  }
  return facts;
}

Result<> look_at_process(Pid process, ProcessFacts& facts) {
  facts.exe = TRY(link_of(process, "exe"));
  facts.cwd = TRY(link_of(process, "cwd"));
  facts.root = TRY(link_of(process, "root"));
  facts.auxv = TRY(sys::read_file(sys::proc_path(process, "auxv")));
  return {};
}

Result<std::optional<Readable>> Readable::open(tracee::StoppedProcess& process, tracee::Hands& hands) {
  if (sys::open_proc(process.seen_as(), "fd", O_RDONLY | O_DIRECTORY).has_value()) return std::optional<Readable>();
  tracee::Table table(hands);
  size_t before = table.must("PR_GET_DUMPABLE", SYS_prctl, {PR_GET_DUMPABLE});
  table.must("PR_SET_DUMPABLE", SYS_prctl, {PR_SET_DUMPABLE, 1});
  TRY(table.run(process.representative(), process.seen_as()));
  return std::optional(Readable(process, hands, static_cast<uint32_t>(table.result(before))));
}

Readable::~Readable() {
  // 2 comes from the kernel alone and cannot be set; for others it means the same as 0.
  if (process_ == nullptr || dumpable_ == 1 || process_->threads().empty()) return;
  (void)hands_->call(process_->representative(), "PR_SET_DUMPABLE", {SYS_prctl, {PR_SET_DUMPABLE, 0}});
}

Result<> restore_dumpable(tracee::StoppedProcess& process, const image::ProcessRecord& record) {
  if (record.dumpable == 1) return {};
  tracee::Foothold foothold = TRY(tracee::find_bare_foothold(process.seen_as()));
  int64_t result = TRY(tracee::inject_call(process, foothold, {SYS_prctl, {PR_SET_DUMPABLE, 0}}));
  return result < 0 ? Result<>(os_error("PR_SET_DUMPABLE", static_cast<int>(-result))) : Result<>();
}

Result<ClockOffsets> clock_offsets(Pid process) {
  ClockOffsets offsets;
  Result<std::string> theirs = sys::read_proc(process, "timens_offsets");
  if (!theirs.has_value()) return offsets;  // A kernel without time namespaces.
  std::string ours = TRY(sys::read_proc(Pid{0}, "timens_offsets"));
  auto read = [](const std::string& text, const char* clock) -> int64_t {
    size_t at = text.find(clock);
    long seconds = 0, nanoseconds = 0;
    if (at == text.npos) return 0;
    if (std::sscanf(text.c_str() + at + std::strlen(clock), "%ld %ld", &seconds, &nanoseconds) != 2) return 0;
    return seconds * 1'000'000'000LL + nanoseconds;
  };
  offsets.monotonic_ns = read(*theirs, "monotonic") - read(ours, "monotonic");
  offsets.boottime_ns = read(*theirs, "boottime") - read(ours, "boottime");
  return offsets;
}

Result<> check_enterable(const ProcessFacts& facts) {
  for (const auto& [tid, status] : facts.threads) {
    if (status.seccomp != 0)
      return refused(
          "it runs under a seccomp filter, which the kernel does not let anybody put back: run it without its "
          "sandbox (many programs have --no-sandbox or the like)");
    // The way back of an injected call (tracee/inject) is a `ret` that no shadow stack knows of.
    if (status.shadow_stack) return refused("its threads have shadow stacks (CET), which cannot be put back");
  }
  return {};
}

Result<> check_supported(const ProcessFacts& facts) {
  const proc::Status& status = facts.status;
  if (facts.root != "/")
    return refused(fmt::format("its root directory is {}: start stint inside that root instead", facts.root));
  if (facts.cwd.ends_with(" (deleted)"))
    return refused(fmt::format("its working directory {} has been removed: change to one that exists", facts.cwd));
  for (uint32_t uid : status.uids)
    if (uid != status.uids[0]) return refused("its real, effective and saved user ids differ (a set-user-id program)");
  for (uint32_t gid : status.gids)
    if (gid != status.gids[0]) return refused("its real, effective and saved group ids differ");
  for (const auto& [tid, thread] : facts.threads)
    if (thread.uids != status.uids || thread.gids != status.gids || thread.groups != status.groups)
      return refused(fmt::format("its thread {} has other user or group ids than the first", tid));
  return {};
}

namespace {

void fill_from_facts(const ProcessFacts& facts, image::ProcessRecord& record) {
  const proc::Status& status = facts.status;
  const proc::Stat& stat = facts.stat;
  record.pid = facts.job_number();
  record.pgid = innermost(status.nspgid, stat.pgrp);
  record.sid = innermost(status.nssid, stat.session);
  record.exe = facts.exe, record.cwd = facts.cwd, record.root = facts.root;
  record.umask = status.umask;
  record.memory_map = {stat.start_code,  stat.end_code,  stat.start_data, stat.end_data,  stat.start_brk, 0,
                       stat.start_stack, stat.arg_start, stat.arg_end,    stat.env_start, stat.env_end};
  record.auxv = facts.auxv;
  record.uids = status.uids, record.gids = status.gids, record.groups = status.groups;
  record.bounding_set = status.cap_bounding;
}

Result<> read_proc_settings(Pid process, image::ProcessRecord& record) {
  record.personality = TRY(proc::parse_personality(TRY(sys::read_proc(process, "personality"))));
  record.oom_score_adj = std::atoi(TRY(sys::read_proc(process, "oom_score_adj")).c_str());
  Result<std::string> filter = sys::read_proc(process, "coredump_filter");
  if (filter.has_value()) record.coredump_filter = static_cast<uint32_t>(std::strtoul(filter->c_str(), nullptr, 16));
  return {};
}

}  // namespace

Result<image::ProcessRecord> capture_process(tracee::StoppedProcess& process, tracee::Hands& hands,
                                             const ProcessFacts& facts) {
  image::ProcessRecord record;
  fill_from_facts(facts, record);
  record.ppid = TRY(job_number(Pid{facts.stat.ppid}, facts.status.nspid.size()));
  TRY(read_proc_settings(process.seen_as(), record));

  tracee::Table table(hands);
  ActionQuestions actions(table);
  size_t brk = table.must("brk", SYS_brk, {0});
  size_t dumpable = table.must("PR_GET_DUMPABLE", SYS_prctl, {PR_GET_DUMPABLE});
  size_t thp = table.must("PR_GET_THP_DISABLE", SYS_prctl, {PR_GET_THP_DISABLE});
  size_t mce = table.must("PR_MCE_KILL_GET", SYS_prctl, {PR_MCE_KILL_GET});
  uint64_t subreaper = table.out<int>();
  table.must("PR_GET_CHILD_SUBREAPER", SYS_prctl, {PR_GET_CHILD_SUBREAPER, subreaper});
  size_t membarrier = table.ask(SYS_membarrier, {kMembarrierGetRegistrations});
  uint64_t limits = table.room(RLIM_NLIMITS * sizeof(rlimit));
  for (uint64_t which = 0; which < RLIM_NLIMITS; ++which)
    table.must("getrlimit", SYS_prlimit64, {0, which, 0, limits + which * sizeof(rlimit)});
  TRY(table.run(process.representative(), process.seen_as()));

  actions.answer(table, record);
  record.memory_map.brk = static_cast<uint64_t>(table.result(brk));
  record.dumpable = static_cast<uint32_t>(table.result(dumpable));
  record.thp_disabled = table.result(thp) != 0;
  record.mce_kill = static_cast<uint32_t>(table.result(mce));
  record.child_subreaper = table.value<int>(subreaper) != 0;
  if (table.result(membarrier) > 0) record.membarrier_registrations = static_cast<uint32_t>(table.result(membarrier));
  for (uint64_t which = 0; which < RLIM_NLIMITS; ++which) {
    rlimit limit = table.value<rlimit>(limits + which * sizeof(rlimit));
    record.limits.push_back({limit.rlim_cur, limit.rlim_max});
  }
  return record;
}

namespace {

Result<> restore_limits(tracee::StoppedProcess& process, tracee::Hands& hands, const image::ProcessRecord& record) {
  tracee::Table table(hands);
  std::vector<size_t> calls;
  for (uint64_t which = 0; which < record.limits.size(); ++which) {
    rlimit wanted{record.limits[which].soft, record.limits[which].hard};
    calls.push_back(table.ask(SYS_prlimit64, {0, which, table.in(wanted), 0}));
  }
  TRY(table.run(process.representative(), process.seen_as()));
  for (uint64_t which = 0; which < record.limits.size(); ++which) {
    int64_t result = table.result(calls[which]);
    if (result >= 0) continue;
    return os_error("setrlimit", static_cast<int>(-result))
        .in(fmt::format("resource limit {}: it was {} (hard {}): raise the hard limit here with ulimit -H", which,
                        record.limits[which].soft, record.limits[which].hard))
        .as(ErrorKind::kUnfit);
  }
  return {};
}

Result<> write_setting(Pid process, const char* name, const std::string& value) {
  std::string path = sys::proc_path(process, name);
  sys::UniqueFd file = TRY(sys::open(path, O_WRONLY));
  return sys::write_all(file.get(), bytes_of(value)).in(path);
}

Result<> restore_proc_settings(Pid process, const image::ProcessRecord& record) {
  image::ProcessRecord now;
  TRY(read_proc_settings(process, now));
  if (now.oom_score_adj != record.oom_score_adj)
    TRY(write_setting(process, "oom_score_adj", std::to_string(record.oom_score_adj)).as(ErrorKind::kUnfit));
  if (now.coredump_filter != record.coredump_filter)
    TRY(write_setting(process, "coredump_filter", fmt::format("{:#x}", record.coredump_filter)));
  return {};
}

void ask_for_flags(tracee::Table& table, const image::ProcessRecord& record) {
  table.must("PR_SET_CHILD_SUBREAPER", SYS_prctl, {PR_SET_CHILD_SUBREAPER, record.child_subreaper});
  if (record.thp_disabled) table.must("PR_SET_THP_DISABLE", SYS_prctl, {PR_SET_THP_DISABLE, 1});
  for (int command : kMembarrierRegister)
    if (record.membarrier_registrations & command)
      table.must("membarrier", SYS_membarrier, {static_cast<uint64_t>(command)});
}

// Capabilities that the kernel does not know give EINVAL: nobody can have them.
Result<> restore_bounding_set(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                              const image::ProcessRecord& record) {
  proc::Status now = TRY(proc::parse_status(TRY(sys::read_proc(thread.tid, "status"))));
  if ((now.cap_bounding & ~record.bounding_set) == 0) return {};
  tracee::Table table(hands);
  std::vector<size_t> drops;
  for (uint64_t capability = 0; capability < 64; ++capability)
    if ((record.bounding_set >> capability & 1) == 0)
      drops.push_back(table.ask(SYS_prctl, {PR_CAPBSET_DROP, capability}));
  TRY(table.run(thread, process.seen_as()));
  for (size_t drop : drops)
    if (table.result(drop) < 0 && table.result(drop) != -EINVAL)
      return os_error("PR_CAPBSET_DROP", static_cast<int>(-table.result(drop)));
  return {};
}

// What a thread has from whoever made it, which did not have it yet.
Result<> restore_inherited(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                           const image::ProcessRecord& record) {
  TRY(restore_bounding_set(process, thread, hands, record));
  tracee::Table table(hands);
  table.must("personality", SYS_personality, {record.personality});
  if (record.mce_kill != PR_MCE_KILL_DEFAULT)
    table.must("PR_MCE_KILL", SYS_prctl, {PR_MCE_KILL, PR_MCE_KILL_SET, record.mce_kill});
  return table.run(thread, process.seen_as());
}

}  // namespace

Result<> restore_process(tracee::StoppedProcess& process, tracee::Hands& hands, const image::ProcessRecord& record) {
  tracee::Table table(hands);
  std::string path = record.cwd;
  path.push_back('\0');
  size_t chdir = table.ask(SYS_chdir, {table.in(bytes_of(path))});
  table.must("umask", SYS_umask, {record.umask});
  ask_for_flags(table, record);
  TRY(restore_actions(record, table));
  TRY(table.run(process.representative(), process.seen_as()));
  if (table.result(chdir) < 0)
    return os_error("chdir", static_cast<int>(-table.result(chdir)))
        .in(fmt::format("working directory {}", record.cwd))
        .as(ErrorKind::kUnfit);
  return restore_proc_settings(process.seen_as(), record);
}

Result<> restore_memory_map(const image::ProcessRecord& record, int exe_fd, tracee::Table& table) {
  const image::MemoryMap& m = record.memory_map;
  prctl_mm_map map{};
  map.start_code = m.start_code, map.end_code = m.end_code;
  map.start_data = m.start_data, map.end_data = m.end_data;
  map.start_brk = m.start_brk, map.brk = m.brk, map.start_stack = m.start_stack;
  map.arg_start = m.arg_start, map.arg_end = m.arg_end, map.env_start = m.env_start, map.env_end = m.env_end;
  map.auxv = reinterpret_cast<decltype(map.auxv)>(table.in(record.auxv));
  map.auxv_size = static_cast<uint32_t>(record.auxv.size());
  map.exe_fd = static_cast<uint32_t>(exe_fd);
  table.must("PR_SET_MM_MAP", SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, table.in(map), sizeof(map), 0});
  return {};
}

Result<> restore_process_last(tracee::StoppedProcess& process, tracee::Hands& hands,
                              const image::ProcessRecord& record) {
  tracee::Thread& leader = process.representative();
  for (tracee::Thread& thread : process.threads()) TRY(restore_inherited(process, thread, hands, record));
  TRY(restore_limits(process, hands, record));
  TRY(queue_pending(process, leader, hands, record.pending, record.pid, record.pid, true));
  return restore_timers(record, hands, leader, process.seen_as());
}

}  // namespace stint::task
