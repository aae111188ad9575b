#include "store/latest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace stint::store {
namespace {

constexpr uint64_t kPages = 200;

// At random: blocks over one small space, then what is to be kept of it; held against an array of who was last.
class Model {
 public:
  explicit Model(uint64_t seed) : random_(seed), owner_(kPages, -1) {
    for (int order = 1; order <= 40; ++order) add(order);
    uint64_t at = 0;
    while (at < kPages) {
      uint64_t start = at + random_() % 5, end = start;
      while (end < kPages && owner_[end] >= 0 && end - start < random_() % 30) ++end;
      if (end > start) kept_.push_back({start, end});
      at = end + 1;
    }
  }

  void check() {
    Result<std::vector<image::StoredBlock>> found = latest(blocks_, {{1, kept_}});
    ASSERT_TRUE(found.has_value()) << found.error().text();
    std::vector<int> shown(kPages, -1);
    for (const image::StoredBlock& block : *found) {
      uint64_t last = 0;
      for (const image::StoredRun& run : block.runs) {
        EXPECT_GE(run.at, last);
        last = run.at + run.size;
        for (uint64_t i = 0; i < run.size; ++i) {
          EXPECT_EQ(shown[run.offset + i], -1);
          int order = static_cast<int>(block.stored_at);
          shown[run.offset + i] = order;
          EXPECT_EQ(place_[order][run.offset + i], run.at + i);
        }
      }
    }
    for (uint64_t at = 0; at < kPages; ++at) {
      bool kept = std::ranges::any_of(kept_, [&](Range range) { return range.contains(at); });
      EXPECT_EQ(shown[at], kept ? owner_[at] : -1) << at;
    }
  }

 private:
  void add(int order) {
    PutBlock put{{}, static_cast<uint64_t>(order)};
    put.block.space = 1, put.block.storage = image::Storage::kRaw;
    put.block.stored_at = static_cast<uint64_t>(order);
    uint64_t at = 0;
    for (uint64_t start = random_() % kPages; start < kPages; start += 1 + random_() % 40) {
      uint64_t size = std::min<uint64_t>(1 + random_() % 20, kPages - start);
      put.block.runs.push_back({start, size, at});
      for (uint64_t i = 0; i < size; ++i) owner_[start + i] = order, place_[order][start + i] = at + i;
      at += size, start += size;
    }
    blocks_.push_back(put);
  }

  std::mt19937_64 random_;
  std::vector<PutBlock> blocks_;
  std::vector<int> owner_;
  std::map<int, std::map<uint64_t, uint64_t>> place_;
  std::vector<Range> kept_;
};

TEST(Latest, ShowsOfEachPageWhatWasPutLast) {
  for (uint64_t seed = 1; seed <= 50; ++seed) Model(seed).check();
}

TEST(Latest, CutsRunsToRanges) {
  std::vector<image::StoredRun> runs = {{10, 10, 0}, {30, 5, 10}, {50, 50, 15}};
  std::vector<Range> to = {{0, 12}, {15, 31}, {34, 60}, {90, 200}};
  EXPECT_EQ(cut_runs(runs, to), (std::vector<image::StoredRun>{
                                    {10, 2, 0}, {15, 5, 5}, {30, 1, 10}, {34, 1, 14}, {50, 10, 15}, {90, 10, 55}}));
}

}  // namespace
}  // namespace stint::store
