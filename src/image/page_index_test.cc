#include "image/page_index.h"

#include <gtest/gtest.h>

namespace stint::image {
namespace {

TEST(PageIndex, PacksRunsAndGivesThemBack) {
  std::vector<StoredRun> runs = {{0x7f0000000000, 4096, 0},
                                 {0x7f0000005000, 1 << 20, 4096},
                                 {0x7fffffffe000, 4096, (1 << 20) + 8192},
                                 {~uint64_t{0} - 100, 90, ~uint64_t{0} >> 1}};
  EXPECT_EQ(*unpack_runs(pack_runs(runs)), runs);
  EXPECT_TRUE(unpack_runs({})->empty());
}

TEST(PageIndex, NeedsFewBytesForAScatteredPage) {
  std::vector<StoredRun> runs;
  for (uint64_t page = 0; page < 1000; ++page) runs.push_back({0x7f0000000000 + page * 100 * 4096, 4096, page * 4096});
  EXPECT_LT(pack_runs(runs).size(), 7000u);
}

TEST(PageIndex, RefusesRunsThatAreCutShortOrTooLarge) {
  Bytes packed = pack_runs(std::vector<StoredRun>{{0x7f0000000000, 4096, 0}});
  for (size_t size = 1; size < packed.size(); ++size)
    EXPECT_FALSE(unpack_runs(ByteView(packed).first(size)).has_value()) << size;
  EXPECT_FALSE(unpack_runs(Bytes(11, std::byte{0xff})).has_value());
}

TEST(PageIndex, KeepsEveryField) {
  PageIndex index{.pages_size = 1, .leans_on = {{.checkpoint = 3, .pages_size = 4}}, .blocks = {}};
  index.blocks.push_back({.space = 5,
                          .runs = {{6, 7, 8}},
                          .storage = Storage::kLz4,
                          .checkpoint = 9,
                          .stored_at = 10,
                          .stored_size = 11,
                          .size = 12,
                          .hashes_at = 13,
                          .content = {14, 15}});
  Result<PageIndex> decoded = decode_index(encode_index(index));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().text();
  EXPECT_EQ(encode_index(*decoded), encode_index(index));
  EXPECT_EQ(decoded->blocks[0].runs, index.blocks[0].runs);
  EXPECT_EQ(decoded->blocks[0].content, index.blocks[0].content);
}

}  // namespace
}  // namespace stint::image
