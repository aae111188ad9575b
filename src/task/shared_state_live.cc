// Processes that share what fork(2) copies, without being threads of one process: refused by name, and undisturbed.
#include <sched.h>
#include <signal.h>
#include <stdlib.h>

#include "test/live/program/processes.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

void expect_refused(unsigned long flags) {
  Lines lines = make_lines();
  const pid_t child = clone_to(flags | SIGCHLD, [&] {
    lines.theirs.stand_by();
    return 5;
  });
  lines.ours.await();
  freeze_point();
  lines.ours.go_on();
  EXPECT_EQ(wait_status_of(child), 5 << 8);
}

LIVE_TEST_THAT_NEEDS(processes_that_share_their_descriptor_table_are_refused, Needs::kRefusal) {
  expect_refused(CLONE_FILES);
}
LIVE_TEST_THAT_NEEDS(processes_that_share_their_directory_are_refused, Needs::kRefusal) { expect_refused(CLONE_FS); }

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
