#include "image/stream.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "image/fd_records.h"
#include "image/record_kinds.h"

namespace stint::image {
namespace {

Bytes small_stream() {
  StreamEncoder encoder;
  SignalfdRecord signals;
  signals.mask = 5;
  encoder.put({.type = RecordType::kSignalfd, .payload = encode(signals)});
  encoder.put({.type = RecordType::kPipe, .payload = encode(PipeRecord{})});
  encoder.finish();
  return encoder.take();
}

Error refusal(ByteView stream) {
  Result<std::vector<Record>> records = decode_stream(stream);
  EXPECT_FALSE(records.has_value());
  return records.has_value() ? failed("it was accepted") : std::move(records).error();
}

// Changes two bytes of the file header and makes its checksum right again.
Bytes with_header_word(size_t at, uint16_t value) {
  Bytes stream = small_stream();
  std::memcpy(stream.data() + at, &value, sizeof(value));
  uint64_t checksum = hash64(ByteView(stream).first(16));
  std::memcpy(stream.data() + 16, &checksum, sizeof(checksum));
  return stream;
}

TEST(Stream, GivesBackItsRecordsInOrder) {
  Result<std::vector<Record>> records = decode_stream(small_stream());
  ASSERT_TRUE(records.has_value()) << records.error().text();
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ((*records)[0].type, RecordType::kSignalfd);
  EXPECT_TRUE((*records)[0].required);
  EXPECT_EQ((*records)[1].type, RecordType::kPipe);
  Result<SignalfdRecord> signals = decode<SignalfdRecord>((*records)[0].payload);
  ASSERT_TRUE(signals.has_value()) << signals.error().text();
  EXPECT_EQ(signals->mask, 5u);
}

TEST(Stream, MayBeTakenPieceByPiece) {
  StreamEncoder encoder;
  Bytes pieces = encoder.take();
  auto append = [&] {
    Bytes more = encoder.take();
    pieces.insert(pieces.end(), more.begin(), more.end());
  };
  SignalfdRecord signals;
  signals.mask = 5;
  encoder.put({.type = RecordType::kSignalfd, .payload = encode(signals)});
  append();
  encoder.put({.type = RecordType::kPipe, .payload = encode(PipeRecord{})});
  append();
  encoder.finish();
  append();
  EXPECT_EQ(pieces, small_stream());
}

TEST(Stream, RefusesEveryFlippedBit) {
  Bytes stream = small_stream();
  for (size_t bit = 0; bit < stream.size() * 8; ++bit) {
    stream[bit / 8] ^= std::byte(1 << bit % 8);
    EXPECT_EQ(refusal(stream).kind(), ErrorKind::kDamaged) << "bit " << bit;
    stream[bit / 8] ^= std::byte(1 << bit % 8);
  }
}

TEST(Stream, RefusesEveryTruncationAndWhatIsAppended) {
  Bytes stream = small_stream();
  for (size_t size = 0; size < stream.size(); ++size)
    EXPECT_EQ(refusal(ByteView(stream).first(size)).kind(), ErrorKind::kDamaged) << size;
  stream.push_back(std::byte{0});
  EXPECT_EQ(refusal(stream).kind(), ErrorKind::kDamaged);
}

TEST(Stream, SaysThatAForeignFileIsNone) {
  EXPECT_NE(refusal(bytes_of("#!/bin/sh\nexit 0\n")).text().find("no stint checkpoint"), std::string::npos);
}

TEST(Stream, SaysThatItIsOfAnotherArchitecture) {
  Error error = refusal(with_header_word(10, EM_AARCH64));
  EXPECT_EQ(error.kind(), ErrorKind::kUnfit);
  EXPECT_NE(error.text().find("another architecture (ELF machine 183)"), std::string::npos) << error.text();
}

TEST(Stream, SaysThatItIsOfANewerFormat) {
  Error error = refusal(with_header_word(8, kFormatVersion + 1));
  EXPECT_EQ(error.kind(), ErrorKind::kUnfit);
  EXPECT_EQ(error.text(), "written by a newer stint: format 2, this one reads 1");
}

Bytes stream_of(const Record& record) {
  StreamEncoder encoder;
  encoder.put(record);
  encoder.finish();
  return encoder.take();
}

TEST(Stream, RefusesAnUnknownRecordOnlyWhenItIsRequired) {
  Record unknown{.type = static_cast<RecordType>(4711), .payload = Bytes(3)};
  Error error = refusal(stream_of(unknown));
  EXPECT_EQ(error.kind(), ErrorKind::kUnfit);
  EXPECT_NE(error.text().find("record type 4711"), std::string::npos) << error.text();
  unknown.required = false;
  Result<std::vector<Record>> records = decode_stream(stream_of(unknown));
  ASSERT_TRUE(records.has_value()) << records.error().text();
  EXPECT_TRUE(records->empty());
}

TEST(Stream, RefusesANewerVersionOfAKnownRecordByItsName) {
  Error error = refusal(stream_of({.type = RecordType::kPipe, .version = 2, .payload = Bytes(3)}));
  EXPECT_EQ(error.kind(), ErrorKind::kUnfit);
  EXPECT_NE(error.text().find("version 2 of pipe records, this one reads 1"), std::string::npos) << error.text();
}

TEST(Stream, RefusesRecordsThatWereExchanged) {
  Bytes a = stream_of({.type = RecordType::kAgent, .payload = Bytes(1, std::byte{1})});
  Bytes b = stream_of({.type = RecordType::kAgent, .payload = Bytes(1, std::byte{2})});
  ASSERT_EQ(a.size(), b.size());
  std::copy_n(b.begin() + 24, 25, a.begin() + 24);  // The frame of b is sound by itself.
  EXPECT_EQ(refusal(a).kind(), ErrorKind::kDamaged);
}

// The bytes of the block of hexadecimal numbers in doc/image-format.md.
Bytes documented_example() {
  std::ifstream page(STINT_SOURCE_DIR "/doc/image-format.md");
  Bytes bytes;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("```"))
      inside = line == "```hex";
    else if (inside) {
      std::istringstream numbers(line.substr(4));
      for (unsigned byte = 0; numbers >> std::hex >> byte;) bytes.push_back(static_cast<std::byte>(byte));
    }
  }
  return bytes;
}

TEST(Stream, IsWrittenAsTheDocumentShows) {
  EventfdRecord eventfd;
  eventfd.description.id = 7;
  eventfd.description.flags = 2;
  eventfd.count = 3;
  EXPECT_EQ(documented_example(), stream_of({.type = RecordType::kEventfd, .payload = encode(eventfd)}));
}

TEST(RecordKinds, HaveNumbersAndNamesOfTheirOwn) {
  for (const RecordKind& kind : record_kinds()) {
    EXPECT_EQ(find_kind(static_cast<uint32_t>(kind.type)), &kind) << kind.name;
    for (const RecordKind& other : record_kinds())
      EXPECT_TRUE(&kind == &other || std::string(kind.name) != other.name) << kind.name;
  }
}

}  // namespace
}  // namespace stint::image
