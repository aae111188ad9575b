// The agent's libraries as they lie inside this binary. Ordinary code of ours; runs outside the job.
#pragma once

#include <string>

#include "base/bytes.h"

namespace stint::agent {

struct EmbeddedAgent {
  ByteView preload;  // libstint-preload.so
  ByteView audit;    // libstint-audit.so
  ByteView foreign;  // what a 32-bit linker finds in the place of either
  std::string hash;  // of all three: the name under which they are laid out
};

const EmbeddedAgent& embedded_agent();

}  // namespace stint::agent
