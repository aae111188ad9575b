// Looking for records in a checkpoint.
#pragma once

#include <vector>

#include "image/codec.h"
#include "image/record.h"

namespace stint::store {

// All records of one type, in their order.
template <class R>
Result<std::vector<R>> all_of(const image::Source& source, image::RecordType type) {
  std::vector<R> found;
  for (const image::Record& record : source.records())
    if (record.type == type) found.push_back(TRY(image::decode<R>(record.payload)));
  return found;
}

// Records of open file descriptions: one type for each kind (fd/kinds.cc).
inline bool is_description(image::RecordType type) { return static_cast<uint32_t>(type) >= 32; }

}  // namespace stint::store
