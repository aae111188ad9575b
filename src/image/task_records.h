// Records of the job, its processes and their threads. All process numbers are as the job sees them.
#pragma once

#include "image/codec.h"
#include "image/memory_policy.h"

namespace stint::image {

// A tiny process of ours that the job can see: its parent, the leader of its session.
struct StandIn {
  int32_t pid = 0, pgid = 0, sid = 0;
  template <class A>
  void fields(A& a) {
    a("pid", pid), a("pgid", pgid), a("sid", sid);
  }
};

struct JobRecord {
  static constexpr const char* kName = "job record";
  std::string name;
  std::string host;            // uname's nodename
  std::string kernel_release;  // uname's release
  std::string stint_version;
  uint32_t generation = 0;  // how many restarts lie behind it
  bool contained = false;   // ran in namespaces of its own
  uint32_t uid = 0, gid = 0;
  std::vector<std::string> arguments;                          // as given to `run`
  std::string directory;                                       // where `run` was called
  int64_t realtime_ns = 0, monotonic_ns = 0, boottime_ns = 0;  // at the stop, as the job reads them
  int32_t root_pid = 0;
  std::vector<StandIn> stand_ins;      // the parent of the root first
  std::vector<uint32_t> cpu_features;  // cpuid words: see task/cpu.h
  std::string agent_hash;              // content hash of the agent that the job runs with; empty for none
  bool has_terminal = false;
  Bytes terminal_modes;  // struct termios2
  Bytes terminal_size;   // struct winsize
  int32_t foreground_pgid = 0;
  uint64_t page_bytes = 0;  // of page data, before compression
  bool own_ipc = false;     // has an IPC namespace of its own
  bool own_pts = false;     // has pseudoterminals of its own: another /dev/pts than the host's

  template <class A>
  void fields(A& a) {
    a("name", name), a("host", host), a("kernel_release", kernel_release), a("stint_version", stint_version);
    a("generation", generation), a("contained", contained), a("uid", uid), a("gid", gid);
    a("arguments", arguments), a("directory", directory);
    a("realtime_ns", realtime_ns), a("monotonic_ns", monotonic_ns), a("boottime_ns", boottime_ns);
    a("root_pid", root_pid), a("stand_ins", stand_ins), a("cpu_features", cpu_features);
    a("agent_hash", agent_hash);
    a("has_terminal", has_terminal), a("terminal_modes", terminal_modes), a("terminal_size", terminal_size);
    a("foreground_pgid", foreground_pgid), a("page_bytes", page_bytes);
    a("own_ipc", own_ipc);
    a("own_pts", own_pts);
  }
};

// struct kernel_sigaction, as rt_sigaction(2) takes it.
struct SignalAction {
  uint64_t handler = 0, flags = 0, restorer = 0, mask = 0;
  template <class A>
  void fields(A& a) {
    a("handler", handler), a("flags", flags), a("restorer", restorer), a("mask", mask);
  }
};

// An interval timer, in nanoseconds. Armed when value > 0.
struct IntervalTimer {
  int64_t value_ns = 0, interval_ns = 0;
  template <class A>
  void fields(A& a) {
    a("value_ns", value_ns), a("interval_ns", interval_ns);
  }
};

struct PosixTimer {
  int32_t id = 0, clock = 0, notify = 0, signal = 0, target_tid = 0, overrun = 0;
  uint64_t sigev_value = 0;
  IntervalTimer left;
  template <class A>
  void fields(A& a) {
    a("id", id), a("clock", clock), a("notify", notify), a("signal", signal), a("target_tid", target_tid);
    a("overrun", overrun), a("sigev_value", sigev_value), a("left", left);
  }
};

struct ResourceLimit {
  uint64_t soft = 0, hard = 0;
  template <class A>
  void fields(A& a) {
    a("soft", soft), a("hard", hard);
  }
};

// What prctl(PR_SET_MM_MAP) takes (struct prctl_mm_map), but for auxv and exe_fd.
struct MemoryMap {
  uint64_t start_code = 0, end_code = 0, start_data = 0, end_data = 0, start_brk = 0, brk = 0, start_stack = 0;
  uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  template <class A>
  void fields(A& a) {
    a("start_code", start_code), a("end_code", end_code), a("start_data", start_data), a("end_data", end_data);
    a("start_brk", start_brk), a("brk", brk), a("start_stack", start_stack);
    a("arg_start", arg_start), a("arg_end", arg_end), a("env_start", env_start), a("env_end", env_end);
  }
};

struct ProcessRecord {
  static constexpr const char* kName = "process record";
  int32_t pid = 0, ppid = 0, pgid = 0, sid = 0;
  std::string exe;        // /proc/PID/exe
  uint64_t exe_file = 0;  // id of its MappedFileRecord
  std::string cwd;
  std::string root = "/";
  uint32_t umask = 0;
  MemoryMap memory_map;
  Bytes auxv;
  uint64_t vdso_start = 0, vvar_start = 0;
  Bytes vdso;                              // its text: on another kernel the old entry points lead to the new ones
  std::array<uint32_t, 4> uids{}, gids{};  // real, effective, saved, file system
  std::vector<uint32_t> groups;
  uint64_t bounding_set = 0;  // of capabilities, of the first thread
  uint32_t dumpable = 1;
  bool child_subreaper = false;
  bool thp_disabled = false;
  uint32_t personality = 0;
  int32_t oom_score_adj = 0;
  uint32_t coredump_filter = 0x33;
  uint32_t mce_kill = 2;                       // PR_MCE_KILL_GET
  uint32_t membarrier_registrations = 0;       // MEMBARRIER_CMD_GET_REGISTRATIONS
  std::vector<SignalAction> actions;           // of signals 1..64
  std::vector<Bytes> pending;                  // siginfo_t, shared queue, in order
  std::vector<IntervalTimer> interval_timers;  // ITIMER_REAL, VIRTUAL, PROF
  std::vector<PosixTimer> posix_timers;
  std::vector<ResourceLimit> limits;                               // RLIMIT_*, by number
  uint64_t agent_area = 0, agent_area_size = 0, agent_runner = 0;  // 0: no agent in it
  uint64_t resident_area = 0;         // an area of ours that must stay mapped: a thread will resume in it
  int32_t parent_thread = 0;          // which thread of its parent it belongs to; 0: the first
  int32_t memory_from = 0;            // its parent, when it shares pages with it that are saved there; 0: none
  int32_t exit_signal = 17;           // what its parent gets when it ends
  int32_t stop_signal = 0;            // of a job-control stop that it is in; 0: it runs
  bool stop_is_known = true;          // its parent has waited for the stop
  bool continuation_is_known = true;  // ... or for the end of the last one
  bool controlling_terminal = false;  // its session's is the job's own terminal
  int32_t controlling_pty = -1;       // ... or the pty of this number, whose master is in the job; -1: none is
  int32_t pty_foreground = 0;         // of a session's leader: the group in the foreground of that
  uint32_t shared_with_parent = 0;    // CLONE_FS, CLONE_FILES: what it has in common with its parent

  template <class A>
  void fields(A& a) {
    a("pid", pid), a("ppid", ppid), a("pgid", pgid), a("sid", sid);
    a("exe", exe), a("exe_file", exe_file), a("cwd", cwd), a("root", root), a("umask", umask);
    a("memory_map", memory_map), a("auxv", auxv);
    a("vdso_start", vdso_start), a("vvar_start", vvar_start), a("vdso", vdso);
    a("uids", uids), a("gids", gids), a("groups", groups), a("bounding_set", bounding_set);
    a("dumpable", dumpable), a("child_subreaper", child_subreaper), a("thp_disabled", thp_disabled);
    a("personality", personality), a("oom_score_adj", oom_score_adj), a("coredump_filter", coredump_filter);
    a("mce_kill", mce_kill), a("membarrier_registrations", membarrier_registrations);
    a("actions", actions), a("pending", pending), a("interval_timers", interval_timers);
    a("posix_timers", posix_timers), a("limits", limits);
    a("agent_area", agent_area), a("agent_area_size", agent_area_size), a("agent_runner", agent_runner);
    a("resident_area", resident_area), a("parent_thread", parent_thread), a("memory_from", memory_from),
        a("exit_signal", exit_signal), a("stop_signal", stop_signal);
    a("stop_is_known", stop_is_known), a("continuation_is_known", continuation_is_known);
    a("controlling_terminal", controlling_terminal);
    a("controlling_pty", controlling_pty), a("pty_foreground", pty_foreground);
    a("shared_with_parent", shared_with_parent);
  }
};

// A process that has ended and that its parent has not waited for yet.
struct ZombieRecord {
  static constexpr const char* kName = "zombie record";
  int32_t pid = 0, ppid = 0, pgid = 0, sid = 0;
  std::string comm;
  int32_t exit_code = 0;  // as wait4(2) gives it
  int32_t exit_signal = 17;
  uint32_t uid = 0;  // as waitid(2) tells it
  template <class A>
  void fields(A& a) {
    a("pid", pid), a("ppid", ppid), a("pgid", pgid), a("sid", sid), a("comm", comm), a("exit_code", exit_code);
    a("exit_signal", exit_signal), a("uid", uid);
  }
};

// How a thread goes on that was stopped inside a system call: see task/interrupted.h.
enum class ResumeKind : uint8_t {
  kAsIs = 0,      // the kernel's own restart logic does it
  kReissue = 1,   // the call is made anew, with the time that is left, so that the kernel has its restart block again
  kContinue = 2,  // the runner finishes the call (kResume) with changed arguments
};

struct ResumeCall {
  ResumeKind kind = ResumeKind::kAsIs;
  uint64_t nr = 0;
  std::array<uint64_t, 6> args{};
  int64_t time_left_ns = -1;          // -1: the call has no timeout
  uint8_t time_argument = 0;          // which argument carries it: number 1..6; 0: none
  bool time_is_milliseconds = false;  // else the argument points at a struct timespec
  uint64_t done = 0;                  // bytes moved, or events taken, before the stop
  std::vector<uint64_t> rest;         // of writev and sendmsg: address, length pairs that are still to be moved
  template <class A>
  void fields(A& a) {
    a("kind", kind), a("nr", nr), a("args", args), a("time_left_ns", time_left_ns), a("time_argument", time_argument);
    a("time_is_milliseconds", time_is_milliseconds), a("done", done), a("rest", rest);
  }
};

struct ThreadRecord {
  static constexpr const char* kName = "thread record";
  int32_t pid = 0, tid = 0;
  std::string comm;
  Bytes registers;  // struct user_regs_struct
  Bytes xstate;     // NT_X86_XSTATE
  uint64_t signal_mask = 0;
  std::vector<Bytes> pending;  // siginfo_t, private queue
  uint64_t altstack_sp = 0, altstack_size = 0;
  uint32_t altstack_flags = 0;
  uint64_t robust_list = 0, robust_list_size = 0;
  uint64_t clear_child_tid = 0;
  uint64_t rseq = 0;
  uint32_t rseq_size = 0, rseq_signature = 0;
  Bytes sched_attr;  // struct sched_attr
  Bytes affinity;    // cpu_set_t, as long as the kernel's
  MemoryPolicy memory_policy;
  uint32_t io_priority = 0;
  int32_t death_signal = 0;
  uint64_t timer_slack_ns = 0;
  ResumeCall resume;
  // Each thread has credentials of its own.
  std::array<uint64_t, 5> capabilities{};  // inheritable, permitted, effective, bounding, ambient
  uint32_t securebits = 0;
  bool no_new_privs = false;
  // The first of its process, which has ended while others go on: of the fields above, those that others can see count.
  bool ended = false;
  uint32_t exit_status = 0;  // exit(2)

  template <class A>
  void fields(A& a) {
    a("pid", pid), a("tid", tid), a("comm", comm), a("registers", registers), a("xstate", xstate);
    a("signal_mask", signal_mask), a("pending", pending);
    a("altstack_sp", altstack_sp), a("altstack_size", altstack_size), a("altstack_flags", altstack_flags);
    a("robust_list", robust_list), a("robust_list_size", robust_list_size), a("clear_child_tid", clear_child_tid);
    a("rseq", rseq), a("rseq_size", rseq_size), a("rseq_signature", rseq_signature);
    a("sched_attr", sched_attr), a("affinity", affinity), a("io_priority", io_priority);
    a("memory_policy", memory_policy);
    a("death_signal", death_signal), a("timer_slack_ns", timer_slack_ns), a("resume", resume);
    a("capabilities", capabilities), a("securebits", securebits), a("no_new_privs", no_new_privs);
    a("ended", ended), a("exit_status", exit_status);
  }
};

}  // namespace stint::image
