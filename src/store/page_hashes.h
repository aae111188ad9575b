// The hashes of a checkpoint's pages, from the `hashes` that lie beside the `pages`. Nothing is restored from them, and
// they are believed only where the hash over the hashes of a block is what the index says.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "image/page_index.h"
#include "store/reader.h"

namespace stint::store {

// One list for each block of the index, of the hashes of its pages in their order; empty for a block of zeroes, and
// where they are not known. `directory`: of the checkpoint.
std::vector<std::vector<Hash128>> stored_hashes(const std::string& directory, const image::PageIndex& index);

// A saved page; of the end of a file's content, what there is of it.
struct SavedPage {
  uint64_t offset = 0;  // in its space
  uint64_t size = 0;
  Hash128 hash;
  bool operator==(const SavedPage&) const = default;
};
// Pages by offset, of each space.
using SavedPages = std::map<uint64_t, std::vector<SavedPage>>;

// All pages of a checkpoint. Only blocks whose hashes are not known are read.
Result<SavedPages> saved_pages(const Reader& reader);

}  // namespace stint::store
