// Processes: making them with a chosen number, waiting for them, signalling them without the race that numbers have.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <compare>
#include <span>
#include <string>
#include <vector>

#include "base/remote.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

// What a fork may ask for beyond fork(2).
struct CloneRequest {
  // The child's numbers, innermost pid namespace first; empty for any. Needs CAP_CHECKPOINT_RESTORE over the namespace.
  // EEXIST: the number is in use, be it as a process group or a session that outlived its leader.
  std::span<const pid_t> numbers = {};
  // The caller's parent becomes the child's parent, and gets its SIGCHLD.
  bool as_sibling = false;
};

// fork(2) by clone3: 0 in the child. The caller must be single-threaded. libc's atfork handlers do not run.
Result<pid_t> fork_process(const CloneRequest& request = {});

// fork(2) of libc, where other threads may be running: the child has this one only, and memory can be had in it.
Result<pid_t> fork_beside_threads();

// A child that changed state.
struct ChildState {
  pid_t pid = 0;   // 0: no child has changed (only with `block` false)
  int code = 0;    // CLD_EXITED, CLD_KILLED, CLD_DUMPED, CLD_STOPPED, CLD_CONTINUED
  int status = 0;  // exit status, or signal
};
// The next child that ended, and with `stops` one that stopped or went on. ECHILD: there is no child left.
Result<ChildState> wait_child(bool block, bool stops);
// Whether there is any child, living or dead.
Result<bool> has_child();
// The end of one child.
Result<ChildState> wait_pid(pid_t pid);

// Whether two processes have one and the same memory, descriptor table ... (KCMP_VM, KCMP_FILES ... of kcmp(2)); an
// order of those that differ.
Result<std::strong_ordering> compare_resources(Pid a, Pid b, int type);

// `flags`: PIDFD_NONBLOCK, PIDFD_THREAD.
Result<UniqueFd> pidfd_open(pid_t pid, unsigned flags = 0);
// For what a thread has. kRefused before Linux 6.9 if it is not the first of its process.
Result<UniqueFd> pidfd_of_thread(Pid thread);
// ESRCH when the process has ended: a pidfd never means another process.
Result<> pidfd_signal(int pidfd, int signal);
Result<> kill(pid_t pid, int signal);
pid_t own_pid();
pid_t parent_pid();  // 0 when the parent is outside our pid namespace
uid_t effective_user();
gid_t effective_group();
Result<> set_effective_user(uid_t uid);
Result<> set_effective_group(gid_t gid);
pid_t process_group(pid_t pid = 0);  // -1 when there is no such process
pid_t session(pid_t pid = 0);        // -1 when there is no such process

Result<> new_session();
Result<> set_process_group(pid_t pid, pid_t group);
// Orphans among our descendants become our children instead of init's.
Result<> become_subreaper();
Result<> change_directory(const std::string& path);
Result<std::string> working_directory();
// What ps and /proc/PID/comm show: at most 15 bytes.
void set_name(const char* name);

// Whether the effective set of this process holds the capability (CAP_*).
bool has_capability(int capability);
// The capabilities that exec can still give to this process: bit N stands for capability N.
uint64_t bounding_set();
// Takes every capability out of the bounding set that is not in `keep`.
Result<> limit_bounding_set(uint64_t keep);

// Replaces this process. Returns only the failure. `path` is not searched for in PATH.
Error exec(const std::string& path, const std::vector<std::string>& arguments,
           const std::vector<std::string>& environment);
std::vector<std::string> environment();
// PATH and the rest of what execvp(3) does: a name with a slash is taken as it is.
Result<std::string> find_program(const std::string& name);
// Whether exec of this file would give capabilities (setcap).
bool has_file_capabilities(const std::string& path);
// Standard output and error become the end of this file.
Result<> redirect_output(const std::string& path);
// Standard input becomes /dev/null.
Result<> redirect_input_to_nothing();
// One of 0, 1, 2 becomes a duplicate of `fd`.
Result<> replace_stream(int stream, int fd);

// Closes every descriptor but these; numbers below 0 in `keep` are passed over.
void close_all_but(std::vector<int> keep);
// Ends this process without atexit handlers: for a child that shares stdio buffers with its parent.
[[noreturn]] void exit_now(int status);

}  // namespace stint::sys
