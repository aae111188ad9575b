// Processes that share what fork(2) copies, without being threads of one process: what they have from one another at
// birth they share again; the rest is refused by name, and undisturbed.
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

LIVE_TEST(descriptor_table_of_two_processes_is_one) {
  const Ends gate = make_pipe(), own = make_pipe();
  Lines lines = make_lines();
  const pid_t child = clone_to(CLONE_FILES | SIGCHLD, [&] {
    lines.theirs.stand_by();
    const int added = EXPECT_OK(dup(gate.read));
    EXPECT_OK(close(own.read));
    EXPECT_OK(fcntl(gate.write, F_SETFD, FD_CLOEXEC));
    lines.theirs.say(shown(added));
    EXPECT_EQ(lines.theirs.hear(), "end");
    return 5;
  });
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  const int added = atoi(lines.ours.hear().c_str());
  write_all(gate.write, "through");
  EXPECT_EQ(read_exactly(added, 7), "through");
  EXPECT_EQ(fcntl(own.read, F_GETFD), -1);
  EXPECT_EQ(fcntl(gate.write, F_GETFD), FD_CLOEXEC);
  EXPECT_OK(close(added));
  lines.ours.say("end");
  EXPECT_EQ(wait_status_of(child), 5 << 8);
}

// Each shows who has taken it, and belongs to both: it goes when either closes the file.
LIVE_TEST(locks_of_a_shared_table_show_who_has_taken_them) {
  const Scratch scratch;
  const Fd file = open_file(scratch.file("locked"), O_RDWR | O_CREAT);
  auto lock = [&](off_t at) {
    struct flock one = {};
    one.l_type = F_WRLCK, one.l_whence = SEEK_SET, one.l_start = at, one.l_len = 10;
    EXPECT_OK(fcntl(file, F_SETLK, &one));
  };
  lock(0);
  Lines lines = make_lines();
  const pid_t child = clone_to(CLONE_FILES | SIGCHLD, [&] {
    lock(100);
    lines.theirs.stand_by();
    return 0;
  });
  lines.ours.await();
  freeze_point();
  auto holder = [&](off_t at) {
    const pid_t other = fork_to([&] {
      struct flock one = {};
      one.l_type = F_WRLCK, one.l_whence = SEEK_SET, one.l_start = at, one.l_len = 10;
      EXPECT_OK(fcntl(file, F_GETLK, &one));
      return one.l_type == F_UNLCK ? 1 : one.l_pid == child ? 2 : one.l_pid == getppid() ? 3 : 4;
    });
    return WEXITSTATUS(wait_status_of(other));
  };
  EXPECT_EQ(holder(0), 3);
  EXPECT_EQ(holder(100), 2);
  lines.ours.go_on();
  expect_well(child);
  freeze_point();
  EXPECT_NE(holder(100), 1);
}

LIVE_TEST(working_directory_and_umask_of_two_processes_are_one) {
  const Scratch scratch;
  char before[4096];
  EXPECT_TRUE(getcwd(before, sizeof before) != nullptr);
  const mode_t mask = umask(027);
  Lines lines = make_lines();
  const pid_t child = clone_to(CLONE_FS | SIGCHLD, [&] {
    lines.theirs.stand_by();
    EXPECT_OK(chdir(scratch.path().c_str()));
    EXPECT_EQ(umask(011), 027u);
    lines.theirs.stand_by();
    return 0;
  });
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  lines.ours.await();
  char now[4096];
  EXPECT_TRUE(getcwd(now, sizeof now) != nullptr);
  EXPECT_EQ(std::string(now), scratch.path());
  EXPECT_EQ(umask(mask), 011u);
  EXPECT_OK(chdir(before));
  lines.ours.go_on();
  expect_well(child);
}

// A line of three, in which the last has its table from the second, and the second from the first.
LIVE_TEST(grandchild_shares_what_its_parent_shares) {
  Lines lines = make_lines();
  const Ends pipe = make_pipe();
  const pid_t child = clone_to(CLONE_FILES | CLONE_FS | SIGCHLD, [&] {
    const pid_t next = clone_to(CLONE_FILES | CLONE_FS | SIGCHLD, [&] {
      lines.theirs.stand_by();
      EXPECT_OK(setsid());
      EXPECT_OK(close(pipe.read));
      return 0;
    });
    expect_well(next);
    return 0;
  });
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  expect_well(child);
  EXPECT_EQ(fcntl(pipe.read, F_GETFD), -1);
}

// Neither is the other's parent, whose table is another.
LIVE_TEST_THAT_NEEDS(brothers_that_share_their_descriptor_table_are_refused, Needs::kRefusal) {
  Lines elder = make_lines(), younger = make_lines();
  const pid_t first = fork_to([&] {
    const pid_t second = clone_to(CLONE_FILES | CLONE_PARENT | SIGCHLD, [&] {
      younger.theirs.stand_by();
      return 0;
    });
    elder.theirs.say(shown(second));
    elder.theirs.stand_by();
    return 0;
  });
  const pid_t second = atoi(elder.ours.hear().c_str());
  elder.ours.await();
  younger.ours.await();
  freeze_point();
  elder.ours.go_on();
  younger.ours.go_on();
  expect_well(first);
  expect_well(second);
}

// A stack of its own, and a word for each direction.
struct Shared {
  std::atomic<unsigned> there = 0, go = 0;
};

int stand_in_shared_memory(void* argument) {
  Shared& shared = *static_cast<Shared*>(argument);
  shared.there = 1;
  futex(shared.there, FUTEX_WAKE, 1);
  while (shared.go == 0) futex(shared.go, FUTEX_WAIT, 0);
  return 6;
}

void expect_refused_with_memory(int flags) {
  constexpr size_t kStack = 64 << 10;
  char* stack = static_cast<char*>(malloc(kStack));
  Shared shared;
  const int child = EXPECT_OK(clone(stand_in_shared_memory, stack + kStack, flags | CLONE_VM | SIGCHLD, &shared));
  while (shared.there == 0) futex(shared.there, FUTEX_WAIT, 0);
  freeze_point();
  shared.go = 1;
  futex(shared.go, FUTEX_WAKE, 1);
  EXPECT_EQ(wait_status_of(child), 6 << 8);
  free(stack);
}

LIVE_TEST_THAT_NEEDS(processes_that_share_their_memory_are_refused, Needs::kRefusal) { expect_refused_with_memory(0); }
LIVE_TEST_THAT_NEEDS(processes_that_share_their_signal_actions_are_refused, Needs::kRefusal) {
  expect_refused_with_memory(CLONE_SIGHAND);
}

}  // namespace
}  // namespace live
