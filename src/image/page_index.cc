#include "image/page_index.h"

namespace stint::image {
namespace {

void put_number(Bytes& bytes, uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<std::byte>(value | 0x80));
  bytes.push_back(static_cast<std::byte>(value));
}

Result<uint64_t> take_number(ByteView& bytes) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    uint64_t byte = static_cast<uint64_t>(bytes.front());
    bytes = bytes.subspan(1);
    uint64_t part = byte & 0x7f;
    if (part << shift >> shift != part) return damaged("runs: a number beyond 64 bits");
    value |= part << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return damaged("runs are cut short");
}

}  // namespace

uint64_t StoredBlock::live() const {
  uint64_t bytes = 0;
  for (const StoredRun& run : runs) bytes += run.size;
  return bytes;
}

Bytes pack_runs(std::span<const StoredRun> runs) {
  Bytes packed;
  StoredRun last;
  for (const StoredRun& run : runs) {
    put_number(packed, run.offset - last.end());
    put_number(packed, run.size);
    put_number(packed, run.at - (last.at + last.size));
    last = run;
  }
  return packed;
}

Result<std::vector<StoredRun>> unpack_runs(ByteView packed) {
  std::vector<StoredRun> runs;
  StoredRun last;
  while (!packed.empty()) {
    uint64_t gap = TRY(take_number(packed));
    uint64_t size = TRY(take_number(packed));
    uint64_t skipped = TRY(take_number(packed));
    last = {last.end() + gap, size, last.at + last.size + skipped};
    runs.push_back(last);
  }
  return runs;
}

Bytes encode_index(const PageIndex& index) {
  PageIndexRecord record{index.pages_size, index.leans_on, {}};
  for (const StoredBlock& block : index.blocks)
    record.blocks.push_back({block.space, pack_runs(block.runs), block.storage, block.checkpoint, block.stored_at,
                             block.stored_size, block.size, block.hashes_at, block.content});
  return encode(record);
}

Result<PageIndex> decode_index(ByteView payload) {
  PageIndexRecord record = TRY(decode<PageIndexRecord>(payload));
  PageIndex index{record.pages_size, std::move(record.leans_on), {}};
  for (const StoredBlockRecord& block : record.blocks)
    index.blocks.push_back({block.space, TRY(unpack_runs(block.runs).in(PageIndexRecord::kName)), block.storage,
                            block.checkpoint, block.stored_at, block.stored_size, block.size, block.hashes_at,
                            block.content});
  return index;
}

std::vector<Hash128> page_hashes(ByteView block) {
  std::vector<Hash128> hashes;
  for (size_t at = 0; at < block.size(); at += kPageSize)
    hashes.push_back(hash128(block.subspan(at, std::min<size_t>(kPageSize, block.size() - at))));
  return hashes;
}

// Field by field a hash has no padding.
static_assert(sizeof(Hash128) == 16);
Hash128 content_of(std::span<const Hash128> hashes) { return hash128(std::as_bytes(hashes)); }

}  // namespace stint::image
