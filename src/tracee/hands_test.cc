#include "tracee/hands.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>

#include "tracee/memory.h"

namespace stint::tracee {
namespace {

// A child that runs `body` and exits with its result; ended and reaped when the test leaves.
class Child {
 public:
  explicit Child(const std::function<int()>& body) {
    EXPECT_EQ(pipe(pipe_), 0);
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      _exit(body());
    }
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(pipe_[0]);
    close(pipe_[1]);
  }
  Pid pid() const { return Pid{pid_}; }
  int write_end() const { return pipe_[1]; }
  int read_end() const { return pipe_[0]; }
  int wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  int pid_ = -1;
  int pipe_[2];
};

int pipe_for_child[2];

int read_one_byte() {
  char byte = 0;
  return read(pipe_for_child[0], &byte, 1) == 1 && byte == 'x' ? 0 : 1;
}

class HandsTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe(pipe_for_child), 0); }
  void TearDown() override {
    close(pipe_for_child[0]);
    close(pipe_for_child[1]);
  }
};

TEST_F(HandsTest, CallsMadeInAnotherProcessSeeThatProcess) {
  Child child(read_one_byte);
  usleep(20'000);
  {
    Result<StoppedProcess> stopped = StoppedProcess::stop(child.pid(), std::chrono::seconds(5));
    ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
    Result<Hands> hands = Hands::map_area(*stopped);
    ASSERT_TRUE(hands.has_value()) << hands.error().text();
    std::vector<Call> calls(600, Call{SYS_getpid});
    Result<std::vector<int64_t>> results = hands->run(stopped->leader(), calls);
    ASSERT_TRUE(results.has_value()) << results.error().text();
    EXPECT_EQ(results->size(), 600u);
    for (int64_t result : *results) EXPECT_EQ(result, child.pid().number);
  }
  ASSERT_EQ(write(pipe_for_child[1], "x", 1), 1);
  EXPECT_EQ(child.wait(), 0);  // its read() was restarted, and nothing of ours is left in its registers
}

TEST_F(HandsTest, AFailedCallThatMustNotFailEndsTheTable) {
  Child child(read_one_byte);
  Result<StoppedProcess> stopped = StoppedProcess::stop(child.pid(), std::chrono::seconds(5));
  ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
  Result<Hands> hands = Hands::map_area(*stopped);
  ASSERT_TRUE(hands.has_value()) << hands.error().text();
  Call calls[] = {{SYS_close, {999}, true}, {SYS_getpid}};
  Result<std::vector<int64_t>> results = hands->run(stopped->leader(), calls);
  ASSERT_TRUE(results.has_value()) << results.error().text();
  EXPECT_EQ(*results, (std::vector<int64_t>{-EBADF, -ECANCELED}));
}

// The tracer dies in the middle of a table: the program must go on as if nothing had been.
TEST_F(HandsTest, TheProgramGoesOnWhenItsTracerIsKilledInsideATable) {
  Child child(read_one_byte);
  usleep(20'000);
  Child tracer([&] {
    Result<StoppedProcess> stopped = StoppedProcess::stop(child.pid(), std::chrono::seconds(5));
    if (!stopped.has_value()) return 1;
    Result<Hands> hands = Hands::map_area(*stopped);
    if (!hands.has_value()) return 2;
    timespec two_seconds{2, 0};
    if (!poke(child.pid(), RemotePtr<timespec>(hands->scratch()), two_seconds).has_value()) return 3;
    Call sleep{SYS_nanosleep, {hands->scratch(), 0}};
    (void)hands->run(stopped->leader(), {&sleep, 1});
    return 4;
  });
  usleep(500'000);
  kill(tracer.pid().number, SIGKILL);
  ASSERT_EQ(write(pipe_for_child[1], "x", 1), 1);
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace stint::tracee
