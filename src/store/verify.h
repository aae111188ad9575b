// Checks every byte of a checkpoint, or some of them.
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

struct VerifyOptions {
  double sample = 1;  // the part of the blocks of pages that is read, chosen at random: from 0 to 1
  // Called with the bytes done and the bytes in all, by one thread at a time; may be unset.
  std::function<void(uint64_t, uint64_t)> progress;
};

// Reads the checkpoint in `directory` on all processors: each record must be what its kind can be, and each block of
// pages what was written.
Result<Verified> verify(const std::string& directory, const VerifyOptions& options = {});

}  // namespace stint::store
