// What `stint ls` shows of a checkpoint without reading it: manifest.json beside it. It only informs. Nothing is
// restored from it, and a checkpoint whose manifest is lost or wrong is as good as before.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace stint::store {

struct Manifest {
  std::string name;  // of the job
  uint64_t number = 0;
  int64_t created_ns = 0;  // CLOCK_REALTIME
  std::string host;
  std::string command;             // the program and its arguments, for people
  uint64_t memory_bytes = 0;       // of page data handed in, zero pages included
  uint64_t zero_bytes = 0;         // of it, pages of zeros
  uint64_t stored_bytes = 0;       // on disk: records and pages
  std::vector<uint64_t> leans_on;  // checkpoints of the job in which pages of this one lie
  uint64_t records = 0;
  int64_t pause_ns = 0;  // how long the program stood still
  int64_t total_ns = 0;  // from the start of the checkpoint to its end, as far as known when this was written
};

nlohmann::ordered_json to_json(const Manifest& manifest);
Result<Manifest> parse_manifest(std::string_view text);

}  // namespace stint::store
