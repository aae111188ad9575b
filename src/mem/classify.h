// What each mapping of a process is, and which of its pages must be saved.
//
// The kernel shows mappings and files, not segments. Every mapping of an ELF object is held by ADDRESS against the
// program headers of that object: by file offset one could be fooled, for two segments can share a page of the file.
// The headers are read from the process's own memory, where the object's first page lies: so a file that was replaced
// or removed since is classified as what was loaded. The name of the segment is for the reader of the table; what is
// saved is decided by the page table alone, which tells what really changed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "elf/elf.h"
#include "proc/maps.h"
#include "sys/pagemap.h"

namespace stint::mem {

enum class Segment : uint8_t {
  kNotElf,    // anonymous memory, heap, stack, a file that is only data, shared memory
  kText,      // executable
  kReadOnly,  // constants
  kRelro,     // written by ld.so, then made read-only
  kData,
  kBss,     // the part of a data segment that has no bytes in the file
  kKernel,  // vdso, vvar
};

// "text", "rodata", "relro", "data", "bss", "kernel"; empty for kNotElf.
std::string_view segment_name(Segment segment);

// One ELF object, at one place. A library that is loaded twice is two.
struct MappedObject {
  std::string path;
  uint64_t device = 0, inode = 0;  // as maps shows them; 0 for the vdso
  bool deleted = false;
  uint64_t load_bias = 0;  // what is added to the addresses of its headers
  Range range;             // from its first mapping to the end of its last segment
  elf::Headers headers;
  std::string build_id;  // from its notes in memory; empty for none
};

struct MappedSegment {
  Segment segment = Segment::kNotElf;
  int object = -1;       // index into AddressSpace::objects; -1 for kNotElf
  bool hugetlb = false;  // in pages of another size than 4 KiB, from a pool
};

struct AddressSpace {
  std::vector<MappedObject> objects;
  std::vector<MappedSegment> segments;  // one for each mapping given
};

// Reads the process's memory at `address`: as many bytes as there are, at most to.size().
using ReadMemory = std::function<Result<size_t>(uint64_t address, std::span<std::byte> to)>;

// `vmas` as parse_maps gives them. A first page that cannot be read makes its object kNotElf, which changes nothing in
// what is saved.
AddressSpace classify(std::span<const proc::Vma> vmas, const ReadMemory& read_memory,
                      std::span<const proc::VmaUsage> usage = {});

// The pages of one mapping that differ from what the kernel would give again, and its guard pages.
struct VmaPages {
  std::vector<sys::PageRun> save;  // none of them guards
  std::vector<Range> guards;
  uint64_t changed() const;  // bytes in `save`
};

// For each mapping given, in the same order; nothing for shared mappings (their pages belong to the object behind them)
// and for those that the kernel makes. Mappings without any access are looked at like all others. `usage`, if given, is
// smaps of the same stop: where only PagemapMethod::kEntries works, it spares reading the table of large empty
// mappings. `scanned`, if given, is what scan() has found in the same stop.
Result<std::vector<VmaPages>> pages_to_save(std::span<const proc::Vma> vmas, const sys::Pagemap& pagemap,
                                            std::span<const proc::VmaUsage> usage = {},
                                            const std::vector<sys::PageRun>* scanned = nullptr);
// The own pages of all these mappings at once, for PagemapMethod::kScan.
Result<std::vector<sys::PageRun>> scan(std::span<const proc::Vma> vmas, const sys::Pagemap& pagemap);

// The table of `stint show --memory`: one row for each object and segment.
struct MemoryRow {
  std::string object;                           // a path, or the name that maps shows; "[anon]" for nameless memory
  std::string segment;                          // see segment_name
  uint64_t mapped = 0, changed = 0, saved = 0;  // bytes
};

class MemoryTable {
 public:
  void add(std::string_view object, std::string_view segment, uint64_t mapped, uint64_t changed, uint64_t saved);
  // In the order in which they were first seen.
  const std::vector<MemoryRow>& rows() const { return rows_; }
  MemoryRow total() const;

 private:
  std::vector<MemoryRow> rows_;
};

}  // namespace stint::mem
