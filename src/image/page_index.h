// Where the blocks of page data lie in the file `pages`, and what their bytes must be. The index is the last record
// before the end, since only then every block has its place.
#pragma once

#include "image/codec.h"

namespace stint::image {

enum class Storage : uint8_t {
  kZero = 0,  // nothing but zeros: holds no bytes
  kRaw = 1,   // as it is, at a multiple of the page size, so that the kernel can move it (preadv, O_DIRECT)
  kLz4 = 2,   // one LZ4 block
  kZstd = 3,  // one Zstandard frame
};

// A run of bytes within the space of its block.
struct StoredRun {
  uint64_t offset = 0, size = 0;
  template <class A>
  void fields(A& a) {
    a("offset", offset), a("size", size);
  }
};

struct StoredBlock {
  uint64_t space = 0;
  std::vector<StoredRun> runs;  // ascending; their bytes follow one another in the block
  Storage storage = Storage::kZero;
  uint64_t stored_at = 0, stored_size = 0;  // in `pages`
  Hash128 content;                          // of the bytes before compression; zero for kZero
  template <class A>
  void fields(A& a) {
    a("space", space), a("runs", runs), a("storage", storage), a("stored_at", stored_at);
    a("stored_size", stored_size), a("content", content);
  }
};

struct PageIndexRecord {
  static constexpr const char* kName = "page index record";
  uint64_t pages_size = 0;  // of the file `pages`
  std::vector<StoredBlock> blocks;
  template <class A>
  void fields(A& a) {
    a("pages_size", pages_size), a("blocks", blocks);
  }
};

}  // namespace stint::image
