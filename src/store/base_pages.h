// The checkpoint that the next one may lean on: which pages it has, where they lie, and their hashes. A page that is
// the same again is not stored again.
// A block whose hashes are not known (store/page_hashes.h) is one whose pages are stored anew.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "image/page_index.h"

namespace stint::store {

class BasePages {
 public:
  // `directory`: of the checkpoint. It must be whole, with all that it leans on.
  static Result<std::shared_ptr<const BasePages>> open(const std::string& directory);

  uint64_t number() const { return number_; }
  // Its blocks, each with the number of the checkpoint in which it lies.
  const std::vector<image::StoredBlock>& blocks() const { return blocks_; }
  // What lies in the `pages` of each checkpoint that is needed, itself among them.
  const std::vector<image::LeansOn>& files() const { return files_; }
  // Whether a next one should lean on it: not when the files that it needs are too many, or so large for what is still
  // wanted of them that a full checkpoint is worth its bytes.
  bool worth_leaning_on() const;

  struct Place {
    size_t block = 0;  // index into blocks()
    uint64_t at = 0;   // in the block
  };
  // Where this page of the space lies, if its bytes have this hash.
  std::optional<Place> find(uint64_t space, uint64_t offset, const Hash128& hash) const;

 private:
  BasePages() = default;

  struct Page {  // a run of pages
    uint64_t offset = 0, end = 0;
    size_t block = 0;
    uint64_t at = 0;
  };
  uint64_t number_ = 0;
  std::vector<image::StoredBlock> blocks_;
  std::vector<image::LeansOn> files_;
  std::vector<std::vector<Hash128>> hashes_;  // one list for each block; empty where they are not known
  std::map<uint64_t, std::vector<Page>> spaces_;
};

}  // namespace stint::store
