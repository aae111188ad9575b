// eventfd, timerfd and signalfd: a number, a deadline and a mask behind a descriptor.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

uint64_t read_count(int fd) {
  uint64_t count = 0;
  EXPECT_EQ(read(fd, &count, sizeof count), 8);
  return count;
}

bool readable(int fd, int milliseconds = 0) {
  pollfd events = {fd, POLLIN, 0};
  return EXPECT_OK(poll(&events, 1, milliseconds)) == 1;
}

LIVE_TEST(eventfd_keeps_its_count) {
  const Fd event(EXPECT_OK(eventfd(0, EFD_NONBLOCK)));
  EXPECT_OK(eventfd_write(event, 0x123456789abcUL));
  freeze_point();
  EXPECT_EQ(read_count(event), 0x123456789abcUL);
  EXPECT_FALSE(readable(event));
}

LIVE_TEST(semaphore_eventfd_still_counts_down_by_one) {
  const Fd event(EXPECT_OK(eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC)));
  freeze_point();
  EXPECT_EQ(read_count(event), 1UL);
  EXPECT_EQ(read_count(event), 1UL);
  EXPECT_EQ(read_count(event), 1UL);
  EXPECT_FALSE(readable(event));
  EXPECT_EQ(fcntl(event, F_GETFD), FD_CLOEXEC);
}

LIVE_TEST(relative_timerfd_fires_once_when_its_time_is_over) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  const itimerspec in_a_while = {{0, 0}, {0, 200'000'000}};
  EXPECT_OK(timerfd_settime(timer, 0, &in_a_while, nullptr));
  const double start = monotonic_seconds();
  freeze_point();
  EXPECT_EQ(read_count(timer), 1UL);
  EXPECT_GE(monotonic_seconds() - start, 0.199);
  EXPECT_LT(monotonic_seconds() - start, 20.0);
  EXPECT_FALSE(readable(timer));
}

LIVE_TEST(periodic_timerfd_goes_on_and_keeps_its_period) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)));
  const itimerspec period = {{0, 20'000'000}, {0, 20'000'000}};
  EXPECT_OK(timerfd_settime(timer, 0, &period, nullptr));
  freeze_point();
  EXPECT_TRUE(readable(timer, 20'000));
  EXPECT_GE(read_count(timer), 1UL);
  EXPECT_TRUE(readable(timer, 20'000));
  itimerspec now;
  EXPECT_OK(timerfd_gettime(timer, &now));
  EXPECT_EQ(now.it_interval.tv_nsec, 20'000'000);
}

LIVE_TEST(absolute_timerfd_fires_at_its_moment_of_the_programs_clock) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  const double moment = monotonic_seconds() + 0.3;
  const itimerspec at = {{0, 0}, to_timespec(moment)};
  EXPECT_OK(timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, nullptr));
  freeze_point();
  EXPECT_EQ(read_count(timer), 1UL);
  EXPECT_GE(monotonic_seconds(), moment - 0.001);
  EXPECT_LT(monotonic_seconds(), moment + 20);
}

LIVE_TEST(far_timerfd_keeps_what_is_left) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  const itimerspec hour = {{0, 0}, {3600, 0}};
  EXPECT_OK(timerfd_settime(timer, 0, &hour, nullptr));
  freeze_point();
  itimerspec left;
  EXPECT_OK(timerfd_gettime(timer, &left));
  EXPECT_LE(left.it_value.tv_sec, 3600);
  EXPECT_GT(left.it_value.tv_sec, 3500);
  EXPECT_FALSE(readable(timer));
}

LIVE_TEST(timerfd_keeps_expirations_that_nobody_has_read) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)));
  const itimerspec soon = {{0, 0}, {0, 1'000'000}};
  EXPECT_OK(timerfd_settime(timer, 0, &soon, nullptr));
  EXPECT_TRUE(readable(timer, 20'000));
  freeze_point();
  EXPECT_TRUE(readable(timer, 20'000));
  EXPECT_EQ(read_count(timer), 1UL);
}

LIVE_TEST(disarmed_timerfd_stays_disarmed) {
  const Fd timer(EXPECT_OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)));
  freeze_point();
  itimerspec left;
  EXPECT_OK(timerfd_gettime(timer, &left));
  EXPECT_EQ(left.it_value.tv_sec + left.it_value.tv_nsec, 0);
  EXPECT_FALSE(readable(timer));
}

LIVE_TEST(signalfd_keeps_its_mask_and_reads_what_is_pending) {
  const Blocked blocked({SIGUSR1, SIGUSR2});
  const sigset_t mask = set_of({SIGUSR1});
  const Fd signals(EXPECT_OK(signalfd(-1, &mask, SFD_NONBLOCK)));
  EXPECT_OK(kill(getpid(), SIGUSR2));
  EXPECT_FALSE(readable(signals));
  sigqueue(getpid(), SIGUSR1, {.sival_int = 4711});
  freeze_point();
  signalfd_siginfo info = {};
  EXPECT_EQ(read(signals, &info, sizeof info), static_cast<ssize_t>(sizeof info));
  EXPECT_EQ(info.ssi_signo, static_cast<uint32_t>(SIGUSR1));
  EXPECT_EQ(info.ssi_int, 4711);
  EXPECT_FALSE(readable(signals));
  const sigset_t rest = set_of({SIGUSR2});
  EXPECT_EQ(sigwaitinfo(&rest, nullptr), SIGUSR2);
}

}  // namespace
}  // namespace live
