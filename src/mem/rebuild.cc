#include "mem/rebuild.h"

#include <asm/prctl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "mem/fill.h"
#include "proc/maps.h"
#include "sys/procfs.h"

namespace stint::mem {
namespace {

constexpr uint64_t kTaskSize = 0x7ffffffff000;  // of four-level page tables, less the guard page
constexpr int kMapFixedNoReplace = 0x100000;
constexpr uint64_t kArchMapVdso64 = 0x2003;
constexpr uint64_t kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13

bool asked(const image::VmaRecord& vma, std::string_view flag) {
  return proc::VmFlags(vma.advice).has(flag);
}

uint64_t map_flags(const image::VmaRecord& vma) {
  uint64_t flags = kMapFixedNoReplace | (vma.shared ? MAP_SHARED : MAP_PRIVATE);
  if (vma.backing == image::Backing::kAnonymous) flags |= MAP_ANONYMOUS;
  if (asked(vma, "nr")) flags |= MAP_NORESERVE;
  if (asked(vma, "gd")) flags |= MAP_GROWSDOWN;
  return flags;
}

// What shows in VmFlags, and the advice that brings it about.
struct Advice {
  std::string_view flag;
  int advice;
};
constexpr Advice kAdvice[] = {{"sr", MADV_SEQUENTIAL}, {"rr", MADV_RANDOM},      {"dc", MADV_DONTFORK},
                              {"dd", MADV_DONTDUMP},   {"mg", MADV_MERGEABLE},   {"wf", MADV_WIPEONFORK},
                              {"hg", MADV_HUGEPAGE},   {"nh", MADV_NOHUGEPAGE}};

}  // namespace

// Long lists go out in several tables.
Result<> Rebuild::flush(tracee::Table& table) {
  TRY(table.run(process_.leader(), process_.pid()));
  table = tracee::Table(hands_);
  return {};
}

Result<> Rebuild::empty(Range keep) {
  tracee::Table table(hands_);
  table.must("munmap", SYS_munmap, {0, keep.start});
  table.must("munmap", SYS_munmap, {keep.end, kTaskSize - keep.end});
  return table.run(process_.leader(), process_.pid());
}

Result<> Rebuild::map_vdso(uint64_t vvar_start, uint64_t vdso_start) {
  tracee::Table table(hands_);
  table.must("ARCH_MAP_VDSO_64", SYS_arch_prctl, {kArchMapVdso64, vvar_start});
  TRY(table.run(process_.leader(), process_.pid()));
  std::string text = TRY(sys::read_proc(process_.pid(), "maps"));
  for (const proc::Vma& vma : TRY(proc::parse_maps(text)))
    if (vma.name == proc::VmaName::kVdso && vma.range.start == vdso_start) return {};
  return unfit("this kernel lays out its vDSO differently from the one where the checkpoint was taken");
}

Result<> Rebuild::map(const MappingFds& fds) {
  for (const image::SharedMemoryRecord& object : shared_memory_)
    if (!object.memfd) TRY(map_shared_anonymous(object));
  tracee::Table table(hands_);
  for (const image::VmaRecord& vma : vmas_) {
    if (vma.backing == image::Backing::kVdso) continue;
    uint64_t fd = ~uint64_t{0};
    bool ledger = vma.backing == image::Backing::kAgentLedger;
    if (vma.backing == image::Backing::kFile || vma.backing == image::Backing::kDevice || ledger) {
      auto file = fds.files.find(ledger ? image::kLedgerSpace : vma.object);
      if (file == fds.files.end()) return damaged(fmt::format("mapping {:#x} has no file", vma.start));
      fd = file->second;
    } else if (vma.backing == image::Backing::kSharedMemory) {
      auto memfd = fds.shared_memory.find(vma.object);
      if (memfd == fds.shared_memory.end()) continue;  // map_shared_anonymous made it
      fd = memfd->second;
    }
    table.must("mmap", SYS_mmap, {vma.start, vma.end - vma.start, vma.prot, map_flags(vma), fd, vma.offset});
    if (table.calls() == tracee::Hands::kTableCalls) TRY(flush(table));
  }
  return flush(table).in("map the program's memory");
}

// An anonymous shared object has no descriptor: it is mapped once as a whole, and mremap(2) with an old size of 0 makes
// another mapping of the same pages for each place where the program had one.
Result<> Rebuild::map_shared_anonymous(const image::SharedMemoryRecord& object) {
  tracee::Thread& leader = process_.leader();
  uint64_t size = page_up(object.size);
  tracee::Call map{SYS_mmap, {0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                              ~uint64_t{0}, 0}};
  uint64_t whole = static_cast<uint64_t>(TRY(hands_.call(leader, "mmap shared memory", map)));
  Placement place = [&](uint64_t offset, uint64_t*) -> Result<FillTarget> {
    if (offset >= size) return damaged("a page lies outside of its shared memory");
    return FillTarget{whole + offset, false};
  };
  TRY(fill_space(process_.pid(), source_, image::kObjectSpace | object.id, place, [](uint64_t) { return false; }));
  tracee::Table table(hands_);
  for (const image::VmaRecord& vma : vmas_) {
    if (vma.backing != image::Backing::kSharedMemory || vma.object != object.id) continue;
    uint64_t length = vma.end - vma.start;
    table.must("mremap", SYS_mremap, {whole + vma.offset, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, vma.start});
    if (vma.prot != (PROT_READ | PROT_WRITE)) table.must("mprotect", SYS_mprotect, {vma.start, length, vma.prot});
  }
  table.must("munmap", SYS_munmap, {whole, size});
  return table.run(leader, process_.pid());
}

Result<> Rebuild::fill(int32_t job_pid) {
  auto find = [&](uint64_t address) -> const image::VmaRecord* {
    auto after = std::ranges::upper_bound(vmas_, address, {}, &image::VmaRecord::start);
    if (after == vmas_.begin()) return nullptr;
    const image::VmaRecord& vma = *std::prev(after);
    return address < vma.end ? &vma : nullptr;
  };
  Placement place = [&](uint64_t offset, uint64_t* contiguous) -> Result<FillTarget> {
    const image::VmaRecord* vma = find(offset);
    if (vma == nullptr || vma->shared) return damaged(fmt::format("a page at {:#x} lies in no private mapping", offset));
    *contiguous = vma->end - offset;
    return FillTarget{offset, (vma->prot & PROT_WRITE) == 0};
  };
  auto zero_matters = [&](uint64_t offset) {
    const image::VmaRecord* vma = find(offset);
    return vma != nullptr && vma->backing != image::Backing::kAnonymous;
  };
  return fill_space(process_.pid(), source_, static_cast<uint64_t>(job_pid), place, zero_matters);
}

Result<> Rebuild::advise() {
  tracee::Table table(hands_);
  for (const image::VmaRecord& vma : vmas_) {
    if (vma.backing == image::Backing::kVdso) continue;
    uint64_t length = vma.end - vma.start;
    for (const Advice& entry : kAdvice)
      if (asked(vma, entry.flag))
        table.must("madvise", SYS_madvise, {vma.start, length, static_cast<uint64_t>(entry.advice)});
    for (size_t i = 0; i + 1 < vma.guards.size(); i += 2)
      table.must("madvise MADV_GUARD_INSTALL", SYS_madvise,
                 {vma.guards[i], vma.guards[i + 1] - vma.guards[i], kGuardInstall});
    if (asked(vma, "lo")) table.must("mlock2 (see ulimit -l)", SYS_mlock2, {vma.start, length, asked(vma, "lf") ? MLOCK_ONFAULT : 0u});
    if (table.calls() + 64 > tracee::Hands::kTableCalls) TRY(flush(table));
  }
  return table.empty() ? Result<>() : flush(table);
}

}  // namespace stint::mem
