// Zombies: a process that has ended is there until its parent waits for it, and then tells how it ended.
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <vector>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

// Forks a process that ends so, and waits until it has, but not for it.
pid_t make_zombie(const std::function<int()>& body) {
  const pid_t pid = fork_to(body);
  siginfo_t info;
  int waited = -1;
  do {  // A handler may run first, where the child ends while we are stopped (doc/failure-model.md).
    errno = 0;
    waited = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  } while (waited != 0 && errno == EINTR);
  EXPECT_OK(waited);
  return pid;
}

int die_by(int signal) {
  const rlimit none = {0, 0};
  EXPECT_OK(setrlimit(RLIMIT_CORE, &none));
  EXPECT_OK(kill(getpid(), signal));
  for (;;) pause();
}

LIVE_TEST(zombie_keeps_its_exit_status) {
  const pid_t zombie = make_zombie([] { return 42; });
  freeze_point();
  EXPECT_OK(kill(zombie, 0));
  EXPECT_EQ(wait_status_of(zombie), 42 << 8);
  errno = 0;
  EXPECT_EQ(kill(zombie, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

LIVE_TEST(zombies_killed_by_signals_keep_them) {
  const int signals[] = {SIGKILL, SIGTERM, SIGHUP, SIGPIPE, SIGALRM, SIGUSR1, SIGRTMIN + 3};
  std::vector<pid_t> zombies;
  for (int signal : signals) zombies.push_back(make_zombie([&] { return die_by(signal); }));
  freeze_point();
  for (size_t i = 0; i < zombies.size(); ++i) EXPECT_EQ(wait_status_of(zombies[i]), signals[i]);
}

LIVE_TEST(zombies_killed_by_faults_without_a_core_keep_them) {
  const int signals[] = {SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS, SIGTRAP, SIGSYS, SIGXCPU};
  std::vector<pid_t> zombies;
  for (int signal : signals) {
    zombies.push_back(make_zombie([&] {
      EXPECT_OK(prctl(PR_SET_DUMPABLE, 0));
      return die_by(signal);
    }));
  }
  freeze_point();
  for (size_t i = 0; i < zombies.size(); ++i) EXPECT_EQ(wait_status_of(zombies[i]), signals[i]);
}

LIVE_TEST(twenty_zombies_are_waited_for_in_any_order) {
  std::vector<pid_t> zombies;
  for (int i = 0; i < 20; ++i) zombies.push_back(make_zombie([i] { return i; }));
  freeze_point();
  for (int i = 19; i >= 0; i -= 2) EXPECT_EQ(wait_status_of(zombies[static_cast<size_t>(i)]), i << 8);
  int sum = 0, status = 0;
  for (int i = 0; i < 10; ++i) {
    EXPECT_OK(wait(&status));
    sum += WEXITSTATUS(status);
  }
  EXPECT_EQ(sum, 90);
}

LIVE_TEST(zombie_of_a_group_is_found_by_its_group) {
  const pid_t leader = make_zombie([] { return EXPECT_OK(setpgid(0, 0)), 1; });
  const pid_t other = make_zombie([] { return 2; });
  freeze_point();
  int status = 0;
  EXPECT_EQ(waitpid(-leader, &status, 0), leader);
  EXPECT_EQ(status, 1 << 8);
  EXPECT_EQ(wait_status_of(other), 2 << 8);
}

LIVE_TEST(group_that_a_zombie_leads_has_a_living_member) {
  Child member([](Line& line) {
    line.stand_by();
    EXPECT_NE(getpgrp(), getpid());
    return 0;
  });
  const Ends gate = make_pipe();
  const pid_t leader = fork_to([&]() -> int {
    EXPECT_OK(setpgid(0, 0));
    write_all(gate.write, "x");
    for (;;) pause();
  });
  member.await();
  EXPECT_EQ(read_once(gate.read), "x");
  EXPECT_OK(setpgid(member.pid(), leader));
  EXPECT_OK(kill(leader, SIGTERM));
  siginfo_t info;
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(leader), &info, WEXITED | WNOWAIT));
  freeze_point();
  EXPECT_EQ(EXPECT_OK(getpgid(member.pid())), leader);
  EXPECT_EQ(wait_status_of(leader), SIGTERM);
  member.finish();
}

LIVE_TEST(zombie_that_led_a_session_is_still_in_it) {
  const pid_t zombie = make_zombie([] { return EXPECT_OK(setsid()), 6; });
  const pid_t group = getpgid(zombie), session = getsid(zombie);
  freeze_point();
  EXPECT_EQ(getpgid(zombie), group);
  EXPECT_EQ(getsid(zombie), session);
  EXPECT_EQ(wait_status_of(zombie), 6 << 8);
}

LIVE_TEST(zombies_below_a_child) {
  Child parent([](Line& line) {
    const pid_t first = make_zombie([] { return 1; });
    const pid_t second = make_zombie([] { return die_by(SIGKILL); });
    line.stand_by();
    EXPECT_EQ(wait_status_of(second), SIGKILL);
    EXPECT_EQ(wait_status_of(first), 1 << 8);
    return 0;
  });
  parent.await();
  freeze_point();
  parent.finish();
}

// ---- What its parent does with SIGCHLD

std::atomic<int> told = 0;
void note(int, siginfo_t*, void*) { ++told; }

LIVE_TEST(end_that_a_handler_has_seen_is_not_told_again) {
  told = 0;
  const Handler handler(SIGCHLD, note);
  const pid_t zombie = make_zombie([] { return 3; });
  EXPECT_EQ(told.load(), 1);
  freeze_point();
  sleep_for(0.01);
  EXPECT_EQ(told.load(), 1);
  EXPECT_EQ(wait_status_of(zombie), 3 << 8);
}

LIVE_TEST(sigchld_that_waits_is_delivered_once_with_what_it_tells) {
  const Blocked blocked({SIGCHLD});
  const pid_t zombie = make_zombie([] { return 11; });
  freeze_point();
  const sigset_t set = set_of({SIGCHLD});
  siginfo_t info = {};
  const timespec now = {};
  EXPECT_EQ(EXPECT_OK(sigtimedwait(&set, &info, &now)), SIGCHLD);
  EXPECT_EQ(info.si_pid, zombie);
  EXPECT_EQ(info.si_code, CLD_EXITED);
  EXPECT_EQ(info.si_status, 11);
  errno = 0;
  EXPECT_EQ(sigtimedwait(&set, &info, &now), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(wait_status_of(zombie), 11 << 8);
}

LIVE_TEST(zombie_is_there_while_sigchld_is_blocked_and_was_taken) {
  const Blocked blocked({SIGCHLD});
  const pid_t zombie = make_zombie([] { return 12; });
  const sigset_t set = set_of({SIGCHLD});
  const timespec now = {};
  EXPECT_EQ(EXPECT_OK(sigtimedwait(&set, nullptr, &now)), SIGCHLD);
  freeze_point();
  errno = 0;
  EXPECT_EQ(sigtimedwait(&set, nullptr, &now), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(wait_status_of(zombie), 12 << 8);
}

// Whoever ends from now on goes at once; who has ended before stays.
LIVE_TEST(zombie_stays_when_its_parent_ignores_sigchld_afterwards) {
  const pid_t zombie = make_zombie([] { return 13; });
  struct sigaction before = {}, ignore = {};
  ignore.sa_handler = SIG_IGN;
  EXPECT_OK(sigaction(SIGCHLD, &ignore, &before));
  freeze_point();
  EXPECT_EQ(wait_status_of(zombie), 13 << 8);
  EXPECT_OK(sigaction(SIGCHLD, &before, nullptr));
}

LIVE_TEST(zombie_stays_when_its_parent_asks_for_none_afterwards) {
  const pid_t zombie = make_zombie([] { return 14; });
  told = 0;
  const Handler handler(SIGCHLD, note, SA_NOCLDWAIT);
  freeze_point();
  EXPECT_EQ(wait_status_of(zombie), 14 << 8);
  EXPECT_EQ(told.load(), 0);
}

LIVE_TEST(zombie_with_another_exit_signal_is_waited_for_as_such) {
  told = 0;
  const Handler handler(SIGUSR1, note);
  const pid_t zombie = clone_to(SIGUSR1, [] { return 15; });
  while (told == 0) sleep_for(0.001);
  freeze_point();
  sleep_for(0.01);
  EXPECT_EQ(told.load(), 1);
  errno = 0;
  EXPECT_EQ(waitpid(zombie, nullptr, 0), -1);
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(wait_status_of(zombie, __WCLONE), 15 << 8);
}

LIVE_TEST(zombie_without_an_exit_signal) {
  const pid_t zombie = clone_to(0, [] { return 16; });
  siginfo_t info;
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT | __WALL));
  freeze_point();
  EXPECT_EQ(wait_status_of(zombie, __WALL), 16 << 8);
}

LIVE_TEST(zombie_whose_exit_signal_waits_in_the_queue) {
  const Blocked blocked({SIGUSR2});
  const pid_t zombie = clone_to(SIGUSR2, [] { return 17; });
  siginfo_t info;
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT | __WALL));
  freeze_point();
  const sigset_t set = set_of({SIGUSR2});
  const timespec now = {};
  EXPECT_EQ(EXPECT_OK(sigtimedwait(&set, &info, &now)), SIGUSR2);
  EXPECT_EQ(info.si_pid, zombie);
  EXPECT_EQ(wait_status_of(zombie, __WALL), 17 << 8);
}

LIVE_TEST(zombie_adopted_by_a_subreaper_that_has_not_waited) {
  Lines lines = make_lines();
  Child reaper([&](Line& line) {
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    SharedValue<pid_t> orphan;
    const pid_t middle = fork_to([&] {
      *orphan = fork_to([&] { return 19; });
      siginfo_t info;
      return waitid(P_PID, static_cast<id_t>(*orphan), &info, WEXITED | WNOWAIT);
    });
    expect_well(middle);
    line.stand_by();
    EXPECT_EQ(wait_status_of(*orphan), 19 << 8);
    return 0;
  });
  reaper.await();
  freeze_point();
  reaper.finish();
}

}  // namespace
}  // namespace live
