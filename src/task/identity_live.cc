// Who a process is and what it was given: ids, directories, limits, scheduling, the flags of prctl(2), what /proc/self
// tells. Whatever can be set for one thread is set in a thread that ends, so that a repetition finds the process as
// new.
#include <limits.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <vector>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(process_ids_are_what_they_were) {
  const pid_t before[] = {getpid(), gettid(), getppid(), getpgrp(), getsid(0)};
  freeze_point();
  const pid_t after[] = {getpid(), gettid(), getppid(), getpgrp(), getsid(0)};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(after[i], before[i]);
  EXPECT_OK(kill(getpid(), 0));
}

LIVE_TEST(user_and_group_ids_are_what_they_were) {
  auto ids = [] {
    uid_t uids[3];
    gid_t gids[3];
    EXPECT_OK(getresuid(&uids[0], &uids[1], &uids[2]));
    EXPECT_OK(getresgid(&gids[0], &gids[1], &gids[2]));
    std::vector<gid_t> groups(static_cast<size_t>(EXPECT_OK(getgroups(0, nullptr))));
    EXPECT_OK(getgroups(static_cast<int>(groups.size()), groups.data()));
    groups.insert(groups.end(), uids, uids + 3);
    groups.insert(groups.end(), gids, gids + 3);
    return groups;
  };
  const std::vector<gid_t> before = ids();
  freeze_point();
  EXPECT_TRUE(ids() == before);
}

LIVE_TEST(capabilities_are_what_they_were) {
  auto capabilities = [] {
    const std::string status = read_whole("/proc/thread-self/status");
    return status.substr(status.find("CapInh:"), status.find("NoNewPrivs:") - status.find("CapInh:"));
  };
  const std::string before = capabilities();
  freeze_point();
  EXPECT_EQ(capabilities(), before);
}

LIVE_TEST(working_directory_is_what_it_was) {
  const Scratch scratch;
  const Fd before = open_file(".", O_RDONLY | O_DIRECTORY);
  EXPECT_OK(chdir(scratch.path().c_str()));
  freeze_point();
  char path[PATH_MAX];
  EXPECT_TRUE(getcwd(path, sizeof path) != nullptr);
  EXPECT_EQ(std::string(path), scratch.path());
  write_whole("relative", "x");
  EXPECT_EQ(read_whole(scratch.file("relative")), "x");
  EXPECT_OK(fchdir(before));
}

LIVE_TEST(file_creation_mask_is_what_it_was) {
  const mode_t before = umask(0137);
  freeze_point();
  EXPECT_EQ(umask(before), 0137U);
}

LIVE_TEST(resource_limits_are_what_they_were) {
  const int resources[] = {RLIMIT_NOFILE, RLIMIT_CORE, RLIMIT_STACK, RLIMIT_AS, RLIMIT_NPROC, RLIMIT_FSIZE};
  rlimit original;
  EXPECT_OK(getrlimit(RLIMIT_NOFILE, &original));
  const rlimit lower = {original.rlim_cur / 2 + 7, original.rlim_max};
  EXPECT_OK(setrlimit(RLIMIT_NOFILE, &lower));
  const rlimit core = {0, 0};
  EXPECT_OK(setrlimit(RLIMIT_CORE, &core));
  rlimit before[6];
  for (int i = 0; i < 6; ++i) EXPECT_OK(getrlimit(static_cast<__rlimit_resource_t>(resources[i]), &before[i]));
  freeze_point();
  for (int i = 0; i < 6; ++i) {
    rlimit after;
    EXPECT_OK(getrlimit(static_cast<__rlimit_resource_t>(resources[i]), &after));
    EXPECT_EQ(after.rlim_cur, before[i].rlim_cur);
    EXPECT_EQ(after.rlim_max, before[i].rlim_max);
  }
  EXPECT_OK(setrlimit(RLIMIT_NOFILE, &original));
}

// Runs `set` in a thread of its own, freezes while that thread waits, and then runs `check` in it.
template <class Set, class Check>
void freeze_with_thread(Set set, Check check) {
  const Ends pipe = make_pipe();
  BlockedThread thread(SYS_read, [&] {
    set();
    read_once(pipe.read);
    check();
  });
  freeze_point();
  write_all(pipe.write, "x");
}

LIVE_TEST(niceness_is_kept_for_each_thread) {
  const int here = getpriority(PRIO_PROCESS, 0);
  freeze_with_thread([&] { EXPECT_OK(setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 13)); },
                     [&] { EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 13); });
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), here);
}

LIVE_TEST(scheduling_policy_is_kept_for_each_thread) {
  const sched_param none = {};
  freeze_with_thread([&] { EXPECT_OK(sched_setscheduler(0, SCHED_BATCH, &none)); },
                     [&] { EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH); });
  freeze_with_thread([&] { EXPECT_OK(sched_setscheduler(0, SCHED_IDLE, &none)); },
                     [&] { EXPECT_EQ(sched_getscheduler(0), SCHED_IDLE); });
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

LIVE_TEST(processor_affinity_is_kept_for_each_thread) {
  cpu_set_t all;
  EXPECT_OK(sched_getaffinity(0, sizeof all, &all));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = CPU_SETSIZE - 1; CPU_COUNT(&one) == 0; --cpu) {
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  }
  freeze_with_thread([&] { EXPECT_OK(sched_setaffinity(0, sizeof one, &one)); },
                     [&] {
                       cpu_set_t now;
                       EXPECT_OK(sched_getaffinity(0, sizeof now, &now));
                       EXPECT_TRUE(CPU_EQUAL(&now, &one));
                     });
  cpu_set_t now;
  EXPECT_OK(sched_getaffinity(0, sizeof now, &now));
  EXPECT_TRUE(CPU_EQUAL(&now, &all));
}

LIVE_TEST(timer_slack_is_kept_for_each_thread) {
  freeze_with_thread([] { EXPECT_OK(prctl(PR_SET_TIMERSLACK, 123'456)); },
                     [] { EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 123'456); });
}

LIVE_TEST(name_of_the_process_is_kept) {
  char before[16];
  EXPECT_OK(prctl(PR_GET_NAME, before));
  EXPECT_OK(prctl(PR_SET_NAME, "odd (name) 1"));
  freeze_point();
  char name[16];
  EXPECT_OK(prctl(PR_GET_NAME, name));
  EXPECT_EQ(std::string(name), "odd (name) 1");
  EXPECT_EQ(read_whole("/proc/self/comm"), "odd (name) 1\n");
  EXPECT_OK(prctl(PR_SET_NAME, before));
}

LIVE_TEST(signal_on_the_parents_death_is_kept) {
  freeze_with_thread([] { EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGWINCH)); },
                     [] {
                       int signal = 0;
                       EXPECT_OK(prctl(PR_GET_PDEATHSIG, &signal));
                       EXPECT_EQ(signal, SIGWINCH);
                     });
}

LIVE_TEST(child_subreaper_stays_one) {
  EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
  freeze_point();
  int subreaper = 0;
  EXPECT_OK(prctl(PR_GET_CHILD_SUBREAPER, &subreaper));
  EXPECT_EQ(subreaper, 1);
  EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

LIVE_TEST(no_new_privileges_is_kept_for_each_thread) {
  const int here = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  freeze_with_thread([] { EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); },
                     [] { EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1); });
  EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), here);
}

LIVE_TEST(kept_capabilities_flag_is_kept) {
  freeze_with_thread([] { EXPECT_OK(prctl(PR_SET_KEEPCAPS, 1)); }, [] { EXPECT_EQ(prctl(PR_GET_KEEPCAPS), 1); });
}

LIVE_TEST(transparent_huge_pages_stay_disabled) {
  EXPECT_OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
  freeze_point();
  EXPECT_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
  EXPECT_OK(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
}

LIVE_TEST(execution_domain_is_kept) {
  constexpr unsigned long kAsk = 0xffffffff;
  const int before = personality(kAsk);
  EXPECT_OK(personality(static_cast<unsigned long>(before) | ADDR_NO_RANDOMIZE));
  freeze_point();
  EXPECT_TRUE((personality(kAsk) & ADDR_NO_RANDOMIZE) != 0);
  EXPECT_OK(personality(static_cast<unsigned long>(before)));
}

LIVE_TEST(memory_barriers_stay_registered) {
  EXPECT_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
  EXPECT_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
  freeze_point();
  EXPECT_EQ(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), 0);
  EXPECT_EQ(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0), 0);
}

LIVE_TEST(proc_self_tells_what_it_told) {
  auto link = [](const char* path) {
    char target[PATH_MAX] = {};
    EXPECT_OK(readlink(path, target, sizeof target - 1));
    return std::string(target);
  };
  const std::string exe = link("/proc/self/exe");
  const std::string root = link("/proc/self/root");
  const std::string cmdline = read_whole("/proc/self/cmdline");
  const std::string environment = read_whole("/proc/self/environ");
  const std::string auxv = read_whole("/proc/self/auxv");
  freeze_point();
  EXPECT_EQ(link("/proc/self/exe"), exe);
  EXPECT_EQ(link("/proc/self/root"), root);
  EXPECT_TRUE(read_whole("/proc/self/cmdline") == cmdline);
  EXPECT_TRUE(read_whole("/proc/self/environ") == environment);
  EXPECT_TRUE(read_whole("/proc/self/auxv") == auxv);
  EXPECT_EQ(getauxval(AT_PAGESZ), 4096UL);
}

LIVE_TEST(environment_set_by_the_program_is_kept) {
  EXPECT_OK(setenv("LIVE_OWN_VARIABLE", "its value", 1));
  freeze_point();
  EXPECT_EQ(std::string(getenv("LIVE_OWN_VARIABLE")), "its value");
  EXPECT_OK(unsetenv("LIVE_OWN_VARIABLE"));
}

}  // namespace
}  // namespace live
