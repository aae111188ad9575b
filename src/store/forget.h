// Forgetting checkpoints: which ones are to be kept, and what of the others may go. Pages of a forgotten one that a
// kept one leans on stay, in a directory N.pages, until nobody does any more.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/catalog.h"

namespace stint::store {

// How many are kept: the newest ones; the newest of each of that many hours, days, weeks, months, years in which there
// is one (of local time, weeks begin on Monday).
struct KeepPolicy {
  uint32_t last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
  bool empty() const { return last + hourly + daily + weekly + monthly + yearly == 0; }
};

// The numbers that it keeps of these. One whose manifest is lost is kept: nobody knows when it was taken.
std::set<uint64_t> kept_by(const KeepPolicy& policy, const std::vector<CheckpointEntry>& entries);

struct Forgotten {
  std::vector<uint64_t> numbers;
  uint64_t freed_bytes = 0;  // what their files, and pages that nobody leans on any more, took
};

// Forgets all but these numbers. `checkpoints`: a job's directory of them; the caller holds the job's lock. Nothing is
// removed when a kept one cannot be read, since nobody knows on which it leans. Interrupted at any moment it leaves all
// kept ones whole, and the next call removes the rest.
Result<Forgotten> forget(const std::string& checkpoints, const std::vector<CheckpointEntry>& entries,
                         const std::set<uint64_t>& kept);

}  // namespace stint::store
