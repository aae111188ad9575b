// Which pages of a process are its own: /proc/PID/pagemap, without privilege, from outside.
//
// On Linux 6.7 and later one PAGEMAP_SCAN goes over the whole address space and returns runs of pages; before, the
// table is read entry by entry, and the zero page cannot be told from others there. Both answer the same question:
// which pages of private memory would not come back by mapping the same thing again. The process must be stopped
// meanwhile.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/remote.h"
#include "base/result.h"
#include "sys/fd.h"

namespace stint::sys {

enum class PagemapMethod : uint8_t {
  kScan,     // PAGEMAP_SCAN
  kEntries,  // reading pagemap
};

// Of this kernel; probed once on ourselves.
PagemapMethod best_pagemap_method();

struct PageRun {
  Range range;
  bool guard = false;  // made by MADV_GUARD_INSTALL: holds nothing, and is to be installed again
  bool huge = false;   // lies in huge pages (kScan only)
  // Its writes are followed (sys/userfault.h), and there was none since it was last taken.
  bool unwritten = false;
  bool operator==(const PageRun&) const = default;
};

class Pagemap {
 public:
  static Result<Pagemap> open(Pid pid, PagemapMethod method = best_pagemap_method());

  PagemapMethod method() const { return method_; }

  // The pages within `within` that are present or swapped and neither a page of a file or of shared memory nor (kScan)
  // the zero page; and guard pages. In order of address; neighbours that are alike are one run. With kEntries, `within`
  // costs time by its size, so ask for mappings; with kScan only what is mapped counts, so ask for everything at once.
  Result<std::vector<PageRun>> own_pages(Range within) const;

  // Of memory whose writes are followed, own pages that were written to since they were last taken; at first, all.
  // take_written() protects those that it returns: from then on they are unwritten. Only kScan.
  Result<std::vector<Range>> written(Range within) const;
  Result<std::vector<Range>> take_written(Range within) const;

  // The pages within `within` that other processes may have too, in order of address: those that are present but not
  // PM_MMAP_EXCLUSIVE, and swapped ones, of which the kernel does not tell.
  Result<std::vector<Range>> shared_pages(Range within) const;

 private:
  Pagemap(UniqueFd fd, PagemapMethod method) : fd_(std::move(fd)), method_(method) {}

  UniqueFd fd_;
  PagemapMethod method_;
};

}  // namespace stint::sys
