// XXH3, 128 bits: finds accidents, not attackers (doc/threat-model.md).
#pragma once

#include <array>
#include <string>

#include "base/bytes.h"

namespace stint {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const Hash128&) const = default;
  std::string hex() const;
};

Hash128 hash128(ByteView bytes);
uint64_t hash64(ByteView bytes);

// The hash of a stream that arrives in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(ByteView bytes);
  Hash128 digest() const;

 private:
  void* state_;
};

}  // namespace stint
