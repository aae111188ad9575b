#include "mem/inherit.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace stint::mem {
namespace {

image::VmaRecord anonymous(uint64_t start, uint64_t end, uint32_t prot = PROT_READ | PROT_WRITE) {
  image::VmaRecord vma;
  vma.start = start, vma.end = end, vma.prot = prot;
  return vma;
}

using Ranges = std::vector<Range>;

TEST(Unite, JoinsWhatTouchesOrOverlaps) {
  Ranges a{{0x1000, 0x2000}, {0x5000, 0x7000}}, b{{0x2000, 0x3000}, {0x6000, 0x8000}, {0x9000, 0xa000}};
  EXPECT_EQ(unite(a, b), (Ranges{{0x1000, 0x3000}, {0x5000, 0x8000}, {0x9000, 0xa000}}));
  EXPECT_EQ(unite(a, {}), a);
  EXPECT_EQ(unite({}, {}), Ranges{});
}

TEST(KeptMappings, AreThoseThatBothHaveAlike) {
  std::vector<image::VmaRecord> parent{anonymous(0x1000, 0x3000), anonymous(0x5000, 0x6000), anonymous(0x8000, 0x9000)};
  std::vector<image::VmaRecord> child{anonymous(0x1000, 0x4000), anonymous(0x5000, 0x6000, PROT_READ),
                                      anonymous(0x8000, 0x9000)};
  EXPECT_EQ(kept_mappings(parent, child), (Ranges{{0x1000, 0x3000}, {0x8000, 0x9000}}));
}

TEST(KeptMappings, OfAFileMustShowTheSamePlaceOfIt) {
  image::VmaRecord parent = anonymous(0x1000, 0x4000), child = anonymous(0x2000, 0x4000);
  parent.backing = child.backing = image::Backing::kFile;
  parent.object = child.object = 7;
  child.offset = 0x1000;
  EXPECT_EQ(kept_mappings({&parent, 1}, {&child, 1}), (Ranges{{0x2000, 0x4000}}));
  child.offset = 0;
  EXPECT_EQ(kept_mappings({&parent, 1}, {&child, 1}), Ranges{});
}

TEST(KeptMappings, AreNoneThatForkDoesNotGive) {
  for (const char* advice : {"dc", "wf"}) {
    image::VmaRecord vma = anonymous(0x1000, 0x4000);
    vma.advice = advice;
    EXPECT_EQ(kept_mappings({&vma, 1}, {&vma, 1}), Ranges{}) << advice;
  }
}

// A child has no context for it.
TEST(KeptMappings, AreNoRingsOfAsynchronousIO) {
  image::VmaRecord vma = anonymous(0x1000, 0x2000);
  vma.backing = image::Backing::kAioRing;
  EXPECT_EQ(kept_mappings({&vma, 1}, {&vma, 1}), Ranges{});
}

TEST(KeptMappings, MayBeLockedByOneOnly) {
  image::VmaRecord parent = anonymous(0x1000, 0x4000), child = parent;
  parent.advice = "lo hg", child.advice = "hg";
  EXPECT_EQ(kept_mappings({&parent, 1}, {&child, 1}), (Ranges{{0x1000, 0x4000}}));
}

TEST(Subtract, LeavesWhatIsInNoneOfTheOthers) {
  Ranges from{{0, 10}, {20, 30}, {40, 50}};
  EXPECT_EQ(subtract(from, Ranges{{2, 4}, {8, 22}, {25, 26}, {40, 50}}), (Ranges{{0, 2}, {4, 8}, {22, 25}, {26, 30}}));
  EXPECT_EQ(subtract(from, Ranges{}), from);
  EXPECT_EQ(subtract(from, Ranges{{0, 100}}), Ranges{});
}

TEST(CutOut, GivesTheSameAsAnIntersection) {
  Ranges ranges{{0, 10}, {20, 30}, {40, 50}};
  for (uint64_t start = 0; start < 55; start += 5)
    for (uint64_t end = start + 1; end < 55; end += 3) {
      Range within{start, end};
      EXPECT_EQ(cut_out(ranges, within), intersect(ranges, {&within, 1})) << start << "-" << end;
    }
}

// A parent with pages that its child shares, has written, and has never touched.
TEST(SameContents, AreFoundWhereAChildHasNotWritten) {
  constexpr uint64_t kPages = 6;
  void* memory = ::mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::madvise(memory, kPages * kPageSize, MADV_NOHUGEPAGE);
  std::memset(memory, 'x', kPages * kPageSize);
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  pid_t child = ::fork();
  if (child == 0) {
    static_cast<char*>(memory)[2 * kPageSize] = 'y';
    [[maybe_unused]] ssize_t told = ::write(ready[1], "", 1);
    while (true) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  uint64_t start = reinterpret_cast<uint64_t>(memory);
  Range whole{start, start + kPages * kPageSize};
  Result<sys::Pagemap> pagemap = sys::Pagemap::open(Pid{child});
  ASSERT_TRUE(pagemap.has_value()) << pagemap.error().text();
  Result<Ranges> same = same_contents(Pid{::getpid()}, Pid{child}, *pagemap, {&whole, 1}, {&whole, 1});
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]), ::close(ready[1]);
  ::munmap(memory, kPages * kPageSize);
  ASSERT_TRUE(same.has_value()) << same.error().text();
  EXPECT_EQ(*same, (Ranges{{start, start + 2 * kPageSize}, {start + 3 * kPageSize, whole.end}}));
}

}  // namespace
}  // namespace stint::mem
