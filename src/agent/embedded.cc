#include "agent/embedded.h"

#include "base/hash.h"

extern "C" {
extern const std::byte stint_preload_start[], stint_preload_end[];
extern const std::byte stint_audit_start[], stint_audit_end[];
extern const std::byte stint_foreign_start[], stint_foreign_end[];
}

namespace stint::agent {
namespace {

EmbeddedAgent find_embedded() {
  EmbeddedAgent agent{.preload = {stint_preload_start, stint_preload_end},
                      .audit = {stint_audit_start, stint_audit_end},
                      .foreign = {stint_foreign_start, stint_foreign_end},
                      .hash = {}};
  Hasher hasher;
  for (ByteView bytes : {agent.preload, agent.audit, agent.foreign}) hasher.update(bytes);
  agent.hash = hasher.digest().hex();
  return agent;
}

}  // namespace

const EmbeddedAgent& embedded_agent() {
  static const EmbeddedAgent agent = find_embedded();
  return agent;
}

}  // namespace stint::agent
