#include "capture/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "mem/classify.h"
#include "mem/copy.h"
#include "sys/procfs.h"

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

Result<> check_supported(const proc::VmaUsage& usage) {
  const proc::Vma& vma = usage.vma;
  if (usage.kernel_page_size > kPageSize || usage.flags.has("ht"))
    return refused("huge pages of a hugetlb pool are not supported: run the program without them");
  if (usage.flags.has("ss")) return refused("a shadow stack (CET) cannot be put back");
  if (usage.flags.has("um") || usage.flags.has("uw"))
    return refused("it is registered with a userfaultfd of the program's own, which cannot be put back");
  if (vma.kernel_made() && vma.name != proc::VmaName::kSpecial) return {};
  if (usage.flags.has("io") || usage.flags.has("pf"))
    return refused("it maps a device's memory, which belongs to this machine");
  if (vma.path.starts_with("/[aio]")) return refused("asynchronous I/O contexts (io_setup) are not supported");
  if (vma.path.starts_with("anon_inode:")) return refused("memory of this kind belongs to the kernel");
  if (vma.name == proc::VmaName::kSpecial) return refused("special memory of the kernel cannot be put back");
  return {};
}

// As the link /proc/PID/exe would show it.
std::string shown(const proc::Vma& vma) { return vma.deleted ? vma.path + " (deleted)" : vma.path; }

class MemoryCapture {
 public:
  MemoryCapture(tracee::StoppedProcess& process, int32_t job_pid, const MemoryNames& names, files::MappedFiles& mapped_files,
                mem::SharedMemory& shared_memory, image::Sink& sink)
      : process_(process), job_pid_(job_pid), names_(names), mapped_files_(mapped_files), shared_memory_(shared_memory), sink_(sink) {}

  Result<> read_maps(Range ours) {
    std::string text = TRY(sys::read_proc(process_.pid(), "smaps"));
    for (proc::VmaUsage& usage : TRY(proc::parse_smaps(text))) {
      if (usage.vma.range.overlaps(ours) || usage.vma.name == proc::VmaName::kVsyscall) continue;
      vmas_.push_back(usage.vma);
      usage_.push_back(std::move(usage));
    }
    return {};
  }

  Result<MemoryTotals> record() {
    Pid pid = process_.pid();
    mem::AddressSpace space = mem::classify(
        vmas_, [&](uint64_t at, std::span<std::byte> to) { return sys::read_memory(pid, at, to.data(), to.size()); },
        usage_);
    sys::Pagemap pagemap = TRY(sys::Pagemap::open(pid));
    std::vector<mem::VmaPages> pages = TRY(mem::pages_to_save(vmas_, pagemap, usage_));
    mem::Copier copier(pid, static_cast<uint64_t>(job_pid_), sink_);
    for (size_t i = 0; i < vmas_.size(); ++i) {
      TRY(check_supported(usage_[i]).in(title(vmas_[i])));
      image::VmaRecord record = TRY(describe(usage_[i]).in(title(vmas_[i])));
      record.segment = segment_name(space.segments[i].segment);
      for (const Range& guard : pages[i].guards) record.guards.insert(record.guards.end(), {guard.start, guard.end});
      record.changed = record.saved = pages[i].changed();
      TRY(sink_.put({image::RecordType::kVma, 1, true, image::encode(record)}));
      for (const sys::PageRun& run : pages[i].save)
        TRY(copier.add(run.range.start, run.range.start, run.range.size(), !vmas_[i].read));
      if (record.backing == image::Backing::kFile && names_.exe == shown(vmas_[i])) totals_.exe_file = record.object;
      totals_.mapped += vmas_[i].range.size();
    }
    if (totals_.exe_file == 0)
      return refused(fmt::format("it does not map its own program {} any more, so /proc/self/exe cannot be put back",
                                 names_.exe));
    TRY(copier.finish());
    totals_.saved = copier.bytes();
    return totals_;
  }

 private:
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
    } else if (vma.nameless_shared() || vma.path.starts_with("/memfd:")) {
      record.backing = image::Backing::kSharedMemory;
      record.object = TRY(shared_memory_.note_mapping(usage));
    } else if (!names_.ledger.empty() && vma.path == names_.ledger) {
      record.backing = image::Backing::kAgentLedger;
      record.file_writable = true;
    } else if (!vma.anonymous()) {
      record.file_writable = vma.shared && usage.flags.has("mw");
      record.backing = vma.path == "/dev/zero" ? image::Backing::kDevice : image::Backing::kFile;
      record.object = TRY(mapped_files_.note(process_.pid(), vma, record.file_writable));
    }
    return record;
  }

  tracee::StoppedProcess& process_;
  int32_t job_pid_;
  const MemoryNames& names_;
  files::MappedFiles& mapped_files_;
  mem::SharedMemory& shared_memory_;
  image::Sink& sink_;
  std::vector<proc::Vma> vmas_;
  std::vector<proc::VmaUsage> usage_;
  MemoryTotals totals_;
};

}  // namespace

Result<MemoryTotals> capture_memory(tracee::StoppedProcess& process, int32_t job_pid, Range ours, const MemoryNames& names,
                                    files::MappedFiles& mapped_files, mem::SharedMemory& shared_memory,
                                    image::Sink& sink) {
  MemoryCapture capture(process, job_pid, names, mapped_files, shared_memory, sink);
  TRY(capture.read_maps(ours));
  return capture.record();
}

}  // namespace stint::capture
