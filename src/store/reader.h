// A checkpoint on disk, for those who restore or look at it: a Source. Nothing in it is believed before it was checked:
// the records when it is opened, a block of pages whenever it is read.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "image/page_index.h"
#include "image/record.h"
#include "sys/fd.h"

namespace stint::store {

class Reader final : public image::Source {
 public:
  // `directory` is a checkpoint's. Fails with kDamaged when it is not one, or not whole.
  static Result<std::unique_ptr<Reader>> open(const std::string& directory);

  const std::vector<image::Record>& records() const override { return records_; }
  const std::vector<Block>& blocks(uint64_t space) const override;
  Result<> read(const Block& block, std::byte* to) const override;
  Result<std::optional<image::RawLocation>> raw_location(const Block& block) const override;

  const std::string& directory() const { return directory_; }
  // The index that all blocks come from: Block::number counts in it.
  const image::PageIndexRecord& index() const { return index_; }
  // For a process whose table is about to be filled: the one descriptor that this holds gets a number of at least `floor`.
  Result<> raise_descriptors(int floor);
  int pages_descriptor() const { return pages_.get(); }
  // Fails unless the bytes of one block of the index are what was written.
  Result<> verify_block(uint64_t number) const;

 private:
  Reader() = default;
  Result<> open_pages();
  Result<> take_index();
  Result<> add_block(uint64_t number);
  Result<> check_overlaps() const;
  // What an error calls a block.
  std::string title(uint64_t number) const;
  Result<> check_raw(uint64_t number) const;

  std::string directory_;
  std::vector<image::Record> records_;
  image::PageIndexRecord index_;
  std::map<uint64_t, std::vector<Block>> spaces_;
  sys::UniqueFd pages_;
  uint64_t pages_size_ = 0;
};

}  // namespace stint::store
