// NUMA policies of threads and mappings, which programs may read back. One node is enough to have them.
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

struct Policy {
  int mode = -1;
  unsigned long nodes[16] = {};
};

Policy policy(void* address) {
  Policy found;
  EXPECT_OK(syscall(SYS_get_mempolicy, &found.mode, found.nodes, sizeof(found.nodes) * 8, address,
                    address == nullptr ? 0 : MPOL_F_ADDR));
  return found;
}

constexpr size_t kPage = 4096;
const unsigned long kFirstNode[16] = {1};
constexpr size_t kNodes = sizeof(kFirstNode) * 8 + 1;

bool set_own(int mode) { return syscall(SYS_set_mempolicy, mode, kFirstNode, kNodes) == 0; }
// Of one page.
bool set_of(void* address, int mode) {
  return syscall(SYS_mbind, address, kPage, mode, mode == MPOL_LOCAL ? nullptr : kFirstNode, kNodes, 0) == 0;
}

LIVE_TEST(memory_policies_of_threads_and_mappings_are_kept) {
  if (syscall(SYS_get_mempolicy, nullptr, nullptr, 0, nullptr, 0) != 0 && errno == ENOSYS)
    skip("no NUMA in this kernel");
  EXPECT_TRUE(set_own(MPOL_BIND | MPOL_F_STATIC_NODES));
  void* mapped = mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_TRUE(mapped != MAP_FAILED);
  char* memory = static_cast<char*>(mapped);
  EXPECT_TRUE(set_of(memory, MPOL_INTERLEAVE));
  EXPECT_TRUE(set_of(memory + kPage, MPOL_LOCAL));
  const Ends go_on = make_pipe();
  Policy others;
  BlockedThread other(SYS_read, [&] {
    EXPECT_TRUE(set_own(MPOL_PREFERRED));
    read_exactly(go_on.read, 1);
    others = policy(nullptr);
  });
  freeze_point();
  EXPECT_EQ(policy(nullptr).mode, MPOL_BIND | MPOL_F_STATIC_NODES);
  EXPECT_EQ(policy(nullptr).nodes[0], 1UL);
  EXPECT_EQ(policy(memory).mode, MPOL_INTERLEAVE);
  EXPECT_EQ(policy(memory).nodes[0], 1UL);
  EXPECT_EQ(policy(memory + kPage).mode, MPOL_LOCAL);
  EXPECT_EQ(policy(memory + 2 * kPage).mode, MPOL_DEFAULT);
  write_all(go_on.write, "x");
  other.join();
  EXPECT_EQ(others.mode, MPOL_PREFERRED);
  EXPECT_EQ(others.nodes[0], 1UL);
}

}  // namespace
}  // namespace live
