#include "restore/husk.h"


#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include "sys/call.h"
#include "sys/file.h"
#include "sys/message.h"
#include "task/process.h"
#include "tracee/hands.h"

namespace stint::restore {
namespace {

constexpr int kMapFixedNoReplace = 0x100000;

class Husk {
 public:
  Husk(HuskJob& job, int terminal) : job_(job), terminal_(terminal) {}

  Result<HuskReport> prepare() {
    JobPid pid{job_.plan.process.pid};
    TRY(raise_file_limit());
    TRY(make_room(pid));
    files::OpenFiles files = TRY(files::OpenFiles::make(job_.source, job_.file_plan, job_.file_options));
    TRY(make_memfds());
    TRY(open_mapped_files(files));
    TRY(restore_descriptors(pid, files));
    TRY(map_area());
    TRY(task::restore_process_inside(job_.plan.process));
    forget_own_rseq();
    report_.ready = true;
    report_.to_close.push_back(job_.socket);
    report_.to_close.push_back(pages_);
    return report_;
  }

 private:
  Result<> raise_file_limit() {
    rlimit limit{};
    TRY(sys::call("getrlimit", [&] { return getrlimit(RLIMIT_NOFILE, &limit); }));
    limit.rlim_cur = limit.rlim_max;
    TRY(sys::call("setrlimit", [&] { return setrlimit(RLIMIT_NOFILE, &limit); }));
    return {};
  }

  // Our own descriptors give way to the numbers that the program's will have.
  Result<> make_room(JobPid pid) {
    std::vector<int> numbers = TRY(fd::numbers_of(job_.source, pid));
    TRY(job_.source.raise_descriptors(numbers.empty() ? 0 : numbers.back() + 1));
    pages_ = job_.source.pages_descriptor();
    std::vector<int> keep{job_.socket};
    if (terminal_ >= 0) keep.push_back(terminal_);
    for (int stream : job_.streams)
      if (stream >= 0 && std::ranges::find(keep, stream) == keep.end()) keep.push_back(stream);
    std::map<int, int> moved = TRY(fd::make_room(job_.source, pid, keep));
    auto follow = [&](int& fd) {
      auto now = moved.find(fd);
      if (now != moved.end()) fd = now->second;
    };
    TRY(occupy(numbers));
    follow(job_.socket);
    follow(terminal_);
    for (int& stream : job_.streams) follow(stream);
    return {};
  }

  // So that nothing that we open meanwhile gets a number which the program's table will have.
  Result<> occupy(const std::vector<int>& numbers) {
    sys::UniqueFd nothing = TRY(sys::open("/dev/null", O_RDONLY));
    for (int number : numbers) {
      if (::fcntl(number, F_GETFD) >= 0) continue;
      TRY(sys::call("dup3", [&] { return ::dup3(nothing.get(), number, O_CLOEXEC); }));
    }
    if (std::ranges::binary_search(numbers, nothing.get())) (void)nothing.release();  // It stands for its own number.
    return {};
  }

  Result<> make_memfds() {
    for (const image::SharedMemoryRecord& object : job_.plan.shared_memory) {
      if (!object.memfd) continue;
      constexpr unsigned kAllowSealing = 2, kNoSealing = 1;  // MFD_ALLOW_SEALING; F_SEAL_SEAL
      unsigned flags = object.seals == kNoSealing ? 0 : kAllowSealing;
      long made = TRY(sys::call("memfd_create", [&] { return memfd_create(object.name.c_str(), flags); }));
      int fd = static_cast<int>(made);
      TRY(sys::ftruncate(fd, object.size));
      TRY(fill_memfd(object, fd).in(fmt::format("memfd {}", object.name)));
      shared_memory_[object.id] = fd;
    }
    return {};
  }

  Result<> fill_memfd(const image::SharedMemoryRecord& object, int fd) {
    Bytes bytes(image::kPageBufferSize);
    for (const image::Source::Block& block : job_.source.blocks(image::kObjectSpace | object.id)) {
      if (block.all_zero) continue;
      TRY(job_.source.read(block, bytes.data()));
      const std::byte* from = bytes.data();
      for (const image::PageRun& run : block.runs) {
        TRY(sys::pwrite_all(fd, {from, run.size}, run.offset));
        from += run.size;
      }
    }
    return {};
  }

  Result<> restore_descriptors(JobPid pid, files::OpenFiles& files) {
    fd::RestoreContext context{.source = job_.source};
    std::ranges::copy(job_.streams, context.streams);
    context.terminal = terminal_;
    context.shared_memory = shared_memory_;
    context.open_file = [&](uint64_t state, int flags) { return files.open_file(state, flags); };
    // relay_input() has made it: what was queued comes first in it.
    context.prefilled_stream = [&](int stream, ByteView) -> Result<sys::UniqueFd> {
      int given = job_.streams[static_cast<size_t>(stream)];
      long copy = TRY(sys::call("F_DUPFD_CLOEXEC", [&] { return ::fcntl(given, F_DUPFD_CLOEXEC, 0); }));
      return sys::UniqueFd(static_cast<int>(copy));
    };
    std::vector<int> keep{job_.socket, pages_};
    for (const auto& [id, fd] : shared_memory_) keep.push_back(fd);
    for (const ObjectFd& file : report_.files) keep.push_back(file.fd);
    for (const fd::PosixLock& held : TRY(fd::restore_descriptors(job_.source, context, pid, keep)))
      report_.locks.push_back({held.fd, held.lock});
    for (const auto& [id, fd] : shared_memory_) {
      report_.shared_memory.push_back({id, fd});
      report_.to_close.push_back(fd);
    }
    return {};
  }

  Result<> open_mapped_files(files::OpenFiles& files) {
    std::map<uint64_t, bool> wanted{{job_.plan.process.exe_file, false}};
    for (const image::VmaRecord& vma : job_.plan.vmas)
      if (vma.backing == image::Backing::kFile || vma.backing == image::Backing::kDevice)
        wanted[vma.object] |= vma.file_writable;
    if (std::ranges::any_of(job_.plan.vmas, [](auto& vma) { return vma.backing == image::Backing::kAgentLedger; })) {
      int fd = TRY(sys::open(job_.ledger, O_RDWR)).release();
      report_.files.push_back({image::kLedgerSpace, fd});
      report_.to_close.push_back(fd);
    }
    for (auto [id, writable] : wanted) {
      if (id == 0) continue;
      int fd = TRY(files.open_mapped_file(id, writable)).release();
      report_.files.push_back({id, fd});
      report_.to_close.push_back(fd);
    }
    return {};
  }

  Result<> map_area() {
    const Range& area = job_.plan.area;
    void* wanted = reinterpret_cast<void*>(area.start);
    void* got = ::mmap(wanted, area.size(), PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_SHARED | MAP_ANONYMOUS | kMapFixedNoReplace, -1, 0);
    if (got != wanted) return os_error("map the table-runner's area");
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

  HuskJob& job_;
  int terminal_;
  int pages_ = -1;
  std::map<uint64_t, int> shared_memory_;
  HuskReport report_;
};

}  // namespace

void husk_main(HuskJob& job, int terminal) {
  Husk husk(job, terminal);
  Result<HuskReport> prepared = husk.prepare();
  HuskReport report;
  if (prepared.has_value()) {
    report = std::move(*prepared);
  } else {
    report.error_kind = static_cast<uint8_t>(prepared.error().kind());
    report.error = prepared.error().text();
  }
  // From here on the only code of ours that runs in this process is the table-runner.
  (void)sys::send_message(job.socket, image::encode(report));
  while (true) ::pause();
}

}  // namespace stint::restore
