// Where the blocks of page data lie, and what their bytes must be. The index is the last record before the end, since
// only then every block has its place.
//
// A block keeps the bytes that were put at one time. What was put again later, or is not there any more, has no run in
// the index, though its bytes still lie in the block. A block may lie in the `pages` of an earlier checkpoint of the
// same job: the index names every block that is needed, so that nobody has to walk along a chain.
#pragma once

#include <span>

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
  uint64_t at = 0;  // where it begins in the block's bytes
  uint64_t end() const { return offset + size; }
  bool operator==(const StoredRun&) const = default;
};

struct StoredBlock {
  uint64_t space = 0;
  std::vector<StoredRun> runs;  // ascending, in the space and in the block
  Storage storage = Storage::kZero;
  uint64_t checkpoint = 0;                  // in whose `pages` it lies; 0: in this one's
  uint64_t stored_at = 0, stored_size = 0;  // there
  uint64_t size = 0;                        // before compression; 0 for kZero
  uint64_t hashes_at = 0;                   // of its pages, in the `hashes` beside those `pages`
  Hash128 content;                          // of the hashes of its pages; zero for kZero
  // Of the bytes that are still wanted.
  uint64_t live() const;
};

// Another checkpoint, in whose `pages` there are blocks of this one.
struct LeansOn {
  uint64_t checkpoint = 0;
  uint64_t pages_size = 0;
  template <class A>
  void fields(A& a) {
    a("checkpoint", checkpoint), a("pages_size", pages_size);
  }
};

struct PageIndex {
  uint64_t pages_size = 0;  // of the file `pages`
  std::vector<LeansOn> leans_on;
  std::vector<StoredBlock> blocks;
};

// The same in bytes: there may be as many runs as there are pages, so they are packed.
struct StoredBlockRecord {
  uint64_t space = 0;
  Bytes runs;
  Storage storage = Storage::kZero;
  uint64_t checkpoint = 0, stored_at = 0, stored_size = 0, size = 0, hashes_at = 0;
  Hash128 content;
  template <class A>
  void fields(A& a) {
    a("space", space), a("runs", runs), a("storage", storage), a("checkpoint", checkpoint), a("stored_at", stored_at);
    a("stored_size", stored_size), a("size", size), a("hashes_at", hashes_at), a("content", content);
  }
};

struct PageIndexRecord {
  static constexpr const char* kName = "page index record";
  uint64_t pages_size = 0;
  std::vector<LeansOn> leans_on;
  std::vector<StoredBlockRecord> blocks;
  template <class A>
  void fields(A& a) {
    a("pages_size", pages_size), a("leans_on", leans_on), a("blocks", blocks);
  }
};

// A run is three numbers in LEB128: what lies between the last one's end and its offset, its size, and what of the
// block lies between the last one's end and it.
Bytes pack_runs(std::span<const StoredRun> runs);
Result<std::vector<StoredRun>> unpack_runs(ByteView packed);

Bytes encode_index(const PageIndex& index);
Result<PageIndex> decode_index(ByteView payload);

// The hash of each page of a block's bytes; the last one may be shorter. And the hash of these.
std::vector<Hash128> page_hashes(ByteView block);
Hash128 content_of(std::span<const Hash128> hashes);

}  // namespace stint::image
