#include "sys/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "sys/call.h"

namespace stint::sys {

Result<pid_t> fork_process(const CloneRequest& request) {
  struct clone_args args = {};
  // With CLONE_PARENT the kernel takes the exit signal from the caller, and refuses one that is given.
  args.exit_signal = request.as_sibling ? 0 : SIGCHLD;
  args.flags = request.as_sibling ? CLONE_PARENT : 0;
  args.set_tid = reinterpret_cast<uintptr_t>(request.numbers.data());
  args.set_tid_size = request.numbers.size();
  if (request.numbers.empty()) args.set_tid = 0;
  return static_cast<pid_t>(TRY(call("clone3", [&] { return ::syscall(SYS_clone3, &args, sizeof(args)); })));
}

Result<pid_t> fork_beside_threads() {
  return static_cast<pid_t>(TRY(call("fork", [&] { return ::fork(); })));
}

Result<ChildState> wait_child(bool block, bool stops) {
  siginfo_t found = {};
  int options = WEXITED | (block ? 0 : WNOHANG) | (stops ? WSTOPPED | WCONTINUED : 0);
  TRY(call("waitid", [&] { return ::waitid(P_ALL, 0, &found, options); }));
  return ChildState{found.si_pid, found.si_code, found.si_status};
}

Result<bool> has_child() {
  siginfo_t found = {};
  Result<long> any = call("waitid", [&] { return ::waitid(P_ALL, 0, &found, WEXITED | WNOHANG | WNOWAIT); });
  if (any) return true;
  if (any.error().os_errno() == ECHILD) return false;
  return std::move(any).error();
}

Result<ChildState> wait_pid(pid_t pid) {
  siginfo_t found = {};
  TRY(call("waitid", [&] { return ::waitid(P_PID, static_cast<id_t>(pid), &found, WEXITED); }));
  return ChildState{found.si_pid, found.si_code, found.si_status};
}

Result<std::strong_ordering> compare_resources(Pid a, Pid b, int type) {
  long order = TRY(call("kcmp", [&] { return syscall(SYS_kcmp, a.number, b.number, type, 0, 0); }));
  if (order == 0) return std::strong_ordering::equal;
  return order == 1 ? std::strong_ordering::less : std::strong_ordering::greater;
}

Result<UniqueFd> pidfd_open(pid_t pid, unsigned flags) {
  return UniqueFd(static_cast<int>(TRY(call("pidfd_open", [&] { return ::syscall(SYS_pidfd_open, pid, flags); }))));
}

Result<UniqueFd> pidfd_of_thread(Pid thread) {
  constexpr unsigned kThread = O_EXCL;  // PIDFD_THREAD
  Result<UniqueFd> pidfd = pidfd_open(thread.number, kThread);
  if (pidfd.has_value() || pidfd.error().os_errno() != EINVAL) return pidfd;
  pidfd = pidfd_open(thread.number);
  if (pidfd.has_value() || pidfd.error().os_errno() != EINVAL) return pidfd;
  return refused(
      fmt::format("thread {} is not the first of its process, which has ended, and this kernel gives nobody what such "
                  "a process has "
                  "open: use Linux 6.9 or later",
                  thread.number));
}

Result<> pidfd_signal(int pidfd, int signal) {
  TRY(call("pidfd_send_signal", [&] { return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }));
  return {};
}

Result<> kill(pid_t pid, int signal) {
  TRY(call("kill", [&] { return ::kill(pid, signal); }));
  return {};
}

pid_t own_pid() { return ::getpid(); }
pid_t parent_pid() { return ::getppid(); }
uid_t effective_user() { return ::geteuid(); }
gid_t effective_group() { return ::getegid(); }
Result<> set_effective_user(uid_t uid) {
  TRY(call("seteuid", [&] { return ::seteuid(uid); }));
  return {};
}
Result<> set_effective_group(gid_t gid) {
  TRY(call("setegid", [&] { return ::setegid(gid); }));
  return {};
}
pid_t process_group(pid_t pid) { return ::getpgid(pid); }
pid_t session(pid_t pid) { return ::getsid(pid); }

Result<> new_session() {
  TRY(call("setsid", [] { return ::setsid(); }));
  return {};
}

Result<> set_process_group(pid_t pid, pid_t group) {
  TRY(call("setpgid", [&] { return ::setpgid(pid, group); }));
  return {};
}

Result<> become_subreaper() {
  TRY(call("PR_SET_CHILD_SUBREAPER", [] { return ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }));
  return {};
}

Result<> change_directory(const std::string& path) {
  TRY(call("chdir", [&] { return ::chdir(path.c_str()); }).in(path));
  return {};
}

Result<std::string> working_directory() {
  char path[PATH_MAX];
  TRY(call("getcwd", [&] { return ::getcwd(path, sizeof(path)) == nullptr ? -1 : 0; }));
  return std::string(path);
}

void set_name(const char* name) { ::prctl(PR_SET_NAME, name, 0, 0, 0); }

bool has_capability(int capability) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2] = {};
  if (!call("capget", [&] { return ::syscall(SYS_capget, &header, sets); })) return false;
  return (sets[capability / 32].effective >> (capability % 32) & 1) != 0;
}

uint64_t bounding_set() {
  uint64_t set = 0;
  for (int capability = 0; capability < 64; ++capability) {
    int present = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (present < 0) break;  // The kernel knows no capability beyond this one.
    if (present == 1) set |= uint64_t{1} << capability;
  }
  return set;
}

Result<> limit_bounding_set(uint64_t keep) {
  uint64_t surplus = bounding_set() & ~keep;
  for (int capability = 0; capability < 64; ++capability) {
    if ((surplus >> capability & 1) == 0) continue;
    TRY(call("PR_CAPBSET_DROP", [&] { return ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0); }));
  }
  return {};
}

Error exec(const std::string& path, const std::vector<std::string>& arguments,
           const std::vector<std::string>& environment) {
  std::vector<char*> argv, envp;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  for (const std::string& variable : environment) envp.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  ::execve(path.c_str(), argv.data(), envp.data());
  return os_error("execve");
}

std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  return variables;
}

namespace {

// Why a path cannot be executed, as far as it can be known without trying. A directory gives EACCES, as in execve.
Result<> check_executable(const std::string& path) {
  struct stat found;
  TRY(call("execve", [&] { return ::stat(path.c_str(), &found); }));
  if (!S_ISREG(found.st_mode)) return os_error("execve", EACCES);
  TRY(call("execve", [&] { return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS); }));
  return {};
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    TRY(check_executable(name));
    return name;
  }
  const char* path = ::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/bin:/usr/bin";
  int worst = ENOENT;
  for (;;) {
    std::string_view directory = rest.substr(0, rest.find(':'));
    std::string candidate = std::string(directory) + (directory.empty() ? "" : "/") + name;
    Result<> fits = name.empty() ? Result<>(os_error("execve", ENOENT)) : check_executable(candidate);
    if (fits) return candidate;
    if (fits.error().os_errno() == EACCES) worst = EACCES;
    if (directory.size() == rest.size()) return os_error("execve", worst);
    rest.remove_prefix(directory.size() + 1);
  }
}

bool has_file_capabilities(const std::string& path) {
  return ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

Result<> redirect_output(const std::string& path) {
  int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
  UniqueFd file(static_cast<int>(TRY(call("open", [&] { return ::open(path.c_str(), flags, 0600); }).in(path))));
  TRY(replace_stream(STDOUT_FILENO, file.get()));
  return replace_stream(STDERR_FILENO, file.get());
}

Result<> redirect_input_to_nothing() {
  UniqueFd nothing(static_cast<int>(TRY(call("open", [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }))));
  return replace_stream(STDIN_FILENO, nothing.get());
}

Result<> replace_stream(int stream, int fd) {
  TRY(call("dup2", [&] { return ::dup2(fd, stream); }));
  return {};
}

void close_all_but(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned next = 0;
  for (int fd : keep) {
    if (fd < 0) continue;
    unsigned kept = static_cast<unsigned>(fd);
    if (kept > next) ::close_range(next, kept - 1, 0);
    next = kept + 1;
  }
  ::close_range(next, ~0U, 0);
}

void exit_now(int status) { ::_exit(status); }

}  // namespace stint::sys
