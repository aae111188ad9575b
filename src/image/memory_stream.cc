#include "image/memory_stream.h"

#include <algorithm>

namespace stint::image {
namespace {

class HeapBuffer final : public PageBuffer {
 public:
  std::byte* data() override { return bytes_.data(); }
  size_t size() const override { return bytes_.size(); }

 private:
  Bytes bytes_ = Bytes(kPageBufferSize);
};

}  // namespace

Result<> MemoryStream::put(Record record) {
  records_.push_back(std::move(record));
  return {};
}

Result<std::unique_ptr<PageBuffer>> MemoryStream::page_buffer() { return std::make_unique<HeapBuffer>(); }

Result<> MemoryStream::put_pages(std::vector<PageRun> runs, std::unique_ptr<PageBuffer> buffer) {
  CHECK(!runs.empty());
  uint64_t size = 0;
  for (const PageRun& run : runs) size += run.size;
  CHECK(size <= buffer->size());
  Bytes bytes(buffer->data(), buffer->data() + size);
  bool all_zero = std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
  std::vector<Block>& blocks = blocks_[runs[0].space];
  std::vector<Block>::iterator place = std::ranges::upper_bound(
      blocks, runs[0].offset, std::less<>(), [](const Block& block) { return block.runs[0].offset; });
  blocks.insert(place, {.number = bytes_.size(), .runs = std::move(runs), .all_zero = all_zero});
  bytes_.push_back(std::move(bytes));
  return {};
}

Result<> MemoryStream::settle(uint64_t space, std::vector<Range> pages, std::vector<Range> unchanged) {
  CHECK(unchanged.empty());
  settled_[space] = std::move(pages);
  return {};
}

Result<> MemoryStream::commit() {
  committed_ = true;
  return {};
}

const std::vector<Source::Block>& MemoryStream::blocks(uint64_t space) const {
  static const std::vector<Block> kNone;
  std::map<uint64_t, std::vector<Block>>::const_iterator found = blocks_.find(space);
  return found == blocks_.end() ? kNone : found->second;
}

Result<> MemoryStream::read(const Block& block, std::byte* to) const {
  CHECK(block.number < bytes_.size());
  std::ranges::copy(bytes_[block.number], to);
  return {};
}

Result<std::optional<RawLocation>> MemoryStream::raw_location(const Block&) const {
  return std::optional<RawLocation>();
}

}  // namespace stint::image
