#include "image/memory_stream.h"

#include <gtest/gtest.h>

namespace stint::image {
namespace {

TEST(MemoryStream, GivesBackRecordsInOrderAndBlocksByOffset) {
  MemoryStream stream;
  ASSERT_TRUE(stream.put({.type = RecordType::kVma, .payload = Bytes(3)}).has_value());
  ASSERT_TRUE(stream.put({.type = RecordType::kJob, .payload = Bytes()}).has_value());
  for (uint64_t offset : {kPageSize, uint64_t{0}}) {
    std::unique_ptr<PageBuffer> buffer = std::move(*stream.page_buffer());
    ASSERT_EQ(buffer->size(), kPageBufferSize);
    buffer->data()[0] = std::byte(offset == 0 ? 0 : 7);
    ASSERT_TRUE(stream.put_pages({{.space = 5, .offset = offset, .size = kPageSize}}, std::move(buffer)).has_value());
  }
  ASSERT_EQ(stream.records().size(), 2u);
  EXPECT_EQ(stream.records()[0].type, RecordType::kVma);
  EXPECT_TRUE(stream.blocks(6).empty());
  ASSERT_EQ(stream.blocks(5).size(), 2u);
  EXPECT_EQ(stream.blocks(5)[0].runs[0].offset, 0u);
  EXPECT_TRUE(stream.blocks(5)[0].all_zero);
  EXPECT_FALSE(stream.blocks(5)[1].all_zero);
  Bytes back(kPageSize);
  ASSERT_TRUE(stream.read(stream.blocks(5)[1], back.data()).has_value());
  EXPECT_EQ(back[0], std::byte{7});
  EXPECT_FALSE(stream.committed());
  ASSERT_TRUE(stream.commit().has_value());
  EXPECT_TRUE(stream.committed());
}

}  // namespace
}  // namespace stint::image
