// A record stream that lives in memory: what a Sink is given, a Source gives back. For tests of whatever writes records
// or reads them, without a store behind it.
#pragma once

#include <map>

#include "image/record.h"

namespace stint::image {

class MemoryStream final : public Sink, public Source {
 public:
  Result<> put(Record record) override;
  Result<std::unique_ptr<PageBuffer>> page_buffer() override;
  Result<> put_pages(std::vector<PageRun> runs, std::unique_ptr<PageBuffer> buffer) override;
  Result<> settle(uint64_t space, std::vector<Range> pages, std::vector<Range> unchanged) override;
  Result<> commit() override;

  const std::vector<Record>& records() const override { return records_; }
  const std::vector<Block>& blocks(uint64_t space) const override;
  Result<> read(const Block& block, std::byte* to) const override;
  Result<std::optional<RawLocation>> raw_location(const Block& block) const override;

  // What settle() was told of the space.
  const std::vector<Range>& settled(uint64_t space) { return settled_[space]; }
  bool committed() const { return committed_; }

 private:
  std::vector<Record> records_;
  std::map<uint64_t, std::vector<Block>> blocks_;  // by space; each vector by offset
  std::vector<Bytes> bytes_;                       // by block number
  std::map<uint64_t, std::vector<Range>> settled_;
  bool committed_ = false;
};

}  // namespace stint::image
