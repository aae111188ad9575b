// Which bytes of which blocks a checkpoint consists of, when the same page was put several times: copied while the
// program ran, again because it wrote to it, and there since an earlier checkpoint. The last one counts.
#pragma once

#include <map>
#include <vector>

#include "base/bytes.h"
#include "image/page_index.h"

namespace stint::store {

// A block that was put; of two that have the same bytes, the one with the higher order counts.
struct PutBlock {
  image::StoredBlock block;
  uint64_t order = 0;
};

// What is to be kept of a space; by address, without overlaps. All of it must have been put.
using Settled = std::map<uint64_t, std::vector<Range>>;

// The blocks of which something is still wanted, by space and first byte, each once; their runs do not overlap. What
// is put once, not settled, and not superseded stays as it was. Fails when a page that is to be kept was never put.
Result<std::vector<image::StoredBlock>> latest(std::vector<PutBlock> blocks, const Settled& settled);

// The runs of a block that lie in these ranges; both by address.
std::vector<image::StoredRun> cut_runs(std::span<const image::StoredRun> runs, std::span<const Range> to);

}  // namespace stint::store
