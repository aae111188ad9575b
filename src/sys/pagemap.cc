#include "sys/pagemap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "sys/call.h"
#include "sys/procfs.h"

namespace stint::sys {
namespace {

// PAGEMAP_SCAN, as in <linux/fs.h> of 6.7 and later; older headers lack it.
struct ScanRegion {
  uint64_t start, end, categories;
};
struct ScanArguments {
  uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
static_assert(sizeof(ScanRegion) == 24 && sizeof(ScanArguments) == 96);
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t kIsFollowed = 1 << 0, kIsWritten = 1 << 1, kIsFile = 1 << 2, kIsPresent = 1 << 3;
constexpr uint64_t kIsSwapped = 1 << 4, kIsZero = 1 << 5, kIsHuge = 1 << 6;
constexpr uint64_t kIsGuard = 1 << 8;     // 6.15 and later
constexpr uint64_t kProtectMatching = 1;  // a flag

// Bits of a pagemap entry.
constexpr uint64_t kEntryPresent = uint64_t{1} << 63, kEntrySwapped = uint64_t{1} << 62;
constexpr uint64_t kEntryExclusive = uint64_t{1} << 56;
constexpr uint64_t kEntryFile = uint64_t{1} << 61;   // a page of a file or of shared memory
constexpr uint64_t kEntryGuard = uint64_t{1} << 58;  // 6.15 and later

constexpr size_t kRegionsAtOnce = 8192;
constexpr size_t kEntriesAtOnce = 1 << 16;

// What is asked of own pages beyond being that.
struct ScanFor {
  uint64_t with = 0;     // categories
  bool protect = false;  // what matches
};

ScanArguments scan_arguments(Range within, std::vector<ScanRegion>& regions, bool knows_guards, const ScanFor& what) {
  ScanArguments arguments{};
  arguments.size = sizeof(arguments);
  arguments.start = within.start;
  arguments.end = within.end;
  arguments.regions = reinterpret_cast<uint64_t>(regions.data());
  arguments.region_count = regions.size();
  // Neither a file's nor the zero page, and one of present and swapped. A guard page counts as swapped.
  arguments.flags = what.protect ? kProtectMatching : 0;
  arguments.category_inverted = kIsFile | kIsZero;
  arguments.category_mask = arguments.category_inverted | what.with;
  arguments.category_anyof_mask = kIsPresent | kIsSwapped;
  arguments.return_mask = kIsHuge | kIsFollowed | kIsWritten | (knows_guards ? kIsGuard : 0);
  return arguments;
}

bool scan_accepts(bool guards) {
  Result<UniqueFd> fd = open_proc(Pid{0}, "pagemap", O_RDONLY);
  if (!fd.has_value()) return false;
  std::vector<ScanRegion> regions(1);
  ScanArguments arguments = scan_arguments({0, kPageSize}, regions, guards, {});
  return call("PAGEMAP_SCAN", [&] { return ioctl(fd->get(), kPagemapScan, &arguments); }).has_value();
}

// A kernel of 6.7 to 6.14 refuses a category that it does not know.
bool scan_knows_guards() {
  static const bool knows = scan_accepts(true);
  return knows;
}

// Adds a run, joined to the last one where they are alike and touch.
void add(std::vector<PageRun>& runs, const PageRun& run) {
  if (!runs.empty()) {
    PageRun& last = runs.back();
    if (last.range.end == run.range.start && last.guard == run.guard && last.huge == run.huge &&
        last.unwritten == run.unwritten) {
      last.range.end = run.range.end;
      return;
    }
  }
  runs.push_back(run);
}

Result<std::vector<PageRun>> scan(int fd, Range within, const ScanFor& what) {
  std::vector<PageRun> runs;
  std::vector<ScanRegion> regions(kRegionsAtOnce);
  bool knows_guards = scan_knows_guards();
  while (within.start < within.end) {
    ScanArguments arguments = scan_arguments(within, regions, knows_guards, what);
    long count = TRY(call("PAGEMAP_SCAN", [&] { return ioctl(fd, kPagemapScan, &arguments); }));
    for (long i = 0; i < count; ++i) {
      const ScanRegion& region = regions[static_cast<size_t>(i)];
      bool unwritten = (region.categories & (kIsFollowed | kIsWritten)) == kIsFollowed;
      add(runs, {{region.start, region.end},
                 (region.categories & kIsGuard) != 0,
                 (region.categories & kIsHuge) != 0,
                 unwritten});
    }
    // 6.18 gives for walk_end the place where a buffer of its own was last full, although it went on and returned more.
    uint64_t reached =
        count > 0 ? std::max(arguments.walk_end, regions[static_cast<size_t>(count) - 1].end) : arguments.walk_end;
    if (reached <= within.start) return failed("PAGEMAP_SCAN: makes no progress");
    within.start = reached;
  }
  return runs;
}

void add_entries(const std::vector<uint64_t>& entries, size_t count, uint64_t address, std::vector<PageRun>& runs) {
  for (size_t i = 0; i < count; ++i, address += kPageSize) {
    uint64_t entry = entries[i];
    if (entry == 0) continue;
    bool guard = (entry & kEntryGuard) != 0;
    bool own = (entry & (kEntryPresent | kEntrySwapped)) != 0 && (entry & kEntryFile) == 0;
    if (guard || own) add(runs, {{address, address + kPageSize}, guard, false});
  }
}

// Gives the table piece by piece: entries, how many, the address of the first.
template <class Take>
Result<> read_table(int fd, Range within, const Take& take) {
  std::vector<uint64_t> entries(std::min<uint64_t>(kEntriesAtOnce, within.size() / kPageSize));
  for (uint64_t address = within.start; address < within.end;) {
    size_t wanted = std::min<uint64_t>(entries.size(), (within.end - address) / kPageSize);
    long got = TRY(call("pread", [&] {
      return ::pread(fd, entries.data(), wanted * sizeof(uint64_t), static_cast<off_t>(address / kPageSize * 8));
    }));
    size_t count = static_cast<size_t>(got) / sizeof(uint64_t);
    if (count == 0) return failed(fmt::format("pagemap ends at {:#x}", address));
    take(entries, count, address);
    address += count * kPageSize;
  }
  return {};
}

Result<std::vector<PageRun>> read_entries(int fd, Range within) {
  std::vector<PageRun> runs;
  TRY(read_table(fd, within, [&](const std::vector<uint64_t>& entries, size_t count, uint64_t address) {
    add_entries(entries, count, address, runs);
  }));
  return runs;
}

void add_shared(const std::vector<uint64_t>& entries, size_t count, uint64_t address, std::vector<Range>& shared) {
  for (size_t i = 0; i < count; ++i, address += kPageSize) {
    bool exclusive = (entries[i] & (kEntryPresent | kEntryExclusive)) == (kEntryPresent | kEntryExclusive);
    if (entries[i] == 0 || exclusive) continue;
    if (!shared.empty() && shared.back().end == address)
      shared.back().end += kPageSize;
    else
      shared.push_back({address, address + kPageSize});
  }
}

}  // namespace

PagemapMethod best_pagemap_method() {
  static const bool scans = scan_accepts(false);
  return scans ? PagemapMethod::kScan : PagemapMethod::kEntries;
}

Result<Pagemap> Pagemap::open(Pid pid, PagemapMethod method) {
  return Pagemap(TRY(open_proc(pid, "pagemap", O_RDONLY)), method);
}

Result<std::vector<PageRun>> Pagemap::own_pages(Range within) const {
  if (method_ == PagemapMethod::kScan) return scan(fd_.get(), within, {});
  return read_entries(fd_.get(), within);
}

namespace {

// Guard pages hold nothing.
Result<std::vector<Range>> scan_for(int fd, Range within, const ScanFor& what) {
  std::vector<Range> ranges;
  for (const PageRun& run : TRY(scan(fd, within, what))) {
    if (run.guard) continue;
    if (!ranges.empty() && ranges.back().end == run.range.start)
      ranges.back().end = run.range.end;
    else
      ranges.push_back(run.range);
  }
  return ranges;
}

}  // namespace

Result<std::vector<Range>> Pagemap::written(Range within) const {
  return scan_for(fd_.get(), within, {.with = kIsFollowed | kIsWritten});
}

Result<std::vector<Range>> Pagemap::take_written(Range within) const {
  return scan_for(fd_.get(), within, {.with = kIsFollowed | kIsWritten, .protect = true});
}

Result<std::vector<Range>> Pagemap::shared_pages(Range within) const {
  std::vector<Range> shared;
  TRY(read_table(fd_.get(), within, [&](const std::vector<uint64_t>& entries, size_t count, uint64_t address) {
    add_shared(entries, count, address, shared);
  }));
  return shared;
}

}  // namespace stint::sys
