// Job-control stops: a process that a signal has stopped is stopped after the cut, by that signal, and its parent knows
// of it as it did; SIGCONT lets it go on.
#include <errno.h>
#include <signal.h>

#include <list>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

void expect_still_stopped(pid_t pid) {
  siginfo_t info = {};
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WCONTINUED | WNOHANG));
  EXPECT_EQ(info.si_pid, 0);
}

// A child that stands by in a group of its own, so that SIGTSTP stops it also where the test's group is an orphaned
// one.
int stand_in_own_group(Line& line) {
  EXPECT_OK(setpgid(0, 0));
  line.stand_by();
  return 0;
}

void expect_stop_told(pid_t pid, int signal) {
  const int status = wait_status_of(pid, WUNTRACED);
  EXPECT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(WSTOPSIG(status), signal);
}

void expect_no_stop_to_tell(pid_t pid) {
  int status = 0;
  EXPECT_EQ(EXPECT_OK(waitpid(pid, &status, WUNTRACED | WNOHANG)), 0);
}

void go_on_by_sigcont(Child& child) {
  EXPECT_OK(kill(child.pid(), SIGCONT));
  const int status = wait_status_of(child.pid(), WCONTINUED);
  EXPECT_TRUE(WIFCONTINUED(status));
  child.finish();
}

void expect_stop_kept(int signal) {
  Child child(stand_in_own_group);
  child.await();
  EXPECT_OK(kill(child.pid(), signal));
  expect_stop_told(child.pid(), signal);
  freeze_point();
  expect_no_stop_to_tell(child.pid());
  expect_still_stopped(child.pid());
  go_on_by_sigcont(child);
}

LIVE_TEST(child_stopped_by_sigstop_stays_stopped) { expect_stop_kept(SIGSTOP); }
LIVE_TEST(child_stopped_by_sigtstp_stays_stopped) { expect_stop_kept(SIGTSTP); }
LIVE_TEST(child_stopped_by_sigttin_stays_stopped) { expect_stop_kept(SIGTTIN); }
LIVE_TEST(child_stopped_by_sigttou_stays_stopped) { expect_stop_kept(SIGTTOU); }

void expect_stop_told_later(int signal) {
  Child child(stand_in_own_group);
  child.await();
  EXPECT_OK(kill(child.pid(), signal));
  siginfo_t info = {};
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(child.pid()), &info, WSTOPPED | WNOWAIT));
  freeze_point();
  expect_stop_told(child.pid(), signal);
  expect_no_stop_to_tell(child.pid());
  go_on_by_sigcont(child);
}

LIVE_TEST(stop_by_sigstop_that_nobody_has_waited_for_is_told_once) { expect_stop_told_later(SIGSTOP); }
LIVE_TEST(stop_by_sigtstp_that_nobody_has_waited_for_is_told_once) { expect_stop_told_later(SIGTSTP); }

LIVE_TEST(stopped_process_with_threads_is_stopped_in_all_of_them) {
  SharedValue<std::atomic<long>> count;
  Child child([&](Line& line) {
    std::atomic<bool> stop = false;
    std::list<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        while (!stop) {
          ++*count;
          sleep_for(0.0005);
        }
      });
    }
    line.stand_by();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    return 0;
  });
  child.await();
  EXPECT_OK(kill(child.pid(), SIGSTOP));
  expect_stop_told(child.pid(), SIGSTOP);
  const long then = *count;
  freeze_point();
  sleep_for(0.01);
  EXPECT_EQ(count->load(), then);
  EXPECT_OK(kill(child.pid(), SIGCONT));
  while (*count == then) sleep_for(0.001);
  child.finish();
}

LIVE_TEST(stopped_tree_stays_stopped) {
  Child parent([](Line& line) {
    EXPECT_OK(setpgid(0, 0));
    std::list<Child> children;
    for (int i = 0; i < 2; ++i) {
      children.emplace_back([](Line& own) {
        own.stand_by();
        return 0;
      });
    }
    for (Child& child : children) child.await();
    line.stand_by();
    for (Child& child : children) child.finish();
    return 0;
  });
  parent.await();
  EXPECT_OK(kill(-parent.pid(), SIGSTOP));
  expect_stop_told(parent.pid(), SIGSTOP);
  freeze_point();
  expect_no_stop_to_tell(parent.pid());
  expect_still_stopped(parent.pid());
  EXPECT_OK(kill(-parent.pid(), SIGCONT));
  parent.finish();
}

LIVE_TEST(stopped_parent_of_a_running_child) {
  SharedValue<std::atomic<long>> count;
  SharedValue<std::atomic<bool>> stop;
  Child parent([&](Line& line) {
    Child busy([&](Line&) {
      while (!*stop) {
        ++*count;
        sleep_for(0.0005);
      }
      return 0;
    });
    line.stand_by();
    *stop = true;
    EXPECT_EQ(busy.wait_status(), 0);
    return 0;
  });
  parent.await();
  EXPECT_OK(kill(parent.pid(), SIGSTOP));
  expect_stop_told(parent.pid(), SIGSTOP);
  freeze_point();
  const long then = *count;
  while (*count == then) sleep_for(0.001);
  expect_still_stopped(parent.pid());
  EXPECT_OK(kill(parent.pid(), SIGCONT));
  parent.finish();
}

LIVE_TEST(process_stopped_while_it_sleeps_goes_on_sleeping_when_continued) {
  Child child([](Line& line) {
    const double start = monotonic_seconds();
    line.say("here");
    timespec time = to_timespec(0.1);
    while (nanosleep(&time, &time) != 0) EXPECT_EQ(errno, EINTR);
    EXPECT_GE(monotonic_seconds() - start, 0.1);
    EXPECT_EQ(line.hear(), "go on");
    return 0;
  });
  child.await();
  EXPECT_OK(kill(child.pid(), SIGSTOP));
  expect_stop_told(child.pid(), SIGSTOP);
  freeze_point();
  expect_still_stopped(child.pid());
  EXPECT_OK(kill(child.pid(), SIGCONT));
  child.finish();
}

std::atomic<int> handled = 0;
void note(int, siginfo_t*, void*) { ++handled; }

// While it is stopped, signals wait; SIGCONT lets them in.
LIVE_TEST(signals_sent_to_a_stopped_process_wait_until_it_goes_on) {
  handled = 0;
  const Handler handler(SIGUSR1, note, SA_RESTART);
  Child child([](Line& line) {
    line.stand_by();
    return handled == 1 ? 0 : 1;
  });
  child.await();
  EXPECT_OK(kill(child.pid(), SIGTSTP));
  EXPECT_OK(kill(child.pid(), SIGCONT));
  EXPECT_OK(kill(child.pid(), SIGSTOP));
  expect_stop_told(child.pid(), SIGSTOP);
  EXPECT_OK(kill(child.pid(), SIGUSR1));
  freeze_point();
  expect_no_stop_to_tell(child.pid());
  expect_still_stopped(child.pid());
  EXPECT_OK(kill(child.pid(), SIGCONT));
  child.finish();
}

LIVE_TEST(deadly_signal_sent_to_a_stopped_process_kills_it_when_it_goes_on) {
  Child child(stand_in_own_group);
  child.await();
  EXPECT_OK(kill(child.pid(), SIGTSTP));
  expect_stop_told(child.pid(), SIGTSTP);
  EXPECT_OK(kill(child.pid(), SIGHUP));
  freeze_point();
  expect_no_stop_to_tell(child.pid());
  expect_still_stopped(child.pid());
  EXPECT_OK(kill(child.pid(), SIGCONT));
  EXPECT_EQ(child.wait_status(), SIGHUP);
}

LIVE_TEST(stopped_process_can_be_killed_after_the_cut) {
  Child child(stand_in_own_group);
  child.await();
  EXPECT_OK(kill(child.pid(), SIGSTOP));
  expect_stop_told(child.pid(), SIGSTOP);
  freeze_point();
  EXPECT_OK(kill(child.pid(), SIGKILL));
  EXPECT_EQ(child.wait_status(), SIGKILL);
}

LIVE_TEST(stop_wakes_a_parent_with_a_handler_once) {
  handled = 0;
  const Handler handler(SIGCHLD, note);
  Child child(stand_in_own_group);
  child.await();
  EXPECT_OK(kill(child.pid(), SIGSTOP));
  expect_stop_told(child.pid(), SIGSTOP);
  EXPECT_EQ(handled.load(), 1);
  freeze_point();
  sleep_for(0.01);
  EXPECT_EQ(handled.load(), 1);
  go_on_by_sigcont(child);
}

LIVE_TEST(sigchld_of_a_stop_waits_blocked) {
  const Blocked blocked({SIGCHLD});
  Child child(stand_in_own_group);
  child.await();
  EXPECT_OK(kill(child.pid(), SIGTSTP));
  siginfo_t info = {};
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(child.pid()), &info, WSTOPPED | WNOWAIT));
  freeze_point();
  const sigset_t set = set_of({SIGCHLD});
  const timespec now = {};
  EXPECT_EQ(EXPECT_OK(sigtimedwait(&set, &info, &now)), SIGCHLD);
  EXPECT_EQ(info.si_pid, child.pid());
  EXPECT_EQ(info.si_code, CLD_STOPPED);
  EXPECT_EQ(info.si_status, SIGTSTP);
  expect_stop_told(child.pid(), SIGTSTP);
  go_on_by_sigcont(child);
}

LIVE_TEST(wait_for_a_stop_at_the_cut_ends_with_the_stop) {
  Child child(stand_in_own_group);
  child.await();
  int status = 0;
  BlockedThread waiter(SYS_wait4, [&] { EXPECT_OK(waitpid(child.pid(), &status, WUNTRACED)); });
  freeze_point();
  EXPECT_FALSE(waiter.ended());
  EXPECT_OK(kill(child.pid(), SIGTSTP));
  waiter.join();
  EXPECT_TRUE(WIFSTOPPED(status));
  go_on_by_sigcont(child);
}

LIVE_TEST(continuation_that_nobody_has_waited_for_is_told_once) {
  Child child(stand_in_own_group);
  child.await();
  EXPECT_OK(kill(child.pid(), SIGSTOP));
  expect_stop_told(child.pid(), SIGSTOP);
  EXPECT_OK(kill(child.pid(), SIGCONT));
  freeze_point();
  const int status = wait_status_of(child.pid(), WCONTINUED);
  EXPECT_TRUE(WIFCONTINUED(status));
  child.finish();
}

}  // namespace
}  // namespace live
