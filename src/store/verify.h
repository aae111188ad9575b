// Checks every byte of a checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace stint::store {

struct Verified {
  uint64_t records = 0;
  uint64_t blocks = 0;
  uint64_t bytes = 0;  // of page data, before compression
};

// Reads the checkpoint in `directory` on all processors: each record must be what its kind can be, and each block of
// pages what was written. `progress`, if given, is called with the bytes done and the bytes in all, by one thread at a
// time.
Result<Verified> verify(const std::string& directory, const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace stint::store
