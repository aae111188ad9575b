#include "proc/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sys/procfs.h"

namespace stint::proc {
namespace {

using testing::ElementsAre;

constexpr std::string_view kStat =
    "4187 (a) R (b c) S 4181 4180 2992 34816 4180 4194304 99 1 2 3 10 11 -12 13 -3 -2 7 0 97898 3133440 383 "
    "18446744073709551615 94471953518592 94471953538473 140721942801376 0 0 0 0 0 0 0 0 0 17 1 5 2 0 0 0 "
    "94471953554480 94471953556096 94472000557056 140721942809029 140721942809049 140721942809050 140721942810603 "
    "256\n";

TEST(Stat, ReadsEveryFieldAfterANameWithBrackets) {
  Result<Stat> stat = parse_stat(kStat);
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->pid, 4187);
  EXPECT_EQ(stat->comm, "a) R (b c");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->ppid, 4181);
  EXPECT_EQ(stat->pgrp, 4180);
  EXPECT_EQ(stat->session, 2992);
  EXPECT_EQ(stat->tty_nr, 34816);
  EXPECT_EQ(stat->tpgid, 4180);
  EXPECT_EQ(stat->cutime, -12);
  EXPECT_EQ(stat->priority, -3);
  EXPECT_EQ(stat->nice, -2);
  EXPECT_EQ(stat->num_threads, 7);
  EXPECT_EQ(stat->starttime, 97898u);
  EXPECT_EQ(stat->rsslim, UINT64_MAX);
  EXPECT_EQ(stat->start_code, 94471953518592u);
  EXPECT_EQ(stat->start_stack, 140721942801376u);
  EXPECT_EQ(stat->exit_signal, 17);
  EXPECT_EQ(stat->processor, 1);
  EXPECT_EQ(stat->rt_priority, 5u);
  EXPECT_EQ(stat->policy, 2u);
  EXPECT_EQ(stat->start_data, 94471953554480u);
  EXPECT_EQ(stat->start_brk, 94472000557056u);
  EXPECT_EQ(stat->arg_start, 140721942809029u);
  EXPECT_EQ(stat->env_end, 140721942810603u);
  EXPECT_EQ(stat->exit_code, 256);
}

TEST(Stat, RefusesWhatIsCutShort) {
  for (size_t length = 0; length + 5 < kStat.size(); ++length) {
    EXPECT_FALSE(parse_stat(kStat.substr(0, length)).has_value()) << length;
  }
}

TEST(Stat, IsOurOwn) {
  Result<Stat> stat = parse_stat(*sys::read_proc(Pid{0}, "stat"));
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->pid, getpid());
  EXPECT_EQ(stat->ppid, getppid());
  EXPECT_EQ(stat->session, getsid(0));
  uint64_t here = reinterpret_cast<uint64_t>(&kStat[0]);
  EXPECT_LT(stat->start_code, here);
  EXPECT_GT(stat->env_end, stat->arg_start);
}

constexpr std::string_view kStatus =
    "Name:\tcat\nUmask:\t0022\nState:\tt (tracing stop)\nTgid:\t4186\nNgid:\t0\nPid:\t4187\nPPid:\t4181\n"
    "TracerPid:\t17\nUid:\t1000\t1001\t1002\t1003\nGid:\t5\t6\t7\t8\nFDSize:\t256\nGroups:\t4 24 1000 \n"
    "NStgid:\t4186\t3\nNSpid:\t4187\t4\nNSpgid:\t4181\t3\nNSsid:\t2992\t2\nKthread:\t0\nVmPeak:\t    3060 kB\n"
    "VmLck:\t       4 kB\nVmRSS:\t    1712 kB\nRssAnon:\t     112 kB\nVmSwap:\t       8 kB\nCoreDumping:\t1\n"
    "THP_enabled:\t0\nThreads:\t9\nSigQ:\t0/96365\nSigPnd:\t0000000000000001\nShdPnd:\t8000000000000000\n"
    "SigBlk:\t0000000000000200\nSigIgn:\t0000000000001000\nSigCgt:\t00000001800004ec\nCapInh:\t0000000000000000\n"
    "CapPrm:\t000001fffeffffff\nCapEff:\t0000000000000002\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\n"
    "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nx86_Thread_features:\tshstk wrss "
    "\nSpeculation_Store_Bypass:\tvulnerable\n";

TEST(Status, ReadsIdentityAndSignals) {
  Result<Status> status = parse_status(kStatus);
  ASSERT_TRUE(status.has_value());
  EXPECT_TRUE(status->shadow_stack);
  EXPECT_EQ(status->name, "cat");
  EXPECT_EQ(status->umask, 022u);
  EXPECT_EQ(status->state, 't');
  EXPECT_EQ(status->tgid, 4186);
  EXPECT_EQ(status->pid, 4187);
  EXPECT_EQ(status->tracer_pid, 17);
  EXPECT_THAT(status->uids, ElementsAre(1000, 1001, 1002, 1003));
  EXPECT_THAT(status->gids, ElementsAre(5, 6, 7, 8));
  EXPECT_THAT(status->groups, ElementsAre(4, 24, 1000));
  EXPECT_THAT(status->nspid, ElementsAre(4187, 4));
  EXPECT_THAT(status->nssid, ElementsAre(2992, 2));
  EXPECT_EQ(status->vm_rss, 1712u * 1024);
  EXPECT_EQ(status->vm_swap, 8u * 1024);
  EXPECT_TRUE(status->core_dumping);
  EXPECT_FALSE(status->thp_enabled);
  EXPECT_EQ(status->threads, 9);
  EXPECT_EQ(status->sig_pending, 1u);
  EXPECT_EQ(status->shared_pending, uint64_t{1} << 63);
  EXPECT_EQ(status->sig_blocked, 0x200u);
  EXPECT_EQ(status->sig_caught, 0x1800004ecu);
  EXPECT_EQ(status->cap_permitted, 0x1fffeffffffu);
  EXPECT_EQ(status->cap_effective, 2u);
  EXPECT_TRUE(status->no_new_privs);
  EXPECT_EQ(status->seccomp, 2);
  EXPECT_EQ(status->seccomp_filters, 3);
}

TEST(Status, RefusesBadNumbersAndWhatIsNotAStatus) {
  EXPECT_FALSE(parse_status("Pid:\tx\n").has_value());
  EXPECT_FALSE(parse_status("Pid:\t99999999999\n").has_value());
  EXPECT_FALSE(parse_status("Pid:\t1\nUid:\t1\t2\t3\n").has_value());
  EXPECT_FALSE(parse_status("").has_value());
  EXPECT_FALSE(parse_status("hello\n").has_value());
}

TEST(Status, IsOurOwn) {
  mode_t mask = umask(027);
  std::string text = *sys::read_proc(Pid{0}, "status");
  umask(mask);
  Result<Status> status = parse_status(text);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->pid, getpid());
  EXPECT_EQ(status->umask, 027u);
  EXPECT_EQ(status->uids[1], geteuid());
  EXPECT_GT(status->vm_rss, 0u);
}

TEST(Auxv, IsWhatGetauxvSays) {
  std::string text = *sys::read_proc(Pid{0}, "auxv");
  Result<std::vector<AuxEntry>> auxv = parse_auxv(bytes_of(text));
  ASSERT_TRUE(auxv.has_value());
  EXPECT_EQ(find_aux(*auxv, AT_ENTRY), getauxval(AT_ENTRY));
  EXPECT_EQ(find_aux(*auxv, AT_SYSINFO_EHDR), getauxval(AT_SYSINFO_EHDR));
  EXPECT_EQ(find_aux(*auxv, 0x7fffffff), std::nullopt);
}

TEST(Auxv, MustHaveAnEnd) {
  AuxEntry entries[2] = {{AT_PAGESZ, 4096}, {AT_UID, 0}};
  EXPECT_FALSE(parse_auxv(std::as_bytes(std::span(entries))).has_value());
  EXPECT_FALSE(parse_auxv({}).has_value());
}

TEST(Timers, ReadsWhomTheyNotify) {
  Result<std::vector<TimerEntry>> timers = parse_timers(
      "ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\n"
      "ID: 7\nsignal: 34/0000000000000000\nnotify: none/tid.12\nClockID: -6\n");
  ASSERT_TRUE(timers.has_value());
  ASSERT_EQ(timers->size(), 2u);
  EXPECT_EQ((*timers)[0].id, 1);
  EXPECT_EQ((*timers)[0].signal, 60);
  EXPECT_EQ((*timers)[0].value, 0x7fff86e452a8u);
  EXPECT_EQ((*timers)[0].notify, SIGEV_SIGNAL);
  EXPECT_EQ((*timers)[0].target, 2634);
  EXPECT_EQ((*timers)[1].notify, SIGEV_NONE | SIGEV_THREAD_ID);
  EXPECT_EQ((*timers)[1].clock, -6);
  EXPECT_FALSE(parse_timers("signal: 60/0\n").has_value());
  EXPECT_FALSE(parse_timers("ID: 1\nnotify: owl/pid.1\n").has_value());
}

TEST(Timers, FindsOneOfOurOwn) {
  struct sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR2;
  event.sigev_value.sival_int = 77;
  timer_t timer;
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
  Result<std::string> text = sys::read_proc(Pid{0}, "timers");
  timer_delete(timer);
  Result<std::vector<TimerEntry>> timers = parse_timers(*text);
  ASSERT_TRUE(timers.has_value());
  ASSERT_EQ(timers->size(), 1u);
  EXPECT_EQ(timers->front().signal, SIGUSR2);
  EXPECT_EQ(timers->front().value, 77u);
  EXPECT_EQ(timers->front().clock, CLOCK_MONOTONIC);
  EXPECT_EQ(timers->front().target, getpid());
}

TEST(Personality, IsHexadecimal) {
  EXPECT_EQ(*parse_personality("00040000\n"), static_cast<uint32_t>(ADDR_NO_RANDOMIZE));
  EXPECT_FALSE(parse_personality("owl\n").has_value());
  EXPECT_FALSE(parse_personality("100000000\n").has_value());
}

TEST(Sched, GivesNanoseconds) {
  Result<Sched> sched = parse_sched(
      "head (4188, #threads: 1)\n-----\n"
      "se.exec_start                                :        978920.221877\nse.vruntime  :  1.000000\n");
  ASSERT_TRUE(sched.has_value());
  EXPECT_EQ(sched->exec_start_ns, 978920221877u);
  EXPECT_EQ(parse_sched("")->exec_start_ns, std::nullopt);
  EXPECT_FALSE(parse_sched("se.exec_start : 1.5\n").has_value());
}

TEST(Cgroup, KeepsColonsInThePath) {
  Result<std::vector<CgroupEntry>> entries = parse_cgroup("4:memory:/a:b\n0::/c\n");
  ASSERT_TRUE(entries.has_value());
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].controllers, "memory");
  EXPECT_EQ((*entries)[0].path, "/a:b");
  EXPECT_EQ((*entries)[1].hierarchy, 0u);
  EXPECT_EQ((*entries)[1].path, "/c");
  EXPECT_FALSE(parse_cgroup("owl\n").has_value());
}

}  // namespace
}  // namespace stint::proc
