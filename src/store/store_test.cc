// The writer and the reader together: what was put comes back, and whatever is wrong is refused.
#include <gtest/gtest.h>

#include <random>

#include "store/checkpoint_dir.h"
#include "store/reader.h"
#include "store/store_testing.h"
#include "store/verify.h"
#include "store/writer.h"
#include "sys/file.h"

namespace stint::store {
namespace {

using image::PageRun;
using image::Source;

TEST(Store, GivesBackRecordsAndPages) {
  TemporaryDirectory home;
  Content content = mixed_content();
  std::string path = write_checkpoint(home.path(), content, {});
  Result<std::unique_ptr<Reader>> reader = Reader::open(path);
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  ASSERT_EQ((*reader)->records().size(), 1u);
  EXPECT_EQ((*reader)->records()[0].type, image::RecordType::kSignalfd);
  EXPECT_EQ(read_space(**reader, 7), content.bytes);
  EXPECT_TRUE((*reader)->blocks(8).empty());
}

class EveryCompression : public testing::TestWithParam<const char*> {};

TEST_P(EveryCompression, KeepsEveryByte) {
  TemporaryDirectory home;
  Content content = mixed_content();
  WriteOptions options{.compression = *parse_compression(GetParam())};
  Result<std::unique_ptr<Reader>> reader = Reader::open(write_checkpoint(home.path(), content, options));
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  EXPECT_EQ(read_space(**reader, 7), content.bytes);
  Result<Verified> verified = verify((*reader)->directory(), {});
  ASSERT_TRUE(verified.has_value()) << verified.error().text();
}

INSTANTIATE_TEST_SUITE_P(Store, EveryCompression, testing::Values("none", "lz4", "zstd", "zstd:3", "zstd:19"));

TEST(Store, StoresNoBytesForZeroPages) {
  TemporaryDirectory home;
  Content content{.start = 0x10000, .bytes = Bytes(3 << 20)};
  Result<std::unique_ptr<Reader>> reader = Reader::open(write_checkpoint(home.path(), content, {}));
  ASSERT_TRUE(reader.has_value()) << reader.error().text();
  EXPECT_EQ((*reader)->index().pages_size, 0u);
  for (const Source::Block& block : (*reader)->blocks(7)) EXPECT_TRUE(block.all_zero);
  EXPECT_EQ(read_space(**reader, 7), content.bytes);
}

}  // namespace
}  // namespace stint::store
