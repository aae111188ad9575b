// Trees of processes: who is whose child, by which number, who adopts whom, and what a parent learns of the ends of
// its children.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include <list>
#include <memory>
#include <vector>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(child_and_parent_know_each_other_by_their_numbers) {
  const pid_t parent = getpid();
  Child child([&](Line& line) {
    const pid_t self = getpid();
    line.stand_by();
    EXPECT_EQ(getpid(), self);
    EXPECT_EQ(getppid(), parent);
    return 7;
  });
  child.await();
  freeze_point();
  EXPECT_OK(kill(child.pid(), 0));
  child.go_on();
  const int status = child.wait_status();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

// Forks a line of processes, each the child of the one before it, and stands by in the last; what each has in its own
// memory must still be its own.
int descend(const Line& line, int generations, const std::string& inherited) {
  const std::string own = inherited + "/" + shown(generations);
  const pid_t parent = getppid();
  if (generations == 0) {
    line.stand_by();
  } else {
    const pid_t next = fork_to([&] { return descend(line, generations - 1, own); });
    expect_well(next);
  }
  EXPECT_EQ(getppid(), parent);
  EXPECT_EQ(own, inherited + "/" + shown(generations));
  return 0;
}

LIVE_TEST(ten_generations_stand_in_line) {
  Child first([](Line& line) { return descend(line, 9, "root"); });
  first.await();
  freeze_point();
  first.finish();
}

LIVE_TEST(a_hundred_children_end_each_with_its_own_status) {
  std::list<Child> children;
  for (int i = 0; i < 100; ++i) {
    children.emplace_back([i](Line& line) {
      line.stand_by();
      return i;
    });
  }
  for (Child& child : children) child.await();
  freeze_point();
  int expected = 0;
  for (Child& child : children) {
    child.go_on();
    const int status = child.wait_status();
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), expected++);
  }
}

int run_ten_threads(Line& line) {
  const Ends gate = make_pipe();
  std::atomic<int> sum = 0;
  std::list<BlockedThread> threads;
  std::vector<pid_t> tids(10);
  for (size_t i = 0; i < tids.size(); ++i) {
    threads.emplace_back(SYS_read, [&, i] {
      tids[i] = gettid();
      const std::string got = read_once(gate.read, 1);
      EXPECT_EQ(gettid(), tids[i]);
      sum += got == "x" ? static_cast<int>(i) : 1000;
    });
  }
  line.stand_by();
  write_all(gate.write, std::string(10, 'x'));
  for (BlockedThread& thread : threads) thread.join();
  EXPECT_EQ(sum.load(), 45);
  return 0;
}

LIVE_TEST(ten_children_with_ten_threads_each) {
  std::list<Child> children;
  for (int i = 0; i < 10; ++i) children.emplace_back(run_ten_threads);
  for (Child& child : children) child.await();
  freeze_point();
  for (Child& child : children) child.finish();
}

// ---- Orphans

// An orphan below `middle`, which has ended: whoever adopted it is its parent before and after.
int be_orphan(const Line& line, pid_t parent_once) {
  while (getppid() == parent_once) sleep_for(0.001);
  const pid_t adopter = getppid();
  line.stand_by();
  EXPECT_EQ(getppid(), adopter);
  line.say("well");
  return 0;
}

LIVE_TEST(orphan_keeps_whoever_has_adopted_it) {
  Lines lines = make_lines();
  expect_well(fork_to([&] {
    const pid_t middle = getpid();
    fork_to([&] { return be_orphan(lines.theirs, middle); });
    return 0;
  }));
  lines.theirs.close();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(lines.ours.hear(), "well");
  lines.ours.await_end();
}

LIVE_TEST(subreaper_inside_the_job_keeps_its_orphans_and_reaps_them) {
  int was = 0;
  EXPECT_OK(prctl(PR_GET_CHILD_SUBREAPER, &was));
  EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
  Lines lines = make_lines();
  const pid_t reaper = getpid();
  SharedValue<pid_t> orphan;
  expect_well(fork_to([&] {
    const pid_t middle = getpid();
    *orphan = fork_to([&] {
      be_orphan(lines.theirs, middle);
      EXPECT_EQ(getppid(), reaper);
      return 5;
    });
    return 0;
  }));
  lines.theirs.close();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(lines.ours.hear(), "well");
  EXPECT_EQ(wait_status_of(*orphan), 5 << 8);
  int now = 0;
  EXPECT_OK(prctl(PR_GET_CHILD_SUBREAPER, &now));
  EXPECT_EQ(now, 1);
  // Those that come later go to it, too.
  Lines later = make_lines();
  expect_well(fork_to([&] {
    *orphan = fork_to([&] { return later.theirs.stand_by(), 6; });
    return 0;
  }));
  later.ours.await();
  later.ours.go_on();
  EXPECT_EQ(wait_status_of(*orphan), 6 << 8);
  EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, was));
}

LIVE_TEST(child_is_a_subreaper_and_has_adopted_two_levels) {
  Lines lines = make_lines();
  SharedValue<pid_t> orphan;
  Child reaper([&](Line& line) {
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    const pid_t self = getpid();
    expect_well(fork_to([&] {
      expect_well(fork_to([&] {
        const pid_t middle = getpid();
        *orphan = fork_to([&] {
          be_orphan(lines.theirs, middle);
          return getppid() == self ? 3 : 4;
        });
        return 0;
      }));
      return 0;
    }));
    line.stand_by();
    EXPECT_EQ(wait_status_of(*orphan), 3 << 8);
    return 0;
  });
  lines.theirs.close();
  reaper.await();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(lines.ours.hear(), "well");
  reaper.finish();
}

LIVE_TEST(orphan_that_is_a_subreaper_keeps_its_own_orphans) {
  Lines upper = make_lines();
  Lines lower = make_lines();
  expect_well(fork_to([&] {
    const pid_t middle = getpid();
    fork_to([&] {
      EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
      SharedValue<pid_t> orphan;
      expect_well(fork_to([&] {
        const pid_t between = getpid();
        EXPECT_OK(setsid());
        *orphan = fork_to([&] { return be_orphan(lower.theirs, between); });
        return 0;
      }));
      be_orphan(upper.theirs, middle);
      expect_well(*orphan);
      upper.theirs.say("reaped");
      return 0;
    });
    return 0;
  }));
  upper.theirs.close();
  lower.theirs.close();
  lower.ours.await();
  upper.ours.await();
  freeze_point();
  lower.ours.go_on();
  EXPECT_EQ(lower.ours.hear(), "well");
  upper.ours.go_on();
  EXPECT_EQ(upper.ours.hear(), "well");
  EXPECT_EQ(upper.ours.hear(), "reaped");
  upper.ours.await_end();
}

LIVE_TEST(parent_may_end_after_the_cut_and_its_child_is_adopted) {
  Lines lines = make_lines();
  Child parent([&](Line& line) {
    const pid_t self = getpid();
    fork_to([&] {
      lines.theirs.stand_by();
      while (getppid() == self) sleep_for(0.001);
      lines.theirs.say("adopted");
      return 0;
    });
    line.stand_by();
    return 0;
  });
  lines.theirs.close();
  parent.await();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  parent.finish();
  EXPECT_EQ(lines.ours.hear(), "adopted");
  lines.ours.await_end();
}

// ---- Parents that wait

LIVE_TEST(wait4_at_the_cut_returns_when_the_child_ends) {
  Child child([](Line& line) {
    line.stand_by();
    return 9;
  });
  int status = 0;
  pid_t waited = 0;
  BlockedThread waiter(SYS_wait4, [&] { waited = EXPECT_OK(waitpid(child.pid(), &status, 0)); });
  child.await();
  freeze_point();
  EXPECT_FALSE(waiter.ended());
  child.go_on();
  waiter.join();
  EXPECT_EQ(waited, child.pid());
  EXPECT_EQ(status, 9 << 8);
  errno = 0;
  EXPECT_EQ(waitpid(child.pid(), nullptr, 0), -1);
  EXPECT_EQ(errno, ECHILD);
  child.forget();
}

LIVE_TEST(waitid_for_any_child_at_the_cut_returns_the_first_that_ends) {
  Child first([](Line& line) {
    line.stand_by();
    return 1;
  });
  Child second([](Line& line) {
    line.stand_by();
    return 2;
  });
  siginfo_t info = {};
  BlockedThread waiter(SYS_waitid, [&] { EXPECT_OK(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT)); });
  first.await();
  second.await();
  freeze_point();
  second.go_on();
  waiter.join();
  EXPECT_EQ(info.si_pid, second.pid());
  EXPECT_EQ(info.si_code, CLD_EXITED);
  EXPECT_EQ(info.si_status, 2);
  EXPECT_EQ(second.wait_status(), 2 << 8);
  first.go_on();
  EXPECT_EQ(first.wait_status(), 1 << 8);
}

LIVE_TEST(child_killed_after_the_cut_tells_its_parent) {
  Child child([](Line& line) {
    line.stand_by();
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_OK(kill(child.pid(), SIGKILL));
  const int status = child.wait_status();
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

// ---- Signals at an end

std::atomic<int> died = 0;
std::atomic<pid_t> last_sender = 0;

void note_death(int, siginfo_t* info, void*) {
  ++died;
  last_sender = info->si_pid;
}

LIVE_TEST(child_that_ends_after_the_cut_sends_sigchld_to_its_handler) {
  died = 0;
  const Handler handler(SIGCHLD, note_death);
  Child child([](Line& line) {
    line.stand_by();
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_EQ(died.load(), 0);
  child.finish();
  EXPECT_EQ(died.load(), 1);
  EXPECT_EQ(last_sender.load(), child.pid());
}

LIVE_TEST(child_with_another_exit_signal_sends_that_one) {
  died = 0;
  const Handler handler(SIGUSR2, note_death);
  Lines lines = make_lines();
  const pid_t child = clone_to(SIGUSR2, [&] {
    lines.theirs.stand_by();
    return 3;
  });
  lines.ours.await();
  freeze_point();
  EXPECT_EQ(died.load(), 0);
  lines.ours.go_on();
  EXPECT_EQ(wait_status_of(child, __WALL), 3 << 8);
  EXPECT_EQ(died.load(), 1);
  EXPECT_EQ(last_sender.load(), child);
}

LIVE_TEST(child_without_an_exit_signal_ends_in_silence) {
  died = 0;
  const Handler handler(SIGCHLD, note_death);
  Lines lines = make_lines();
  const pid_t child = clone_to(0, [&] {
    lines.theirs.stand_by();
    return 4;
  });
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(wait_status_of(child, __WCLONE), 4 << 8);
  EXPECT_EQ(died.load(), 0);
}

LIVE_TEST(child_of_a_parent_that_ignores_sigchld_leaves_nothing_behind) {
  struct sigaction before = {}, ignore = {};
  ignore.sa_handler = SIG_IGN;
  EXPECT_OK(sigaction(SIGCHLD, &ignore, &before));
  Child child([](Line& line) {
    line.stand_by();
    return 3;
  });
  child.await();
  freeze_point();
  child.go_on();
  errno = 0;
  EXPECT_EQ(waitpid(child.pid(), nullptr, 0), -1);
  EXPECT_EQ(errno, ECHILD);
  child.forget();
  EXPECT_OK(sigaction(SIGCHLD, &before, nullptr));
}

// ---- Death of the parent

LIVE_TEST(parent_death_signal_is_sent_when_the_parent_ends) {
  Lines lines = make_lines();
  Child parent([&](Line& line) {
    fork_to([&] {
      died = 0;
      const Handler handler(SIGUSR1, note_death);
      EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
      lines.theirs.stand_by();
      int signal = 0;
      EXPECT_OK(prctl(PR_GET_PDEATHSIG, &signal));
      EXPECT_EQ(signal, SIGUSR1);
      EXPECT_EQ(died.load(), 0);
      lines.theirs.say("asked");
      while (died == 0) sleep_for(0.001);
      lines.theirs.say("told");
      return 0;
    });
    line.stand_by();
    return 0;
  });
  lines.theirs.close();
  parent.await();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(lines.ours.hear(), "asked");
  parent.finish();
  EXPECT_EQ(lines.ours.hear(), "told");
  lines.ours.await_end();
}

LIVE_TEST(child_of_a_second_thread_belongs_to_that_thread) {
  // A parent death signal is sent at the end of the thread that forked, not of the process.
  Lines lines = make_lines();
  const Ends gate = make_pipe();
  pid_t child = 0;
  BlockedThread forks(SYS_read, [&] {
    child = fork_to([&] {
      died = 0;
      const Handler handler(SIGUSR1, note_death);
      EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
      lines.theirs.stand_by();
      EXPECT_EQ(died.load(), 0);
      lines.theirs.say("quiet");
      while (died == 0) sleep_for(0.001);
      return 0;
    });
    EXPECT_EQ(read_once(gate.read), "end");
  });
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(lines.ours.hear(), "quiet");
  write_all(gate.write, "end");
  forks.join();
  expect_well(child);
}

// ---- Other programs

LIVE_TEST(shell_and_its_pipeline_go_on) {
  Ends in = make_pipe(O_CLOEXEC), out = make_pipe(O_CLOEXEC);
  const pid_t shell = fork_to([&] {
    EXPECT_OK(dup2(in.read, 0));
    EXPECT_OK(dup2(out.write, 1));
    execl("/bin/sh", "sh", "-c", "read a; echo \"$a $$\" | cat | tr a-z A-Z; read b; echo $b; exit 12", nullptr);
    return 127;
  });
  in.read.reset();
  out.write.reset();
  write_all(in.write, "first\n");
  const std::string line = read_once(out.read);
  EXPECT_EQ(line, "FIRST " + shown(shell) + "\n");
  freeze_point();
  write_all(in.write, "second\n");
  EXPECT_EQ(read_once(out.read), "second\n");
  EXPECT_EQ(wait_status_of(shell), 12 << 8);
}

LIVE_TEST(shell_waits_for_its_background_jobs) {
  Ends in = make_pipe(O_CLOEXEC), out = make_pipe(O_CLOEXEC);
  const pid_t shell = fork_to([&] {
    EXPECT_OK(dup2(in.read, 0));
    EXPECT_OK(dup2(out.write, 1));
    execl("/bin/sh", "sh", "-c",
          "exec 5<&0; (exit 3) & a=$!; cat <&5 & b=$!; echo up; wait $a; x=$?; wait $b; echo $x $?", nullptr);
    return 127;
  });
  in.read.reset();
  out.write.reset();
  EXPECT_EQ(read_once(out.read), "up\n");
  freeze_point();
  in.write.reset();
  EXPECT_EQ(read_once(out.read), "3 0\n");
  expect_well(shell);
}

LIVE_TEST(system_at_the_cut_returns_the_status_of_its_command) {
  const Scratch scratch;
  const std::string gate = scratch.file("gate");
  EXPECT_OK(mkfifo(gate.c_str(), 0600));
  int status = 0;
  const Fd both = open_file(gate, O_RDWR | O_CLOEXEC);
  BlockedThread caller(SYS_wait4, [&] { status = system(("read line < " + gate + "; exit 21").c_str()); });
  freeze_point();
  write_all(both, "go\n");
  caller.join();
  EXPECT_EQ(status, 21 << 8);
}

// A child in vfork(2), which has its parent's memory, is not stopped: its parent is waited for, or the checkpoint asks
// to try again.
LIVE_TEST(programs_started_one_after_another_all_end_well) {
  std::atomic<bool> stop = false;
  std::atomic<int> started = 0;
  std::thread starter([&] {
    while (!stop) {
      EXPECT_EQ(system("exit 4"), 4 << 8);
      ++started;
    }
  });
  while (started < 3) sleep_for(0.001);
  freeze_point();
  const int before = started;
  while (started < before + 3) sleep_for(0.001);
  stop = true;
  starter.join();
}

LIVE_TEST(processes_forked_one_after_another_are_all_reaped) {
  Child forker([](Line& line) {
    int ended = 0;
    std::atomic<bool> stop = false;
    std::thread listener([&] {
      line.stand_by();
      stop = true;
    });
    do {
      EXPECT_EQ(wait_status_of(fork_to([] { return 17; })), 17 << 8);
      ++ended;
    } while (!stop || ended < 3);
    listener.join();
    return 0;
  });
  forker.await();
  freeze_point();
  forker.finish();
}

// ---- Several in one system call at once

LIVE_TEST(sleepers_in_several_processes_sleep_as_long_as_they_wanted) {
  std::list<Child> sleepers;
  for (int i = 0; i < 5; ++i) {
    sleepers.emplace_back([i](Line& line) {
      line.say("here");
      const double start = monotonic_seconds();
      timespec time = to_timespec(0.05 * (i + 1));
      EXPECT_OK(nanosleep(&time, nullptr));
      const double slept = monotonic_seconds() - start;
      EXPECT_GE(slept, 0.05 * (i + 1));
      EXPECT_LT(slept, 20.0);
      EXPECT_EQ(line.hear(), "go on");
      return 0;
    });
  }
  for (Child& sleeper : sleepers) sleeper.await();
  freeze_point();
  for (Child& sleeper : sleepers) sleeper.finish();
}

LIVE_TEST(words_go_round_a_ring_of_processes) {
  constexpr int kProcesses = 6, kRounds = 60;
  std::vector<Ends> pipes;
  for (int i = 0; i <= kProcesses; ++i) pipes.push_back(make_pipe());
  std::vector<pid_t> ring;
  for (size_t i = 0; i < kProcesses; ++i) {
    ring.push_back(fork_to([&] {
      for (int round = 0; round < kRounds; ++round) write_all(pipes[i + 1].write, read_exactly(pipes[i].read, 1));
      return 0;
    }));
  }
  for (int round = 0; round < kRounds; ++round) {
    const std::string token(1, static_cast<char>('a' + round % 26));
    write_all(pipes[0].write, token);
    if (round == 10 || round == 40) freeze_point();
    EXPECT_EQ(read_exactly(pipes[kProcesses].read, 1), token);
  }
  for (pid_t pid : ring) expect_well(pid);
}

}  // namespace
}  // namespace live
