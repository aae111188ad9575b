#include "capture/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <time.h>

#include <chrono>
#include <cstring>

#include "capture/memory.h"
#include "fd/table.h"
#include "files/file_states.h"
#include "files/mapped_files.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/procfs.h"
#include "sys/tasks.h"
#include "sys/terminal.h"
#include "task/cpu.h"
#include "task/interrupted.h"
#include "task/process.h"
#include "task/thread.h"

namespace stint::capture {
namespace {

using image::RecordType;

constexpr std::chrono::seconds kPatience{10};  // for a thread that does not stop

// fd/ knows files and shared memory only by these interfaces.
class SharedMemoryNotes final : public fd::SharedMemoryRegistry {
 public:
  explicit SharedMemoryNotes(mem::SharedMemory& memory) : memory_(memory) {}
  Result<uint64_t> note(int fd, const struct stat& stat, std::string_view name) override {
    return memory_.note_descriptor(fd, stat, name);
  }

 private:
  mem::SharedMemory& memory_;
};

template <class R>
Result<> put(image::Sink& sink, RecordType type, const R& record) {
  return sink.put({type, 1, true, image::encode(record)});
}

// One checkpoint under way.
class Capture {
 public:
  Capture(const Target& target, const CheckpointOptions& options, image::Sink& sink)
      : target_(target),
        options_(options),
        sink_(sink),
        deadlines_(target.sleeps_file),
        hashes_(target.hash_cache_file.empty() ? files::HashCache() : files::HashCache(target.hash_cache_file)),
        file_states_(hashes_),
        mapped_files_(hashes_, file_states_, options.bundle),
        job_(target.job) {}

  Result<CheckpointReport> run() {
    int64_t start = sys::clock_ns(CLOCK_MONOTONIC);
    TRY(check_alone());
    look_ahead();
    stopped_at_ = sys::clock_ns(CLOCK_MONOTONIC);
    tracee::StoppedProcess process = TRY(tracee::StoppedProcess::stop(target_.root, kPatience));
    Result<> recorded = record(process);
    if (recorded.has_value() && options_.stop) recorded = finish_and_kill(process);
    if (!recorded.has_value()) {
      thaw(process);
      (void)deadlines_.save();  // The error before it is the one to tell.
      return std::move(recorded).error();
    }
    if (!options_.stop) {
      thaw(process);
      TRY(deadlines_.save());
      TRY(finish());
    }
    report_.total_ns = sys::clock_ns(CLOCK_MONOTONIC) - start;
    return report_;
  }

 private:
  // One process: its children, and orphans that the stand-in has taken, would be lost.
  Result<> check_alone() {
    std::vector<Pid> others = TRY(sys::list_children(target_.root));
    for (Pid stand_in : target_.stand_ins)
      for (Pid child : TRY(sys::list_children(stand_in)))
        if (child != target_.root) others.push_back(child);
    if (others.empty()) return {};
    std::string name = sys::read_proc(others[0], "comm").value_or("?\n");
    name.pop_back();
    return refused(
        fmt::format("the job has more than one process (process {}, {}): trees of processes are not "
                    "supported; wait until its children have ended",
                    others[0].number, name));
  }

  // What can be known before the program stands still.
  void look_ahead() {
    deadlines_.look_ahead(target_.root);
    Result<std::string> text = sys::read_proc(target_.root, "maps");
    if (!text.has_value()) return;
    Result<std::vector<proc::Vma>> vmas = proc::parse_maps(*text);
    if (!vmas.has_value()) return;
    for (const proc::Vma& vma : *vmas)
      if (vma.path != target_.ledger_file && vma.name == proc::VmaName::kFile && !vma.shared && !vma.nameless_shared())
        mapped_files_.look_ahead(target_.root, vma);
  }

  Result<> finish_and_kill(tracee::StoppedProcess& process) {
    report_.pause_ns = sys::clock_ns(CLOCK_MONOTONIC) - stopped_at_;
    TRY(finish());
    TRY(take_unread_input());
    if (options_.before_kill) TRY(options_.before_kill());
    process.kill();
    return {};
  }

  // Whatever fails in here: what the stop did to the program's system calls is undone by the thaw.
  Result<> record(tracee::StoppedProcess& process) {
    for (tracee::Thread& thread : process.threads()) TRY(task::abort_critical_section(process.pid(), thread));
    if (Result<> enterable = task::check_enterable(process.threads()); !enterable.has_value()) {
      (void)plan_resumes(process, Range{});  // Nothing of ours was ever in it; the refusal is what is to be told.
      return enterable;
    }
    task::Readable readable = TRY(task::Readable::make(process));
    Range left = TRY(tracee::find_left_area(process.pid()));
    Result<> planned = plan_resumes(process, left);
    if (!planned.has_value() && left.empty()) return planned;
    tracee::Hands hands =
        left.empty() ? TRY(tracee::Hands::map_area(process)) : tracee::Hands::adopt_area(process, left);
    Result<> recorded = planned.has_value() ? record_with(process, hands, readable.dumpable()) : planned;
    Result<> prepared = prepare_thaw(process, hands);
    return recorded.has_value() ? prepared : recorded;
  }

  // How each thread goes on, whatever comes next.
  Result<> plan_resumes(tracee::StoppedProcess& process, Range left) {
    uint64_t runner = left.start + tracee::kAreaRunnerOffset;
    for (tracee::Thread& thread : process.threads())
      resumes_.push_back(left.empty() ? TRY(task::plan_resume(process.pid(), thread, deadlines_))
                                      : TRY(task::leave_runner(process.pid(), thread, runner, deadlines_)));
    return {};
  }

  Result<> record_with(tracee::StoppedProcess& process, tracee::Hands& hands, uint32_t dumpable) {
    TRY(check_alone());
    task::ProcessFacts facts = TRY(task::look_at_process(process.pid(), process.threads()));
    TRY(task::check_supported(facts));
    offsets_ = TRY(task::clock_offsets(process.pid()));
    note_clocks();
    return record_all(process, hands, facts, dumpable);
  }

  Result<> record_all(tracee::StoppedProcess& process, tracee::Hands& hands, const task::ProcessFacts& facts,
                      uint32_t dumpable) {
    image::ProcessRecord record = TRY(task::capture_process(process, hands, facts));
    record.dumpable = dumpable;
    for (size_t i = 0; i < resumes_.size(); ++i) {
      tracee::Thread& thread = process.threads()[i];
      int32_t tid = facts.job_tids.at(thread.tid.number);
      image::ThreadRecord recorded =
          TRY(task::capture_thread(process, thread, hands, record.pid, tid, facts.threads.at(thread.tid.number))
                  .in(fmt::format("thread {}", tid)));
      recorded.resume = resumes_[i];
      TRY(put(sink_, RecordType::kThread, recorded));
    }
    TRY(record_descriptors(process.pid(), record.pid));
    MemoryTotals memory = TRY(capture_memory(process, record.pid, hands.mapped(), {facts.exe, target_.ledger_file},
                                             mapped_files_, shared_memory_, sink_)
                                  .in("memory"));
    record.exe_file = memory.exe_file;
    TRY(note_kernel_pages(process.pid(), record));
    TRY(shared_memory_.save(process, hands, sink_));
    TRY(file_states_.settle(sink_));
    TRY(mapped_files_.settle(sink_));
    report_.memory_bytes = memory.saved + shared_memory_.bytes_saved();
    job_.root_pid = record.pid;
    return put(sink_, RecordType::kProcess, record);
  }

  Result<> record_descriptors(Pid pid, int32_t job_pid) {
    std::vector<std::vector<fd::Facts>> tables;
    tables.push_back(TRY(fd::look(pid, JobPid{job_pid})));
    SharedMemoryNotes shared_memory(shared_memory_);
    fd::CaptureContext context{.sink = sink_, .files = file_states_, .shared_memory = shared_memory};
    context.outside_streams = target_.outside_streams;
    context.terminal_device = target_.terminal_device;
    context.monotonic_offset_ns = offsets_.monotonic_ns, context.boottime_offset_ns = offsets_.boottime_ns;
    TRY(note_terminal(tables));
    TRY(fd::capture_descriptors(tables, context));
    unread_input_ = std::move(context.unread_input);
    return {};
  }

  // What the checkpoint has taken along is no input of whoever reads the stream next.
  Result<> take_unread_input() {
    for (const fd::UnreadInput& input : unread_input_) {
      Bytes bytes(input.size);
      for (size_t taken = 0; taken < bytes.size();) {
        size_t got = TRY(sys::read(input.fd.get(), std::span(bytes).subspan(taken)));
        if (got == 0) break;
        taken += got;
      }
    }
    return {};
  }

  // Its modes and size belong to the terminal, whoever has it open.
  Result<> note_terminal(const std::vector<std::vector<fd::Facts>>& tables) {
    if (target_.terminal_device == 0) return {};
    for (const std::vector<fd::Facts>& table : tables)
      for (const fd::Facts& facts : table) {
        if (facts.stat.st_rdev != target_.terminal_device || !facts.ours.valid()) continue;
        termios modes = TRY(sys::terminal_modes(facts.ours.get()));
        const std::byte* bytes = reinterpret_cast<const std::byte*>(&modes);
        job_.terminal_modes.assign(bytes, bytes + sizeof(modes));
        return {};
      }
    return {};
  }

  // Where the vDSO is, and its text: on another kernel its entry points lie elsewhere.
  Result<> note_kernel_pages(Pid pid, image::ProcessRecord& record) {
    std::string text = TRY(sys::read_proc(pid, "maps"));
    for (const proc::Vma& vma : TRY(proc::parse_maps(text))) {
      if (vma.name == proc::VmaName::kVvar && record.vvar_start == 0) record.vvar_start = vma.range.start;
      if (vma.name != proc::VmaName::kVdso) continue;
      record.vdso_start = vma.range.start;
      record.vdso.resize(vma.range.size());
      size_t got = TRY(sys::read_memory(pid, vma.range.start, record.vdso.data(), record.vdso.size()));
      if (got != record.vdso.size()) return failed("the vDSO cannot be read");
    }
    return {};
  }

  Result<> prepare_thaw(tracee::StoppedProcess& process, tracee::Hands& hands) {
    for (size_t i = 0; i < resumes_.size(); ++i) {
      if (!task::needs_area(resumes_[i])) continue;
      TRY(task::prepare_thaw(process, process.threads()[i], resumes_[i], hands));
      hands.keep_area();
    }
    return {};
  }

  void thaw(tracee::StoppedProcess& process) {
    for (size_t i = 0; i < resumes_.size(); ++i) task::note_sleep(process.threads()[i], resumes_[i], deadlines_);
    process.thaw();
    report_.pause_ns = sys::clock_ns(CLOCK_MONOTONIC) - stopped_at_;
  }

  void note_clocks() {
    job_.realtime_ns = sys::clock_ns(CLOCK_REALTIME);
    job_.monotonic_ns = sys::clock_ns(CLOCK_MONOTONIC) + offsets_.monotonic_ns;
    job_.boottime_ns = sys::clock_ns(CLOCK_BOOTTIME) + offsets_.boottime_ns;
    utsname host;
    ::uname(&host);
    job_.host = host.nodename, job_.kernel_release = host.release;
    job_.stint_version = STINT_VERSION;
    job_.cpu_features = task::cpu_features();
  }

  // What is in it are hints: it may be read while the job runs.
  Result<> save_ledger() {
    if (target_.ledger_file.empty()) return {};
    Result<sys::UniqueFd> file = sys::open(target_.ledger_file, O_RDONLY);
    if (!file.has_value()) return {};  // The program never had an agent, or has replaced the directory.
    uint64_t size = static_cast<uint64_t>(TRY(sys::fstat(file->get())).st_size);
    for (uint64_t at = 0; at < size; at += image::kPageBufferSize) {
      std::unique_ptr<image::PageBuffer> buffer = TRY(sink_.page_buffer());
      uint64_t piece = std::min<uint64_t>(image::kPageBufferSize, size - at);
      TRY(sys::pread_all(file->get(), {buffer->data(), piece}, at));
      // Most of it has never been written to.
      bool empty = buffer->data()[0] == std::byte{0} && std::memcmp(buffer->data(), buffer->data() + 1, piece - 1) == 0;
      if (empty) continue;
      TRY(sink_.put_pages({{image::kLedgerSpace, at, piece}}, std::move(buffer)));
    }
    return {};
  }

  // What needs no stop any more, and the commit.
  Result<> finish() {
    TRY(save_ledger());
    TRY(file_states_.save(sink_));
    TRY(mapped_files_.save(sink_));
    job_.page_bytes = report_.memory_bytes;
    TRY(put(sink_, RecordType::kJob, job_));
    if (options_.before_commit) options_.before_commit(job_, report_.pause_ns);
    TRY(sink_.commit());
    (void)hashes_.store();  // Without it the next checkpoint hashes the files again.
    return {};
  }

  const Target& target_;
  const CheckpointOptions& options_;
  image::Sink& sink_;
  task::Deadlines deadlines_;
  files::HashCache hashes_;
  files::FileStates file_states_;
  files::MappedFiles mapped_files_;
  mem::SharedMemory shared_memory_;
  image::JobRecord job_;
  std::vector<image::ResumeCall> resumes_;
  task::ClockOffsets offsets_;
  std::vector<fd::UnreadInput> unread_input_;
  int64_t stopped_at_ = 0;
  CheckpointReport report_;
};

// A zombie that nobody has waited for has ended, too.
bool ended(Pid process) {
  Result<std::string> text = sys::read_proc(process, "stat");
  Result<proc::Stat> stat = text.has_value() ? proc::parse_stat(*text) : std::move(text).error();
  return !stat.has_value() || stat->state == 'Z' || stat->state == 'X';
}

}  // namespace

Result<CheckpointReport> checkpoint(const Target& target, const CheckpointOptions& options, image::Sink& sink) {
  Capture capture(target, options, sink);
  Result<CheckpointReport> report = capture.run();
  if (!report.has_value() && (report.error().os_errno() == ESRCH || ended(target.root)))
    return failed(
        fmt::format("process {} ended before its checkpoint was whole; the checkpoints before it are what they were",
                    target.root.number));
  return std::move(report).in(fmt::format("cannot checkpoint process {}", target.root.number));
}

}  // namespace stint::capture
