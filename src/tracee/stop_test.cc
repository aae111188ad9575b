#include "tracee/stop.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tracee/memory.h"
#include "tracee/system_call.h"

namespace stint::tracee {
namespace {

constexpr uint16_t kSystemCallInstruction = 0x050f;

uint16_t instruction_at(Pid process, uint64_t address) {
  return peek(process, RemotePtr<uint16_t>(address)).value_or(0);
}

// A child that reads from a pipe all the time, on the one processor that we run on too: it is let go, and stopped again
// before it has got far.
class Reader {
 public:
  Reader() {
    sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one);
    EXPECT_EQ(pipe(pipe_), 0);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      char byte;
      _exit(read(pipe_[0], &byte, 1) == 1 && byte == 'x' ? 0 : 1);
    }
  }
  ~Reader() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(pipe_[0]);
    close(pipe_[1]);
    sched_setaffinity(0, sizeof(before_), &before_);
  }
  Pid pid() const { return Pid{pid_}; }
  int end() {
    EXPECT_EQ(write(pipe_[1], "x", 1), 1);
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  cpu_set_t before_;
  int pipe_[2];
  pid_t pid_;
};

// The kernel puts rip back onto the instruction before it lets the thread go, and leaves the number of the call in both
// rax and orig_rax: at a stop just then it looks as if the call had returned its own number.
TEST(StoppedProcess, ACallThatIsAboutToBeMadeAgainDoesNotLookLikeOneThatHasReturned) {
  Reader reader;
  bool seen = false;
  for (int i = 0; i < 30'000 && !seen; ++i) {
    Result<StoppedProcess> stopped = StoppedProcess::stop(reader.pid(), std::chrono::seconds(5));
    ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
    const sys::Registers& registers = stopped->representative().registers;
    seen = instruction_at(reader.pid(), registers.rip) == kSystemCallInstruction;
    if (!in_system_call(registers)) continue;
    EXPECT_EQ(instruction_at(reader.pid(), registers.rip - 2), kSystemCallInstruction);
  }
  EXPECT_EQ(reader.end(), 0);
  if (!seen) GTEST_SKIP() << "30000 stops did not come at that moment";
}

// A thread that is about to be gone cannot be traced any more, and can still be seen: it is none that refuses.
TEST(StoppedProcess, ThreadsThatEndAllTheTimeDoNotKeepItFromBeingStopped) {
  pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) std::thread([] {}).join();
  }
  for (int i = 0; i < 2000; ++i) {
    Result<StoppedProcess> stopped = StoppedProcess::stop(Pid{pid}, std::chrono::seconds(5));
    EXPECT_TRUE(stopped.has_value()) << stopped.error().text();
    if (!stopped.has_value()) break;
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace stint::tracee
