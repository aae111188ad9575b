// On which NUMA nodes memory is to lie: of a thread, or of a mapping.
#pragma once

#include "image/codec.h"

namespace stint::image {

struct MemoryPolicy {
  int32_t mode = 0;  // MPOL_*, with its flags; 0: MPOL_DEFAULT
  Bytes nodes;       // a bit for each node, as get_mempolicy(2) gives them; empty for MPOL_DEFAULT
  bool operator==(const MemoryPolicy&) const = default;
  template <class A>
  void fields(A& a) {
    a("mode", mode), a("nodes", nodes);
  }
};

}  // namespace stint::image
