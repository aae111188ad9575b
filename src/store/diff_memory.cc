// A mapping is known again by what it is of and where it lies: it may have grown, been split by mprotect(2), or have
// moved its start. So each address is looked at for itself: which mapping was there, which one is, and whether it is of
// the same. A page of a shared object has its address in each process that maps it. Pages that a child has from its
// parent are saved with the parent.
#include "store/diff_memory.h"

#include <algorithm>
#include <map>
#include <set>

#include "image/ipc_records.h"
#include "image/memory_records.h"
#include "image/task_records.h"
#include "store/records.h"
#include "store/table.h"

namespace stint::store {
namespace {

using image::Backing;
using image::VmaRecord;

// A saved page at an address of a process.
struct PlacedPage {
  uint64_t address = 0, size = 0;
  Hash128 hash;
  size_t mapping = 0;  // index into ProcessMemory::mappings
};

struct ProcessMemory {
  std::vector<VmaRecord> mappings;  // by address
  std::vector<PlacedPage> pages;    // by address
};

// All of one checkpoint, by process.
class Memory {
 public:
  static Result<Memory> of(const Reader& reader, const SavedPages& pages) {
    Memory memory(pages);
    for (const image::ProcessRecord& process : TRY(all_of<image::ProcessRecord>(reader, image::RecordType::kProcess)))
      memory.parents_[process.pid] = process.memory_from;
    for (VmaRecord& vma : TRY(all_of<VmaRecord>(reader, image::RecordType::kVma))) {
      // The ledger is ours.
      if (vma.backing != Backing::kAgentLedger) memory.processes_[vma.pid].mappings.push_back(std::move(vma));
    }
    for (const auto& [pid, process] : memory.processes_) memory.place_pages(pid);
    return memory;
  }

  const std::map<int32_t, ProcessMemory>& processes() const { return processes_; }
  const ProcessMemory& process(int32_t pid) const {
    static const ProcessMemory none;
    auto found = processes_.find(pid);
    return found == processes_.end() ? none : found->second;
  }

 private:
  explicit Memory(const SavedPages& pages) : saved_(&pages) {}

  // First those of the process whose pages it may have: at each address what this one has counts.
  void place_pages(int32_t pid) {
    auto found = processes_.find(pid);
    if (found == processes_.end() || !placed_.insert(pid).second) return;
    ProcessMemory& process = found->second;
    if (parents_[pid] != 0) place_pages(parents_[pid]);
    std::ranges::sort(process.mappings, {}, &VmaRecord::start);
    for (size_t i = 0; i < process.mappings.size(); ++i) place_mapping(process, i);
    std::ranges::sort(process.pages, {}, &PlacedPage::address);
  }

  void place_mapping(ProcessMemory& process, size_t mapping) {
    const VmaRecord& vma = process.mappings[mapping];
    size_t first = process.pages.size();
    place_saved(static_cast<uint64_t>(vma.pid), {vma.start, vma.end}, 0, mapping, process);
    if (auto parent = processes_.find(parents_[vma.pid]); parent != processes_.end())
      for (size_t i = 0; i + 1 < vma.inherited.size(); i += 2)
        place_inherited(parent->second, {vma.inherited[i], vma.inherited[i + 1]}, mapping, process);
    if (vma.backing == Backing::kSharedMemory) place_shared(mapping, first, process);
  }

  // Of a private mapping of it, what was written has a page of the process's own: those from `first` on.
  void place_shared(size_t mapping, size_t first, ProcessMemory& process) const {
    const VmaRecord& vma = process.mappings[mapping];
    std::set<uint64_t> own;
    for (size_t i = first; i < process.pages.size(); ++i) own.insert(process.pages[i].address);
    uint64_t space = image::kObjectSpace | (vma.object & ~image::kSysvReadOnly);
    place_saved(space, {vma.offset, vma.offset + (vma.end - vma.start)}, vma.start - vma.offset, mapping, process, own);
  }

  // The pages of `space` in this range lie `shift` further up in the process, but for those where it has another.
  void place_saved(uint64_t space, Range range, uint64_t shift, size_t mapping, ProcessMemory& process,
                   const std::set<uint64_t>& but = {}) const {
    auto found = saved_->find(space);
    if (found == saved_->end()) return;
    auto page = std::ranges::lower_bound(found->second, range.start, {}, &SavedPage::offset);
    for (; page != found->second.end() && page->offset < range.end; ++page)
      if (!but.contains(page->offset + shift))
        process.pages.push_back({page->offset + shift, page->size, page->hash, mapping});
  }

  static void place_inherited(const ProcessMemory& parent, Range range, size_t mapping, ProcessMemory& process) {
    auto page = std::ranges::lower_bound(parent.pages, range.start, {}, &PlacedPage::address);
    for (; page != parent.pages.end() && page->address < range.end; ++page)
      process.pages.push_back({page->address, page->size, page->hash, mapping});
  }

  const SavedPages* saved_;
  std::map<int32_t, int32_t> parents_;  // whose pages a process has, if any
  std::set<int32_t> placed_;
  std::map<int32_t, ProcessMemory> processes_;
};

bool same_object(const VmaRecord& a, const VmaRecord& b) {
  if (a.backing != b.backing || a.shared != b.shared) return false;
  if (a.backing == Backing::kAnonymous) return true;
  if (a.start - a.offset != b.start - b.offset) return false;
  return a.backing == Backing::kSharedMemory || a.name == b.name;  // Nameless memory has a number in its name.
}

bool overlap(const VmaRecord& a, const VmaRecord& b) { return a.start < b.end && b.start < a.end; }

// One process of both checkpoints.
class ProcessComparison {
 public:
  ProcessComparison(const ProcessMemory& was, const ProcessMemory& now) : was_(was), now_(now) {
    heirs_.resize(was.mappings.size());
    rows_were_.resize(was.mappings.size());
    for (const VmaRecord& vma : now.mappings) rows_are_.push_back(row_of(vma, Change::kNew));
    for (size_t i = 0; i < was.mappings.size(); ++i) match(i);
    count_pages();
  }

  // By address; those without a change are left out.
  void append_to(Diff& diff) const {
    std::vector<MappingChange> changed;
    for (const std::vector<MappingChange>* rows : {&rows_were_, &rows_are_})
      for (const MappingChange& row : *rows) {
        if (row.pid == 0) continue;  // The heir tells.
        diff.pages += row.pages;
        bool moved = row.was != row.now || row.protection_was != row.protection_now;
        if (row.change != Change::kChanged || moved || row.pages.any()) changed.push_back(row);
      }
    std::ranges::sort(changed, {}, [](const MappingChange& row) {
      bool gone = row.change == Change::kGone;
      return std::pair(gone ? row.was.start : row.now.start, !gone);
    });
    std::ranges::move(changed, std::back_inserter(diff.mappings));
  }

 private:
  static MappingChange row_of(const VmaRecord& vma, Change change) {
    MappingChange row;
    row.change = change, row.pid = vma.pid, row.name = vma.name, row.segment = vma.segment;
    (change == Change::kGone ? row.was : row.now) = {vma.start, vma.end};
    (change == Change::kGone ? row.protection_was : row.protection_now) = protection_text(vma.prot, vma.shared);
    return row;
  }

  // Who of the mappings there are now takes this one's place, or parts of it.
  void match(size_t i) {
    const VmaRecord& old = was_.mappings[i];
    for (size_t j = first_after(old.start); j < now_.mappings.size() && now_.mappings[j].start < old.end; ++j) {
      if (!overlap(old, now_.mappings[j]) || !same_object(old, now_.mappings[j])) continue;
      MappingChange& row = rows_are_[j];
      if (row.change == Change::kNew) {
        row.change = Change::kChanged;
        row.was = {old.start, old.end};
        row.protection_was = protection_text(old.prot, old.shared);
      } else {
        row.was.end = std::max(row.was.end, old.end);
      }
      if (!heirs_[i]) heirs_[i] = j;
    }
    if (!heirs_[i]) rows_were_[i] = row_of(old, Change::kGone);
  }

  // The first mapping that ends behind this address.
  size_t first_after(uint64_t address) const {
    auto found = std::ranges::upper_bound(now_.mappings, address, {}, &VmaRecord::end);
    return static_cast<size_t>(found - now_.mappings.begin());
  }

  // The row of what was at this address and is not there any more.
  MappingChange& row_of_gone(const PlacedPage& page) {
    const VmaRecord& old = was_.mappings[page.mapping];
    size_t j = first_after(page.address);
    bool still_mapped =
        j < now_.mappings.size() && now_.mappings[j].start <= page.address && same_object(old, now_.mappings[j]);
    if (still_mapped) return rows_are_[j];
    return heirs_[page.mapping] ? rows_are_[*heirs_[page.mapping]] : rows_were_[page.mapping];
  }

  void count_pages() {
    auto old = was_.pages.begin();
    for (const PlacedPage& page : now_.pages) {
      for (; old != was_.pages.end() && old->address < page.address; ++old) row_of_gone(*old).pages.gone += old->size;
      PageChanges& pages = rows_are_[page.mapping].pages;
      bool both = old != was_.pages.end() && old->address == page.address &&
                  same_object(was_.mappings[old->mapping], now_.mappings[page.mapping]);
      if (!both)
        pages.added += page.size;
      else if (old->size == page.size && old->hash == page.hash)
        pages.same += page.size;
      else
        pages.changed += page.size;
      if (both) ++old;
    }
    for (; old != was_.pages.end(); ++old) row_of_gone(*old).pages.gone += old->size;
  }

  const ProcessMemory& was_;
  const ProcessMemory& now_;
  std::vector<std::optional<size_t>> heirs_;  // of each old mapping: the first that takes its place
  std::vector<MappingChange> rows_were_;      // pid 0 where the mapping has an heir
  std::vector<MappingChange> rows_are_;
};

}  // namespace

Result<> diff_memory(const Reader& was, const SavedPages& pages_were, const Reader& now, const SavedPages& pages_are,
                     Diff& diff) {
  Memory before = TRY(Memory::of(was, pages_were)), after = TRY(Memory::of(now, pages_are));
  std::set<int32_t> pids;
  for (const Memory* memory : {&before, &after})
    for (const auto& [pid, process] : memory->processes()) pids.insert(pid);
  for (int32_t pid : pids) ProcessComparison(before.process(pid), after.process(pid)).append_to(diff);
  return {};
}

}  // namespace stint::store
