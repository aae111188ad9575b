#include "sys/pagemap.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace stint::sys {
namespace {

constexpr size_t kPages = 8;

// Eight pages of our own, of any kind.
class Pages {
 public:
  explicit Pages(int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) {
    void* at = mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, flags, fd, 0);
    CHECK(at != MAP_FAILED);
    mapping_ = Mapping(at, kPages * kPageSize);
    (void)madvise(at, kPages * kPageSize, MADV_NOHUGEPAGE);
  }
  volatile char& page(size_t number) { return reinterpret_cast<char*>(mapping_.data())[number * kPageSize]; }
  void* at(size_t number) { return mapping_.data() + number * kPageSize; }
  Range range() const {
    uint64_t start = reinterpret_cast<uint64_t>(mapping_.data());
    return {start, start + mapping_.size()};
  }
  // One letter a page: o for our own, g for guard, . for neither.
  std::string seen(PagemapMethod method) const {
    Pagemap pagemap = *Pagemap::open(Pid{getpid()}, method);
    std::string shown(kPages, '.');
    std::vector<PageRun> runs = *pagemap.own_pages(range());
    for (const PageRun& run : runs) {
      for (uint64_t a = run.range.start; a < run.range.end; a += kPageSize)
        shown[(a - range().start) / kPageSize] = run.guard ? 'g' : 'o';
    }
    return shown;
  }

 private:
  Mapping mapping_;
};

UniqueFd file_of_eight_pages() {
  UniqueFd fd(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  std::string content(kPages * kPageSize, 'f');
  CHECK(write(fd.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
  return fd;
}

class PagemapBy : public testing::TestWithParam<PagemapMethod> {
 protected:
  void SetUp() override {
    if (GetParam() == PagemapMethod::kScan && best_pagemap_method() != PagemapMethod::kScan)
      GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN (Linux 6.7 and later have)";
  }
};

TEST_P(PagemapBy, SeesWrittenAnonymousPages) {
  Pages pages;
  EXPECT_EQ(pages.seen(GetParam()), "........");
  pages.page(1) = 1;
  pages.page(2) = 1;
  pages.page(7) = 1;
  EXPECT_EQ(pages.seen(GetParam()), ".oo....o");
}

TEST_P(PagemapBy, SeesWrittenPagesWithoutAnyAccess) {
  Pages pages;
  pages.page(3) = 1;
  ASSERT_EQ(mprotect(pages.at(0), kPages * kPageSize, PROT_NONE), 0);
  EXPECT_EQ(pages.seen(GetParam()), "...o....");
}

TEST_P(PagemapBy, SeesOnlyTheChangedPagesOfAPrivateFileMapping) {
  UniqueFd fd = file_of_eight_pages();
  Pages pages(MAP_PRIVATE, fd.get());
  EXPECT_EQ(pages.page(0), 'f');
  EXPECT_EQ(pages.page(5), 'f');
  pages.page(4) = 'x';
  EXPECT_EQ(pages.seen(GetParam()), "....o...");
}

TEST_P(PagemapBy, SeesNothingOfSharedMemory) {
  Pages pages(MAP_SHARED | MAP_ANONYMOUS);
  pages.page(2) = 1;
  EXPECT_EQ(pages.seen(GetParam()), "........");
}

TEST_P(PagemapBy, SeesNothingOfDroppedPages) {
  Pages pages;
  pages.page(2) = 1;
  ASSERT_EQ(madvise(pages.at(2), kPageSize, MADV_DONTNEED), 0);
  EXPECT_EQ(pages.seen(GetParam()), "........");
}

TEST_P(PagemapBy, SeesGuardPages) {
  constexpr int kGuardInstall = 102;
  Pages pages;
  pages.page(0) = 1;
  pages.page(1) = 1;
  if (madvise(pages.at(1), 2 * kPageSize, kGuardInstall) != 0)
    GTEST_SKIP() << "this kernel has no MADV_GUARD_INSTALL (Linux 6.13 and later have)";
  EXPECT_EQ(pages.seen(GetParam()), "ogg.....");
}

TEST_P(PagemapBy, JoinsAlikeNeighboursToOneRun) {
  Pages pages;
  for (size_t i = 2; i < 6; ++i) pages.page(i) = 1;
  std::vector<PageRun> runs = *Pagemap::open(Pid{0}, GetParam())->own_pages(pages.range());
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].range.size(), 4 * kPageSize);
  EXPECT_EQ(runs[0].range.start, pages.range().start + 2 * kPageSize);
}

INSTANTIATE_TEST_SUITE_P(Methods, PagemapBy, testing::Values(PagemapMethod::kScan, PagemapMethod::kEntries),
                         [](const auto& tested) { return tested.param == PagemapMethod::kScan ? "Scan" : "Entries"; });

size_t own_pages_in_memory() {
  size_t size = 0, resident = 0, shared = 0;
  FILE* statm = fopen("/proc/self/statm", "re");
  EXPECT_EQ(fscanf(statm, "%zu %zu %zu", &size, &resident, &shared), 3);
  fclose(statm);
  return resident - shared;
}

// Some paravirtual kernels give each page that is only read one of its own.
bool has_zero_page() {
  constexpr size_t kMany = 4096;
  size_t before = own_pages_in_memory();
  Mapping mapping(mmap(nullptr, kMany * kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), kMany * kPageSize);
  for (size_t i = 0; i < kMany; ++i)
    (void)static_cast<volatile char*>(static_cast<void*>(mapping.data()))[i * kPageSize];
  return own_pages_in_memory() < before + kMany / 2;
}

TEST(Pagemap, TellsTheZeroPageByScanAlone) {
  if (!has_zero_page()) GTEST_SKIP() << "this kernel has no page of zeroes for what is only read";
  Pages pages;
  EXPECT_EQ(pages.page(1), 0);
  pages.page(2) = 1;
  EXPECT_EQ(pages.seen(PagemapMethod::kEntries), ".oo.....");
  if (best_pagemap_method() != PagemapMethod::kScan)
    GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN (Linux 6.7 and later have)";
  EXPECT_EQ(pages.seen(PagemapMethod::kScan), "..o.....");
}

// More runs than one system call returns.
TEST(Pagemap, FollowsManyRuns) {
  constexpr size_t kMany = 40000;
  void* at =
      mmap(nullptr, kMany * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  Mapping mapping(at, kMany * kPageSize);
  ASSERT_EQ(madvise(at, kMany * kPageSize, MADV_NOHUGEPAGE), 0);
  for (size_t i = 1; i < kMany; i += 2) mapping.data()[i * kPageSize] = std::byte{1};
  uint64_t start = reinterpret_cast<uint64_t>(at);
  for (PagemapMethod method : {best_pagemap_method(), PagemapMethod::kEntries}) {
    std::vector<PageRun> runs = *Pagemap::open(Pid{0}, method)->own_pages({start, start + mapping.size()});
    ASSERT_EQ(runs.size(), kMany / 2);
    EXPECT_EQ(runs.back().range, (Range{start + (kMany - 1) * kPageSize, start + kMany * kPageSize}));
  }
}

}  // namespace
}  // namespace stint::sys
