#include "proc/maps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "sys/procfs.h"

namespace stint::proc {
namespace {

Vma vma(std::string_view line) {
  Result<Vma> parsed = parse_vma(line);
  EXPECT_TRUE(parsed.has_value()) << line;
  return parsed.has_value() ? *parsed : Vma{};
}

TEST(Maps, ReadsAMappingOfAFile) {
  Vma v = vma("563cdbb5d000-563cdbb63000 r-xp 00002000 fe:10 247498                     /usr/bin/head");
  EXPECT_EQ(v.range, (Range{0x563cdbb5d000, 0x563cdbb63000}));
  EXPECT_EQ(v.prot(), PROT_READ | PROT_EXEC);
  EXPECT_FALSE(v.shared);
  EXPECT_EQ(v.offset, 0x2000u);
  EXPECT_EQ(v.device(), makedev(0xfe, 0x10));
  EXPECT_EQ(v.inode, 247498u);
  EXPECT_EQ(v.name, VmaName::kFile);
  EXPECT_EQ(v.path, "/usr/bin/head");
  EXPECT_FALSE(v.deleted);
}

TEST(Maps, KnowsTheNamesThatAreNoPaths) {
  const std::string p = "7000-8000 rw-p 00000000 00:00 0 ";
  EXPECT_EQ(vma(p).name, VmaName::kNone);
  EXPECT_EQ(vma("7000-8000 rw-p 00000000 00:00 0").name, VmaName::kNone);
  EXPECT_EQ(vma(p + "   [heap]").name, VmaName::kHeap);
  EXPECT_EQ(vma(p + "   [stack]").name, VmaName::kStack);
  EXPECT_EQ(vma(p + "   [vdso]").name, VmaName::kVdso);
  EXPECT_EQ(vma(p + "   [vvar]").name, VmaName::kVvar);
  EXPECT_EQ(vma(p + "   [vvar_vclock]").name, VmaName::kVvar);
  EXPECT_EQ(vma(p + "   [uprobes]").name, VmaName::kSpecial);
  EXPECT_EQ(vma(p + "   [anon: glibc: malloc]").name, VmaName::kAnonNamed);
  EXPECT_EQ(vma(p + "   [anon: glibc: malloc]").path, "[anon: glibc: malloc]");
  EXPECT_EQ(vma("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]").name, VmaName::kVsyscall);
  Vma shared = vma("7000-8000 rw-s 00000000 00:01 1029    [anon_shmem:ring]");
  EXPECT_EQ(shared.name, VmaName::kShmemNamed);
  EXPECT_TRUE(shared.nameless_shared());
  EXPECT_TRUE(vma(p + "   [heap]").anonymous());
  EXPECT_TRUE(vma(p + "   [vvar]").kernel_made());
  EXPECT_FALSE(vma(p + "   [vvar]").anonymous());
}

TEST(Maps, TellsRemovedFilesAndSharedMemory) {
  Vma zero = vma("7000-8000 rw-s 00000000 00:01 1029                     /dev/zero (deleted)");
  EXPECT_EQ(zero.path, "/dev/zero");
  EXPECT_TRUE(zero.deleted);
  EXPECT_TRUE(zero.nameless_shared());
  EXPECT_TRUE(vma("7000-8000 rw-s 00000000 00:01 7 /memfd:a b (deleted)").nameless_shared());
  EXPECT_EQ(vma("7000-8000 rw-s 00000000 00:01 7 /memfd:a b (deleted)").path, "/memfd:a b");
  EXPECT_TRUE(vma("7000-8000 rw-s 00000000 00:01 7 /SYSV00000000 (deleted)").nameless_shared());
  EXPECT_FALSE(vma("7000-8000 rw-s 00000000 00:01 7 /tmp/x (deleted)").nameless_shared());
  EXPECT_FALSE(vma("7000-8000 r--p 00000000 00:01 7 /memfd:x (deleted)").nameless_shared());
}

TEST(Maps, UnescapesNewlinesAndNothingElse) {
  EXPECT_EQ(vma("7000-8000 r--p 00000000 fe:00 7 /tmp/a\\012b c\\134").path, "/tmp/a\nb c\\134");
  EXPECT_EQ(vma("7000-8000 r--p 00000000 fe:00 7 /tmp/a  b ").path, "/tmp/a  b ");
}

TEST(Maps, RefusesWhatTheKernelWouldNotWrite) {
  for (std::string_view line :
       {"", "7000", "7000-8000", "8000-7000 r--p 00000000 00:00 0", "7000-7000 r--p 00000000 00:00 0",
        "7001-8000 r--p 00000000 00:00 0", "7000-8000 r--x 00000000 00:00 0", "7000-8000 r--p zz 00:00 0",
        "11112222333344445-8000 r--p 00000000 00:00 0", "7000-8000 r--p 00000000 00:00",
        "7000-8000 r--p 00000000 1ffffffff:00 0", "7000-8000 r--p 00000000 00:00 0x"}) {
    EXPECT_FALSE(parse_vma(line).has_value()) << line;
  }
  EXPECT_FALSE(parse_maps("7000-9000 r--p 00000000 00:00 0\n8000-a000 r--p 00000000 00:00 0\n").has_value());
}

constexpr std::string_view kSmaps =
    "7000-9000 rw-p 00000000 00:00 0                          [heap]\n"
    "Size:                  8 kB\n"
    "KernelPageSize:        4 kB\n"
    "MMUPageSize:           4 kB\n"
    "Rss:                   8 kB\n"
    "Anonymous:             4 kB\n"
    "AnonHugePages:         0 kB\n"
    "Swap:                 12 kB\n"
    "Locked:                0 kB\n"
    "THPeligible:           0\n"
    "VmFlags: rd wr mr mw me dc dd hg \n"
    "200000-600000 rw-p 00000000 00:0f 77                       /anon_hugepage (deleted)\n"
    "KernelPageSize:     2048 kB\n"
    "VmFlags: rd wr mr mw me de ht \n";

TEST(Smaps, ReadsSizesAndFlags) {
  Result<std::vector<VmaUsage>> usages = parse_smaps(kSmaps);
  ASSERT_TRUE(usages.has_value());
  ASSERT_EQ(usages->size(), 2u);
  EXPECT_EQ((*usages)[0].vma.name, VmaName::kHeap);
  EXPECT_EQ((*usages)[0].rss, 8192u);
  EXPECT_EQ((*usages)[0].anonymous, 4096u);
  EXPECT_EQ((*usages)[0].swap, 12288u);
  EXPECT_EQ((*usages)[0].kernel_page_size, 4096u);
  EXPECT_EQ((*usages)[0].flags.text(), "rd wr mr mw me dc dd hg");
  EXPECT_TRUE((*usages)[0].flags.has("dc"));
  EXPECT_FALSE((*usages)[0].flags.has("cd"));
  EXPECT_FALSE((*usages)[0].flags.has("ht"));
  EXPECT_EQ((*usages)[1].kernel_page_size, 2u << 20);
  EXPECT_TRUE((*usages)[1].flags.has("ht"));
}

TEST(Smaps, RefusesAFieldBeforeAnyMapping) {
  EXPECT_FALSE(parse_smaps("Rss: 4 kB\n").has_value());
  EXPECT_FALSE(parse_smaps("7000-9000 rw-p 00000000 00:00 0\nRss: many kB\n").has_value());
}

TEST(Maps, FindsOwnMappingsAsTheyWereMade) {
  void* area = mmap(nullptr, 5 * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(area, MAP_FAILED);
  ASSERT_EQ(mprotect(static_cast<char*>(area) + kPageSize, kPageSize, PROT_READ | PROT_WRITE), 0);
  ASSERT_EQ(madvise(static_cast<char*>(area) + kPageSize, kPageSize, MADV_DONTDUMP), 0);
  Result<std::string> maps_text = sys::read_proc(Pid{0}, "maps");
  Result<std::string> smaps_text = sys::read_proc(Pid{0}, "smaps");
  munmap(area, 5 * kPageSize);
  Result<std::vector<Vma>> vmas = parse_maps(*maps_text);
  Result<std::vector<VmaUsage>> usages = parse_smaps(*smaps_text);
  ASSERT_TRUE(vmas.has_value());
  ASSERT_TRUE(usages.has_value());

  uint64_t start = reinterpret_cast<uint64_t>(area) + kPageSize;
  auto same_start = [&](const Vma& v) { return v.range.start == start; };
  auto found = std::find_if(vmas->begin(), vmas->end(), same_start);
  ASSERT_NE(found, vmas->end());
  EXPECT_EQ(found->prot(), PROT_READ | PROT_WRITE);
  EXPECT_EQ(found->range.size(), kPageSize);
  auto usage = std::find_if(usages->begin(), usages->end(), [&](const VmaUsage& u) { return same_start(u.vma); });
  ASSERT_NE(usage, usages->end());
  EXPECT_TRUE(usage->flags.has("dd"));
  EXPECT_TRUE(std::any_of(vmas->begin(), vmas->end(), [](const Vma& v) { return v.name == VmaName::kVdso; }));
  EXPECT_TRUE(std::any_of(vmas->begin(), vmas->end(), [](const Vma& v) { return v.name == VmaName::kStack; }));
}

}  // namespace
}  // namespace stint::proc
