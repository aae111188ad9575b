// pidfds: of a child that lives, of one that has ended, of one that is gone, of the process itself; alone, in epoll.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

#ifndef P_PIDFD
constexpr idtype_t P_PIDFD = static_cast<idtype_t>(3);
#endif

Fd open_process(pid_t pid, unsigned flags = 0) {
  return Fd(static_cast<int>(EXPECT_OK(syscall(SYS_pidfd_open, pid, flags))));
}

bool readable(int fd, int milliseconds = 0) {
  pollfd events = {fd, POLLIN, 0};
  return EXPECT_OK(poll(&events, 1, milliseconds)) == 1;
}

// A child that waits for a byte and exits with 7.
class Child {
 public:
  Child() : pid_(EXPECT_OK(fork())) {
    if (pid_ != 0) return;
    read_exactly(pipe_.read, 1);
    _exit(7);
  }
  pid_t pid() const { return pid_; }
  void end() { write_all(pipe_.write, "x"); }

 private:
  Ends pipe_ = make_pipe();
  pid_t pid_;
};

LIVE_TEST(pidfd_of_a_child_tells_of_its_end) {
  Child child;
  const Fd process = open_process(child.pid());
  freeze_point();
  EXPECT_FALSE(readable(process));
  EXPECT_OK(static_cast<int>(syscall(SYS_pidfd_send_signal, static_cast<int>(process), 0, nullptr, 0)));
  child.end();
  EXPECT_TRUE(readable(process, 20'000));
  siginfo_t info = {};
  EXPECT_OK(waitid(P_PIDFD, static_cast<id_t>(static_cast<int>(process)), &info, WEXITED));
  EXPECT_EQ(info.si_pid, child.pid());
  EXPECT_EQ(info.si_status, 7);
}

LIVE_TEST(pidfd_of_a_zombie_can_be_waited_for) {
  Child child;
  const Fd process = open_process(child.pid());
  child.end();
  EXPECT_TRUE(readable(process, 20'000));
  freeze_point();
  EXPECT_TRUE(readable(process));
  siginfo_t info = {};
  EXPECT_OK(waitid(P_PIDFD, static_cast<id_t>(static_cast<int>(process)), &info, WEXITED));
  EXPECT_EQ(info.si_pid, child.pid());
  EXPECT_EQ(info.si_status, 7);
}

LIVE_TEST(pidfd_of_a_process_that_is_gone_refers_to_nobody) {
  Child child;
  const Fd process = open_process(child.pid());
  child.end();
  EXPECT_EQ(EXPECT_OK(waitpid(child.pid(), nullptr, 0)), child.pid());
  freeze_point();
  EXPECT_TRUE(readable(process));
  EXPECT_EQ(syscall(SYS_pidfd_send_signal, static_cast<int>(process), 0, nullptr, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

LIVE_TEST(pidfd_of_the_process_itself_is_shared_with_its_child) {
  const Blocked blocked({SIGUSR1});
  const Fd own = open_process(getpid(), O_NONBLOCK);
  const Ends go = make_pipe();
  const pid_t child = EXPECT_OK(fork());
  if (child == 0) {
    read_exactly(go.read, 1);
    _exit(syscall(SYS_pidfd_send_signal, static_cast<int>(own), SIGUSR1, nullptr, 0) == 0 ? 0 : 1);
  }
  freeze_point();
  EXPECT_EQ(fcntl(own, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  write_all(go.write, "x");
  const sigset_t wanted = set_of({SIGUSR1});
  siginfo_t info = {};
  EXPECT_EQ(sigwaitinfo(&wanted, &info), SIGUSR1);
  EXPECT_EQ(info.si_pid, child);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

LIVE_TEST(epoll_watches_the_pidfd_of_a_child) {
  Child child;
  const Fd process = open_process(child.pid());
  const Fd epoll(EXPECT_OK(epoll_create1(0)));
  epoll_event event = {};
  event.events = EPOLLIN, event.data.u64 = 4711;
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, process, &event));
  freeze_point();
  EXPECT_EQ(EXPECT_OK(epoll_wait(epoll, &event, 1, 0)), 0);
  child.end();
  EXPECT_EQ(EXPECT_OK(epoll_wait(epoll, &event, 1, 20'000)), 1);
  EXPECT_EQ(event.data.u64, 4711UL);
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_DEL, process, &event));
  EXPECT_EQ(EXPECT_OK(waitpid(child.pid(), nullptr, 0)), child.pid());
}

}  // namespace
}  // namespace live
