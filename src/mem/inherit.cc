#include "mem/inherit.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "sys/ptrace.h"

namespace stint::mem {
namespace {

// Locks are not inherited, and are asked for again in any case.
std::string lasting_advice(const image::VmaRecord& vma) {
  std::string kept;
  std::string_view rest = vma.advice;
  while (!rest.empty()) {
    std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    if (word != "lo" && word != "lf") kept += std::string(word) + " ";
  }
  return kept;
}

bool given_at_birth(const image::VmaRecord& vma) {
  if (vma.backing == image::Backing::kVdso || vma.backing == image::Backing::kAioRing || !vma.guards.empty())
    return false;
  proc::VmFlags flags(vma.advice);
  return !flags.has("dc") && !flags.has("wf");
}

bool alike(const image::VmaRecord& a, const image::VmaRecord& b) {
  bool placed = a.backing != image::Backing::kAnonymous;
  if (placed && (a.object != b.object || a.offset - a.start != b.offset - b.start)) return false;
  return a.prot == b.prot && a.shared == b.shared && a.backing == b.backing && a.file_writable == b.file_writable &&
         a.name == b.name && lasting_advice(a) == lasting_advice(b) && given_at_birth(a) && given_at_birth(b);
}

// By address; touching ranges become one.
void append(std::vector<Range>& ranges, Range range) {
  if (range.start >= range.end) return;
  if (!ranges.empty() && ranges.back().end == range.start)
    ranges.back().end = range.end;
  else
    ranges.push_back(range);
}

constexpr uint64_t kPiece = 256 << 10;

// Both buffers hold the same range. Appends the pages that are alike.
void compare_pages(Range range, const std::byte* a, const std::byte* b, std::vector<Range>& same) {
  for (uint64_t at = 0; at < range.size(); at += kPageSize)
    if (std::memcmp(a + at, b + at, kPageSize) == 0) append(same, {range.start + at, range.start + at + kPageSize});
}

}  // namespace

std::vector<Range> kept_mappings(std::span<const image::VmaRecord> parent, std::span<const image::VmaRecord> child) {
  std::vector<Range> kept;
  auto before = parent.begin();
  for (const image::VmaRecord& vma : child) {
    while (before != parent.end() && before->end <= vma.start) ++before;
    for (auto at = before; at != parent.end() && at->start < vma.end; ++at)
      if (alike(*at, vma)) kept.push_back({std::max(at->start, vma.start), std::min(at->end, vma.end)});
  }
  return kept;
}

std::vector<Range> subtract(std::span<const Range> from, std::span<const Range> without) {
  std::vector<Range> left;
  auto before = without.begin();
  for (Range range : from) {
    while (before != without.end() && before->end <= range.start) ++before;
    for (auto at = before; at != without.end() && at->start < range.end; ++at) {
      if (at->start > range.start) left.push_back({range.start, at->start});
      range.start = std::min(range.end, std::max(range.start, at->end));
    }
    if (range.start < range.end) left.push_back(range);
  }
  return left;
}

std::vector<Range> unite(std::span<const Range> a, std::span<const Range> b) {
  std::vector<Range> all;
  all.reserve(a.size() + b.size());
  std::ranges::merge(a, b, std::back_inserter(all), {}, &Range::start, &Range::start);
  std::vector<Range> united;
  for (const Range& range : all) {
    if (!united.empty() && range.start <= united.back().end)
      united.back().end = std::max(united.back().end, range.end);
    else
      united.push_back(range);
  }
  return united;
}

std::vector<Range> intersect(std::span<const Range> a, std::span<const Range> b) {
  std::vector<Range> both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    Range range{std::max(a[i].start, b[j].start), std::min(a[i].end, b[j].end)};
    if (range.start < range.end) both.push_back(range);
    if (a[i].end < b[j].end)
      ++i;
    else
      ++j;
  }
  return both;
}

std::vector<Range> cut_out(std::span<const Range> ranges, Range within) {
  auto first = std::ranges::upper_bound(ranges, within.start, {}, &Range::end);
  auto last = std::ranges::lower_bound(first, ranges.end(), within.end, {}, &Range::start);
  return intersect({first, last}, {&within, 1});
}

Result<std::vector<Range>> same_contents(Pid parent, Pid child, const sys::Pagemap& childs_pagemap,
                                         std::span<const Range> pages, std::span<const Range> parents_pages) {
  std::vector<Range> same;
  Bytes ours(kPiece), theirs(kPiece);
  for (const Range& both : intersect(pages, parents_pages))
    for (const Range& shared : TRY(childs_pagemap.shared_pages(both)))
      for (uint64_t at = shared.start; at < shared.end; at += kPiece) {
        Range piece{at, std::min(at + kPiece, shared.end)};
        // What cannot be read so is no loss: it is saved, as all that is the child's own.
        Result<size_t> first = sys::read_memory(child, piece.start, ours.data(), piece.size());
        Result<size_t> second = sys::read_memory(parent, piece.start, theirs.data(), piece.size());
        if (!first.has_value() || !second.has_value()) continue;
        piece.end = piece.start + page_down(std::min(*first, *second));
        compare_pages(piece, ours.data(), theirs.data(), same);
      }
  return same;
}

}  // namespace stint::mem
