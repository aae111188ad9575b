// The one table of the kinds of record that this stint can read: number, name, newest version, and how one is printed.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "image/json.h"
#include "image/record.h"

namespace stint::image {

struct RecordKind {
  RecordType type;
  const char* name;  // in the JSON of `stint show`, and in errors
  uint16_t version;  // the newest that is read, and the one that is written
  Result<nlohmann::ordered_json> (*print)(ByteView payload, BytesAs bytes);
  Result<nlohmann::ordered_json> to_json(ByteView payload) const { return print(payload, BytesAs::kSize); }
};

std::span<const RecordKind> record_kinds();

// nullptr for a number that this stint does not know.
const RecordKind* find_kind(uint32_t number);

}  // namespace stint::image
