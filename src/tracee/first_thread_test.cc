#include "tracee/first_thread.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "sys/procfs.h"
#include "sys/tasks.h"

namespace stint::tracee {
namespace {

constexpr std::chrono::seconds kPatience{5};

// A child of two threads: the second, which blocks all signals, ends the process with status 7 when it is told to; the
// first does what `first` says.
class TwoThreads {
 public:
  explicit TwoThreads(const std::function<void()>& first) {
    EXPECT_EQ(pipe(gate_), 0);
    EXPECT_EQ(pipe(ready_), 0);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::thread([this] {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        char byte = 'x';
        bool told = write(ready_[1], &byte, 1) == 1 && read(gate_[0], &byte, 1) == 1;
        _exit(told ? 7 : 1);
      }).detach();
      first();
      _exit(2);
    }
  }
  ~TwoThreads() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    for (int fd : {gate_[0], gate_[1], ready_[0], ready_[1]}) close(fd);
  }
  Pid pid() const { return Pid{pid_}; }
  Pid second() const {
    for (Pid thread : sys::list_threads(pid()).value_or(std::vector<Pid>()))
      if (thread != pid()) return thread;
    return Pid{};
  }
  char state() const {
    Result<proc::Stat> stat = proc::parse_stat(sys::read_proc(pid(), "stat").value_or(""));
    return stat.has_value() ? stat->state : '?';
  }
  void await_second() const {
    char byte;
    EXPECT_EQ(read(ready_[0], &byte, 1), 1);
  }
  void await_end_of_first() const {
    while (state() != 'Z') usleep(1000);
  }
  bool parent_is_told() const {
    siginfo_t info{};
    EXPECT_EQ(waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
  }
  int end() {
    EXPECT_EQ(write(gate_[1], "x", 1), 1);
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  int gate_[2], ready_[2];
  pid_t pid_;
};

void ends() { syscall(SYS_exit, 3); }
void waits() { pause(); }

TEST(FirstThread, AProcessOfWhichItHasEndedLivesAndIsFoundThroughAnother) {
  TwoThreads process(ends);
  process.await_end_of_first();
  EXPECT_EQ(life_of(process.pid()), Life::kLives);
  EXPECT_EQ(living_thread(process.pid()), process.second());
  EXPECT_EQ(process.end(), 7);
}

TEST(FirstThread, AProcessThatHasItIsFoundUnderItsOwnNumber) {
  TwoThreads process(waits);
  EXPECT_EQ(life_of(process.pid()), Life::kLives);
  EXPECT_EQ(living_thread(process.pid()), process.pid());
}

TEST(FirstThread, AProcessThatHasEndedAltogetherIsAZombie) {
  pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) _exit(0);
  siginfo_t end;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(life_of(Pid{pid}), Life::kZombie);
  EXPECT_EQ(living_thread(Pid{pid}), Pid{pid});
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(life_of(Pid{pid}), Life::kGone);
}

TEST(FirstThread, AProcessWithoutItIsStoppedAndGoesOn) {
  TwoThreads process(ends);
  process.await_end_of_first();
  for (int i = 0; i < 3; ++i) {
    Result<StoppedProcess> stopped = StoppedProcess::stop(process.pid(), kPatience);
    ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
    ASSERT_EQ(stopped->threads().size(), 1u);
    EXPECT_EQ(stopped->pid(), process.pid());
    EXPECT_EQ(stopped->seen_as(), process.second());
  }
  EXPECT_EQ(process.end(), 7);
}

// It may end at any moment of a stop.
TEST(FirstThread, ItsEndDuringAStopIsNoEndOfTheProcess) {
  for (int i = 0; i < 300; ++i) {
    TwoThreads process(ends);
    Result<StoppedProcess> stopped = StoppedProcess::stop(process.pid(), kPatience);
    ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
    stopped->thaw();
    EXPECT_EQ(process.end(), 7);
  }
}

TEST(FirstThread, ItEndsAloneWithItsStatusAndNobodyIsTold) {
  TwoThreads process(waits);
  process.await_second();
  {
    Result<StoppedProcess> stopped = StoppedProcess::stop(process.pid(), kPatience);
    ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
    // A signal waits that would end the process if anybody let it in.
    kill(process.pid().number, SIGTERM);
    Result<Foothold> foothold = find_bare_foothold(process.pid());
    ASSERT_TRUE(foothold.has_value()) << foothold.error().text();
    Result<> ended = end_first_thread(*stopped, *foothold, 5);
    ASSERT_TRUE(ended.has_value()) << ended.error().text();
    EXPECT_EQ(stopped->seen_as(), process.second());
  }
  EXPECT_EQ(process.state(), 'Z');
  EXPECT_FALSE(process.parent_is_told());
  Result<proc::Stat> stat = proc::parse_stat(sys::read_proc(process.pid(), "stat").value_or(""));
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->exit_code, 5 << 8);
  EXPECT_EQ(process.end(), 7);
}

}  // namespace
}  // namespace stint::tracee
