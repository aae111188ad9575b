// On which NUMA nodes new memory is to lie: set_mempolicy(2) for a thread, mbind(2) for a mapping. The kernel tells
// both only to the process itself (numa_maps would do for mappings, but counts every page of them).
#pragma once

#include <vector>

#include "image/memory_policy.h"
#include "tracee/table.h"

namespace stint::task {

// Of the thread in which the table is run: a call among others, and what it has said.
struct PolicyQuestion {
  size_t call = 0;
  uint64_t mode = 0, nodes = 0;  // where the answer lies
};
PolicyQuestion ask_for_thread_policy(tracee::Table& table);
image::MemoryPolicy policy_in(const tracee::Table& table, const PolicyQuestion& question);

// Of the mappings that begin at these addresses, in their order.
Result<std::vector<image::MemoryPolicy>> mapping_policies(tracee::StoppedProcess& process, tracee::Hands& hands,
                                                          const std::vector<uint64_t>& addresses);

// Adds the call that sets it, if it is not the default. It fails where the nodes are not there.
void set_thread_policy(tracee::Table& table, const image::MemoryPolicy& policy);
void set_mapping_policy(tracee::Table& table, uint64_t start, uint64_t size, const image::MemoryPolicy& policy);

}  // namespace stint::task
