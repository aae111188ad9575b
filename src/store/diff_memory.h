// The memory of two checkpoints, held against each other: see store/diff.h.
#pragma once

#include "store/diff.h"
#include "store/page_hashes.h"

namespace stint::store {

// Appends to `mappings`, and adds to `pages`.
Result<> diff_memory(const Reader& was, const SavedPages& pages_were, const Reader& now, const SavedPages& pages_are,
                     Diff& diff);

}  // namespace stint::store
