#include "restore/maker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "files/content.h"
#include "sys/call.h"
#include "sys/descriptor.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/process.h"
#include "tracee/hands.h"

namespace stint::restore {
namespace {

constexpr int kMapFixedNoReplace = 0x100000;

class Maker {
 public:
  Maker(MakerJob& job, int terminal) : job_(job), terminal_(terminal), floor_(fd::first_free_number(job.tables)) {}

  Result<MakerReport> prepare() {
    TRY(sys::allow_most_descriptors());  // All descriptions of the job lie in this one table for a while.
    files::OpenFiles files = TRY(files::OpenFiles::make(job_.source, job_.file_plan, job_.file_options));
    TRY(ipc::make_objects(job_.plan.ipc, job_.source));
    TRY(make_memfds());
    TRY(open_mapped_files(files));
    TRY(make_descriptions(files));
    TRY(map_area());
    forget_own_rseq();
    report_.ready = true;
    return report_;
  }

 private:
  // To where no process has a number.
  Result<int> raise(sys::UniqueFd fd) {
    return TRY(sys::duplicate(fd.get(), floor_).in("more descriptors than one process may have (see ulimit -n)"))
        .release();
  }

  Result<> make_memfds() {
    for (const image::SharedMemoryRecord& object : job_.plan.shared_memory) {
      if (!object.memfd) continue;
      constexpr unsigned kAllowSealing = 2, kNoSealing = 1;  // MFD_ALLOW_SEALING; F_SEAL_SEAL
      unsigned flags = object.seals == kNoSealing ? 0 : kAllowSealing;
      long made = TRY(sys::call("memfd_create", [&] { return memfd_create(object.name.c_str(), flags); }));
      int fd = TRY(raise(sys::UniqueFd(static_cast<int>(made))));
      TRY(sys::ftruncate(fd, object.size));
      TRY(files::write_runs(job_.source, image::kObjectSpace | object.id, object.size, fd)
              .in(fmt::format("memfd {}", object.name)));
      report_.shared_memory.push_back({object.id, fd});
    }
    return {};
  }

  Result<> open_mapped_files(files::OpenFiles& files) {
    std::map<uint64_t, bool> wanted;
    bool ledger = false;
    for (const ProcessPlan& process : job_.plan.processes) {
      wanted[process.record.exe_file] |= false;
      for (const image::VmaRecord& vma : process.vmas) {
        ledger |= vma.backing == image::Backing::kAgentLedger;
        if (vma.backing == image::Backing::kFile || vma.backing == image::Backing::kDevice)
          wanted[vma.object] |= vma.file_writable;
      }
    }
    if (ledger) report_.files.push_back({image::kLedgerSpace, TRY(raise(TRY(sys::open(job_.ledger, O_RDWR))))});
    for (auto [id, writable] : wanted)
      if (id != 0) report_.files.push_back({id, TRY(raise(TRY(files.open_mapped_file(id, writable))))});
    return {};
  }

  Result<> make_descriptions(files::OpenFiles& files) {
    fd::RestoreContext context{.source = job_.source};
    context.maker = JobPid{job_.plan.root().record.pid};
    std::ranges::copy(job_.streams, context.streams);
    context.terminal = terminal_;
    for (const ProcessPlan& process : job_.plan.processes)
      if (process.record.controlling_pty >= 0) context.controlling[process.record.controlling_pty] = -1;
    for (const ObjectFd& memory : report_.shared_memory) context.shared_memory[memory.object] = memory.fd;
    context.open_file = [&](uint64_t state, int flags) { return files.open_file(state, flags); };
    // relay_input() has made it: what was queued comes first in it.
    context.prefilled_stream = [&](int stream, ByteView) {
      return sys::duplicate(job_.streams[static_cast<size_t>(stream)]);
    };
    for (auto [id, fd] : TRY(fd::make_descriptions(job_.source, context, job_.tables, floor_)))
      report_.descriptions.push_back({id, fd});
    for (auto [number, slave] : context.controlling)
      report_.controlling_ptys.push_back({static_cast<uint64_t>(number), slave});
    return {};
  }

  Result<> map_area() {
    const Range& area = job_.plan.areas[0];
    void* wanted = reinterpret_cast<void*>(area.start);
    void* got = ::mmap(wanted, area.size(), PROT_READ | PROT_WRITE | PROT_EXEC,
                       tracee::kAreaMapFlags | kMapFixedNoReplace, -1, 0);
    if (got != wanted) return os_error("map the table-runner's area");
    for (int advice : tracee::kAreaAdvice)
      if (::madvise(got, area.size(), advice) != 0) return os_error("madvise");
    Bytes code = tracee::area_code_page();
    std::ranges::copy(code, static_cast<std::byte*>(got));
    return {};
  }

  // The kernel writes into our thread's rseq area whenever it is scheduled; that memory is about to go.
  void forget_own_rseq() {
    constexpr int kUnregister = 1;
    void* area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
    if (__rseq_size != 0) ::syscall(SYS_rseq, area, 32, kUnregister, RSEQ_SIG);
  }

  MakerJob& job_;
  int terminal_;
  int floor_;
  MakerReport report_;
};

}  // namespace

void maker_main(MakerJob& job, int terminal) {
  sys::UniqueFd(job.caller).reset();
  Maker maker(job, terminal);
  Result<MakerReport> prepared = maker.prepare();
  MakerReport report;
  if (prepared.has_value()) {
    report = std::move(*prepared);
  } else {
    report.error_kind = static_cast<uint8_t>(prepared.error().kind());
    report.error = prepared.error().text();
  }
  // From here on the only code of ours that runs in this process is the table-runner.
  Result<> written = sys::pwrite_all(job.report, image::encode(report), 0);
  if (written.has_value()) written = sys::send_message(job.socket, Bytes(1));
  if (!written.has_value()) sys::exit_now(1);
  // Until it is taken over; or nobody is left who would.
  Bytes nothing(1);
  (void)sys::receive_message(job.socket, nothing, true);
  sys::exit_now(1);
}

}  // namespace stint::restore
