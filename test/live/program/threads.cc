#include "test/live/program/threads.h"

#include <fcntl.h>
#include <stdio.h>

namespace live {

namespace {

void wait_until_blocked_at(const char* path, long call) {
  for (int waited = 0; waited < 20'000; ++waited) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sleep_for(0.1);  // The /proc of another pid namespace cannot tell.
    char text[256] = {};
    const ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    long number = -1;
    if (size > 0 && sscanf(text, "%ld", &number) == 1) {  // It reads "running" otherwise.
      if ((call == kAnyCall && number >= 0) || number == call || number == SYS_restart_syscall) return;
    }
    sleep_for(0.001);
  }
  fail(__FILE__, __LINE__, "a thread never came to block in system call " + shown(call));
}

}  // namespace

void wait_until_blocked(pid_t tid, long call) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
  wait_until_blocked_at(path, call);
}

void wait_until_process_blocked(pid_t pid, long call) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/syscall", pid);
  wait_until_blocked_at(path, call);
}

BlockedThread::BlockedThread(long call, std::function<void()> body)
    : thread_([this, body = std::move(body)] {
        tid_ = gettid();
        body();
        ended_ = true;
      }) {
  while (tid_ == 0) sleep_for(0.0002);
  wait_until_blocked(tid_, call);
}

Handler::Handler(int signal, void (*handler)(int, siginfo_t*, void*), int flags, std::initializer_list<int> mask)
    : signal_(signal) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  action.sa_mask = set_of(mask);
  EXPECT_OK(sigaction(signal, &action, &before_));
}

Handler::~Handler() { sigaction(signal_, &before_, nullptr); }

Blocked::Blocked(std::initializer_list<int> signals) {
  const sigset_t set = set_of(signals);
  EXPECT_EQ(pthread_sigmask(SIG_BLOCK, &set, &before_), 0);
}

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  return set;
}

}  // namespace live
