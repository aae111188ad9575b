#include "abi/runner.h"

#include <gtest/gtest.h>

namespace stint::abi {
namespace {

TEST(Runner, FitsTheHalfPageThatEveryAreaReservesForIt) {
  EXPECT_GT(stint_runner_end - stint_runner_start, 64);
  EXPECT_LE(stint_runner_end - stint_runner_start, 2048);
  EXPECT_GT(stint_runner_resume_call, stint_runner_start);
}

}  // namespace
}  // namespace stint::abi
