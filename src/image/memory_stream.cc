#include "image/memory_stream.h"

#include <algorithm>
#include <cstring>

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

Result<> MemoryStream::put_pages(PageRun run, std::unique_ptr<PageBuffer> buffer) {
  CHECK(run.size <= buffer->size());
  Bytes bytes(buffer->data(), buffer->data() + run.size);
  bool all_zero = std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
  std::vector<StoredRun>& runs = runs_[run.space];
  std::vector<StoredRun>::iterator place = std::ranges::upper_bound(
      runs, run.offset, std::less<>(), [](const StoredRun& stored) { return stored.run.offset; });
  runs.insert(place, {.run = run, .all_zero = all_zero, .block = blocks_.size()});
  blocks_.push_back(std::move(bytes));
  return {};
}

Result<> MemoryStream::commit() {
  committed_ = true;
  return {};
}

const std::vector<Source::StoredRun>& MemoryStream::runs(uint64_t space) const {
  static const std::vector<StoredRun> kNone;
  std::map<uint64_t, std::vector<StoredRun>>::const_iterator found = runs_.find(space);
  return found == runs_.end() ? kNone : found->second;
}

Result<> MemoryStream::read(const StoredRun& run, std::byte* to) const {
  CHECK(run.block < blocks_.size() && blocks_[run.block].size() == run.run.size);
  std::memcpy(to, blocks_[run.block].data(), run.run.size);
  return {};
}

Result<std::optional<RawLocation>> MemoryStream::raw_location(const StoredRun&) const {
  return std::optional<RawLocation>();
}

}  // namespace stint::image
