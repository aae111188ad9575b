// What a process may have done to itself that no restart can do again is refused by name; what is refused here is what
// nothing else in the tests has.
#include <asm/ldt.h>
#include <errno.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstring>

#include "test/live/program/descriptors.h"
#include "test/live/program/processes.h"

namespace live {
namespace {

// A child that does something to itself, and stays like that until it is let go.
class Changed {
 public:
  // `change` gives errno.
  template <class Change>
  explicit Changed(const char* what, Change change) {
    const Ends ready = make_pipe();
    Ends go = make_pipe();
    pid_ = EXPECT_OK(fork());
    if (pid_ == 0) {
      go.write.reset();
      int error = change();
      if (write(ready.write, &error, sizeof error) != sizeof error) _exit(2);
      char byte;
      while (read(go.read, &byte, 1) == -1 && errno == EINTR) {
      }
      _exit(0);
    }
    int error = 0;
    EXPECT_EQ(read(ready.read, &error, sizeof error), static_cast<ssize_t>(sizeof error));
    go_ = std::move(go.write);
    if (error == 0) return;
    end();
    skip(std::string(what) + ": " + strerror(error));
  }
  void end() {
    go_.reset();
    int status = 0;
    EXPECT_EQ(EXPECT_OK(waitpid(pid_, &status, 0)), pid_);
    EXPECT_EQ(status, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  Fd go_;
};

int done(long result) { return result < 0 ? errno : 0; }

void expect_refused(const char* what, int (*change)()) {
  Changed child(what, change);
  freeze_point();
  child.end();
}

LIVE_TEST_THAT_NEEDS(strict_seccomp_is_refused, Needs::kRefusal) {
  // Of it, read(2), write(2) and exit(2) are left.
  const Ends ready = make_pipe();
  Ends go = make_pipe();
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    go.write.reset();
    if (prctl(PR_SET_SECCOMP, 1) != 0) _exit(1);
    char byte = 'x';
    syscall(SYS_write, static_cast<int>(ready.write), &byte, 1);
    syscall(SYS_read, static_cast<int>(go.read), &byte, 1);
    syscall(SYS_exit, 0);
  }
  EXPECT_EQ(read_once(ready.read), "x");
  freeze_point();
  go.write.reset();
  int status = 0;
  EXPECT_EQ(EXPECT_OK(waitpid(child, &status, 0)), child);
  EXPECT_EQ(status, 0);
}

LIVE_TEST_THAT_NEEDS(child_in_another_user_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWUSER)", [] { return done(unshare(CLONE_NEWUSER)); });
}
LIVE_TEST_THAT_NEEDS(child_in_another_host_name_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWUTS)", [] { return done(unshare(CLONE_NEWUTS)); });
}
LIVE_TEST_THAT_NEEDS(child_in_another_network_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWNET)", [] { return done(unshare(CLONE_NEWNET)); });
}
LIVE_TEST_THAT_NEEDS(child_in_another_mount_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWNS)", [] { return done(unshare(CLONE_NEWNS)); });
}
LIVE_TEST_THAT_NEEDS(child_in_another_ipc_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWIPC)", [] { return done(unshare(CLONE_NEWIPC)); });
}
LIVE_TEST_THAT_NEEDS(child_in_another_cgroup_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWCGROUP)", [] { return done(unshare(CLONE_NEWCGROUP)); });
}
LIVE_TEST_THAT_NEEDS(child_whose_children_get_another_pid_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWPID)", [] { return done(unshare(CLONE_NEWPID)); });
}
LIVE_TEST_THAT_NEEDS(child_whose_children_get_another_time_namespace_is_refused, Needs::kRefusal) {
  expect_refused("unshare(CLONE_NEWTIME)", [] { return done(unshare(0x80)); });
}
LIVE_TEST_THAT_NEEDS(child_in_another_root_is_refused, Needs::kRefusal) {
  expect_refused("chroot", [] { return chroot("/usr") != 0 || chdir("/") != 0 ? errno : 0; });
}

LIVE_TEST_THAT_NEEDS(child_that_is_traced_in_the_job_is_refused, Needs::kRefusal) {
  Changed child("PTRACE_SEIZE", [] { return 0; });
  EXPECT_OK(ptrace(PTRACE_SEIZE, child.pid(), 0, 0));
  freeze_point();
  EXPECT_OK(ptrace(PTRACE_INTERRUPT, child.pid(), 0, 0));
  int status = 0;
  EXPECT_EQ(EXPECT_OK(waitpid(child.pid(), &status, __WALL)), child.pid());
  EXPECT_TRUE(WIFSTOPPED(status));
  EXPECT_OK(ptrace(PTRACE_DETACH, child.pid(), 0, 0));
  child.end();
}

LIVE_TEST_THAT_NEEDS(child_whose_time_stamp_counter_faults_is_refused, Needs::kRefusal) {
  expect_refused("PR_SET_TSC", [] { return done(prctl(PR_SET_TSC, PR_TSC_SIGSEGV)); });
}
LIVE_TEST_THAT_NEEDS(child_that_may_not_make_memory_executable_is_refused, Needs::kRefusal) {
  expect_refused("PR_SET_MDWE", [] { return done(prctl(65, 1, 0, 0, 0)); });
}
LIVE_TEST_THAT_NEEDS(child_whose_memory_is_merged_is_refused, Needs::kRefusal) {
  expect_refused("PR_SET_MEMORY_MERGE", [] { return done(prctl(67, 1, 0, 0, 0)); });
}
LIVE_TEST_THAT_NEEDS(child_whose_speculation_is_restrained_is_refused, Needs::kRefusal) {
  expect_refused("PR_SET_SPECULATION_CTRL",
                 [] { return done(prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0)); });
}
LIVE_TEST_THAT_NEEDS(child_with_a_keyring_of_its_own_is_refused, Needs::kRefusal) {
  expect_refused("keyctl",
                 [] { return done(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1)); });
}
LIVE_TEST_THAT_NEEDS(child_with_segments_of_its_own_is_refused, Needs::kRefusal) {
  expect_refused("modify_ldt", [] {
    user_desc segment = {};
    segment.limit = 0xffff, segment.seg_32bit = 1, segment.useable = 1;
    return done(syscall(SYS_modify_ldt, 1, &segment, sizeof segment));
  });
}
LIVE_TEST_THAT_NEEDS(child_whose_system_calls_come_back_as_signals_is_refused, Needs::kRefusal) {
  // As long as the selector says that they may pass.
  expect_refused("PR_SET_SYSCALL_USER_DISPATCH", [] {
    static char selector = 0;
    return done(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector));
  });
}

LIVE_TEST(thread_with_a_deadline_is_kept) {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes = {48, 6, 1 /* SCHED_FLAG_RESET_ON_FORK */, 0, 0, 1'000'000, 10'000'000, 10'000'000};
  if (syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) skip(std::string("sched_setattr: ") + strerror(errno));
  freeze_point();
  EXPECT_EQ(sched_getscheduler(0), 6 | 0x40000000);
  sched_param none = {};
  EXPECT_OK(sched_setscheduler(0, SCHED_OTHER, &none));
}

}  // namespace
}  // namespace live
