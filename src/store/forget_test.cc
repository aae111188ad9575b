#include "store/forget.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "store/chain_testing.h"

namespace stint::store {
namespace {

using testing::ElementsAre;

TEST_F(Chain, WhatIsKeptStaysWholeWhateverItLeansOn) {
  for (int i = 0; i < 5; ++i) add();
  EXPECT_THAT(entries()[4].manifest->leans_on, ElementsAre(1, 2, 3, 4));
  keep({3, 5});
  EXPECT_THAT(numbers(), ElementsAre(3, 5));
  EXPECT_THAT(names(), ElementsAre("1.pages", "2.pages", "3", "4.pages", "5"));
  EXPECT_THAT(*sys::list_directory(checkpoints_ + "/4.pages"), ElementsAre(kHashesFile, kPagesFile));
  all_are_whole();
  keep({3});
  EXPECT_THAT(names(), ElementsAre("1.pages", "2.pages", "3"));
  all_are_whole();
}

TEST_F(Chain, TheNextOneLeansOnWhatIsLeft) {
  for (int i = 0; i < 4; ++i) add();
  keep({3});
  EXPECT_THAT(names(), ElementsAre("1.pages", "2.pages", "3"));
  add();
  EXPECT_THAT(numbers(), ElementsAre(3, 4));
  EXPECT_THAT(entries()[1].manifest->leans_on, ElementsAre(1, 2, 3));
  all_are_whole();
  keep({4});
  add(true);
  EXPECT_THAT(numbers(), ElementsAre(4, 5));
  keep({5});
  EXPECT_THAT(names(), ElementsAre("5"));
  all_are_whole();
}

TEST_F(Chain, NothingIsForgottenWhenAKeptOneCannotBeRead) {
  for (int i = 0; i < 3; ++i) add();
  ASSERT_TRUE(sys::unlink(checkpoints_ + "/3/" + kRecordsFile).has_value());
  EXPECT_FALSE(forget(checkpoints_, entries(), {3}).has_value());
  EXPECT_THAT(names(), ElementsAre("1", "2", "3"));
}

TEST_F(Chain, WhatAnInterruptedCallHasLeftGoesWithTheNext) {
  for (int i = 0; i < 3; ++i) add();
  ASSERT_TRUE(sys::rename(checkpoints_ + "/1", checkpoints_ + "/1" + kLeftPagesSuffix).has_value());
  all_are_whole();
  keep({3});
  EXPECT_THAT(*sys::list_directory(checkpoints_ + "/1.pages"), ElementsAre(kHashesFile, kPagesFile));
  all_are_whole();
}

class Kept : public testing::Test {
 protected:
  Kept() {
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
  }
  ~Kept() override {
    unsetenv("TZ");
    tzset();
  }
  void taken_at(const char* time) {
    tm broken = {};
    EXPECT_NE(strptime(time, "%Y-%m-%d %H:%M", &broken), nullptr);
    broken.tm_isdst = -1;
    Manifest manifest;
    manifest.created_ns = static_cast<int64_t>(mktime(&broken)) * 1'000'000'000;
    entries_.push_back({.job = "sim", .number = entries_.size() + 1, .path = "", .manifest = manifest});
  }
  std::vector<uint64_t> kept(const KeepPolicy& policy) {
    std::set<uint64_t> numbers = kept_by(policy, entries_);
    return {numbers.begin(), numbers.end()};
  }
  std::vector<CheckpointEntry> entries_;
};

TEST_F(Kept, AreTheNewestOfEachOfTheLastHoursDaysAndWeeks) {
  taken_at("2024-12-29 23:10");  // 1, a Sunday
  taken_at("2024-12-30 10:00");  // 2, of the week of New Year's Day
  taken_at("2025-01-01 00:30");  // 3
  taken_at("2025-01-01 09:10");  // 4
  taken_at("2025-01-01 09:50");  // 5
  taken_at("2025-01-08 08:00");  // 6
  EXPECT_THAT(kept({.last = 2}), ElementsAre(5, 6));
  EXPECT_THAT(kept({.hourly = 3}), ElementsAre(3, 5, 6));
  EXPECT_THAT(kept({.daily = 2}), ElementsAre(5, 6));
  EXPECT_THAT(kept({.weekly = 3}), ElementsAre(1, 5, 6));
  EXPECT_THAT(kept({.monthly = 9}), ElementsAre(2, 6));
  EXPECT_THAT(kept({.yearly = 1}), ElementsAre(6));
  EXPECT_THAT(kept({.last = 1, .hourly = 2, .yearly = 5}), ElementsAre(2, 5, 6));
  entries_[2].manifest.reset();
  EXPECT_THAT(kept({.last = 1}), ElementsAre(3, 6));
}

}  // namespace
}  // namespace stint::store
