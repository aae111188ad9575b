// A checkpoint on disk, for those who restore or look at it: a Source. Where it leans on others, their `pages` beside
// it are read, too. Nothing in it is believed before it was checked: the records when it is opened, a block of pages
// whenever it is read.
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

  // Where the pages of the checkpoint lie, also when what it leans on is not there any more.
  static Result<image::PageIndex> index_of(const std::string& directory);

  const std::vector<image::Record>& records() const override { return records_; }
  const std::vector<Block>& blocks(uint64_t space) const override;
  Result<> read(const Block& block, std::byte* to) const override;
  Result<std::optional<image::RawLocation>> raw_location(const Block& block) const override;

  const std::string& directory() const { return directory_; }
  // The index that all blocks come from: Block::number counts in it.
  const image::PageIndex& index() const { return index_; }
  // Bytes of one block as they are stored, from `at` on; not checked.
  Result<> read_stored(uint64_t number, uint64_t at, std::span<std::byte> to) const;
  // Fails unless the bytes of one block of the index are what was written.
  Result<> verify_block(uint64_t number) const;

 private:
  Reader() = default;
  struct PagesFile {
    std::string path;
    sys::UniqueFd fd;
    uint64_t size = 0;
  };
  Result<> open_pages();
  Result<> open_pages_of(uint64_t checkpoint, const std::string& directory, uint64_t size);
  const PagesFile& file_of(const image::StoredBlock& block) const { return files_.at(block.checkpoint); }
  Result<> read_records(const std::string& path);
  Result<> take_index();
  Result<> add_block(uint64_t number);
  Result<> check_overlaps() const;
  // What an error calls a block.
  std::string title(uint64_t number) const;
  // All of the block's bytes, verified.
  Result<> read_whole(uint64_t number, std::span<std::byte> to) const;
  Result<> check_raw(uint64_t number) const;

  std::string directory_;
  std::vector<image::Record> records_;
  image::PageIndex index_;
  std::map<uint64_t, std::vector<Block>> spaces_;
  std::map<uint64_t, PagesFile> files_;  // by the number of the checkpoint; this one's is 0
};

}  // namespace stint::store
