#include "capture/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "mem/aio_ring.h"
#include "mem/classify.h"
#include "mem/copy.h"
#include "mem/inherit.h"
#include "sys/procfs.h"
#include "task/memory_policy.h"

namespace stint::capture {
namespace {

// The codes of smaps that were asked for, and so must be asked for again.
constexpr std::string_view kAsked[] = {"gd", "sr", "rr", "dc", "dd", "nr", "lo", "lf", "mg", "wf", "hg", "nh"};

std::string asked_for(const proc::VmFlags& flags) {
  std::string text;
  for (std::string_view code : kAsked)
    if (flags.has(code)) text += (text.empty() ? "" : " ") + std::string(code);
  return text;
}

std::string title(const proc::Vma& vma) {
  return fmt::format("mapping {:#x}-{:#x} of {}", vma.range.start, vma.range.end,
                     vma.path.empty() ? "anonymous memory" : vma.path);
}

// Memory in which the kernel keeps something of its own, or that it shows to nobody else.
struct KernelMemory {
  std::string_view path;
  const char* why;
};
constexpr KernelMemory kKernelMemory[] = {
    {"/secretmem", "secret memory cannot be read by anybody else: run the program without memfd_secret"},
    {"anon_inode:[io_uring]",
     "io_uring cannot be put back yet: tell the program to use epoll or plain reads (UV_USE_IO_URING=0 for node)"},
    {"anon_inode:[perf_event]", "performance counters cannot be put back: run it without profiling"},
    {"anon_inode:", "it shares this memory with the kernel, which does not give it away: unmap it"},
};

// `followed`: by us. A mapping that has grown since reaches beyond it.
Result<> check_supported(const proc::VmaUsage& usage, std::span<const Range> followed) {
  const proc::Vma& vma = usage.vma;
  bool ours = !mem::cut_out(followed, vma.range).empty();
  if (usage.kernel_page_size > kPageSize || usage.flags.has("ht"))
    return refused("huge pages of a hugetlb pool are not supported: run the program without them");
  if (usage.flags.has("um") || (usage.flags.has("uw") && !ours))
    return refused("it is registered with a userfaultfd of the program's own, which cannot be put back");
  if (vma.kernel_made() && vma.name != proc::VmaName::kSpecial) return {};
  if (usage.flags.has("io") || usage.flags.has("pf"))
    return refused("it maps a device's memory, which belongs to this machine");
  for (const KernelMemory& memory : kKernelMemory)
    if (vma.path.starts_with(memory.path)) return refused(memory.why);
  if (vma.name == proc::VmaName::kSpecial) return refused("special memory of the kernel cannot be put back");
  return {};
}

// As the link /proc/PID/exe would show it.
std::string shown(const proc::Vma& vma) { return vma.deleted ? vma.path + " (deleted)" : vma.path; }

class MemoryCapture {
 public:
  MemoryCapture(tracee::StoppedProcess& process, int32_t job_pid, const MemorySurroundings& surroundings,
                files::MappedFiles& mapped_files, mem::SharedMemory& shared_memory, tracee::Hands& hands,
                image::Sink& sink)
      : process_(process),
        job_pid_(job_pid),
        names_(surroundings.names),
        surroundings_(surroundings),
        mapped_files_(mapped_files),
        shared_memory_(shared_memory),
        hands_(hands),
        sink_(sink) {}

  void take_mappings() {
    for (const proc::VmaUsage& usage : surroundings_.mappings) {
      if (usage.vma.name == proc::VmaName::kVsyscall) continue;
      vmas_.push_back(usage.vma);
      usage_.push_back(usage);
    }
  }

  Result<CapturedMemory> record() {
    Pid pid = process_.seen_as();
    found_.pid = pid;
    mem::AddressSpace space = mem::classify(
        vmas_, [&](uint64_t at, std::span<std::byte> to) { return sys::read_memory(pid, at, to.data(), to.size()); },
        usage_);
    sys::Pagemap pagemap = TRY(sys::Pagemap::open(pid));
    std::vector<mem::VmaPages> pages = TRY(mem::pages_to_save(vmas_, pagemap, usage_, surroundings_.scanned));
    const CopiedAhead* copied = surroundings_.copied;
    std::span<const Range> followed = copied != nullptr ? std::span(copied->followed) : std::span<const Range>();
    for (size_t i = 0; i < vmas_.size(); ++i) {
      TRY(check_supported(usage_[i], followed).in(title(vmas_[i])));
      image::VmaRecord record = TRY(describe(usage_[i]).in(title(vmas_[i])));
      record.segment = segment_name(space.segments[i].segment);
      for (const Range& guard : pages[i].guards) record.guards.insert(record.guards.end(), {guard.start, guard.end});
      if (record.backing == image::Backing::kFile && names_.exe == shown(vmas_[i])) found_.exe_file = record.object;
      found_.mapped += vmas_[i].range.size();
      for (const Range& range : own_pages(pages[i])) {
        found_.pages.push_back(range);
        record.changed += range.size();
      }
      for (const sys::PageRun& run : pages[i].save)
        if (run.unwritten) unwritten_.push_back(run.range);
      found_.vmas.push_back(std::move(record));
    }
    if (found_.exe_file == 0)
      return refused(
          fmt::format("it does not map its own program {} any more, so /proc/self/exe cannot be put back", names_.exe));
    TRY(note_policies());
    TRY(save(TRY(inherited_pages(pagemap))));
    return std::move(found_);
  }

 private:
  Result<> note_policies() {
    std::vector<uint64_t> addresses;
    for (const image::VmaRecord& vma : found_.vmas) addresses.push_back(vma.start);
    std::vector<image::MemoryPolicy> policies = TRY(task::mapping_policies(process_, hands_, addresses));
    for (size_t i = 0; i < policies.size(); ++i) found_.vmas[i].policy = std::move(policies[i]);
    return {};
  }

  std::vector<Range> own_pages(const mem::VmaPages& pages) const {
    std::vector<Range> own;
    for (const sys::PageRun& run : pages.save) own.push_back(run.range);
    return mem::subtract(own, {&surroundings_.lent, 1});
  }

  // Those that birth from its parent will give it.
  Result<std::vector<Range>> inherited_pages(const sys::Pagemap& pagemap) {
    const CapturedMemory* parents = surroundings_.parents;
    if (parents == nullptr || parents->exe_file != found_.exe_file) return std::vector<Range>();
    std::vector<Range> kept = mem::kept_mappings(parents->vmas, found_.vmas);
    return mem::same_contents(parents->pid, process_.seen_as(), pagemap, mem::intersect(found_.pages, kept),
                              parents->pages);
  }

  Result<> save(const std::vector<Range>& inherited) {
    found_.inherits = !inherited.empty();
    uint64_t space = static_cast<uint64_t>(job_pid_);
    mem::Copier copier(process_.seen_as(), space, sink_);
    std::vector<Range> own = mem::subtract(found_.pages, inherited);
    const CopiedAhead* copied = surroundings_.copied;
    std::vector<Range> rest = own;
    if (copied != nullptr) rest = mem::subtract(own, mem::intersect(copied->pages, unwritten_));
    for (image::VmaRecord& vma : found_.vmas) {
      Range whole{vma.start, vma.end};
      for (const Range& range : mem::cut_out(inherited, whole))
        vma.inherited.insert(vma.inherited.end(), {range.start, range.end});
      bool readable = (vma.prot & PROT_READ) != 0;
      for (const Range& range : mem::cut_out(own, whole)) vma.saved += range.size();
      for (const Range& range : mem::cut_out(rest, whole))
        TRY(copier.add(range.start, range.start, range.size(), !readable));
      found_.saved += vma.saved;
      TRY(sink_.put({image::RecordType::kVma, 1, true, image::encode(vma)}));
    }
    TRY(copier.finish());
    if (copied != nullptr) TRY(sink_.settle(space, std::move(own), {}));
    return {};
  }

  Result<image::VmaRecord> describe(const proc::VmaUsage& usage) {
    const proc::Vma& vma = usage.vma;
    image::VmaRecord record;
    record.pid = job_pid_;
    record.start = vma.range.start, record.end = vma.range.end;
    record.prot = static_cast<uint32_t>(vma.prot());
    record.shared = vma.shared;
    record.offset = vma.offset;
    record.name = vma.path;
    record.advice = asked_for(usage.flags);
    if (vma.kernel_made()) {
      record.backing = image::Backing::kVdso;
    } else if (mem::is_aio_ring(vma)) {
      record.backing = image::Backing::kAioRing;
    } else if (vma.nameless_shared() || vma.path.starts_with("/memfd:")) {
      record.backing = image::Backing::kSharedMemory;
      record.object = TRY(shared_memory_.note_mapping(usage, process_, hands_));
    } else if (!names_.ledger.empty() && vma.path == names_.ledger) {
      record.backing = image::Backing::kAgentLedger;
      record.file_writable = true;
    } else if (!vma.anonymous()) {
      record.file_writable = vma.shared && usage.flags.has("mw");
      record.backing = vma.path == "/dev/zero" ? image::Backing::kDevice : image::Backing::kFile;
      record.object = TRY(mapped_files_.note(process_.seen_as(), vma, record.file_writable));
    }
    return record;
  }

  tracee::StoppedProcess& process_;
  int32_t job_pid_;
  const MemoryNames& names_;
  const MemorySurroundings& surroundings_;
  files::MappedFiles& mapped_files_;
  mem::SharedMemory& shared_memory_;
  tracee::Hands& hands_;
  image::Sink& sink_;
  std::vector<proc::Vma> vmas_;
  std::vector<proc::VmaUsage> usage_;
  std::vector<Range> unwritten_;  // followed, and not written since
  CapturedMemory found_;
};

}  // namespace

// The way back of an injected call (tracee/inject) is a `ret` that no shadow stack knows of.
Result<> check_mappings_supported(const std::vector<proc::VmaUsage>& mappings) {
  for (const proc::VmaUsage& usage : mappings)
    if (usage.flags.has("ss"))
      return refused("its threads have shadow stacks (CET), which cannot be put back").in(title(usage.vma));
  return {};
}

Result<CapturedMemory> capture_memory(tracee::StoppedProcess& process, int32_t job_pid,
                                      const MemorySurroundings& surroundings, files::MappedFiles& mapped_files,
                                      mem::SharedMemory& shared_memory, tracee::Hands& hands, image::Sink& sink) {
  MemoryCapture capture(process, job_pid, surroundings, mapped_files, shared_memory, hands, sink);
  capture.take_mappings();
  return capture.record();
}

}  // namespace stint::capture
