// What the store's tests, fuzzers and benchmarks share: content to keep, and the way there and back.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <random>
#include <string>

#include "image/fd_records.h"
#include "store/reader.h"
#include "store/writer.h"
#include "sys/file.h"

namespace stint::store {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    const char* base = getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/stint-store-XXXXXX";
    CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  ~TemporaryDirectory() { EXPECT_TRUE(sys::remove_tree(path_).has_value()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline Bytes random_bytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (size_t at = 0; at + 8 <= size; at += 8) {
    uint64_t value = random();
    std::memcpy(bytes.data() + at, &value, 8);
  }
  return bytes;
}

// Memory of one space.
struct Content {
  uint64_t start = 0;
  Bytes bytes;
};

// Random, zero and repetitive pages in stretches, more than two blocks of it, and a tail that is no whole page.
inline Content mixed_content() {
  Content content{.start = 0x7f0000000000, .bytes = random_bytes((2 << 20) + 5 * kPageSize + 100, 1)};
  for (size_t page = 0; page * kPageSize < content.bytes.size(); ++page) {
    size_t from = page * kPageSize, size = std::min<size_t>(kPageSize, content.bytes.size() - from);
    std::byte* start = content.bytes.data() + from;
    if (page % 7 < 2) std::fill_n(start, size, std::byte{0});
    if (page > 300) std::fill_n(start, size, static_cast<std::byte>(page));
  }
  return content;
}

inline Result<> put_content(image::Sink& sink, const Content& content) {
  for (size_t at = 0; at < content.bytes.size(); at += image::kPageBufferSize) {
    std::unique_ptr<image::PageBuffer> buffer = TRY(sink.page_buffer());
    size_t size = std::min(image::kPageBufferSize, content.bytes.size() - at);
    std::memcpy(buffer->data(), content.bytes.data() + at, size);
    TRY(sink.put_pages({{7, content.start + at, size}}, std::move(buffer)));
  }
  return {};
}

inline Result<std::string> try_write_checkpoint(const std::string& checkpoints, const Content& content,
                                                const WriteOptions& options) {
  std::unique_ptr<Writer> writer = TRY(Writer::create(checkpoints, options));
  image::SignalfdRecord signals;
  signals.mask = 5;
  TRY(writer->put({.type = image::RecordType::kSignalfd, .payload = image::encode(signals)}));
  TRY(put_content(*writer, content));
  TRY(writer->commit());
  return writer->path();
}

inline std::string write_checkpoint(const std::string& checkpoints, const Content& content,
                                    const WriteOptions& options) {
  Result<std::string> path = try_write_checkpoint(checkpoints, content, options);
  EXPECT_TRUE(path.has_value()) << path.error().text();
  return path.value_or("");
}

// All that the reader has of a space, at its place; fails the test where a block cannot be read.
inline Bytes read_space(const Reader& reader, uint64_t space) {
  uint64_t start = ~uint64_t{0}, end = 0;
  for (const image::Source::Block& block : reader.blocks(space))
    for (const image::PageRun& run : block.runs) {
      start = std::min(start, run.offset);
      end = std::max(end, run.offset + run.size);
    }
  Bytes bytes(end - start, std::byte{0xee});
  Bytes block_bytes(image::kPageBufferSize);
  for (const image::Source::Block& block : reader.blocks(space)) {
    Result<> read = reader.read(block, block_bytes.data());
    EXPECT_TRUE(read.has_value()) << read.error().text();
    const std::byte* from = block_bytes.data();
    for (const image::PageRun& run : block.runs) {
      std::memcpy(bytes.data() + (run.offset - start), from, run.size);
      from += run.size;
    }
  }
  return bytes;
}

}  // namespace stint::store
