#include "sys/child.h"

#include <linux/mount.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "sys/call.h"
#include "sys/fd.h"
#include "sys/namespace.h"
#include "sys/process.h"

namespace stint::sys {
namespace {

// What the child leaves for us, in memory that both see.
struct Outcome {
  bool done = false;
  MadeFds made = {-1, -1};
  ErrorKind kind = ErrorKind::kFailed;
  int os_errno = 0;
  char text[3072] = {};
};

class SharedOutcome {
 public:
  static Result<SharedOutcome> make() {
    void* memory = ::mmap(nullptr, sizeof(Outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return os_error("mmap");
    return SharedOutcome(new (memory) Outcome);
  }
  SharedOutcome(SharedOutcome&& other) noexcept : outcome_(std::exchange(other.outcome_, nullptr)) {}
  SharedOutcome& operator=(SharedOutcome&&) = delete;
  ~SharedOutcome() {
    if (outcome_ != nullptr) ::munmap(outcome_, sizeof(Outcome));
  }
  Outcome* operator->() { return outcome_; }

  void note(const Result<MadeFds>& result) {
    if (result.has_value()) {
      outcome_->made = *result;
    } else {
      outcome_->kind = result.error().kind();
      outcome_->os_errno = result.error().os_errno();
      size_t length = std::min(result.error().text().size(), sizeof(outcome_->text) - 1);
      std::memcpy(outcome_->text, result.error().text().data(), length);
    }
    outcome_->done = true;
  }

 private:
  explicit SharedOutcome(Outcome* outcome) : outcome_(outcome) {}
  Outcome* outcome_;
};

// The raw calls: libc's would want to change all threads of the process.
Result<> become(const ChildRequest& request) {
  if (request.group && *request.group != ::getegid())
    TRY(call("setresgid", [&] { return ::syscall(SYS_setresgid, *request.group, *request.group, *request.group); }));
  if (request.user && *request.user != ::geteuid())
    TRY(call("setresuid", [&] { return ::syscall(SYS_setresuid, *request.user, *request.user, *request.user); }));
  return {};
}

Result<MadeFds> do_work(const ChildRequest& request, const std::function<Result<MadeFds>()>& work) {
  TRY(become(request));
  return work();
}

}  // namespace

Result<MadeFds> in_child(const ChildRequest& request, const std::function<Result<MadeFds>()>& work) {
  SharedOutcome outcome = TRY(SharedOutcome::make());
  clone_args args = {};
  args.flags = CLONE_FILES;
  args.exit_signal = SIGCHLD;
  args.set_tid = request.number != 0 ? reinterpret_cast<uintptr_t>(&request.number) : 0;
  args.set_tid_size = request.number != 0 ? 1 : 0;
  long child = TRY(call("clone3", [&] { return ::syscall(SYS_clone3, &args, sizeof(args)); }));
  if (child == 0) {
    outcome.note(do_work(request, work));
    exit_now(0);
  }
  TRY(wait_pid(static_cast<pid_t>(child)));
  if (!outcome->done) return failed("a child that made sockets was killed");
  if (outcome->text[0] != '\0') return Error(outcome->kind, outcome->text, outcome->os_errno);
  return outcome->made;
}

Result<> enter_empty_root() {
  Result<long> context = call("fsopen", [] { return ::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC); });
  if (!context.has_value() && context.error().os_errno() == EPERM) {
    uid_t user = effective_user();
    gid_t group = effective_group();
    TRY(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    TRY(map_own_ids(user, group));
    context = call("fsopen", [] { return ::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC); });
  }
  UniqueFd file_system(static_cast<int>(TRY(std::move(context))));
  TRY(call("fsconfig",
           [&] { return ::syscall(SYS_fsconfig, file_system.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); }));
  UniqueFd root(static_cast<int>(
      TRY(call("fsmount", [&] { return ::syscall(SYS_fsmount, file_system.get(), FSMOUNT_CLOEXEC, 0); }))));
  TRY(call("fchdir", [&] { return ::fchdir(root.get()); }));
  TRY(call("chroot", [] { return ::chroot("."); }));
  return {};
}

void set_umask(mode_t mask) { ::umask(mask); }

}  // namespace stint::sys
