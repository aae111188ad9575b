#include "job/interval.h"

#include <gmock/gmock.h>

#include <cmath>

namespace stint::job {
namespace {

using testing::Ge;
using testing::Le;

constexpr int64_t kSecond = 1000, kDay = 24 * 60 * 60 * kSecond;

TEST(Interval, IsYoungsWhereACheckpointCostsNextToNothing) {
  double young = std::sqrt(2.0 * kSecond * kDay);
  EXPECT_NEAR(static_cast<double>(best_interval_ms(kSecond, kDay)), young, young / 100);
}

// The share of time that is lost, to first principles: failures come at random, and each costs what was computed since.
double lost(double interval, double cost, double mtbf) {
  return mtbf * (std::exp((interval + cost) / mtbf) - 1) / interval;
}

TEST(Interval, LosesLeastTime) {
  for (double cost : {1e2, 1e4, 6e5}) {
    for (double mtbf : {3.6e6, 8.64e7, 3e9}) {
      if (cost > mtbf / 4) continue;
      double best = static_cast<double>(best_interval_ms(std::llround(cost), std::llround(mtbf)));
      EXPECT_THAT(lost(best, cost, mtbf), Le(lost(best * 1.1, cost, mtbf))) << cost << " " << mtbf;
      EXPECT_THAT(lost(best, cost, mtbf), Le(lost(best / 1.1, cost, mtbf))) << cost << " " << mtbf;
    }
  }
}

TEST(Interval, IsNeverNothing) {
  EXPECT_EQ(best_interval_ms(5 * kDay, kDay), kDay);
  EXPECT_THAT(best_interval_ms(2 * kDay - 1, kDay), Ge(1));
  EXPECT_THAT(best_interval_ms(1, 1), Ge(1));
}

}  // namespace
}  // namespace stint::job
