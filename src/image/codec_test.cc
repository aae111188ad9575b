#include "image/codec.h"

#include <gtest/gtest.h>

#include "image/fd_records.h"
#include "image/file_records.h"
#include "image/json.h"
#include "image/memory_records.h"
#include "image/record.h"
#include "image/task_records.h"

namespace stint::image {
namespace {

PipeRecord a_pipe() {
  PipeRecord pipe;
  pipe.description = {.id = 7, .flags = 1, .owner = 0, .owner_type = 0, .signal = 0};
  pipe.pipe = 99;
  pipe.capacity = 65536;
  pipe.queued = Bytes(5, std::byte{'x'});
  pipe.packets = {2, 3};
  pipe.carries_content = true;
  return pipe;
}

TEST(Codec, GivesBackWhatItWasGiven) {
  Result<PipeRecord> back = decode<PipeRecord>(encode(a_pipe()));
  ASSERT_TRUE(back.has_value()) << back.error().text();
  EXPECT_EQ(to_json(*back), to_json(a_pipe()));
  EXPECT_EQ(back->queued, a_pipe().queued);
}

TEST(Codec, RefusesEveryPrefixOfARecord) {
  Bytes whole = encode(a_pipe());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(decode<PipeRecord>(ByteView(whole).first(size)).has_value()) << size;
}

TEST(Codec, RefusesACountThatCannotBeThere) {
  Bytes whole = encode(SignalfdRecord{});
  FileStateRecord file;
  Bytes bytes = encode(file);
  for (size_t i = 8; i < 16; ++i) bytes[i] = std::byte{0xff};  // the length of the path
  EXPECT_FALSE(decode<FileStateRecord>(bytes).has_value());
}

TEST(Codec, RefusesBytesLeftOver) {
  Bytes bytes = encode(a_pipe());
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode<PipeRecord>(bytes).has_value());
}

TEST(Codec, KeepsProcessAndThreadRecords) {
  ProcessRecord process;
  process.pid = 3;
  process.actions.resize(64);
  process.actions[9].handler = 0x1234;
  process.bounding_set = 5;
  Result<ProcessRecord> back = decode<ProcessRecord>(encode(process));
  ASSERT_TRUE(back.has_value()) << back.error().text();
  EXPECT_EQ(to_json(*back), to_json(process));
}

}  // namespace
}  // namespace stint::image
