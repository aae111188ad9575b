#include "store/prune.h"

#include <gmock/gmock.h>

#include "store/chain_testing.h"
#include "store/forget.h"
#include "sys/fault.h"

namespace stint::store {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class PruneTest : public Chain {
 protected:
  Pruned prune_all(bool dry_run = false) const {
    Result<Pruned> pruned = prune(checkpoints_, dry_run);
    EXPECT_TRUE(pruned.has_value()) << pruned.error().text();
    return pruned.value_or(Pruned());
  }
  void make_file(const std::string& name) const {
    sys::UniqueFd file = *sys::open(checkpoints_ + "/" + name, O_WRONLY | O_CREAT, 0600);
    ASSERT_TRUE(sys::write_all(file.get(), bytes_of("left over")).has_value());
  }
  uint64_t on_disk(const std::string& name) const {
    return static_cast<uint64_t>(sys::lstat(checkpoints_ + "/" + name)->st_blocks) * 512;
  }
};

TEST_F(PruneTest, OfWhatIsNeededNothingGoes) {
  for (int i = 0; i < 4; ++i) add();
  keep({4});
  EXPECT_THAT(prune_all().removed, IsEmpty());
  all_are_whole();
}

TEST_F(PruneTest, ADirectoryThatIsNotThereIsPruned) { EXPECT_THAT(prune_all().removed, IsEmpty()); }

TEST_F(PruneTest, WhatKilledCheckpointsAndForgetsHaveLeftGoes) {
  for (int i = 0; i < 3; ++i) add();
  ASSERT_TRUE(sys::rename(checkpoints_ + "/1", checkpoints_ + "/1.pages").has_value());
  ASSERT_TRUE(sys::make_directories(checkpoints_ + "/4.partial", 0700).has_value());
  ASSERT_TRUE(sys::make_directories(checkpoints_ + "/7.pages", 0700).has_value());
  ASSERT_TRUE(sys::make_directories(checkpoints_ + "/8.pages.partial", 0700).has_value());
  for (const char* name : {"4.partial/pages", "7.pages/pages", "8.pages.partial/hashes"}) make_file(name);
  auto garbage = ElementsAre("4.partial", "8.pages.partial", "1.pages/manifest.json", "1.pages/records", "7.pages");
  Pruned would = prune_all(/*dry_run=*/true);
  EXPECT_THAT(would.removed, garbage);
  EXPECT_THAT(names(), ElementsAre("1.pages", "2", "3", "4.partial", "7.pages", "8.pages.partial"));
  Pruned pruned = prune_all();
  EXPECT_THAT(pruned.removed, garbage);
  EXPECT_EQ(pruned.freed_bytes, would.freed_bytes);
  EXPECT_GT(pruned.freed_bytes, 0u);
  EXPECT_THAT(names(), ElementsAre("1.pages", "2", "3"));
  EXPECT_THAT(*sys::list_directory(checkpoints_ + "/1.pages"), ElementsAre(kHashesFile, kPagesFile));
  all_are_whole();
  EXPECT_THAT(prune_all().removed, IsEmpty());
}

TEST_F(PruneTest, OfLeftPagesOnlyTheBlocksStayThatSomebodyHas) {
  add();
  change(kPages / 2, kPages / 2);
  add();
  ASSERT_THAT(entries()[1].manifest->leans_on, ElementsAre(1));
  if (!*sys::punch_hole(sys::open(home_.path() + "/probe", O_RDWR | O_CREAT, 0600)->get(), {0, kPageSize}))
    GTEST_SKIP() << "this file system makes no holes";
  uint64_t all = on_disk("1/pages");
  std::unique_ptr<Reader> reads = *Reader::open(checkpoints_ + "/1");
  keep({2});
  EXPECT_EQ(on_disk("1.pages/pages"), all);
  EXPECT_EQ(read_space(*reads, kSpace), then_.at(1));  // As a restart of it that has begun.
  reads.reset();
  EXPECT_THAT(prune_all().removed, ElementsAre("1.pages/pages"));
  ASSERT_THAT(names(), ElementsAre("1.pages", "2"));
  EXPECT_LT(on_disk("1.pages/pages"), all * 2 / 3);
  all_are_whole();
  add();  // Leans on the block that is left.
  EXPECT_THAT(entries()[1].manifest->leans_on, ElementsAre(1, 2));
  all_are_whole();
  EXPECT_THAT(prune_all().removed, IsEmpty());
}

TEST_F(PruneTest, NothingGoesWhileACheckpointCannotBeRead) {
  for (int i = 0; i < 2; ++i) add();
  ASSERT_TRUE(sys::rename(checkpoints_ + "/1", checkpoints_ + "/1.pages").has_value());
  make_file("2/records");  // Overwrites its head.
  EXPECT_FALSE(prune(checkpoints_).has_value());
  EXPECT_THAT(*sys::list_directory(checkpoints_ + "/1.pages"), testing::SizeIs(4));
}

// The calls fail one after another: what is there is whole each time, and in the end no garbage is left.
TEST_F(PruneTest, AnyFailingCallOfAForgetLeavesWhatIsKeptWhole) {
  add();
  for (long call = 1, calls = call; call <= calls; ++call) {
    for (bool full : {true, false, false}) add(full);
    std::vector<CheckpointEntry> all = entries();
    uint64_t newest = all.back().number;
    {
      fault::Injection fault(call, EIO);
      bool done = forget(checkpoints_, all, {newest - 1, newest}).has_value();
      calls = std::max(calls, fault.calls());
      EXPECT_TRUE(done || fault.calls() >= call) << call;
    }
    all_are_whole();
    EXPECT_THAT(numbers(), testing::IsSupersetOf({newest - 1, newest})) << call;
    prune_all();
    all_are_whole();
    EXPECT_THAT(prune_all(/*dry_run=*/true).removed, IsEmpty()) << call;
    keep({newest});
  }
}

TEST_F(PruneTest, AnyFailingCallOfAPruneLeavesTheRestToTheNext) {
  add();
  for (long call = 1, calls = call; call <= calls; ++call) {
    for (bool full : {true, false}) add(full);
    uint64_t newest = entries().back().number;
    for (const CheckpointEntry& entry : entries()) {
      if (entry.number == newest) continue;
      ASSERT_TRUE(sys::rename(entry.path, entry.path + kLeftPagesSuffix).has_value());
    }
    ASSERT_TRUE(sys::make_directories(checkpoints_ + "/9999.partial", 0700).has_value());
    make_file("9999.partial/pages");
    {
      fault::Injection fault(call, EIO);
      bool done = prune(checkpoints_).has_value();
      calls = std::max(calls, fault.calls());
      EXPECT_TRUE(done || fault.calls() >= call) << call;
    }
    all_are_whole();
    prune_all();
    EXPECT_THAT(prune_all(/*dry_run=*/true).removed, IsEmpty()) << call;
    EXPECT_THAT(numbers(), ElementsAre(newest)) << call;
    all_are_whole();
  }
}

}  // namespace
}  // namespace stint::store
