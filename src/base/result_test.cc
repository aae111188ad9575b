#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace stint {
namespace {

Result<int> fails() { return os_error("F_SETPIPE_SZ", EPERM); }

Result<> passes_the_failure_on() {
  int value = TRY(fails().in("fd 5"));
  (void)value;
  return {};
}

TEST(Result, TellsTheStoryOutsideIn) {
  Result<> result = passes_the_failure_on().in("cannot restart pid 42");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().text(), "cannot restart pid 42: fd 5: F_SETPIPE_SZ: Operation not permitted");
  EXPECT_EQ(result.error().os_errno(), EPERM);
}

TEST(Result, KeepsItsKindThroughIn) {
  Result<> result = Result<>(refused("fd 3 is a camera")).in("pid 1");
  EXPECT_EQ(result.error().kind(), ErrorKind::kRefused);
}

Result<std::unique_ptr<int>> moves_out() {
  std::unique_ptr<int> owned = TRY(Result<std::unique_ptr<int>>(std::make_unique<int>(7)));
  return owned;
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): the check does not follow a move into std::expected

TEST(Result, YieldsAMoveOnlyValue) { EXPECT_EQ(**moves_out(), 7); }

}  // namespace
}  // namespace stint
