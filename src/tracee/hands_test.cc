#include "tracee/hands.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "sys/fault.h"
#include "sys/procfs.h"
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

Result<Hands> mapped_hands(StoppedProcess& process) {
  std::vector<proc::Vma> vmas = TRY(proc::parse_maps(TRY(sys::read_proc(process.pid(), "maps"))));
  return Hands::map_area(process, TRY(find_entrance(process, vmas, nullptr)));
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
    Result<Hands> hands = mapped_hands(*stopped);
    ASSERT_TRUE(hands.has_value()) << hands.error().text();
    std::vector<Call> calls(600, Call{SYS_getpid});
    Result<std::vector<int64_t>> results = hands->run(stopped->representative(), calls);
    ASSERT_TRUE(results.has_value()) << results.error().text();
    EXPECT_EQ(results->size(), 600u);
    for (int64_t result : *results) EXPECT_EQ(result, child.pid().number);
  }
  ASSERT_EQ(write(pipe_for_child[1], "x", 1), 1);
  EXPECT_EQ(child.wait(), 0);  // its read() was restarted, and nothing of ours is left in its registers
}

// We live on, so that our end does not let it go.
class FailingHandsTest : public HandsTest, public testing::WithParamInterface<int> {};

TEST_P(FailingHandsTest, TheProgramGoesOnWhenItIsLetGoWhicheverCallFailed) {
  long calls = 0;  // With none failing, they are counted.
  for (long failing = 0; failing <= calls; ++failing) {
    Child child(read_one_byte);
    {
      Result<StoppedProcess> stopped = StoppedProcess::stop(child.pid(), std::chrono::seconds(5));
      ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
      fault::Injection injection(failing, GetParam());
      if (Result<Hands> hands = mapped_hands(*stopped); hands.has_value())
        (void)hands->run(stopped->representative(), std::vector<Call>(3, Call{SYS_getpid})).has_value();
      stopped->thaw();
      calls = std::max(calls, injection.calls());
    }
    ASSERT_EQ(write(pipe_for_child[1], "x", 1), 1);
    EXPECT_EQ(child.wait(), 0) << "call " << failing << " of " << calls;
  }
  EXPECT_GT(calls, 20);
}

// ESRCH is what the kernel says of a thread that is not stopped.
INSTANTIATE_TEST_SUITE_P(Hands, FailingHandsTest, testing::Values(ENOMEM, ESRCH));

TEST_F(HandsTest, AFailedCallThatMustNotFailEndsTheTable) {
  Child child(read_one_byte);
  Result<StoppedProcess> stopped = StoppedProcess::stop(child.pid(), std::chrono::seconds(5));
  ASSERT_TRUE(stopped.has_value()) << stopped.error().text();
  Result<Hands> hands = mapped_hands(*stopped);
  ASSERT_TRUE(hands.has_value()) << hands.error().text();
  Call calls[] = {{SYS_close, {999}, true}, {SYS_getpid}};
  Result<std::vector<int64_t>> results = hands->run(stopped->representative(), calls);
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
    Result<Hands> hands = mapped_hands(*stopped);
    if (!hands.has_value()) return 2;
    timespec two_seconds{2, 0};
    if (!poke(child.pid(), RemotePtr<timespec>(hands->scratch()), two_seconds).has_value()) return 3;
    Call sleep{SYS_nanosleep, {hands->scratch(), 0}};
    (void)hands->run(stopped->representative(), {&sleep, 1});
    return 4;
  });
  usleep(500'000);
  kill(tracer.pid().number, SIGKILL);
  ASSERT_EQ(write(pipe_for_child[1], "x", 1), 1);
  EXPECT_EQ(child.wait(), 0);
}

// Both threads have made calls for us when the tracer dies in a table of the second.
TEST_F(HandsTest, ThreadsGoOnEachWithItsOwnRegistersWhenTheTracerIsKilled) {
  Child child([] {
    std::atomic<int> good = 0;
    auto read_and_check = [&](int value) {
      volatile int kept = value;
      good += read_one_byte() == 0 && kept == value;
    };
    std::thread second(read_and_check, 2);
    read_and_check(1);
    second.join();
    return good == 2 ? 0 : 1;
  });
  usleep(50'000);
  Child tracer([&] {
    Result<StoppedProcess> stopped = StoppedProcess::stop(child.pid(), std::chrono::seconds(5));
    if (!stopped.has_value() || stopped->threads().size() != 2) return 1;
    Result<Hands> hands = mapped_hands(*stopped);
    if (!hands.has_value()) return 2;
    Call first{SYS_getpid};
    (void)hands->run(stopped->threads()[0], {&first, 1});
    Call die{SYS_kill, {static_cast<uint64_t>(getpid()), SIGKILL}};
    (void)hands->run(stopped->threads()[1], {&die, 1});
    return 3;
  });
  EXPECT_EQ(tracer.wait(), 128 + SIGKILL);
  ASSERT_EQ(write(pipe_for_child[1], "xx", 2), 2);
  EXPECT_EQ(child.wait(), 0);
}

// Nothing of ours is in it: the call by which we die is made through its own instructions.
TEST_F(HandsTest, TheProgramGoesOnWhenItsTracerIsKilledInsideAnInjectedCall) {
  Child child(read_one_byte);
  usleep(20'000);
  Child tracer([&] {
    Result<StoppedProcess> stopped = StoppedProcess::stop(child.pid(), std::chrono::seconds(5));
    if (!stopped.has_value()) return 1;
    Result<std::string> maps = sys::read_proc(child.pid(), "maps");
    if (!maps.has_value()) return 2;
    Result<std::vector<proc::Vma>> vmas = proc::parse_maps(*maps);
    if (!vmas.has_value()) return 2;
    Result<Foothold> foothold = find_foothold(child.pid(), *vmas);
    if (!foothold.has_value() || !foothold->has_way_back()) return 3;
    (void)inject_call(*stopped, *foothold, {SYS_kill, {static_cast<uint64_t>(getpid()), SIGKILL}});
    return 4;
  });
  EXPECT_EQ(tracer.wait(), 128 + SIGKILL);
  ASSERT_EQ(write(pipe_for_child[1], "x", 1), 1);
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace stint::tracee
