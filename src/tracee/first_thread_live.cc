// Processes whose first thread has ended while others go on: what is left of it is the process's number, its name and a
// zombie, and whatever the process has, it has as before.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>

#include <list>
#include <memory>
#include <vector>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

constexpr int kFirstStatus = 3;

// One field of /proc/PID/stat, from the third on (state: 0).
std::string stat_field(pid_t pid, size_t wanted) {
  const Fd file = open_file("/proc/" + shown(pid) + "/stat", O_RDONLY | O_CLOEXEC);
  const std::string text = read_once(file);
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string field;
  for (size_t i = 0; i <= wanted; ++i) rest >> field;
  return field;
}

std::string first_name() {
  const Fd file = open_file("/proc/" + shown(getpid()) + "/comm", O_RDONLY | O_CLOEXEC);
  return read_once(file);
}

// The calling process, which has no other thread, goes on with `body` in another than its first, which ends; what the
// body returns, the process exits with.
int go_on_without_first(const std::function<int()>& body) {
  std::thread([&body] {
    wait_until_state(getpid(), 'Z');
    _exit(body());
  }).detach();
  syscall(SYS_exit, kFirstStatus);
  return 1;
}

// A child like that. Its body must end before the object goes.
struct Leaderless : Child {
  explicit Leaderless(const std::function<int(Line&)>& body)
      : Child([&](Line& line) { return go_on_without_first([&] { return body(line); }); }) {}
};

LIVE_TEST(process_without_its_first_thread_keeps_its_number_and_name) {
  Leaderless child([](Line& line) {
    const pid_t self = getpid(), tid = gettid();
    const std::string name = first_name();
    prctl(PR_SET_NAME, "second");
    line.stand_by();
    EXPECT_EQ(getpid(), self);
    EXPECT_EQ(gettid(), tid);
    EXPECT_NE(tid, self);
    EXPECT_EQ(first_name(), name);
    EXPECT_EQ(stat_field(self, 0), "Z");
    EXPECT_EQ(stat_field(self, 17), "2");
    EXPECT_EQ(stat_field(tid, 0), "R");
    return 4;
  });
  child.await();
  freeze_point();
  child.go_on();
  EXPECT_EQ(WEXITSTATUS(child.wait_status()), 4);
}

// By pthread_exit(3), with the C library's own last steps: from the only thread of a child, whose frames are its own.
LIVE_TEST(first_thread_that_called_pthread_exit_is_gone) {
  Lines lines = make_lines();
  pid_t child = 0;
  std::thread([&] {
    fflush(stdout);
    child = EXPECT_OK(fork());
    if (child != 0) return;
    lines.ours.close();
    std::thread([&lines] {
      wait_until_state(getpid(), 'Z');
      lines.theirs.stand_by();
      _exit(stat_field(getpid(), 0) == "Z" ? 0 : 1);
    }).detach();
    pthread_exit(nullptr);
  }).join();
  lines.theirs.close();
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  expect_well(child);
}

LIVE_TEST(status_of_the_last_thread_is_the_process_status) {
  Leaderless child([](Line& line) {
    line.stand_by();
    syscall(SYS_exit, 5);
    return 1;
  });
  child.await();
  freeze_point();
  child.go_on();
  const int status = child.wait_status();
  EXPECT_TRUE(WIFEXITED(status));
  // Before Linux 6.0 it is that of the first.
  EXPECT_TRUE(WEXITSTATUS(status) == 5 || WEXITSTATUS(status) == kFirstStatus);
}

LIVE_TEST(ten_threads_go_on_without_the_first) {
  Leaderless child([](Line& line) {
    const Ends gate = make_pipe();
    std::atomic<int> sum = 0;
    std::list<BlockedThread> threads;
    std::vector<char> memory(1 << 20, 'm');
    for (int i = 1; i <= 10; ++i)
      threads.emplace_back(SYS_read, [&, i] {
        const pid_t tid = gettid();
        EXPECT_EQ(read_once(gate.read, 1), "x");
        EXPECT_EQ(gettid(), tid);
        sum += i;
      });
    line.stand_by();
    write_all(gate.write, "xxxxxxxxxx");
    for (BlockedThread& thread : threads) thread.join();
    EXPECT_EQ(sum.load(), 55);
    EXPECT_EQ(std::string(memory.begin(), memory.end()), std::string(1 << 20, 'm'));
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

std::atomic<pid_t> handled_by = 0;
void note_handler(int, siginfo_t*, void*) { handled_by = gettid(); }

LIVE_TEST(signal_for_the_process_is_handled_by_a_thread_that_lives) {
  Leaderless child([](Line& line) {
    const Handler handler(SIGUSR1, note_handler, SA_RESTART);
    line.stand_by();
    while (handled_by == 0) sleep_for(0.001);
    EXPECT_EQ(handled_by.load(), gettid());
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_OK(kill(child.pid(), SIGUSR1));
  child.finish();
}

LIVE_TEST(signals_wait_for_a_process_whose_first_thread_did_not_block_them) {
  Leaderless child([](Line& line) {
    const Blocked blocked{SIGUSR1, SIGTERM};
    line.stand_by();
    line.stand_by();
    const sigset_t both = set_of({SIGUSR1, SIGTERM});
    siginfo_t info = {};
    EXPECT_EQ(EXPECT_OK(sigwaitinfo(&both, &info)), SIGUSR1);
    EXPECT_EQ(info.si_pid, getppid());
    EXPECT_EQ(EXPECT_OK(sigwaitinfo(&both, &info)), SIGTERM);
    return 0;
  });
  child.await();
  EXPECT_OK(kill(child.pid(), SIGUSR1));
  EXPECT_OK(kill(child.pid(), SIGTERM));
  child.go_on();
  child.await();
  freeze_point();
  child.finish();
}

LIVE_TEST(timers_tick_without_the_first_thread) {
  Leaderless child([](Line& line) -> int {
    const Blocked blocked{SIGALRM, SIGUSR2};
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR2;
    event._sigev_un._tid = gettid();
    timer_t timer;
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
    const itimerspec often = {{0, 50'000'000}, {0, 50'000'000}};
    EXPECT_OK(timer_settime(timer, 0, &often, nullptr));
    const itimerval alarms = {{0, 50'000}, {0, 50'000}};
    EXPECT_OK(setitimer(ITIMER_REAL, &alarms, nullptr));
    line.stand_by();
    for (int signal : {SIGALRM, SIGUSR2})
      for (int i = 0; i < 3; ++i) {
        const sigset_t one = set_of({signal});
        EXPECT_EQ(EXPECT_OK(sigwaitinfo(&one, nullptr)), signal);
      }
    _exit(0);  // With the next ones still blocked.
  });
  child.await();
  freeze_point();
  child.finish();
}

// What the kernel does once at the end of a thread that has asked for it.
LIVE_TEST(end_of_the_first_thread_is_told_once) {
  Child child([](Line& line) {
    static std::atomic<unsigned> word = 1;
    EXPECT_OK(syscall(SYS_set_tid_address, &word));
    return go_on_without_first([&] {
      EXPECT_EQ(word.load(), 0u);
      word = 7;
      std::atomic<bool> woken = false;
      BlockedThread waiter(SYS_futex, [&] {
        while (word == 7) futex(word, FUTEX_WAIT, 7);
        woken = true;
      });
      line.stand_by();
      EXPECT_EQ(word.load(), 7u);
      EXPECT_FALSE(woken.load());
      word = 8;
      EXPECT_EQ(futex(word, FUTEX_WAKE, 1), 1);
      waiter.join();
      return 0;
    });
  });
  child.await();
  freeze_point();
  child.finish();
}

LIVE_TEST(children_of_a_process_without_its_first_thread_are_its_children) {
  Leaderless child([](Line& line) {
    const pid_t self = getpid();
    const pid_t ended = fork_to([] { return 6; });
    siginfo_t info = {};
    EXPECT_OK(waitid(P_PID, static_cast<id_t>(ended), &info, WEXITED | WNOWAIT));
    Child grandchild([self](Line& grandchild_line) {
      EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
      grandchild_line.stand_by();
      EXPECT_EQ(getppid(), self);
      return 0;
    });
    grandchild.await();
    line.stand_by();
    grandchild.finish();
    EXPECT_EQ(WEXITSTATUS(wait_status_of(ended)), 6);
    expect_well(fork_to([] { return 0; }));
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

// Born while the first thread lived, which was its parent.
LIVE_TEST(child_of_the_ended_thread_is_the_child_of_another) {
  Child child([](Line& line) {
    Child grandchild([](Line& grandchild_line) {
      grandchild_line.stand_by();
      EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
      grandchild_line.stand_by();
      return 0;
    });
    grandchild.await();
    return go_on_without_first([&] {
      grandchild.go_on();
      grandchild.await();
      line.stand_by();
      grandchild.finish();
      return 0;
    });
  });
  child.await();
  freeze_point();
  child.finish();
}

LIVE_TEST(process_without_its_first_thread_stays_stopped) {
  Leaderless child([](Line& line) {
    line.stand_by();
    return 0;
  });
  child.await();
  EXPECT_OK(kill(child.pid(), SIGSTOP));
  EXPECT_TRUE(WIFSTOPPED(wait_status_of(child.pid(), WUNTRACED)));
  freeze_point();
  siginfo_t info = {};
  EXPECT_OK(waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG));
  EXPECT_EQ(info.si_pid, 0);
  EXPECT_OK(kill(child.pid(), SIGCONT));
  EXPECT_TRUE(WIFCONTINUED(wait_status_of(child.pid(), WCONTINUED)));
  child.finish();
}

LIVE_TEST(program_that_another_thread_executes_takes_the_first_ones_place) {
  Leaderless child([](Line& line) {
    const std::string script = "test $$ = " + shown(getpid()) + " && exit 9";
    line.stand_by();
    execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    return 1;
  });
  child.await();
  freeze_point();
  child.go_on();
  EXPECT_EQ(WEXITSTATUS(child.wait_status()), 9);
}

LIVE_TEST(descriptors_and_locks_are_those_of_the_process) {
  const Scratch scratch;
  const Fd file = open_file(scratch.file("locked"), O_RDWR | O_CREAT);
  Leaderless child([&](Line& line) {
    struct flock lock = {};
    lock.l_type = F_WRLCK, lock.l_whence = SEEK_SET, lock.l_len = 10;
    const Fd own = open_file(scratch.file("locked"), O_RDWR);
    EXPECT_OK(fcntl(own, F_SETLK, &lock));
    write_all(own, "12345");
    const Ends pipe = make_pipe();
    write_all(pipe.write, "queued");
    EXPECT_OK(fcntl(pipe.read, F_SETOWN, getpid()));
    line.stand_by();
    EXPECT_EQ(lseek(own, 0, SEEK_CUR), 5);
    EXPECT_EQ(read_exactly(pipe.read, 6), "queued");
    EXPECT_EQ(fcntl(pipe.read, F_GETOWN), getpid());
    return 0;
  });
  child.await();
  freeze_point();
  struct flock lock = {};
  lock.l_type = F_WRLCK, lock.l_whence = SEEK_SET, lock.l_len = 10;
  EXPECT_OK(fcntl(file, F_GETLK, &lock));
  EXPECT_EQ(lock.l_type, F_WRLCK);
  EXPECT_EQ(lock.l_pid, child.pid());
  child.finish();
}

LIVE_TEST(memory_shared_with_a_process_without_its_first_thread_is_shared) {
  SharedValue<std::atomic<int>> value;
  Leaderless child([&](Line& line) {
    *value = 1;
    line.stand_by();
    EXPECT_EQ(value->load(), 2);
    *value = 3;
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_EQ(value->load(), 1);
  *value = 2;
  child.finish();
  EXPECT_EQ(value->load(), 3);
}

LIVE_TEST(process_without_its_first_thread_may_be_closed_to_others) {
  if (geteuid() != 0) skip("an ordinary user cannot cut such a process a second time");
  Leaderless child([](Line& line) {
    EXPECT_OK(prctl(PR_SET_DUMPABLE, 0));
    std::atomic<unsigned> word = 0;
    const timespec long_time = {1, 0};
    BlockedThread sleeper(SYS_futex, [&] { EXPECT_EQ(futex(word, FUTEX_WAIT, 0, &long_time), -1); });
    line.stand_by();
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
    sleeper.join();
    return 0;
  });
  child.await();
  freeze_point();
  child.finish();
}

LIVE_TEST(session_that_a_process_leads_outlives_its_first_thread) {
  Leaderless child([](Line& line) {
    EXPECT_OK(setsid());
    line.stand_by();
    EXPECT_EQ(getsid(0), getpid());
    EXPECT_EQ(getpgid(0), getpid());
    return 0;
  });
  child.await();
  freeze_point();
  EXPECT_EQ(EXPECT_OK(getsid(child.pid())), child.pid());
  child.finish();
}

}  // namespace
}  // namespace live
