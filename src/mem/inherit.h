// Memory that a process has from its parent: fork(2) gives a child the pages of its parent, shared until one of them
// writes. What both still have in the same place is kept once in a checkpoint, and shared again after a restart, in
// which the child is born when its parent's memory is there.
//
// Nothing needs to be known of how the pages came to be shared: where their contents are the same, one may stand for
// the other. The page table tells (PM_MMAP_EXCLUSIVE) where it is worth looking.
#pragma once

#include <span>
#include <vector>

#include "image/memory_records.h"
#include "proc/maps.h"
#include "sys/pagemap.h"

namespace stint::mem {

// Ranges of addresses at which the child has the same mapping as its parent, so that it can keep what birth gives it:
// by address, neighbours joined within a mapping of the child's. Both lists are by address.
std::vector<Range> kept_mappings(std::span<const image::VmaRecord> parent, std::span<const image::VmaRecord> child);

// What is in `from` and in none of `without`; both by address, without overlaps.
std::vector<Range> subtract(std::span<const Range> from, std::span<const Range> without);

// What is in one of them or in both; touching ranges become one.
std::vector<Range> unite(std::span<const Range> a, std::span<const Range> b);

// What is in both.
std::vector<Range> intersect(std::span<const Range> a, std::span<const Range> b);

// The parts of these ranges that lie within one of them: for many short looks into a long list.
std::vector<Range> cut_out(std::span<const Range> ranges, Range within);

// Of these ranges of the child's private pages, those whose contents are the parent's at the same address. `pages`: of
// the child; `parents_pages`: what the parent has of its own.
Result<std::vector<Range>> same_contents(Pid parent, Pid child, const sys::Pagemap& childs_pagemap,
                                         std::span<const Range> pages, std::span<const Range> parents_pages);

}  // namespace stint::mem
