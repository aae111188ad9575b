// What each process of a tree has for itself: directory, mask, limits, priorities, timers, flags. Parent and child have
// different ones, and each keeps its own.
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <list>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

// A child that changes something, and has it still after the cut; its parent has not.
template <class Look>
void expect_own(const std::function<void()>& change, Look look) {
  const auto before = look();
  Child child([&](Line& line) {
    change();
    const auto own = look();
    EXPECT_TRUE(own != before);
    line.stand_by();
    EXPECT_TRUE(look() == own);
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_TRUE(look() == before);
  child.finish();
  EXPECT_TRUE(look() == before);
}

LIVE_TEST(child_is_in_a_directory_of_its_own) {
  const Scratch scratch;
  expect_own([&] { EXPECT_OK(chdir(scratch.path().c_str())); },
             [] {
               char path[4096];
               EXPECT_TRUE(getcwd(path, sizeof path) != nullptr);
               return std::string(path);
             });
}

LIVE_TEST(child_has_a_file_mode_mask_of_its_own) {
  expect_own([] { umask(0137); },
             [] {
               const mode_t mask = umask(0);
               umask(mask);
               return mask;
             });
}

rlim_t soft_limit(__rlimit_resource which) {
  rlimit limit;
  EXPECT_OK(getrlimit(which, &limit));
  return limit.rlim_cur;
}

void lower_soft_limit(__rlimit_resource which, rlim_t to) {
  rlimit limit;
  EXPECT_OK(getrlimit(which, &limit));
  limit.rlim_cur = to;
  EXPECT_OK(setrlimit(which, &limit));
}

LIVE_TEST(child_has_limits_of_its_own) {
  expect_own(
      [] {
        lower_soft_limit(RLIMIT_NOFILE, 77);
        lower_soft_limit(RLIMIT_STACK, 1 << 20);
        lower_soft_limit(RLIMIT_CPU, 4000);
      },
      [] { return std::vector{soft_limit(RLIMIT_NOFILE), soft_limit(RLIMIT_STACK), soft_limit(RLIMIT_CPU)}; });
}

LIVE_TEST(child_may_not_dump_core) {
  // In case that the limit is none already.
  if (soft_limit(RLIMIT_CORE) == 0) {
    rlimit limit;
    EXPECT_OK(getrlimit(RLIMIT_CORE, &limit));
    if (limit.rlim_max == 0) skip("the hard limit of core files is 0");
    lower_soft_limit(RLIMIT_CORE, limit.rlim_max);
  }
  expect_own([] { lower_soft_limit(RLIMIT_CORE, 0); }, [] { return soft_limit(RLIMIT_CORE); });
}

LIVE_TEST(child_is_nicer_than_its_parent) {
  expect_own([] { EXPECT_OK(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 5)); },
             [] { return getpriority(PRIO_PROCESS, 0); });
}

LIVE_TEST(child_runs_in_batches) {
  expect_own(
      [] {
        const sched_param none = {};
        EXPECT_OK(sched_setscheduler(0, SCHED_BATCH, &none));
      },
      [] { return sched_getscheduler(0); });
}

LIVE_TEST(child_is_bound_to_one_processor) {
  cpu_set_t all;
  EXPECT_OK(sched_getaffinity(0, sizeof all, &all));
  if (CPU_COUNT(&all) < 2) skip("this program may run on one processor only");
  expect_own(
      [&] {
        cpu_set_t one;
        CPU_ZERO(&one);
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
          if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
          if (CPU_COUNT(&one) == 1) break;
        }
        EXPECT_OK(sched_setaffinity(0, sizeof one, &one));
      },
      [] {
        cpu_set_t set;
        EXPECT_OK(sched_getaffinity(0, sizeof set, &set));
        return CPU_COUNT(&set);
      });
}

LIVE_TEST(child_has_an_input_output_priority_of_its_own) {
  constexpr int kProcess = 1, kIdle = 3 << 13;
  expect_own([] { EXPECT_OK(syscall(SYS_ioprio_set, kProcess, 0, kIdle)); },
             [] { return syscall(SYS_ioprio_get, kProcess, 0); });
}

std::string own_setting(const char* name) { return read_whole(std::string("/proc/self/") + name); }

LIVE_TEST(child_is_preferred_when_memory_is_short) {
  expect_own([] { write_whole("/proc/self/oom_score_adj", "500"); }, [] { return own_setting("oom_score_adj"); });
}

LIVE_TEST(child_dumps_other_memory) {
  expect_own([] { write_whole("/proc/self/coredump_filter", "0x7"); }, [] { return own_setting("coredump_filter"); });
}

LIVE_TEST(child_has_a_personality_of_its_own) {
  expect_own([] { EXPECT_OK(personality(personality(0xffffffff) | ADDR_NO_RANDOMIZE)); },
             [] { return personality(0xffffffff); });
}

LIVE_TEST(child_has_given_up_new_privileges) {
  expect_own([] { EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); },
             [] { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); });
}

LIVE_TEST(child_is_not_dumpable) {
  if (geteuid() != 0) skip("an ordinary user cannot cut such a process a second time");
  expect_own([] { EXPECT_OK(prctl(PR_SET_DUMPABLE, 0)); }, [] { return prctl(PR_GET_DUMPABLE); });
}

LIVE_TEST(child_has_a_name_of_its_own) {
  expect_own([] { EXPECT_OK(prctl(PR_SET_NAME, "another name")); },
             [] {
               char name[16] = {};
               EXPECT_OK(prctl(PR_GET_NAME, name));
               return std::string(name);
             });
}

LIVE_TEST(child_sleeps_with_a_slack_of_its_own) {
  expect_own([] { EXPECT_OK(prctl(PR_SET_TIMERSLACK, 123456)); }, [] { return prctl(PR_GET_TIMERSLACK); });
}

LIVE_TEST(child_has_no_huge_pages) {
  expect_own([] { EXPECT_OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)); },
             [] { return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0); });
}

// ---- Signals and timers

std::atomic<int> parents = 0, childs = 0;
void note_parent(int, siginfo_t*, void*) { ++parents; }
void note_child(int, siginfo_t*, void*) { ++childs; }

LIVE_TEST(each_has_signal_actions_and_a_mask_of_its_own) {
  parents = childs = 0;
  const Handler handler(SIGUSR1, note_parent, SA_RESTART);
  Child child([](Line& line) {
    const Handler own(SIGUSR1, note_child, SA_RESTART);
    const Blocked blocked({SIGUSR2});
    line.stand_by();
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_EQ(parents.load(), 0);
    EXPECT_EQ(childs.load(), 1);
    EXPECT_OK(raise(SIGUSR2));  // Would end it if it were not blocked.
    const sigset_t set = set_of({SIGUSR2});
    EXPECT_EQ(EXPECT_OK(sigtimedwait(&set, nullptr, nullptr)), SIGUSR2);
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_OK(raise(SIGUSR1));
  EXPECT_EQ(parents.load(), 1);
  child.finish();
}

LIVE_TEST(signals_wait_for_the_process_that_they_were_sent_to_and_tell_who_sent_them) {
  const Blocked blocked({SIGUSR1, SIGRTMIN});
  const pid_t parent = getpid();
  Child child([&](Line& line) {
    sigval value = {};
    value.sival_int = 99;
    EXPECT_OK(sigqueue(parent, SIGRTMIN, value));
    line.stand_by();
    const sigset_t set = set_of({SIGUSR1});
    siginfo_t info = {};
    const timespec now = {};
    EXPECT_EQ(EXPECT_OK(sigtimedwait(&set, &info, &now)), SIGUSR1);
    EXPECT_EQ(info.si_code, SI_USER);
    EXPECT_EQ(info.si_pid, parent);
    return 0;
  });
  child.await();
  EXPECT_OK(kill(child.pid(), SIGUSR1));
  freeze_point();
  const sigset_t set = set_of({SIGRTMIN});
  siginfo_t info = {};
  const timespec now = {};
  EXPECT_EQ(EXPECT_OK(sigtimedwait(&set, &info, &now)), SIGRTMIN);
  EXPECT_EQ(info.si_code, SI_QUEUE);
  EXPECT_EQ(info.si_pid, child.pid());
  EXPECT_EQ(info.si_value.sival_int, 99);
  child.finish();
}

LIVE_TEST(timers_of_several_processes_go_off_in_their_own) {
  childs = 0;
  const Handler handler(SIGALRM, note_child, SA_RESTART);
  std::list<Child> children;
  for (int i = 0; i < 3; ++i) {
    children.emplace_back([i](Line& line) {
      const double start = monotonic_seconds();
      itimerval time = {};
      time.it_value.tv_usec = 30'000 * (i + 1);
      EXPECT_OK(setitimer(ITIMER_REAL, &time, nullptr));
      line.say("here");
      while (childs == 0) sleep_for(0.001);
      EXPECT_GE(monotonic_seconds() - start, 0.03 * (i + 1));
      EXPECT_EQ(line.hear(), "go on");
      return 0;
    });
  }
  for (Child& child : children) child.await();
  freeze_point();
  for (Child& child : children) child.finish();
  EXPECT_EQ(childs.load(), 0);
}

LIVE_TEST(posix_timer_of_a_child_keeps_its_number_and_its_period) {
  childs = 0;
  const Handler handler(SIGRTMIN + 1, note_child, SA_RESTART);
  timer_t parents_timer;
  sigevent event = {};
  event.sigev_notify = SIGEV_NONE;
  EXPECT_OK(timer_create(CLOCK_MONOTONIC, &event, &parents_timer));
  Child child([&](Line& line) {
    sigevent own = {};
    own.sigev_notify = SIGEV_SIGNAL, own.sigev_signo = SIGRTMIN + 1;
    timer_t timer;
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, &own, &timer));
    itimerspec time = {};
    time.it_value.tv_nsec = time.it_interval.tv_nsec = 5'000'000;
    EXPECT_OK(timer_settime(timer, 0, &time, nullptr));
    line.stand_by();
    const int before = childs;
    while (childs < before + 3) sleep_for(0.001);
    EXPECT_OK(timer_gettime(timer, &time));
    EXPECT_EQ(time.it_interval.tv_nsec, 5'000'000);
    EXPECT_OK(timer_delete(timer));
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
  itimerspec time = {};
  EXPECT_OK(timer_gettime(parents_timer, &time));
  EXPECT_EQ(time.it_interval.tv_nsec, 0);
  EXPECT_OK(timer_delete(parents_timer));
}

// ---- Credentials

LIVE_TEST(child_has_dropped_all_capabilities) {
  struct Capabilities {
    unsigned version = 0x20080522;
    int pid = 0;
    unsigned sets[6] = {};
  };
  auto effective = [] {
    Capabilities now;
    EXPECT_OK(syscall(SYS_capget, &now, now.sets));
    return now.sets[0];
  };
  if (effective() == 0) skip("this user has no capabilities to drop");
  expect_own(
      [] {
        Capabilities none;
        EXPECT_OK(syscall(SYS_capset, &none, none.sets));
      },
      effective);
}

LIVE_TEST(child_is_another_user) {
  if (geteuid() != 0) skip("only root can become somebody else");
  expect_own(
      [] {
        EXPECT_OK(setgroups(0, nullptr));
        EXPECT_OK(setresgid(4711, 4711, 4711));
        EXPECT_OK(setresuid(4712, 4712, 4712));
      },
      [] {
        uid_t uids[3];
        gid_t gids[3];
        EXPECT_OK(getresuid(&uids[0], &uids[1], &uids[2]));
        EXPECT_OK(getresgid(&gids[0], &gids[1], &gids[2]));
        return std::vector<unsigned>{uids[0], uids[1], uids[2], gids[0], gids[1], gids[2]};
      });
}

LIVE_TEST(zombie_of_another_user_is_told_as_such) {
  if (geteuid() != 0) skip("only root can become somebody else");
  const pid_t zombie = fork_to([] {
    EXPECT_OK(setresuid(4712, 4712, 4712));
    return 3;
  });
  siginfo_t info = {};
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT));
  freeze_point();
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED));
  EXPECT_EQ(info.si_uid, 4712U);
  EXPECT_EQ(info.si_status, 3);
}

LIVE_TEST(child_of_another_user_keeps_its_parent_death_signal) {
  if (geteuid() != 0) skip("only root can become somebody else");
  Child child([](Line& line) {
    EXPECT_OK(setresuid(4712, 4712, 4712));
    EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGUSR2));
    line.stand_by();
    int signal = 0;
    EXPECT_OK(prctl(PR_GET_PDEATHSIG, &signal));
    EXPECT_EQ(signal, SIGUSR2);
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

}  // namespace
}  // namespace live
