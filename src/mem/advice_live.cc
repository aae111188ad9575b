// Advice that a program has given about a mapping shows in the VmFlags line of /proc/self/smaps and must show there
// again; guard pages show nowhere but in what a touch does.
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>

#include "test/live/program/descriptors.h"
#include "test/live/program/smaps.h"
#include "test/live/program/threads.h"

namespace live {
namespace {

constexpr size_t kPage = 4096;
constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13

char* map(size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail_call(__FILE__, __LINE__, "mmap");
  return static_cast<char*>(memory);
}

// The VmFlags of the mapping that holds the address, without "sd" (soft-dirty) and "uw" (userfaultfd): these belong to
// who follows writes.
std::string vm_flags(const void* address) {
  std::string flags = smaps_field(address, "VmFlags");
  for (const char* code : {"sd ", "uw "})
    if (const size_t at = flags.find(code); at != std::string::npos) flags.erase(at, 3);
  return flags;
}

bool has(const std::string& flags, const char* flag) {
  return (" " + flags).find(std::string(" ") + flag + " ") != std::string::npos;
}

void expect_advice_kept(int advice, const char* flag) {
  char* memory = map(512 * kPage);
  memory[0] = 'a';
  if (madvise(memory + 128 * kPage, 128 * kPage, advice) != 0) skip("this kernel has no such advice");
  memory[128 * kPage] = 'b';
  const std::string advised = vm_flags(memory + 128 * kPage);
  const std::string others = vm_flags(memory);
  EXPECT_TRUE(has(advised, flag));
  freeze_point();
  EXPECT_EQ(vm_flags(memory + 128 * kPage), advised);
  EXPECT_EQ(vm_flags(memory), others);
  EXPECT_EQ(vm_flags(memory + 256 * kPage), others);
  EXPECT_EQ(memory[0], 'a');
  EXPECT_EQ(memory[128 * kPage], 'b');
  munmap(memory, 512 * kPage);
}

LIVE_TEST(advice_not_to_copy_on_fork_is_kept) { expect_advice_kept(MADV_DONTFORK, "dc"); }
LIVE_TEST(advice_not_to_dump_is_kept) { expect_advice_kept(MADV_DONTDUMP, "dd"); }
LIVE_TEST(advice_to_wipe_on_fork_is_kept) { expect_advice_kept(MADV_WIPEONFORK, "wf"); }
LIVE_TEST(advice_for_huge_pages_is_kept) { expect_advice_kept(MADV_HUGEPAGE, "hg"); }
LIVE_TEST(advice_against_huge_pages_is_kept) { expect_advice_kept(MADV_NOHUGEPAGE, "nh"); }
LIVE_TEST(advice_of_random_access_is_kept) { expect_advice_kept(MADV_RANDOM, "rr"); }
LIVE_TEST(advice_of_sequential_access_is_kept) { expect_advice_kept(MADV_SEQUENTIAL, "sr"); }
LIVE_TEST(advice_that_pages_may_be_merged_is_kept) { expect_advice_kept(MADV_MERGEABLE, "mg"); }

LIVE_TEST(mapping_without_reserve_stays_so) {
  void* memory = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  const std::string before = vm_flags(memory);
  EXPECT_TRUE(has(before, "nr"));
  freeze_point();
  EXPECT_EQ(vm_flags(memory), before);
  munmap(memory, kPage);
}

thread_local sigjmp_buf fault;
thread_local volatile int fault_code = 0;

// The signal code of the fault that reading the byte gives, 0 when it can be read.
int fault_of_reading(const volatile char* byte) {
  const Handler handler(SIGSEGV, [](int, siginfo_t* info, void*) {
    fault_code = info->si_code;
    siglongjmp(fault, 1);
  });
  fault_code = 0;
  if (sigsetjmp(fault, 1) == 0) static_cast<void>(*byte);
  return fault_code;
}

LIVE_TEST(guard_pages_still_guard) {
  char* memory = map(16 * kPage);
  memset(memory, 'x', 16 * kPage);
  if (madvise(memory + 4 * kPage, 2 * kPage, kGuardInstall) != 0) {
    munmap(memory, 16 * kPage);
    skip("this kernel has no MADV_GUARD_INSTALL");
  }
  freeze_point();
  EXPECT_EQ(fault_of_reading(memory + 3 * kPage), 0);
  EXPECT_EQ(fault_of_reading(memory + 4 * kPage), SEGV_MAPERR);
  EXPECT_EQ(fault_of_reading(memory + 5 * kPage), SEGV_MAPERR);
  EXPECT_EQ(fault_of_reading(memory + 6 * kPage), 0);
  EXPECT_EQ(memory[3 * kPage], 'x');
  EXPECT_EQ(memory[6 * kPage], 'x');
  munmap(memory, 16 * kPage);
}

LIVE_TEST(page_without_access_still_faults) {
  char* memory = map(2 * kPage);
  EXPECT_OK(mprotect(memory, kPage, PROT_NONE));
  freeze_point();
  EXPECT_EQ(fault_of_reading(memory), SEGV_ACCERR);
  EXPECT_EQ(fault_of_reading(memory + kPage), 0);
  munmap(memory, 2 * kPage);
  EXPECT_EQ(fault_of_reading(memory), SEGV_MAPERR);
}

}  // namespace
}  // namespace live
