// What this kernel lets this user do. Nothing is concluded from version numbers or settings: each question is put by
// trying, in a child that ends at once.
#pragma once

#include <span>
#include <string>

#include "base/result.h"

namespace stint::sys {

struct Probe {
  const char* name;
  const char* purpose;  // what we need it for
  const char* without;  // what happens where it is missing
  Result<> (*attempt)();
};

std::span<const Probe> probes();

// Runs the attempt in a child of its own, which may enter namespaces or break. The caller must be single-threaded.
Result<> try_in_child(Result<> (*attempt)());

}  // namespace stint::sys
