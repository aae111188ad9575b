// What lies in a job's directory of checkpoints and is needed by none of them:
//
//   N.partial     half written by a checkpoint that was killed, or half removed by a forget
//   N.pages       of a forgotten checkpoint, on whose pages nobody leans any more
//   N.pages/...   where somebody does: all beside `pages` and `hashes`, and the blocks of `pages` that nobody has
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace stint::store {

struct Pruned {
  std::vector<std::string> removed;  // names in the directory of checkpoints, or below it; of a block: its file
  uint64_t freed_bytes = 0;          // what it took on the disk
};

// Removes it, or only says what it would remove. `checkpoints`: a job's directory of them; the caller holds the job's
// lock. Nothing is removed when a checkpoint cannot be read, since nobody knows on which it leans. Interrupted at any
// moment it leaves all checkpoints whole, and the next call removes the rest.
Result<Pruned> prune(const std::string& checkpoints, bool dry_run = false);

}  // namespace stint::store
