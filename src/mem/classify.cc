#include "mem/classify.h"

#include <elf.h>

#include <algorithm>

namespace stint::mem {
namespace {

using proc::Vma;
using proc::VmaName;

constexpr size_t kHeaderBytes = kPageSize;
constexpr uint64_t kMostNotes = 4 * kPageSize;

// The build-id out of the notes as they lie in memory. `start` is what was read at `start_address`.
std::string build_id(const MappedObject& object, uint64_t start_address, ByteView start,
                     const ReadMemory& read_memory) {
  elf::Notes notes;
  for (const elf::ProgramHeader& segment : object.headers.segments) {
    if (segment.type != PT_NOTE || segment.filesz > kMostNotes) continue;
    uint64_t address = object.load_bias + segment.vaddr;
    uint64_t offset = address - start_address;
    if (offset < start.size() && segment.filesz <= start.size() - offset) {
      elf::read_notes(start.subspan(offset, segment.filesz), segment.align, notes);
      continue;
    }
    Bytes content(segment.filesz);
    Result<size_t> got = read_memory(address, content);
    if (got.has_value()) elf::read_notes(ByteView(content).first(*got), segment.align, notes);
  }
  return notes.build_id;
}

// The object whose first page `first` maps, if it is one. Its load bias follows from the segment with the file's
// beginning.
std::optional<MappedObject> object_at(const Vma& first, const ReadMemory& read_memory) {
  Bytes start(kHeaderBytes);
  Result<size_t> got = read_memory(first.range.start, start);
  if (!got.has_value()) return std::nullopt;
  start.resize(*got);
  Result<elf::Headers> headers = elf::parse_headers(start);
  if (!headers.has_value()) return std::nullopt;
  auto begins = [](const elf::ProgramHeader& s) { return s.type == PT_LOAD && page_down(s.offset) == 0; };
  auto segment = std::find_if(headers->segments.begin(), headers->segments.end(), begins);
  if (segment == headers->segments.end()) return std::nullopt;
  MappedObject object;
  object.path = first.path;
  object.device = first.device();
  object.inode = first.inode;
  object.deleted = first.deleted;
  object.load_bias = first.range.start - page_down(segment->vaddr);  // May wrap; sums with addresses wrap back.
  Range load = headers->load_range();
  object.range = {object.load_bias + load.start, object.load_bias + load.end};
  object.headers = std::move(*headers);
  object.build_id = build_id(object, first.range.start, start, read_memory);
  return object;
}

Segment segment_of_load(const elf::ProgramHeader& load) {
  if ((load.flags & PF_X) != 0) return Segment::kText;
  return (load.flags & PF_W) != 0 ? Segment::kData : Segment::kReadOnly;
}

// Whether the mapping shows what the segment has of the file at that address, and ends where it ends at the latest. (A
// program may also map a whole library to read it as data.) The kernel joins mappings of neighbouring segments that are
// alike.
bool shows_file_part(const elf::Headers& headers, const elf::ProgramHeader& load, const Vma& vma, uint64_t address) {
  if (vma.offset != page_down(load.offset) + (address - page_down(load.vaddr))) return false;
  uint64_t end = page_up(load.vaddr + load.filesz);
  for (const elf::ProgramHeader& next : headers.segments) {
    bool joined = next.type == PT_LOAD && next.flags == load.flags && page_down(next.vaddr) == end;
    if (joined) end = page_up(next.vaddr + next.filesz);
  }
  return address + vma.range.size() <= end;
}

// What the mapping is within this object; kNotElf when it only happens to lie there.
Segment segment_within(const MappedObject& object, const Vma& vma) {
  uint64_t address = vma.range.start - object.load_bias;  // as the headers count
  bool of_file = vma.name == VmaName::kFile && vma.inode == object.inode && vma.device() == object.device;
  for (const elf::ProgramHeader& load : object.headers.segments) {
    if (load.type != PT_LOAD) continue;
    uint64_t file_end = page_up(load.vaddr + load.filesz);
    if (address < page_down(load.vaddr) || address >= page_up(load.vaddr + load.memsz)) continue;
    if (!of_file) {
      bool bss = vma.anonymous() && vma.name != VmaName::kStack && address >= file_end && (load.flags & PF_W) != 0;
      if (bss) return Segment::kBss;
      continue;
    }
    if (address >= file_end || !shows_file_part(object.headers, load, vma, address)) continue;
    Range relro = object.headers.relro();
    bool in_relro = relro.contains(address) && address + vma.range.size() <= relro.end;
    return in_relro && !vma.write ? Segment::kRelro : segment_of_load(load);
  }
  return Segment::kNotElf;
}

// Objects are looked for at what maps a file from its beginning, and at the vdso.
bool begins_object(const Vma& vma) {
  return (vma.name == VmaName::kFile && vma.offset == 0 && !vma.shared) || vma.name == VmaName::kVdso;
}

bool private_memory(const Vma& vma) { return !vma.shared && !vma.kernel_made(); }

// Cuts the runs that overlap `vma` to it. `next` is where to begin in `runs`, and moves on: mappings come in order.
void take_runs(const Vma& vma, std::span<const sys::PageRun> runs, size_t& next, VmaPages& pages) {
  while (next < runs.size() && runs[next].range.end <= vma.range.start) ++next;
  for (size_t i = next; i < runs.size() && runs[i].range.start < vma.range.end; ++i) {
    sys::PageRun run = runs[i];
    run.range = {std::max(run.range.start, vma.range.start), std::min(run.range.end, vma.range.end)};
    if (run.guard) {
      pages.guards.push_back(run.range);
    } else {
      pages.save.push_back(run);
    }
  }
}

// What smaps says of the mapping; nothing when it was not asked, or the mapping is another one there.
const proc::VmaUsage* usage_of(const Vma& vma, std::span<const proc::VmaUsage> usage) {
  auto found = std::lower_bound(usage.begin(), usage.end(), vma.range.start,
                                [](const proc::VmaUsage& u, uint64_t start) { return u.vma.range.start < start; });
  return found != usage.end() && found->vma.range == vma.range ? &*found : nullptr;
}

// True when smaps says that nothing of the mapping is anywhere. It does not count guard pages; but the kernels that
// have those scan.
bool known_empty(const Vma& vma, std::span<const proc::VmaUsage> usage) {
  const proc::VmaUsage* said = usage_of(vma, usage);
  return said != nullptr && said->rss == 0 && said->swap == 0;
}

bool in_large_pages(const Vma& vma, std::span<const proc::VmaUsage> usage) {
  const proc::VmaUsage* said = usage_of(vma, usage);
  return said != nullptr ? said->flags.has("ht") : vma.name == VmaName::kFile && vma.path == "/anon_hugepage";
}

// Finds the object that the mapping is a part of, and which part.
void place(const Vma& vma, const AddressSpace& space, MappedSegment& mapped) {
  // Mostly it is the last one; but a library may lie in a hole of another.
  for (size_t i = space.objects.size(); i-- > 0 && mapped.segment == Segment::kNotElf;) {
    if (!space.objects[i].range.contains(vma.range.start)) continue;
    mapped.segment = segment_within(space.objects[i], vma);
    if (mapped.segment != Segment::kNotElf) mapped.object = static_cast<int>(i);
  }
}

}  // namespace

std::string_view segment_name(Segment segment) {
  switch (segment) {
    case Segment::kText:
      return "text";
    case Segment::kReadOnly:
      return "rodata";
    case Segment::kRelro:
      return "relro";
    case Segment::kData:
      return "data";
    case Segment::kBss:
      return "bss";
    case Segment::kKernel:
      return "kernel";
    case Segment::kNotElf:
      break;
  }
  return "";
}

AddressSpace classify(std::span<const proc::Vma> vmas, const ReadMemory& read_memory,
                      std::span<const proc::VmaUsage> usage) {
  AddressSpace space;
  space.segments.resize(vmas.size());
  for (size_t i = 0; i < vmas.size(); ++i) {
    const Vma& vma = vmas[i];
    MappedSegment& mapped = space.segments[i];
    mapped.hugetlb = in_large_pages(vma, usage);
    // Before a new object is begun: a small object's data may begin in the file's first page, too.
    if (!vma.kernel_made()) place(vma, space, mapped);
    if (mapped.segment == Segment::kNotElf && begins_object(vma)) {
      if (std::optional<MappedObject> object = object_at(vma, read_memory)) {
        space.objects.push_back(std::move(*object));
        place(vma, space, mapped);
      }
    }
    if (!vma.kernel_made()) continue;
    mapped.segment = Segment::kKernel;
    bool own = !space.objects.empty() && space.objects.back().range.start == vma.range.start;
    mapped.object = own ? static_cast<int>(space.objects.size()) - 1 : -1;
  }
  return space;
}

uint64_t VmaPages::changed() const {
  uint64_t bytes = 0;
  for (const sys::PageRun& run : save) bytes += run.range.size();
  return bytes;
}

Result<std::vector<sys::PageRun>> scan(std::span<const proc::Vma> vmas, const sys::Pagemap& pagemap) {
  // [vsyscall] lies beyond what a process may be asked about.
  auto last = std::find_if(vmas.rbegin(), vmas.rend(), private_memory);
  if (last == vmas.rend()) return std::vector<sys::PageRun>();
  return pagemap.own_pages({vmas.front().range.start, last->range.end}).in("page table");
}

Result<std::vector<VmaPages>> pages_to_save(std::span<const proc::Vma> vmas, const sys::Pagemap& pagemap,
                                            std::span<const proc::VmaUsage> usage,
                                            const std::vector<sys::PageRun>* scanned) {
  std::vector<VmaPages> pages(vmas.size());
  bool at_once = pagemap.method() == sys::PagemapMethod::kScan;
  std::vector<sys::PageRun> runs;
  if (at_once) runs = scanned != nullptr ? *scanned : TRY(scan(vmas, pagemap));
  size_t next = 0;
  for (size_t i = 0; i < vmas.size(); ++i) {
    if (!private_memory(vmas[i])) continue;
    if (!at_once) {
      if (known_empty(vmas[i], usage)) continue;
      runs = TRY(pagemap.own_pages(vmas[i].range).in("page table"));
      next = 0;
    }
    take_runs(vmas[i], runs, next, pages[i]);
  }
  return pages;
}

void MemoryTable::add(std::string_view object, std::string_view segment, uint64_t mapped, uint64_t changed,
                      uint64_t saved) {
  if (object.empty()) object = "[anon]";
  auto found = std::find_if(rows_.begin(), rows_.end(),
                            [&](const MemoryRow& row) { return row.object == object && row.segment == segment; });
  MemoryRow& row = found != rows_.end() ? *found : rows_.emplace_back(std::string(object), std::string(segment));
  row.mapped += mapped;
  row.changed += changed;
  row.saved += saved;
}

MemoryRow MemoryTable::total() const {
  MemoryRow total{"total", "", 0, 0, 0};
  for (const MemoryRow& row : rows_) {
    total.mapped += row.mapped;
    total.changed += row.changed;
    total.saved += row.saved;
  }
  return total;
}

}  // namespace stint::mem
