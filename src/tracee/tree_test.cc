#include "tracee/tree.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace stint::tracee {
namespace {

std::string why_not(pid_t root) {
  Result<StoppedTree> tree = StoppedTree::stop({Pid{root}, {}}, std::chrono::milliseconds(1));
  return tree.has_value() ? "it was stopped" : tree.error().text();
}

TEST(StoppedTree, a_root_that_has_ended_is_not_waited_for) {
  pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) _exit(0);
  siginfo_t end;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(why_not(pid), "it has ended");  // A zombie.
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(why_not(pid), "it has ended");
}

}  // namespace
}  // namespace stint::tracee
