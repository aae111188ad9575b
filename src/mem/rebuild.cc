#include "mem/rebuild.h"

#include <asm/prctl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <algorithm>

#include "image/ipc_records.h"
#include "mem/fill.h"
#include "mem/inherit.h"
#include "proc/maps.h"
#include "sys/procfs.h"
#include "task/memory_policy.h"

namespace stint::mem {
namespace {

constexpr uint64_t kTaskSize = 0x7ffffffff000;  // of four-level page tables, less the guard page
constexpr int kMapFixedNoReplace = 0x100000;
constexpr uint64_t kArchMapVdso64 = 0x2003;
constexpr uint64_t kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13

bool asked(const image::VmaRecord& vma, std::string_view flag) { return proc::VmFlags(vma.advice).has(flag); }

uint64_t map_flags(const image::VmaRecord& vma) {
  // Room for the ring (mem/aio_rebuild).
  if (vma.backing == image::Backing::kAioRing) return kMapFixedNoReplace | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
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
constexpr Advice kAdvice[] = {{"sr", MADV_SEQUENTIAL}, {"rr", MADV_RANDOM},    {"dc", MADV_DONTFORK},
                              {"dd", MADV_DONTDUMP},   {"mg", MADV_MERGEABLE}, {"wf", MADV_WIPEONFORK},
                              {"hg", MADV_HUGEPAGE},   {"nh", MADV_NOHUGEPAGE}};

}  // namespace

// Long lists go out in several tables.
Result<> Rebuild::flush(tracee::Table& table) {
  TRY(table.run(process_.representative(), process_.seen_as()));
  table = tracee::Table(hands_);
  return {};
}

Result<> empty_memory(tracee::StoppedProcess& process, tracee::Hands& hands, Range keep) {
  tracee::Table table(hands);
  table.must("munmap", SYS_munmap, {0, keep.start});
  table.must("munmap", SYS_munmap, {keep.end, kTaskSize - keep.end});
  return table.run(process.representative(), process.seen_as());
}

namespace {

Result<> attach_segment(tracee::StoppedProcess& process, tracee::Hands& hands, uint64_t object, uint64_t start) {
  uint64_t id = object & ~(image::kSysvSegment | image::kSysvReadOnly);
  uint64_t flags = (object & image::kSysvReadOnly) != 0 ? SHM_RDONLY : 0;
  TRY(hands.call(process.representative(), "shmat", {SYS_shmat, {id, start, flags}}));
  return {};
}

}  // namespace

Result<> remove_segments(tracee::StoppedProcess& process, tracee::Hands& hands, std::span<const int> ids) {
  for (int id : ids)
    TRY(hands.call(process.representative(), "IPC_RMID", {SYS_shmctl, {static_cast<uint64_t>(id), IPC_RMID, 0}}));
  return {};
}

Result<> stage_shared_memory(tracee::StoppedProcess& process, tracee::Hands& hands, const image::Source& source,
                             const MappingSources& sources) {
  for (const auto& [id, start] : sources.staging) {
    if ((id & image::kSysvSegment) != 0) {
      TRY(attach_segment(process, hands, id, start).in(fmt::format("System V segment {:#x}", id)));
      continue;
    }
    uint64_t size = page_up(sources.memory.at(id).size);
    constexpr uint64_t kFlags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | kMapFixedNoReplace;
    tracee::Call map{SYS_mmap, {start, size, PROT_READ | PROT_WRITE, kFlags, ~uint64_t{0}, 0}};
    TRY(hands.call(process.representative(), "mmap shared memory", map));
    Placement place = [&, start = start](uint64_t offset, uint64_t*) -> Result<FillTarget> {
      if (offset >= size) return damaged("a page lies outside of its shared memory");
      return FillTarget{start + offset, false};
    };
    TRY(fill_space(process.seen_as(), source, image::kObjectSpace | id, place, [](uint64_t) { return false; }));
  }
  return {};
}

Result<> Rebuild::map_vdso(uint64_t vvar_start, uint64_t vdso_start) {
  tracee::Table table(hands_);
  table.must("ARCH_MAP_VDSO_64", SYS_arch_prctl, {kArchMapVdso64, vvar_start});
  TRY(table.run(process_.representative(), process_.seen_as()));
  std::string text = TRY(sys::read_proc(process_.seen_as(), "maps"));
  for (const proc::Vma& vma : TRY(proc::parse_maps(text)))
    if (vma.name == proc::VmaName::kVdso && vma.range.start == vdso_start) return {};
  return unfit("this kernel lays out its vDSO differently from the one where the checkpoint was taken");
}

Result<uint64_t> Rebuild::descriptor_for(const image::VmaRecord& vma) const {
  switch (vma.backing) {
    case image::Backing::kFile:
    case image::Backing::kDevice:
    case image::Backing::kAgentLedger: {
      bool ledger = vma.backing == image::Backing::kAgentLedger;
      auto file = sources_.files.find(ledger ? image::kLedgerSpace : vma.object);
      if (file == sources_.files.end()) return damaged(fmt::format("mapping {:#x} has no file", vma.start));
      return static_cast<uint64_t>(file->second);
    }
    case image::Backing::kSharedMemory: {
      auto memfd = sources_.memfds.find(vma.object);
      if (memfd == sources_.memfds.end()) return damaged(fmt::format("mapping {:#x} has no memory", vma.start));
      return static_cast<uint64_t>(memfd->second);
    }
    default:
      return ~uint64_t{0};
  }
}

Result<> Rebuild::keep_from(const std::vector<image::VmaRecord>& parents) {
  kept_ = kept_mappings(parents, vmas_);
  std::vector<Range> came;
  for (const image::VmaRecord& vma : parents)
    if (vma.backing != image::Backing::kVdso) came.push_back({vma.start, vma.end});
  tracee::Table table(hands_);
  for (const Range& range : subtract(came, kept_)) {
    table.must("munmap", SYS_munmap, {range.start, range.size()});
    if (table.calls() == tracee::Hands::kTableCalls) TRY(flush(table));
  }
  for (const image::VmaRecord& vma : vmas_) {
    if (vma.shared || vma.backing == image::Backing::kVdso) continue;
    std::vector<Range> inherited;
    for (size_t i = 0; i + 1 < vma.inherited.size(); i += 2)
      inherited.push_back({vma.inherited[i], vma.inherited[i + 1]});
    for (const Range& range : subtract(cut_out(kept_, {vma.start, vma.end}), inherited)) {
      table.must("madvise MADV_DONTNEED", SYS_madvise, {range.start, range.size(), MADV_DONTNEED});
      if (table.calls() == tracee::Hands::kTableCalls) TRY(flush(table));
    }
  }
  return table.empty() ? Result<>() : flush(table);
}

void Rebuild::ask_for_mapping(tracee::Table& table, const image::VmaRecord& vma, Range part, uint64_t fd) const {
  auto staged = sources_.staging.find(vma.object);
  uint64_t offset = vma.offset + (part.start - vma.start);
  if (vma.backing == image::Backing::kSharedMemory && staged != sources_.staging.end()) {
    uint64_t from = staged->second + offset;
    table.must("mremap", SYS_mremap, {from, 0, part.size(), MREMAP_MAYMOVE | MREMAP_FIXED, part.start});
    uint32_t staged_as = (vma.object & image::kSysvReadOnly) != 0 ? PROT_READ : PROT_READ | PROT_WRITE;
    if (vma.prot != staged_as) table.must("mprotect", SYS_mprotect, {part.start, part.size(), vma.prot});
  } else {
    table.must("mmap", SYS_mmap, {part.start, part.size(), vma.prot, map_flags(vma), fd, offset});
  }
}

Result<> Rebuild::map() {
  tracee::Table table(hands_);
  for (const image::VmaRecord& vma : vmas_) {
    if (vma.backing == image::Backing::kVdso) continue;
    Range whole{vma.start, vma.end};
    bool staged = vma.backing == image::Backing::kSharedMemory && sources_.staging.contains(vma.object);
    uint64_t fd = staged ? 0 : TRY(descriptor_for(vma));
    for (const Range& part : subtract({&whole, 1}, cut_out(kept_, whole))) {
      ask_for_mapping(table, vma, part, fd);
      if (table.calls() + 2 > tracee::Hands::kTableCalls) TRY(flush(table));
    }
  }
  return table.empty() ? Result<>() : flush(table).in("map the program's memory");
}

Result<> drop_staging(tracee::StoppedProcess& process, tracee::Hands& hands, const MappingSources& sources) {
  if (sources.staging.empty()) return {};
  tracee::Table table(hands);
  for (const auto& [id, start] : sources.staging)
    table.must("munmap", SYS_munmap, {start, page_up(sources.memory.at(id).size)});
  return table.run(process.representative(), process.seen_as());
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
    if (vma == nullptr || vma->shared)
      return damaged(fmt::format("a page at {:#x} lies in no private mapping", offset));
    *contiguous = vma->end - offset;
    return FillTarget{offset, (vma->prot & PROT_WRITE) == 0};
  };
  auto zero_matters = [&](uint64_t offset) {
    const image::VmaRecord* vma = find(offset);
    return vma != nullptr && vma->backing != image::Backing::kAnonymous;
  };
  return fill_space(process_.seen_as(), source_, static_cast<uint64_t>(job_pid), place, zero_matters);
}

Result<> Rebuild::advise() {
  tracee::Table table(hands_);
  for (const image::VmaRecord& vma : vmas_) {
    if (vma.backing == image::Backing::kVdso) continue;
    uint64_t length = vma.end - vma.start;
    for (const Advice& entry : kAdvice)
      if (asked(vma, entry.flag))
        table.must("madvise", SYS_madvise, {vma.start, length, static_cast<uint64_t>(entry.advice)});
    task::set_mapping_policy(table, vma.start, length, vma.policy);
    for (size_t i = 0; i + 1 < vma.guards.size(); i += 2)
      table.must("madvise MADV_GUARD_INSTALL", SYS_madvise,
                 {vma.guards[i], vma.guards[i + 1] - vma.guards[i], kGuardInstall});
    if (asked(vma, "lo"))
      table.must("mlock2 (see ulimit -l)", SYS_mlock2, {vma.start, length, asked(vma, "lf") ? MLOCK_ONFAULT : 0u});
    if (table.calls() + 64 > tracee::Hands::kTableCalls) TRY(flush(table));
  }
  return table.empty() ? Result<>() : flush(table);
}

}  // namespace stint::mem
