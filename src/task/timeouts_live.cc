// Waiting for time to pass. A wait must last as long as it was asked to by the program's own clock: not end early, and
// not begin anew with each checkpoint. Lower bounds are exact; upper ones only tell "once more in full, each time" from
// right.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <memory>
#include <vector>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

struct Wait {
  const char* name;
  long call;
  // Waits for so many seconds with nothing to end it sooner; yields whether it ended as a timeout does.
  bool (*wait)(double seconds);
};

bool timed_out(long result) { return result == 0; }
bool failed_with(long result, int error) { return result == -1 && errno == error; }

bool by_nanosleep(double seconds) {
  const timespec time = to_timespec(seconds);
  return syscall(SYS_nanosleep, &time, nullptr) == 0;
}

bool by_relative_clock_nanosleep(double seconds) {
  const timespec time = to_timespec(seconds);
  return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr) == 0;
}

bool by_clock_nanosleep_that_writes_over_its_time(double seconds) {
  timespec time = to_timespec(seconds);
  return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == 0;
}

bool by_absolute_clock_nanosleep(double seconds) {
  const timespec time = to_timespec(monotonic_seconds() + seconds);
  return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == 0;
}

bool by_poll(double seconds) { return timed_out(poll(nullptr, 0, static_cast<int>(seconds * 1000))); }

bool by_ppoll(double seconds) {
  const timespec time = to_timespec(seconds);
  return timed_out(ppoll(nullptr, 0, &time, nullptr));
}

bool by_select(double seconds) {
  timeval time = {0, static_cast<suseconds_t>(seconds * 1e6)};
  return timed_out(syscall(SYS_select, 0, nullptr, nullptr, nullptr, &time));
}

bool by_pselect(double seconds) {
  const timespec time = to_timespec(seconds);
  return timed_out(pselect(0, nullptr, nullptr, nullptr, &time, nullptr));
}

bool by_relative_futex(double seconds) {
  std::atomic<unsigned> word = 0;
  const timespec time = to_timespec(seconds);
  return failed_with(futex(word, FUTEX_WAIT_PRIVATE, 0, &time), ETIMEDOUT);
}

bool by_absolute_futex(double seconds) {
  std::atomic<unsigned> word = 0;
  const timespec time = to_timespec(monotonic_seconds() + seconds);
  return failed_with(futex(word, FUTEX_WAIT_BITSET_PRIVATE, 0, &time), ETIMEDOUT);
}

bool by_epoll_wait(double seconds) {
  const Fd epoll(EXPECT_OK(epoll_create1(0)));
  epoll_event event;
  return timed_out(epoll_wait(epoll, &event, 1, static_cast<int>(seconds * 1000)));
}

bool by_epoll_pwait2(double seconds) {
  const Fd epoll(EXPECT_OK(epoll_create1(0)));
  epoll_event event;
  const timespec time = to_timespec(seconds);
  return timed_out(syscall(SYS_epoll_pwait2, static_cast<int>(epoll), &event, 1, &time, nullptr, 0));
}

bool by_sigtimedwait(double seconds) {
  const Blocked blocked({SIGUSR1});
  const sigset_t set = set_of({SIGUSR1});
  const timespec time = to_timespec(seconds);
  return failed_with(sigtimedwait(&set, nullptr, &time), EAGAIN);
}

bool by_recv(double seconds) {
  const auto [left, right] = make_socketpair(SOCK_STREAM);
  const timeval time = {0, static_cast<suseconds_t>(seconds * 1e6)};
  EXPECT_OK(setsockopt(left, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
  char byte;
  return failed_with(recv(left, &byte, 1, 0), EAGAIN);
}

const Wait kWaits[] = {
    {"nanosleep", SYS_nanosleep, by_nanosleep},
    {"relative clock_nanosleep", SYS_clock_nanosleep, by_relative_clock_nanosleep},
    {"clock_nanosleep that writes over its time", SYS_clock_nanosleep, by_clock_nanosleep_that_writes_over_its_time},
    {"absolute clock_nanosleep", SYS_clock_nanosleep, by_absolute_clock_nanosleep},
    {"poll", SYS_poll, by_poll},
    {"ppoll", SYS_ppoll, by_ppoll},
    {"select", SYS_select, by_select},
    {"pselect", SYS_pselect6, by_pselect},
    {"relative futex", SYS_futex, by_relative_futex},
    {"absolute futex", SYS_futex, by_absolute_futex},
    {"epoll_wait", SYS_epoll_wait, by_epoll_wait},
    {"epoll_pwait2", SYS_epoll_pwait2, by_epoll_pwait2},
    {"sigtimedwait", SYS_rt_sigtimedwait, by_sigtimedwait},
    {"recv", SYS_recvfrom, by_recv},
};

// A thread waiting in one of these ways, and how that went.
class Waiter {
 public:
  Waiter(const Wait& wait, double seconds)
      : wait_(wait), seconds_(seconds), thread_(wait.call, [this] {
          const double start = monotonic_seconds();
          timed_out_ = wait_.wait(seconds_);
          error_ = errno;
          lasted_ = monotonic_seconds() - start;
        }) {}

  bool ended() const { return thread_.ended(); }

  void expect_right() {
    thread_.join();
    if (!timed_out_) {
      errno = error_;
      fail_call(__FILE__, __LINE__, wait_.name);
    }
    if (lasted_ < seconds_ - 0.002)
      fail(__FILE__, __LINE__, std::string(wait_.name) + " ended after " + shown(lasted_));
    if (lasted_ > seconds_ + 20) fail(__FILE__, __LINE__, std::string(wait_.name) + " lasted " + shown(lasted_));
  }

 private:
  const Wait& wait_;
  double seconds_;
  bool timed_out_ = false;
  int error_ = 0;
  double lasted_ = 0;
  BlockedThread thread_;
};

void expect_timeout_kept(const char* name) {
  for (const Wait& wait : kWaits) {
    if (std::string_view(wait.name) != name) continue;
    Waiter waiter(wait, 0.25);
    freeze_point();
    waiter.expect_right();
  }
}

LIVE_TEST(nanosleep_lasts_its_time) { expect_timeout_kept("nanosleep"); }
LIVE_TEST(relative_clock_nanosleep_lasts_its_time) { expect_timeout_kept("relative clock_nanosleep"); }
LIVE_TEST(clock_nanosleep_that_writes_over_its_time_lasts_its_time) {
  expect_timeout_kept("clock_nanosleep that writes over its time");
}
LIVE_TEST(absolute_clock_nanosleep_lasts_its_time) { expect_timeout_kept("absolute clock_nanosleep"); }
LIVE_TEST(poll_lasts_its_time) { expect_timeout_kept("poll"); }
LIVE_TEST(ppoll_lasts_its_time) { expect_timeout_kept("ppoll"); }
LIVE_TEST(select_lasts_its_time) { expect_timeout_kept("select"); }
LIVE_TEST(pselect_lasts_its_time) { expect_timeout_kept("pselect"); }
LIVE_TEST(relative_futex_wait_lasts_its_time) { expect_timeout_kept("relative futex"); }
LIVE_TEST(absolute_futex_wait_lasts_its_time) { expect_timeout_kept("absolute futex"); }
LIVE_TEST(epoll_wait_lasts_its_time) { expect_timeout_kept("epoll_wait"); }
LIVE_TEST(epoll_pwait2_lasts_its_time) { expect_timeout_kept("epoll_pwait2"); }
LIVE_TEST(sigtimedwait_lasts_its_time) { expect_timeout_kept("sigtimedwait"); }
LIVE_TEST(recv_timeout_lasts_its_time) { expect_timeout_kept("recv"); }

LIVE_TEST(timeouts_that_span_ten_checkpoints_still_end) {
  constexpr double kTimeout = 0.5;
  constexpr double kLongEnough = 1.6;
  std::vector<std::unique_ptr<Waiter>> waiters;
  // Not recv: the timeout of a socket (SO_RCVTIMEO) begins anew after each cut (doc/what-survives.md).
  for (const Wait& wait : kWaits)
    if (wait.call != SYS_recvfrom) waiters.push_back(std::make_unique<Waiter>(wait, kTimeout));
  const double start = monotonic_seconds();
  // Cut more often than the timeout is long: one that began anew each time would still be waiting at the end.
  while (monotonic_seconds() - start < kLongEnough) {
    freeze_point();
    sleep_for(0.12);
  }
  for (size_t i = 0; i < waiters.size(); ++i) {
    if (!waiters[i]->ended()) fail(__FILE__, __LINE__, std::string(kWaits[i].name) + " has not ended");
    waiters[i]->expect_right();
  }
}

LIVE_TEST(sleep_that_a_signal_ends_tells_what_is_left) {
  const Handler handler(SIGUSR1, [](int, siginfo_t*, void*) {});
  int result = 0;
  timespec left = {};
  BlockedThread sleeper(SYS_clock_nanosleep, [&] {
    const timespec long_time = {1000, 0};
    result = clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, &left);
  });
  freeze_point();
  EXPECT_EQ(pthread_kill(sleeper.handle(), SIGUSR1), 0);
  sleeper.join();
  EXPECT_EQ(result, EINTR);
  EXPECT_LT(left.tv_sec, 1000);
  EXPECT_GT(left.tv_sec, 950);
}

LIVE_TEST(wait_that_a_signal_ends_still_says_so) {
  // epoll_wait never restarts after a handler, whatever SA_RESTART says; a silent restart would hide the signal.
  const Handler handler(SIGUSR1, [](int, siginfo_t*, void*) {}, SA_RESTART);
  const Fd epoll(EXPECT_OK(epoll_create1(0)));
  int result = 0;
  int error = 0;
  BlockedThread waiter(SYS_epoll_wait, [&] {
    epoll_event event;
    result = epoll_wait(epoll, &event, 1, 60'000);
    error = errno;
  });
  freeze_point();
  EXPECT_EQ(pthread_kill(waiter.handle(), SIGUSR1), 0);
  waiter.join();
  EXPECT_EQ(result, -1);
  EXPECT_EQ(error, EINTR);
}

LIVE_TEST(handler_that_interrupts_a_wait_may_itself_be_cut) {
  static std::atomic<unsigned> in_handler, may_return;
  in_handler = 0, may_return = 0;
  const Handler handler(SIGUSR1, [](int, siginfo_t*, void*) {
    in_handler = 1;
    while (may_return == 0) futex(may_return, FUTEX_WAIT_PRIVATE, 0);
  });
  const Fd epoll(EXPECT_OK(epoll_create1(0)));
  int result = 0;
  int error = 0;
  BlockedThread waiter(SYS_epoll_wait, [&] {
    epoll_event event;
    result = epoll_wait(epoll, &event, 1, 60'000);
    error = errno;
  });
  freeze_point();
  wait_until_blocked(waiter.tid());
  EXPECT_EQ(pthread_kill(waiter.handle(), SIGUSR1), 0);
  while (in_handler == 0) sleep_for(0.001);
  freeze_point();
  freeze_point();
  may_return = 1;
  futex(may_return, FUTEX_WAKE_PRIVATE, 1);
  waiter.join();
  EXPECT_EQ(result, -1);
  EXPECT_EQ(error, EINTR);
}

// Waits in epoll_wait, with a timeout that is far away, until the pipe can be read.
int await(int pipe) {
  const Fd epoll(EXPECT_OK(epoll_create1(0)));
  epoll_event event = {.events = EPOLLIN, .data = {.fd = pipe}};
  EXPECT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe, &event));
  return epoll_wait(epoll, &event, 1, 600'000);
}

LIVE_TEST(more_threads_wait_with_a_timeout_at_each_cut) {
  const Ends pipe = make_pipe();
  std::vector<std::unique_ptr<BlockedThread>> waiters;
  for (int count : {1, 3, 9}) {
    while (waiters.size() < static_cast<size_t>(count)) {
      waiters.push_back(std::make_unique<BlockedThread>(SYS_epoll_wait, [&] { EXPECT_EQ(await(pipe.read), 1); }));
    }
    freeze_point();
  }
  write_all(pipe.write, "x");
}

LIVE_TEST(child_that_is_born_between_two_cuts_waits_as_its_parent_does) {
  const Ends first = make_pipe();
  const Ends second = make_pipe();
  BlockedThread waiter(SYS_epoll_wait, [&] { EXPECT_EQ(await(first.read), 1); });
  freeze_point();
  const pid_t child = fork();
  if (child == 0) _exit(await(second.read) == 1 ? 0 : 1);
  EXPECT_GT(child, 0);
  sleep_for(0.01);
  freeze_point();
  freeze_point();
  write_all(first.write, "x");
  waiter.join();
  write_all(second.write, "x");
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

LIVE_TEST(condition_variable_with_timeout_times_out_and_is_woken) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  auto wait = [&](double seconds) {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const timespec until = {now.tv_sec + static_cast<time_t>(seconds), now.tv_nsec};
    pthread_mutex_lock(&mutex);
    const int result = pthread_cond_timedwait(&condition, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    return result;
  };
  int woken = -1;
  BlockedThread waiter(SYS_futex, [&] { woken = wait(600); });
  freeze_point();
  pthread_mutex_lock(&mutex);
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  waiter.join();
  EXPECT_EQ(woken, 0);
  int timed = -1;
  BlockedThread second(SYS_futex, [&] { timed = wait(1); });
  freeze_point();
  second.join();
  EXPECT_EQ(timed, ETIMEDOUT);
}

}  // namespace
}  // namespace live
