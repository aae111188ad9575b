#include "sys/probe.h"

#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "sys/call.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/namespace.h"
#include "sys/process.h"
#include "sys/userfault.h"

namespace stint::sys {
namespace {

// Newer than the headers that we build with.
constexpr unsigned kPtraceSeize = 0x4206, kPtraceInterrupt = 0x4207, kPtraceGetRseqConfiguration = 0x420f;
constexpr unsigned long kPagemapScan = _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96);
constexpr int kTimerCreateRestoreIds = 77;

Result<> enter(int flags) {
  uid_t uid = effective_user();
  gid_t gid = effective_group();
  TRY(unshare(CLONE_NEWUSER | flags));
  return map_own_ids(uid, gid);
}

Result<> user_namespace() { return enter(CLONE_NEWPID | CLONE_NEWNS); }

Result<> time_namespace() {
  TRY(enter(CLONE_NEWTIME));
  return move_clocks(1'000'000'000, 1'000'000'000);
}

// The first process of a new pid namespace, in which `attempt` is made.
Result<> as_init(Result<> (*attempt)()) {
  TRY(enter(CLONE_NEWPID | CLONE_NEWNS));
  return try_in_child(attempt);
}

Result<> choose_number() {
  const pid_t numbers[] = {4321};
  pid_t child = TRY(fork_process({.numbers = numbers}));
  if (child == 0) exit_now(0);
  TRY(wait_pid(child));
  return {};
}

Result<> chosen_numbers() {
  return as_init([] { return choose_number(); });
}
Result<> fresh_proc() {
  return as_init([] { return mount_proc(); });
}

Result<> numbers_in_place() {
  if (has_capability(CAP_CHECKPOINT_RESTORE) || has_capability(CAP_SYS_ADMIN)) return {};
  return failed("neither CAP_CHECKPOINT_RESTORE nor CAP_SYS_ADMIN");
}

// A child that waits for its end, as a target.
class Target {
 public:
  static Result<Target> start() {
    pid_t child = TRY(fork_process());
    if (child == 0)
      for (;;) ::pause();
    return Target(child);
  }
  Target(Target&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  ~Target() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
  }
  pid_t pid() const { return pid_; }

 private:
  explicit Target(pid_t pid) : pid_(pid) {}
  pid_t pid_;
};

Result<> trace(const char* name, unsigned request, pid_t pid, uint64_t address, void* data) {
  TRY(call(name, [&] { return ::syscall(SYS_ptrace, request, pid, address, data); }));
  return {};
}

pid_t sibling = 0;  // for the attempt in the child

// A process that is not a child of the one that traces: Yama may forbid that.
Result<> trace_a_stranger() {
  Target target = TRY(Target::start());
  sibling = target.pid();
  return try_in_child([] { return trace("PTRACE_SEIZE", kPtraceSeize, sibling, 0, nullptr); });
}

Result<> rseq_configuration() {
  Target target = TRY(Target::start());
  TRY(trace("PTRACE_SEIZE", kPtraceSeize, target.pid(), 0, nullptr));
  TRY(trace("PTRACE_INTERRUPT", kPtraceInterrupt, target.pid(), 0, nullptr));
  TRY(call("waitpid", [&] { return ::waitpid(target.pid(), nullptr, __WALL); }));
  std::array<uint64_t, 3> answer{};
  return trace("PTRACE_GET_RSEQ_CONFIGURATION", kPtraceGetRseqConfiguration, target.pid(), sizeof(answer),
               answer.data());
}

Result<> duplicate_descriptors() {
  Target target = TRY(Target::start());
  UniqueFd pidfd = TRY(pidfd_open(target.pid()));
  int got = static_cast<int>(TRY(call("pidfd_getfd", [&] { return ::syscall(SYS_pidfd_getfd, pidfd.get(), 0, 0); })));
  UniqueFd duplicate(got);
  TRY(call("kcmp", [&] { return ::syscall(SYS_kcmp, target.pid(), own_pid(), KCMP_FILE, 0, got); }));
  return {};
}

Result<> page_scan() {
  UniqueFd pagemap = TRY(open("/proc/self/pagemap", O_RDONLY));
  std::array<uint64_t, 12> nothing{};
  // Without a size it is refused as wrong by a kernel that knows the call, and as unknown by one that does not.
  Result<long> asked = call("PAGEMAP_SCAN", [&] { return ::ioctl(pagemap.get(), kPagemapScan, nothing.data()); });
  if (!asked && asked.error().os_errno() != EINVAL) return std::move(asked).error();
  return {};
}

Result<> map_vdso() {
  // It is mapped already: a kernel that can do it says so.
  Result<long> asked = call("ARCH_MAP_VDSO_64", [] { return ::syscall(SYS_arch_prctl, ARCH_MAP_VDSO_64, 0); });
  if (!asked && asked.error().os_errno() != EEXIST) return std::move(asked).error();
  return {};
}

Result<> set_memory_map() {
  unsigned size = 0;
  TRY(call("PR_SET_MM_MAP_SIZE", [&] { return ::prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0); }));
  return {};
}

Result<> timer_ids() {
  TRY(call("PR_TIMER_CREATE_RESTORE_IDS", [] { return ::prctl(kTimerCreateRestoreIds, 1, 0, 0, 0); }));
  return {};
}

Result<> repair_connections() {
  TRY(enter(CLONE_NEWNET));
  UniqueFd socket(
      static_cast<int>(TRY(call("socket", [] { return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }))));
  int on = 1;
  TRY(call("TCP_REPAIR", [&] { return ::setsockopt(socket.get(), SOL_TCP, TCP_REPAIR, &on, sizeof(on)); }));
  return {};
}

constexpr Probe kProbes[] = {
    {"user namespaces", "contained jobs, the default for ordinary users",
     "only jobs with --plain; no restart without the capability", user_namespace},
    {"time namespaces", "CLOCK_MONOTONIC goes on over a restart", "a restart is refused", time_namespace},
    {"chosen process numbers", "pids are what they were", "no restart in a contained job", chosen_numbers},
    {"fresh /proc", "a contained job sees its own processes only", "it sees this system's /proc, with other numbers",
     fresh_proc},
    {"restart in place", "jobs without namespaces of their own", "jobs are contained", numbers_in_place},
    {"tracing a stranger", "checkpoint of a plain job, or of any process by its pid",
     "only contained jobs: see kernel.yama.ptrace_scope", trace_a_stranger},
    {"duplicated descriptors", "looking at open files", "no checkpoint", duplicate_descriptors},
    {"rseq configuration", "restartable sequences", "no checkpoint of programs that use them (glibc 2.35 and later)",
     rseq_configuration},
    {"memory map", "brk, arguments and environment where they were", "no restart", set_memory_map},
    {"vDSO mapping", "the vDSO where it was", "no restart on another kernel", map_vdso},
    {"page scan", "finding changed pages fast", "the page map is read whole", page_scan},
    {"asynchronous write tracking", "memory is copied while the program runs, and then only what it wrote meanwhile",
     "all of it is copied while the program stands still", try_to_follow_writes},
    {"timer numbers", "POSIX timers keep their ids in any case", "ids are reached by counting up", timer_ids},
    {"connection repair", "connections within a job", "they are refused", repair_connections},
};

}  // namespace

std::span<const Probe> probes() { return kProbes; }

Result<> try_in_child(Result<> (*attempt)()) {
  std::pair<UniqueFd, UniqueFd> ends = TRY(message_pair());
  pid_t child = TRY(fork_process());
  if (child == 0) {
    Result<> done = attempt();
    if (done) exit_now(0);
    std::string text = done.error().text();
    exit_now(send_message(ends.second.get(), bytes_of(text)) ? 1 : 2);
  }
  ends.second.reset();
  ChildState end = TRY(wait_pid(child));
  if (end.code == CLD_EXITED && end.status == 0) return {};
  std::array<std::byte, 512> text;
  std::optional<Message> message = TRY(receive_message(ends.first.get(), text, false));
  if (!message || message->size == 0) return failed("the attempt was killed");
  return failed(std::string(text_of({text.data(), message->size})));
}

}  // namespace stint::sys
