// Memory that no file is behind: the heap, private and shared anonymous mappings, what was dropped, moved, reserved,
// locked.
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "test/live/program/descriptors.h"
#include "test/live/program/smaps.h"

namespace live {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = 2UL << 20;

char* map(size_t size, int protection = PROT_READ | PROT_WRITE, int flags = MAP_PRIVATE, void* at = nullptr) {
  void* memory = mmap(at, size, protection, flags | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail_call(__FILE__, __LINE__, "mmap");
  return static_cast<char*>(memory);
}

void fill(char* memory, size_t size, unsigned seed) { pattern(size, seed).copy(memory, size); }
bool filled(const char* memory, size_t size, unsigned seed) {
  return std::string_view(memory, size) == pattern(size, seed);
}
bool zero(const char* memory, size_t size) {
  return std::all_of(memory, memory + size, [](char byte) { return byte == 0; });
}

// The "Anonymous:" of the mapping that holds the address: what it takes of the machine's memory. (mincore(2) would
// count the page of zeroes, too, and may find it where somebody has read meanwhile: see doc/failure-model.md.)
size_t memory_taken(const void* address) { return std::stoul(smaps_field(address, "Anonymous")) << 10; }

LIVE_TEST(heap_keeps_small_and_large_blocks) {
  std::vector<std::unique_ptr<char[]>> blocks;
  for (unsigned i = 1; i < 200; ++i) {
    blocks.push_back(std::make_unique<char[]>(i * 37));
    fill(blocks.back().get(), i * 37, i);
    if (i % 3 == 0) blocks[i / 2].reset();
  }
  const std::unique_ptr<char[]> large(new char[5'000'000]);
  fill(large.get(), 5'000'000, 999);
  freeze_point();
  EXPECT_TRUE(filled(large.get(), 5'000'000, 999));
  for (unsigned i = 1; i < 200; ++i) {
    if (blocks[i - 1] != nullptr) EXPECT_TRUE(filled(blocks[i - 1].get(), i * 37, i));
  }
  blocks.clear();
  const std::vector<std::string> more(1000, std::string(300, 'm'));
  EXPECT_EQ(more[999].size(), 300UL);
}

LIVE_TEST(private_anonymous_memory_keeps_every_page) {
  const size_t size = 16UL << 20;
  char* memory = map(size);
  fill(memory, size, 1);
  freeze_point();
  EXPECT_TRUE(filled(memory, size, 1));
  munmap(memory, size);
}

LIVE_TEST(untouched_pages_stay_without_memory_and_read_as_zero) {
  char* memory = map(64 * kPage);
  EXPECT_OK(madvise(memory, 64 * kPage, MADV_NOHUGEPAGE));
  memory[10 * kPage] = 'a';
  memory[20 * kPage + 5] = 'b';
  EXPECT_EQ(memory_taken(memory), 2 * kPage);
  freeze_point();
  EXPECT_EQ(memory_taken(memory), 2 * kPage);
  EXPECT_EQ(memory[10 * kPage], 'a');
  EXPECT_EQ(memory[20 * kPage + 5], 'b');
  EXPECT_TRUE(zero(memory, 10 * kPage));
  EXPECT_TRUE(zero(memory + 21 * kPage, 43 * kPage));
  munmap(memory, 64 * kPage);
}

LIVE_TEST(dropped_pages_read_zero_before_and_after) {
  char* memory = map(32 * kPage);
  fill(memory, 32 * kPage, 2);
  EXPECT_OK(madvise(memory, 16 * kPage, MADV_DONTNEED));
  freeze_point();
  EXPECT_TRUE(zero(memory, 16 * kPage));
  EXPECT_TRUE(filled(memory, 32 * kPage, 2) == false);
  EXPECT_TRUE(std::string_view(memory + 16 * kPage, 16 * kPage) == pattern(32 * kPage, 2).substr(16 * kPage));
  // Memory that was put back must be anonymous again: what is dropped now reads zero, not what was saved.
  EXPECT_OK(madvise(memory + 16 * kPage, 16 * kPage, MADV_DONTNEED));
  EXPECT_TRUE(zero(memory, 32 * kPage));
  munmap(memory, 32 * kPage);
}

LIVE_TEST(shared_anonymous_memory_is_one_memory_in_two_mappings) {
  char* first = map(8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
  fill(first, 8 * kPage, 3);
  // Old size 0 makes a second mapping of the same pages.
  char* second = static_cast<char*>(mremap(first, 0, 8 * kPage, MREMAP_MAYMOVE));
  EXPECT_TRUE(second != MAP_FAILED && second != first);
  freeze_point();
  EXPECT_TRUE(filled(second, 8 * kPage, 3));
  first[100] = 'F';
  EXPECT_EQ(second[100], 'F');
  second[5 * kPage] = 'S';
  EXPECT_EQ(first[5 * kPage], 'S');
  munmap(first, 8 * kPage);
  munmap(second, 8 * kPage);
}

LIVE_TEST(memory_without_access_keeps_its_content) {
  char* memory = map(8 * kPage);
  fill(memory, 8 * kPage, 4);
  EXPECT_OK(mprotect(memory, 8 * kPage, PROT_NONE));
  freeze_point();
  EXPECT_OK(mprotect(memory, 8 * kPage, PROT_READ));
  EXPECT_TRUE(filled(memory, 8 * kPage, 4));
  munmap(memory, 8 * kPage);
}

LIVE_TEST(read_only_memory_keeps_its_content_and_protection) {
  char* memory = map(3 * kPage);
  fill(memory, 3 * kPage, 5);
  EXPECT_OK(mprotect(memory + kPage, kPage, PROT_READ));
  freeze_point();
  EXPECT_TRUE(filled(memory, 3 * kPage, 5));
  const Ends pipe = make_pipe();
  write_all(pipe.write, "xy");
  // The kernel tries the store for us: no handler for SIGSEGV is needed.
  EXPECT_EQ(read(pipe.read, memory + kPage, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(read(pipe.read, memory, 1), 1);
  munmap(memory, 3 * kPage);
}

LIVE_TEST(huge_pages_by_advice_keep_their_content) {
  char* area = map(4 * kHugePage);
  char* memory = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(area) + kHugePage - 1) & -kHugePage);
  madvise(memory, 2 * kHugePage, MADV_HUGEPAGE);
  fill(memory, 2 * kHugePage, 6);
  freeze_point();
  EXPECT_TRUE(filled(memory, 2 * kHugePage, 6));
  fill(memory, kHugePage, 7);
  EXPECT_TRUE(filled(memory, kHugePage, 7));
  munmap(area, 4 * kHugePage);
}

LIVE_TEST(moved_and_grown_mapping_keeps_its_content) {
  char* memory = map(16 * kPage);
  fill(memory, 16 * kPage, 8);
  char* target = map(64 * kPage, PROT_NONE);
  char* moved = static_cast<char*>(mremap(memory, 16 * kPage, 32 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target));
  EXPECT_EQ(moved, target);
  moved[20 * kPage] = 'g';
  freeze_point();
  EXPECT_TRUE(filled(moved, 16 * kPage, 8));
  EXPECT_EQ(moved[20 * kPage], 'g');
  EXPECT_EQ(mremap(moved, 32 * kPage, 16 * kPage, 0), moved);
  EXPECT_TRUE(filled(moved, 16 * kPage, 8));
  munmap(target, 64 * kPage);
}

LIVE_TEST(huge_reservation_costs_nothing_and_keeps_its_few_pages) {
  const size_t size = 64UL << 30;
  char* memory = map(size, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
  const size_t places[] = {0, size / 2, size - kPage};
  for (size_t place : places) {
    EXPECT_OK(mprotect(memory + place, kPage, PROT_READ | PROT_WRITE));
    fill(memory + place, kPage, static_cast<unsigned>(place >> 12));
  }
  freeze_point();
  for (size_t place : places) EXPECT_TRUE(filled(memory + place, kPage, static_cast<unsigned>(place >> 12)));
  EXPECT_OK(mprotect(memory + kPage, kPage, PROT_READ));
  EXPECT_TRUE(zero(memory + kPage, kPage));
  munmap(memory, size);
}

LIVE_TEST(heap_grows_and_shrinks_by_brk_after_the_cut) {
  // Nothing in here may call malloc(), which moves the break too.
  constexpr int kHalf = 1 << 19;
  char* start = static_cast<char*>(sbrk(2 * kHalf));
  memset(start, 'h', 2 * kHalf);
  char* const shrunk = static_cast<char*>(sbrk(-kHalf));
  freeze_point();
  char* const kept = static_cast<char*>(sbrk(2 * kHalf));
  const bool content_kept = std::all_of(start, start + kHalf, [](char byte) { return byte == 'h'; });
  const bool growth_is_zero = zero(start + kHalf, 2 * kHalf);
  sbrk(-3 * kHalf);
  EXPECT_TRUE(shrunk == start + 2 * kHalf);
  EXPECT_TRUE(kept == start + kHalf);
  EXPECT_TRUE(content_kept);
  EXPECT_TRUE(growth_is_zero);
}

LIVE_TEST(mapping_of_dev_zero_is_anonymous_memory) {
  const Fd zeroes = open_file("/dev/zero", O_RDWR);
  const int protection = PROT_READ | PROT_WRITE;
  char* own = static_cast<char*>(mmap(nullptr, 4 * kPage, protection, MAP_PRIVATE, zeroes, 0));
  char* shared = static_cast<char*>(mmap(nullptr, 4 * kPage, protection, MAP_SHARED, zeroes, 0));
  fill(own, 2 * kPage, 10);
  fill(shared, 2 * kPage, 11);
  freeze_point();
  EXPECT_TRUE(filled(own, 2 * kPage, 10));
  EXPECT_TRUE(filled(shared, 2 * kPage, 11));
  EXPECT_TRUE(zero(own + 2 * kPage, 2 * kPage));
  EXPECT_TRUE(zero(shared + 2 * kPage, 2 * kPage));
  munmap(own, 4 * kPage);
  munmap(shared, 4 * kPage);
}

LIVE_TEST(locked_memory_stays_locked) {
  char* memory = map(4 * kPage);
  if (mlock(memory, 4 * kPage) != 0) skip("RLIMIT_MEMLOCK does not allow four pages");
  fill(memory, 4 * kPage, 12);
  auto locked = [] {
    const std::string status = read_whole("/proc/self/status");
    const size_t at = status.find("VmLck:");
    return status.substr(at, status.find('\n', at) - at);
  };
  const std::string before = locked();
  freeze_point();
  EXPECT_EQ(locked(), before);
  EXPECT_TRUE(filled(memory, 4 * kPage, 12));
  munmap(memory, 4 * kPage);
}

LIVE_TEST(checkerboard_of_protections_is_kept) {
  constexpr int kPages = 60;
  const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
  char* memory = map(kPages * kPage);
  fill(memory, kPages * kPage, 13);
  for (int page = 0; page < kPages; ++page) EXPECT_OK(mprotect(memory + page * kPage, kPage, protections[page % 4]));
  munmap(memory + 7 * kPage, kPage);
  freeze_point();
  EXPECT_EQ(mprotect(memory + 7 * kPage, kPage, PROT_READ), -1);
  EXPECT_EQ(errno, ENOMEM);
  const std::string all = pattern(kPages * kPage, 13);
  for (int page = 0; page < kPages; ++page) {
    if (page == 7) continue;
    if (page % 4 == 0) EXPECT_OK(mprotect(memory + page * kPage, kPage, PROT_READ));
    EXPECT_TRUE(memcmp(memory + page * kPage, all.data() + page * kPage, kPage) == 0);
  }
  munmap(memory, kPages * kPage);
}

}  // namespace
}  // namespace live
