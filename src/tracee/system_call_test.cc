#include "tracee/system_call.h"

#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys/procfs.h"
#include "tracee/stop.h"

namespace stint::tracee {
namespace {

// A child that makes one call for a minute.
template <class Call>
class Sleeper {
 public:
  explicit Sleeper(Call call) : pid_(fork()) {
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      call();
      _exit(1);
    }
  }
  ~Sleeper() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void wait_until_it_sleeps() const {
    while (!sys::read_proc(Pid{pid_}, "stat").value_or(") R").contains(") S")) usleep(1000);
  }
  // What it seems to be in at a stop; it goes on after that.
  std::optional<uint64_t> call() const {
    wait_until_it_sleeps();
    Result<StoppedProcess> stopped = StoppedProcess::stop(Pid{pid_}, std::chrono::seconds(5));
    EXPECT_TRUE(stopped.has_value()) << stopped.error().text();
    return call_of(Pid{pid_}, stopped->representative().registers);
  }

 private:
  pid_t pid_;
};

const timespec kMinute{60, 0};

TEST(SystemCall, ASleepThatWasRestartedIsStillASleep) {
  Sleeper sleeper([] { nanosleep(&kMinute, nullptr); });
  for (int stop = 0; stop < 3; ++stop) EXPECT_EQ(sleeper.call(), SYS_clock_nanosleep);
}

TEST(SystemCall, WhereTheCodeDoesNotTellItIsTheRestartedOne) {
  Sleeper sleeper([] {
    unsigned word = 0;
    syscall(SYS_futex, &word, FUTEX_WAIT, 0, &kMinute);
  });
  EXPECT_EQ(sleeper.call(), SYS_futex);
  EXPECT_EQ(sleeper.call(), SYS_restart_syscall);
}

TEST(SystemCall, OneThatIsAboutToBeMadeCounts) {
  sys::Registers registers{};
  registers.orig_rax = ~uint64_t{0};
  registers.rax = SYS_futex;
  static const unsigned char kCode[] = {0x0f, 0x05, 0x90, 0x90};
  registers.rip = reinterpret_cast<uint64_t>(kCode);
  EXPECT_EQ(call_of(Pid{getpid()}, registers), SYS_futex);
  registers.rip += 2;
  EXPECT_EQ(call_of(Pid{getpid()}, registers), std::nullopt);
}

}  // namespace
}  // namespace stint::tracee
