// Interval timers, alarm(2), POSIX timers of each way to notify, and the clocks: what was left of a timer is left, and
// CLOCK_MONOTONIC goes on from where it was.
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <memory>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

std::atomic<int> ticks = 0;

void tick(int, siginfo_t*, void*) { ++ticks; }

// Waits, without using processor time, until there are `wanted` ticks.
void await_ticks(int wanted) {
  const double start = monotonic_seconds();
  while (ticks < wanted) {
    EXPECT_LT(monotonic_seconds() - start, 20.0);
    sleep_for(0.002);
  }
}

void expect_interval_timer_kept(__itimer_which_t which, int signal) {
  const Handler handler(signal, tick, SA_RESTART);
  const itimerval far = {{5, 0}, {3000, 0}};
  EXPECT_OK(setitimer(which, &far, nullptr));
  freeze_point();
  itimerval left;
  EXPECT_OK(getitimer(which, &left));
  EXPECT_EQ(left.it_interval.tv_sec, 5);
  EXPECT_LE(left.it_value.tv_sec, 3000);
  EXPECT_GT(left.it_value.tv_sec, 2900);
  const itimerval fast = {{0, 10'000}, {0, 10'000}};
  EXPECT_OK(setitimer(which, &fast, nullptr));
  ticks = 0;
  freeze_point();
  const double start = monotonic_seconds();
  while (ticks < 3) {
    EXPECT_LT(monotonic_seconds() - start, 20.0);
    if (which == ITIMER_REAL) sleep_for(0.002);
  }
  const itimerval off = {};
  EXPECT_OK(setitimer(which, &off, nullptr));
}

LIVE_TEST(real_interval_timer_goes_on) { expect_interval_timer_kept(ITIMER_REAL, SIGALRM); }
LIVE_TEST(virtual_interval_timer_goes_on) { expect_interval_timer_kept(ITIMER_VIRTUAL, SIGVTALRM); }
LIVE_TEST(profiling_interval_timer_goes_on) { expect_interval_timer_kept(ITIMER_PROF, SIGPROF); }

LIVE_TEST(alarm_keeps_the_seconds_that_are_left) {
  alarm(1000);
  freeze_point();
  const unsigned left = alarm(0);
  EXPECT_LE(left, 1000U);
  EXPECT_GT(left, 900U);
}

LIVE_TEST(timer_that_is_not_set_stays_so) {
  freeze_point();
  itimerval left;
  EXPECT_OK(getitimer(ITIMER_REAL, &left));
  EXPECT_EQ(left.it_value.tv_sec + left.it_value.tv_usec, 0);
}

class PosixTimer {
 public:
  PosixTimer(clockid_t clock, sigevent event) { EXPECT_OK(timer_create(clock, &event, &id_)); }
  ~PosixTimer() { timer_delete(id_); }
  void set(double first, double interval, int flags = 0) const {
    const itimerspec time = {to_timespec(interval), to_timespec(first)};
    EXPECT_OK(timer_settime(id_, flags, &time, nullptr));
  }
  itimerspec left() const {
    itimerspec time;
    EXPECT_OK(timer_gettime(id_, &time));
    return time;
  }
  timer_t id() const { return id_; }

 private:
  timer_t id_;
};

sigevent notify_by(int how, int signal = 0, int value = 0) {
  sigevent event = {};
  event.sigev_notify = how;
  event.sigev_signo = signal;
  event.sigev_value.sival_int = value;
  return event;
}

LIVE_TEST(posix_timer_keeps_what_is_left_and_its_interval) {
  const PosixTimer none(CLOCK_MONOTONIC, notify_by(SIGEV_NONE));
  none.set(2000, 3);
  const PosixTimer idle(CLOCK_MONOTONIC, notify_by(SIGEV_NONE));
  freeze_point();
  const itimerspec left = none.left();
  EXPECT_LE(left.it_value.tv_sec, 2000);
  EXPECT_GT(left.it_value.tv_sec, 1900);
  EXPECT_EQ(left.it_interval.tv_sec, 3);
  EXPECT_EQ(idle.left().it_value.tv_sec + idle.left().it_value.tv_nsec, 0);
}

LIVE_TEST(posix_timer_sends_its_signal_and_value) {
  const int signal = SIGRTMIN + 5;
  const Blocked blocked({signal});
  const PosixTimer first(CLOCK_MONOTONIC, notify_by(SIGEV_SIGNAL, signal, 101));
  const PosixTimer second(CLOCK_REALTIME, notify_by(SIGEV_SIGNAL, signal, 102));
  second.set(0.2, 0);
  freeze_point();
  const sigset_t set = set_of({signal});
  siginfo_t info = {};
  EXPECT_EQ(sigwaitinfo(&set, &info), signal);
  EXPECT_EQ(info.si_value.sival_int, 102);
  EXPECT_EQ(info.si_code, static_cast<int>(SI_TIMER));
  first.set(0.001, 0);
  EXPECT_EQ(sigwaitinfo(&set, &info), signal);
  EXPECT_EQ(info.si_value.sival_int, 101);
}

LIVE_TEST(timer_created_after_the_cut_does_not_take_an_old_ones_id) {
  const PosixTimer first(CLOCK_MONOTONIC, notify_by(SIGEV_NONE));
  const auto second = std::make_unique<PosixTimer>(CLOCK_MONOTONIC, notify_by(SIGEV_NONE));
  const PosixTimer third(CLOCK_MONOTONIC, notify_by(SIGEV_NONE));
  third.set(500, 0);
  freeze_point();
  const PosixTimer later(CLOCK_MONOTONIC, notify_by(SIGEV_NONE));
  EXPECT_NE(later.id(), first.id());
  EXPECT_NE(later.id(), second->id());
  EXPECT_NE(later.id(), third.id());
  EXPECT_GT(third.left().it_value.tv_sec, 400);
  EXPECT_EQ(first.left().it_value.tv_sec, 0);
}

LIVE_TEST(posix_timer_whose_signal_waits_goes_on) {
  const int signal = SIGRTMIN + 6;
  const Blocked blocked({signal});
  const PosixTimer timer(CLOCK_MONOTONIC, notify_by(SIGEV_SIGNAL, signal, 5));
  timer.set(0.001, 0.001);
  sleep_for(0.05);
  freeze_point();
  const sigset_t set = set_of({signal});
  siginfo_t info = {};
  EXPECT_EQ(sigwaitinfo(&set, &info), signal);
  EXPECT_EQ(info.si_value.sival_int, 5);
  // How often it expired while its signal waited, the kernel tells only when the signal is taken: that count is lost in
  // a restart (doc/what-survives.md).
  EXPECT_GE(info.si_overrun, 0);
  EXPECT_LT(info.si_overrun, 60'000);
  EXPECT_EQ(sigwaitinfo(&set, &info), signal);
  EXPECT_EQ(info.si_value.sival_int, 5);
}

LIVE_TEST(posix_timer_aimed_at_a_thread_reaches_that_thread) {
  const int signal = SIGRTMIN + 7;
  const Blocked blocked({signal});
  siginfo_t info = {};
  BlockedThread thread(SYS_rt_sigtimedwait, [&] {
    const sigset_t set = set_of({signal});
    EXPECT_EQ(sigwaitinfo(&set, &info), signal);
  });
  sigevent event = notify_by(SIGEV_THREAD_ID, signal, 6);
  event._sigev_un._tid = thread.tid();
  const PosixTimer timer(CLOCK_MONOTONIC, event);
  timer.set(0.1, 0);
  freeze_point();
  thread.join();
  EXPECT_EQ(info.si_value.sival_int, 6);
}

LIVE_TEST(posix_timer_still_calls_its_function) {
  ticks = 0;
  sigevent event = notify_by(SIGEV_THREAD);
  event.sigev_notify_function = [](sigval value) { ticks += value.sival_int; };
  event.sigev_value.sival_int = 10;
  {
    const PosixTimer timer(CLOCK_MONOTONIC, event);
    timer.set(0.02, 0.02);
    freeze_point();
    await_ticks(20);
  }
  sleep_for(0.05);  // A call that is under way must not meet the next repetition.
}

LIVE_TEST(absolute_posix_timer_fires_at_its_moment_of_the_programs_clock) {
  const int signal = SIGRTMIN + 8;
  const Blocked blocked({signal});
  const PosixTimer timer(CLOCK_MONOTONIC, notify_by(SIGEV_SIGNAL, signal));
  const double moment = monotonic_seconds() + 0.2;
  timer.set(moment, 0, TIMER_ABSTIME);
  freeze_point();
  const sigset_t set = set_of({signal});
  siginfo_t info = {};
  EXPECT_EQ(sigwaitinfo(&set, &info), signal);
  EXPECT_GE(monotonic_seconds(), moment - 0.001);
  EXPECT_LT(monotonic_seconds(), moment + 20);
}

LIVE_TEST(fast_timer_does_not_disturb_anything) {
  // Its signals arrive before, during and after every stop.
  const Handler handler(SIGALRM, tick, SA_RESTART);
  const itimerval fast = {{0, 500}, {0, 500}};
  const itimerval off = {};
  ticks = 0;
  const Ends pipe = make_pipe();
  BlockedThread reader(SYS_read, [&] { EXPECT_EQ(read_once(pipe.read), "undisturbed"); });
  EXPECT_OK(setitimer(ITIMER_REAL, &fast, nullptr));
  await_ticks(5);
  freeze_point();
  const int so_far = ticks;
  await_ticks(so_far + 5);
  EXPECT_OK(setitimer(ITIMER_REAL, &off, nullptr));
  write_all(pipe.write, "undisturbed");
  reader.join();
}

LIVE_TEST(monotonic_clocks_neither_go_back_nor_jump) {
  auto seconds = [](clockid_t clock) {
    timespec now;
    EXPECT_OK(clock_gettime(clock, &now));
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
  };
  auto by_the_kernel = [] {
    timespec now;
    EXPECT_OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
  };
  const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
  double before[4];
  for (int i = 0; i < 4; ++i) before[i] = seconds(clocks[i]);
  const double kernel_before = by_the_kernel();
  freeze_point();
  for (int i = 0; i < 4; ++i) {
    EXPECT_GE(seconds(clocks[i]), before[i]);
    EXPECT_LT(seconds(clocks[i]), before[i] + 20);
  }
  EXPECT_GE(by_the_kernel(), kernel_before);
  EXPECT_LT(by_the_kernel(), kernel_before + 20);
}

LIVE_TEST(clock_of_the_vdso_is_that_of_the_kernel) {
  freeze_point();
  for (int i = 0; i < 100; ++i) {
    timespec first;
    timespec kernel;
    timespec last;
    EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &first));
    EXPECT_OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &kernel));
    EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &last));
    auto nanoseconds = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
    EXPECT_LE(nanoseconds(first), nanoseconds(kernel));
    EXPECT_LE(nanoseconds(kernel), nanoseconds(last));
  }
}

}  // namespace
}  // namespace live
