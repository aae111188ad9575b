// The one-record files of /proc/PID (and of /proc/PID/task/TID): stat, status, auxv, timers, personality, sched,
// cgroup. Process numbers are as the pid namespace of the /proc that was read sees them, unless a name begins with ns.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace stint::proc {

// /proc/PID/stat, in the words and the order of proc(5). Addresses are 0 for who may not see them.
struct Stat {
  int pid = 0;
  std::string comm;  // may hold blanks and brackets, and newlines as \n
  char state = '?';  // R S D Z T t X I ...
  int ppid = 0, pgrp = 0, session = 0;
  int tty_nr = 0;  // device number of the controlling terminal, in the kernel's 32-bit encoding; 0: none
  int tpgid = 0;   // -1: none
  uint32_t flags = 0;
  uint64_t minflt = 0, cminflt = 0, majflt = 0, cmajflt = 0;
  uint64_t utime = 0, stime = 0;   // clock ticks
  int64_t cutime = 0, cstime = 0;  // clock ticks
  int64_t priority = 0, nice = 0, num_threads = 0;
  uint64_t starttime = 0;  // clock ticks since boot, of the reader's time namespace
  uint64_t vsize = 0;
  int64_t rss = 0;
  uint64_t rsslim = 0;
  uint64_t start_code = 0, end_code = 0, start_stack = 0;
  int exit_signal = 0;
  int processor = 0;
  uint32_t rt_priority = 0, policy = 0;
  uint64_t delayacct_blkio_ticks = 0, guest_time = 0;
  int64_t cguest_time = 0;
  uint64_t start_data = 0, end_data = 0, start_brk = 0;
  uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  int exit_code = 0;
};

Result<Stat> parse_stat(std::string_view text);

// What stat(2) shows for the terminal that `tty_nr` tells.
dev_t terminal_device(int tty_nr);

// /proc/PID/status. Signal sets have bit n-1 for signal n.
struct Status {
  std::string name;
  uint32_t umask = 0;
  char state = '?';
  int tgid = 0, pid = 0, ppid = 0, tracer_pid = 0;
  std::array<uint32_t, 4> uids{}, gids{};  // real, effective, saved, file system
  std::vector<uint32_t> groups;
  std::vector<int> nstgid, nspid, nspgid, nssid;  // outermost namespace first
  bool kernel_thread = false;
  uint64_t vm_rss = 0, rss_anon = 0, rss_file = 0, rss_shmem = 0, vm_swap = 0, vm_locked = 0;  // bytes
  bool core_dumping = false;
  bool thp_enabled = true;
  int threads = 0;
  uint64_t sig_pending = 0, shared_pending = 0, sig_blocked = 0, sig_ignored = 0, sig_caught = 0;
  uint64_t cap_inheritable = 0, cap_permitted = 0, cap_effective = 0, cap_bounding = 0, cap_ambient = 0;
  bool no_new_privs = false;
  int seccomp = 0;  // 0 none, 1 strict, 2 filter
  int seccomp_filters = 0;
  bool shadow_stack = false;  // CET; of the thread
};

Result<Status> parse_status(std::string_view text);

struct AuxEntry {
  uint64_t type = 0, value = 0;
};

// Without the closing AT_NULL, which must be there.
Result<std::vector<AuxEntry>> parse_auxv(ByteView bytes);
std::optional<uint64_t> find_aux(const std::vector<AuxEntry>& auxv, uint64_t type);

// One POSIX timer of /proc/PID/timers. The kernel shows neither deadline nor interval there.
struct TimerEntry {
  int id = 0;
  int signal = 0;
  uint64_t value = 0;  // sigev_value
  int notify = 0;      // SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, with SIGEV_THREAD_ID where a thread is named
  int target = 0;      // tid or pid that is notified
  int clock = 0;
};

Result<std::vector<TimerEntry>> parse_timers(std::string_view text);

Result<uint32_t> parse_personality(std::string_view text);

// se.exec_start of /proc/PID/task/TID/sched in nanoseconds: when the thread was last put on a processor, on the
// scheduler's clock. Nothing where the kernel has no such file content.
struct Sched {
  std::optional<uint64_t> exec_start_ns;
};
Result<Sched> parse_sched(std::string_view text);

struct CgroupEntry {
  uint32_t hierarchy = 0;  // 0: the unified one
  std::string controllers;
  std::string path;
};
Result<std::vector<CgroupEntry>> parse_cgroup(std::string_view text);

}  // namespace stint::proc
