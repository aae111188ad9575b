#include "task/memory_policy.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>

#include <algorithm>

namespace stint::task {
namespace {

constexpr uint64_t kMostNodes = 1024;  // CONFIG_NODES_SHIFT is 10 at most
using Nodes = std::array<std::byte, kMostNodes / 8>;

PolicyQuestion ask(tracee::Table& table, uint64_t address, uint64_t flags) {
  PolicyQuestion question{.call = 0, .mode = table.out<int>(), .nodes = table.out<Nodes>()};
  question.call = table.ask(SYS_get_mempolicy, {question.mode, question.nodes, kMostNodes, address, flags, 0});
  return question;
}

// MPOL_LOCAL names no nodes, and takes none.
std::pair<uint64_t, uint64_t> nodes_in(tracee::Table& table, const image::MemoryPolicy& policy) {
  bool none = std::ranges::all_of(policy.nodes, [](std::byte byte) { return byte == std::byte{0}; });
  if (none) return {0, 0};
  return {table.in(policy.nodes), policy.nodes.size() * 8 + 1};  // The kernel takes one bit less than it is told.
}

}  // namespace

PolicyQuestion ask_for_thread_policy(tracee::Table& table) { return ask(table, 0, 0); }

image::MemoryPolicy policy_in(const tracee::Table& table, const PolicyQuestion& question) {
  image::MemoryPolicy policy;
  if (table.result(question.call) < 0) return policy;  // ENOSYS: a kernel without NUMA.
  policy.mode = table.value<int>(question.mode);
  if (policy.mode == MPOL_DEFAULT) return policy;
  Nodes nodes = table.value<Nodes>(question.nodes);
  policy.nodes.assign(nodes.begin(), nodes.end());
  return policy;
}

Result<std::vector<image::MemoryPolicy>> mapping_policies(tracee::StoppedProcess& process, tracee::Hands& hands,
                                                          const std::vector<uint64_t>& addresses) {
  std::vector<image::MemoryPolicy> policies;
  while (policies.size() < addresses.size()) {
    tracee::Table table(hands);
    std::vector<PolicyQuestion> questions;
    for (size_t i = policies.size(); i < addresses.size() && table.calls() < tracee::Hands::kTableCalls; ++i)
      questions.push_back(ask(table, addresses[i], MPOL_F_ADDR));
    TRY(table.run(process.representative(), process.seen_as()));
    for (const PolicyQuestion& question : questions) policies.push_back(policy_in(table, question));
  }
  return policies;
}

void set_thread_policy(tracee::Table& table, const image::MemoryPolicy& policy) {
  if (policy.mode == MPOL_DEFAULT) return;
  auto [nodes, count] = nodes_in(table, policy);
  table.must("set_mempolicy (are its NUMA nodes here?)", SYS_set_mempolicy,
             {static_cast<uint64_t>(policy.mode), nodes, count});
}

void set_mapping_policy(tracee::Table& table, uint64_t start, uint64_t size, const image::MemoryPolicy& policy) {
  if (policy.mode == MPOL_DEFAULT) return;
  auto [nodes, count] = nodes_in(table, policy);
  table.must("mbind (are its NUMA nodes here?)", SYS_mbind,
             {start, size, static_cast<uint64_t>(policy.mode), nodes, count, 0});
}

}  // namespace stint::task
