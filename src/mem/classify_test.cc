#include "mem/classify.h"

#include <elf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "sys/file.h"
#include "sys/procfs.h"

namespace stint::mem {
namespace {

using proc::Vma;

const char kConstant[] = "a constant of the test";
int initialised = 7;
int zero_at_start[4096];

// Ourselves, as classify sees us.
struct Self {
  std::vector<Vma> vmas;
  AddressSpace space;
};

ReadMemory own_memory() {
  int fd = sys::open_proc(Pid{0}, "mem", O_RDONLY)->release();
  std::shared_ptr<sys::UniqueFd> owner = std::make_shared<sys::UniqueFd>(fd);
  return [owner](uint64_t address, std::span<std::byte> to) { return sys::pread(owner->get(), to, address); };
}

Self look_at_self() {
  Self self;
  self.vmas = *proc::parse_maps(*sys::read_proc(Pid{0}, "maps"));
  self.space = classify(self.vmas, own_memory());
  return self;
}

size_t vma_at(const Self& self, const volatile void* address) {
  for (size_t i = 0; i < self.vmas.size(); ++i) {
    if (self.vmas[i].range.contains(reinterpret_cast<uint64_t>(address))) return i;
  }
  ADD_FAILURE() << "nothing is mapped at " << const_cast<const void*>(address);
  return 0;
}

Segment segment_at(const Self& self, const volatile void* address) {
  return self.space.segments[vma_at(self, address)].segment;
}

TEST(Classify, KnowsTheSegmentsOfThisProgram) {
  Self self = look_at_self();
  EXPECT_EQ(segment_at(self, kConstant), Segment::kReadOnly);
  EXPECT_EQ(segment_at(self, reinterpret_cast<const void*>(&own_memory)), Segment::kText);
  EXPECT_EQ(segment_at(self, &initialised), Segment::kData);
  EXPECT_EQ(segment_at(self, &zero_at_start[4095]), Segment::kBss);
  int on_stack = 0;
  EXPECT_EQ(segment_at(self, &on_stack), Segment::kNotElf);
  std::unique_ptr<int> on_heap = std::make_unique<int>(1);
  EXPECT_EQ(segment_at(self, on_heap.get()), Segment::kNotElf);
}

TEST(Classify, KnowsTheVdsoAsAnObject) {
  Self self = look_at_self();
  const void* vdso = reinterpret_cast<const void*>(getauxval(AT_SYSINFO_EHDR));
  const MappedSegment& mapped = self.space.segments[vma_at(self, vdso)];
  EXPECT_EQ(mapped.segment, Segment::kKernel);
  ASSERT_GE(mapped.object, 0);
  EXPECT_EQ(self.space.objects[mapped.object].path, "[vdso]");
}

// The measurement of the design, as a test: what ELF calls writable is what maps shows as writable, for every object
// here.
TEST(Classify, WritableSegmentsAreTheWritableMappings) {
  Self self = look_at_self();
  size_t checked = 0;
  for (size_t i = 0; i < self.vmas.size(); ++i) {
    const Vma& vma = self.vmas[i];
    const MappedSegment& mapped = self.space.segments[i];
    bool of_file = vma.name == proc::VmaName::kFile && !vma.shared && vma.prot() != PROT_NONE;
    if (!of_file || mapped.object < 0) continue;
    bool writable = mapped.segment == Segment::kData || mapped.segment == Segment::kBss;
    EXPECT_EQ(writable, vma.write) << vma.path << " " << std::hex << vma.range.start;
    EXPECT_EQ(mapped.segment == Segment::kText, vma.exec) << vma.path;
    ++checked;
  }
  EXPECT_GE(checked, 5 * 4u);  // The program and its libraries, at least four mappings each.
}

TEST(Classify, BuildIdsAreThoseOfTheFiles) {
  Self self = look_at_self();
  size_t checked = 0;
  for (const MappedObject& object : self.space.objects) {
    if (object.path.empty() || object.path[0] != '/') continue;
    Result<Bytes> bytes = sys::read_file(object.path);
    ASSERT_TRUE(bytes.has_value());
    EXPECT_EQ(object.build_id, elf::parse({.bytes = *bytes})->notes.build_id) << object.path;
    ++checked;
  }
  EXPECT_GE(checked, 3u);
}

TEST(Classify, TakesAFileMappedAsDataForData) {
  sys::UniqueFd fd = *sys::open("/proc/self/exe", O_RDONLY);
  uint64_t size = static_cast<uint64_t>(sys::fstat(fd.get())->st_size);
  void* at = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  ASSERT_NE(at, MAP_FAILED);
  Self self = look_at_self();
  EXPECT_EQ(segment_at(self, at), Segment::kNotElf);
  munmap(at, size);
}

// A tiny object as old linkers make it: text and data share the first page of the file.
TEST(Classify, GoesByAddressWhereTwoSegmentsShareAFilePage) {
  struct {
    Elf64_Ehdr header;
    Elf64_Phdr segments[3];
  } object{};
  std::memcpy(object.header.e_ident, ELFMAG, SELFMAG);
  object.header.e_ident[EI_CLASS] = ELFCLASS64;
  object.header.e_ident[EI_DATA] = ELFDATA2LSB;
  object.header.e_type = ET_DYN;
  object.header.e_machine = EM_X86_64;
  object.header.e_phoff = sizeof(Elf64_Ehdr);
  object.header.e_phentsize = sizeof(Elf64_Phdr);
  object.header.e_phnum = 3;
  object.segments[0] = {PT_LOAD, PF_R | PF_X, 0, 0, 0, 0x600, 0x600, 0x1000};
  object.segments[1] = {PT_LOAD, PF_R | PF_W, 0x600, 0x1600, 0, 0x200, 0x2a00, 0x1000};
  object.segments[2] = {PT_GNU_RELRO, PF_R, 0x600, 0x1600, 0, 0x200, 0xa00, 1};
  std::vector<Vma> vmas = *proc::parse_maps(
      "10000-11000 r-xp 00000000 fe:00 7 /lib/tiny.so\n11000-12000 r--p 00000000 fe:00 7 /lib/tiny.so\n"
      "12000-14000 rw-p 00000000 00:00 0 \n14000-15000 rw-p 00000000 00:00 0 \n"
      "20000-21000 rw-p 00000000 fe:00 7 /lib/tiny.so\n");
  AddressSpace space = classify(vmas, [&](uint64_t address, std::span<std::byte> to) -> Result<size_t> {
    EXPECT_TRUE(address == 0x10000 || address == 0x20000);
    std::memcpy(to.data(), &object, sizeof(object));
    return sizeof(object);
  });
  std::vector<Segment> segments;
  for (const MappedSegment& mapped : space.segments) segments.push_back(mapped.segment);
  EXPECT_THAT(segments,
              testing::ElementsAre(Segment::kText, Segment::kRelro, Segment::kBss, Segment::kNotElf, Segment::kText));
  EXPECT_EQ(space.segments[1].object, 0);
  EXPECT_EQ(space.objects[0].range, (Range{0x10000, 0x14000}));
}

TEST(Classify, LeavesAnObjectThatCannotBeReadUnclassified) {
  std::vector<Vma> vmas = *proc::parse_maps("10000-11000 r-xp 00000000 fe:00 7 /lib/tiny.so\n");
  AddressSpace space = classify(vmas, [](uint64_t, std::span<std::byte>) -> Result<size_t> { return failed("no"); });
  EXPECT_EQ(space.segments[0].segment, Segment::kNotElf);
  EXPECT_TRUE(space.objects.empty());
}

TEST(Classify, MarksHugetlbMemory) {
  constexpr std::string_view kMaps =
      "200000-400000 rw-p 00000000 00:0f 77 /anon_hugepage (deleted)\n400000-600000 rw-p 00000000 00:2f 78 "
      "/mnt/huge/x\n";
  std::vector<Vma> vmas = *proc::parse_maps(kMaps);
  std::vector<proc::VmaUsage> usage = *proc::parse_smaps(
      "200000-400000 rw-p 00000000 00:0f 77 /anon_hugepage (deleted)\nVmFlags: rd wr ht \n"
      "400000-600000 rw-p 00000000 00:2f 78 /mnt/huge/x\nVmFlags: rd wr ht \n");
  ReadMemory unreadable = [](uint64_t, std::span<std::byte>) -> Result<size_t> { return failed("no"); };
  EXPECT_TRUE(classify(vmas, unreadable).segments[0].hugetlb);
  EXPECT_TRUE(classify(vmas, unreadable, usage).segments[1].hugetlb);
}

// What is saved of a process, by mapping.
std::map<uint64_t, VmaPages> saved_of(Pid pid, sys::PagemapMethod method, std::span<const proc::VmaUsage> usage = {}) {
  std::vector<Vma> vmas = *proc::parse_maps(*sys::read_proc(pid, "maps"));
  std::vector<VmaPages> pages = *pages_to_save(vmas, *sys::Pagemap::open(pid, method), usage);
  std::map<uint64_t, VmaPages> by_start;
  for (size_t i = 0; i < vmas.size(); ++i) by_start[vmas[i].range.start] = std::move(pages[i]);
  return by_start;
}

std::map<uint64_t, VmaPages> saved_of_self(sys::PagemapMethod method, std::span<const proc::VmaUsage> usage = {}) {
  return saved_of(Pid{0}, method, usage);
}

class PagesToSave : public testing::TestWithParam<sys::PagemapMethod> {
 protected:
  void SetUp() override {
    if (GetParam() == sys::PagemapMethod::kScan && sys::best_pagemap_method() != sys::PagemapMethod::kScan)
      GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN (Linux 6.7 and later have)";
  }
};

TEST_P(PagesToSave, AreThoseThatChanged) {
  constexpr size_t kSize = 64 * kPageSize;
  void* at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  ASSERT_EQ(madvise(at, kSize, MADV_NOHUGEPAGE), 0);
  ASSERT_EQ(madvise(at, kSize, MADV_DONTFORK), 0);  // A mapping of its own, joined to no neighbour.
  std::memset(static_cast<char*>(at) + 3 * kPageSize, 1, 2 * kPageSize);
  void* shared = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  std::memset(shared, 1, kSize);

  std::map<uint64_t, VmaPages> saved = saved_of_self(GetParam());
  uint64_t start = reinterpret_cast<uint64_t>(at);
  ASSERT_EQ(saved.at(start).save.size(), 1u);
  EXPECT_EQ(saved.at(start).save[0].range, (Range{start + 3 * kPageSize, start + 5 * kPageSize}));
  EXPECT_EQ(saved.at(start).changed(), 2 * kPageSize);
  EXPECT_TRUE(saved.at(reinterpret_cast<uint64_t>(shared)).save.empty());
  munmap(at, kSize);
  munmap(shared, kSize);
}

TEST_P(PagesToSave, HoldNothingOfTextAndOfTheVdso) {
  std::map<uint64_t, VmaPages> saved = saved_of_self(GetParam());
  Self self = look_at_self();
  for (size_t i = 0; i < self.vmas.size(); ++i) {
    Segment segment = self.space.segments[i].segment;
    bool unchanging = segment == Segment::kText || segment == Segment::kReadOnly || segment == Segment::kKernel;
    EXPECT_TRUE(!unchanging || saved.at(self.vmas[i].range.start).changed() == 0) << self.vmas[i].path;
  }
  initialised = 8;
  uint64_t data = self.vmas[vma_at(self, &initialised)].range.start;
  EXPECT_GT(saved_of_self(GetParam()).at(data).changed(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Methods, PagesToSave, testing::Values(sys::PagemapMethod::kScan, sys::PagemapMethod::kEntries),
                         [](const auto& tested) {
                           return tested.param == sys::PagemapMethod::kScan ? "Scan" : "Entries";
                         });

TEST(PagesToSave, OfTheOlderMethodAreASuperset) {
  if (sys::best_pagemap_method() != sys::PagemapMethod::kScan)
    GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN (Linux 6.7 and later have)";
  // One that stands still: looking takes memory, and a sanitizer's allocator gives some back.
  pid_t child = fork();
  if (child == 0) {
    raise(SIGSTOP);
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, WUNTRACED), child);
  std::map<uint64_t, VmaPages> scanned = saved_of(Pid{child}, sys::PagemapMethod::kScan);
  std::map<uint64_t, VmaPages> read = saved_of(Pid{child}, sys::PagemapMethod::kEntries);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  size_t checked = 0;
  for (const auto& [start, pages] : scanned) {
    for (const sys::PageRun& run : pages.save) {
      std::vector<sys::PageRun> wider = read.contains(start) ? read.at(start).save : std::vector<sys::PageRun>{};
      bool covered = std::any_of(wider.begin(), wider.end(), [&](const sys::PageRun& other) {
        return other.range.start <= run.range.start && run.range.end <= other.range.end;
      });
      // Runs of huge and of small pages are two to the scan and one to the other.
      EXPECT_TRUE(covered) << std::hex << run.range.start << "-" << run.range.end;
      ++checked;
    }
  }
  EXPECT_GT(checked, 10u);
}

TEST(PagesToSave, SpareEmptyMappingsWhereSmapsKnows) {
  constexpr size_t kSize = size_t{64} << 30;  // Its pagemap alone is 128 MiB.
  void* at = mmap(nullptr, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  std::vector<proc::VmaUsage> usage = *proc::parse_smaps(*sys::read_proc(Pid{0}, "smaps"));
  std::map<uint64_t, VmaPages> saved = saved_of_self(sys::PagemapMethod::kEntries, usage);
  EXPECT_EQ(saved.at(reinterpret_cast<uint64_t>(at)).changed(), 0u);
  munmap(at, kSize);
}

TEST(MemoryTable, HasOneRowForEachObjectAndSegment) {
  MemoryTable table;
  table.add("/lib/a.so", "text", 100, 0, 0);
  table.add("/lib/a.so", "data", 10, 8, 8);
  table.add("", "", 50, 20, 10);
  table.add("/lib/a.so", "data", 1, 1, 0);
  ASSERT_EQ(table.rows().size(), 3u);
  EXPECT_EQ(table.rows()[1].mapped, 11u);
  EXPECT_EQ(table.rows()[1].changed, 9u);
  EXPECT_EQ(table.rows()[1].saved, 8u);
  EXPECT_EQ(table.rows()[2].object, "[anon]");
  EXPECT_EQ(table.total().mapped, 161u);
  EXPECT_EQ(table.total().saved, 18u);
}

}  // namespace
}  // namespace stint::mem
