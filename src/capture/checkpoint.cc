#include "capture/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <set>

#include "capture/process.h"
#include "fd/pty.h"
#include "fd/table.h"
#include "files/file_states.h"
#include "files/mapped_files.h"
#include "ipc/undo.h"
#include "ipc/visitor.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/holder.h"
#include "sys/memory.h"
#include "sys/procfs.h"
#include "sys/terminal.h"
#include "task/cpu.h"
#include "task/rare_state.h"
#include "task/relations.h"
#include "tracee/first_thread.h"

namespace stint::capture {
namespace {

using image::RecordType;

constexpr std::chrono::seconds kPatience{10};  // for a process that does not stop

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

std::string title(const tracee::StoppedProcess& process) { return sys::title_of(process.pid()); }

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
        job_(target.job),
        precopy_(roots(), ledger_, deadlines_, sink) {}

  Result<CheckpointReport> run() {
    int64_t start = sys::clock_ns(CLOCK_MONOTONIC);
    TRY(look_ahead());
    TRY(copy_ahead());
    look_closely();
    // What was put ahead may well be still under way to the disk.
    if (precopy_.any()) quiet_.emplace(sink_);
    stopped_at_ = sys::clock_ns(CLOCK_MONOTONIC);
    tracee::StoppedTree tree = TRY(tracee::StoppedTree::stop(roots(), kPatience));
    Result<> recorded = record(tree);
    if (recorded.has_value() && options_.stop) recorded = finish_and_kill(tree);
    if (!recorded.has_value()) {
      thaw(tree);
      (void)deadlines_.save();  // The error before it is the one to tell.
      return std::move(recorded).error();
    }
    if (!options_.stop) {
      thaw(tree);
      TRY(deadlines_.save());
      TRY(finish());
    }
    report_.total_ns = sys::clock_ns(CLOCK_MONOTONIC) - start;
    return report_;
  }

 private:
  tracee::TreeRoots roots() const { return {target_.root, target_.stand_ins}; }

  // What can be known before the job stands still.
  Result<> look_ahead() {
    // A fork of ours: before there is any descriptor that must not live on in it.
    Pid root = tracee::living_thread(target_.root);
    if (TRY(ipc::has_own_namespace(root))) visitor_.emplace(TRY(ipc::Visitor::enter(root)));
    seen_ = TRY(tracee::list_tree(roots()));
    fd::make_room(seen_);
    for (Pid process : seen_) {
      Pid pid = tracee::living_thread(process);
      Result<std::string> text = sys::read_proc(pid, "maps");
      Result<std::vector<proc::Vma>> vmas = text ? proc::parse_maps(*text) : std::vector<proc::Vma>();
      if (!vmas.has_value()) continue;
      for (const proc::Vma& vma : *vmas)
        if (vma.path != target_.ledger_file && vma.name == proc::VmaName::kFile && !vma.shared &&
            !vma.nameless_shared())
          mapped_files_.look_ahead(pid, vma);
    }
    return {};
  }

  Result<> copy_ahead() {
    // A job that is to end makes no use of the time that it would run on.
    if (options_.stop && options_.precopy != PreCopyWhen::kAlways) return {};
    if (!precopy_.pays(seen_, options_.precopy)) return {};
    note_lent_areas();
    TRY(precopy_.copy());
    seen_ = TRY(tracee::list_tree(roots()));
    return {};
  }

  // What can be known, and had better not be old when the job stands still.
  void look_closely() {
    note_lent_areas();
    for (Pid pid : seen_) deadlines_.look_ahead(pid);
  }

  // Of use in every process that has not become another program by then (tracee/entrance).
  void note_lent_areas() {
    if (target_.ledger_file.empty()) return;
    Result<sys::UniqueFd> file = sys::open(target_.ledger_file, O_RDONLY);
    if (!file.has_value()) return;  // The program never had an agent, or has replaced the directory.
    Result<struct stat> stat = sys::fstat(file->get());
    if (!stat.has_value()) return;
    Result<sys::Mapping> mapping = sys::map_file(file->get(), static_cast<uint64_t>(stat->st_size));
    if (!mapping.has_value()) return;
    if (Result<abi::Ledger> read = abi::read_ledger(mapping->bytes()); read.has_value()) ledger_ = *std::move(read);
  }

  Result<> finish_and_kill(tracee::StoppedTree& tree) {
    report_.pause_ns = precopy_.paused_ns() + sys::clock_ns(CLOCK_MONOTONIC) - stopped_at_;
    TRY(finish());
    // From here on the job does not go on without knowing: killed by now, we take it along.
    TRY(tree.die_with_us());
    if (options_.before_kill) TRY(options_.before_kill());
    // What it loses by this it gets back from the checkpoint, and only when it is sure to end.
    Result<> taken = take_unread_input();
    if (!taken.has_value())
      report_.left_over = std::move(taken).error().in(
          "the job is stopped by its checkpoint, but input that it had not read, and that is in the checkpoint, is "
          "left in "
          "the stream, too: do not give that to the restart");
    tree.kill();
    return {};
  }

  // Whatever fails in here: what the stop did to the program's system calls is undone by the thaw.
  Result<> record(tracee::StoppedTree& tree) {
    Result<> done;
    for (tracee::StoppedProcess& process : tree.processes()) {
      const CopiedAhead* copied = precopy_.copied(process.pid());
      Result<> entered = processes_.emplace_back(process, ledger_, deadlines_, copied).enter();
      if (!entered.has_value() && done.has_value()) done = std::move(entered).in(title(process));
    }
    if (done.has_value()) done = record_all(tree);
    for (ProcessCapture& process : processes_) {
      Result<> left = process.leave();
      if (!left.has_value() && done.has_value()) done = std::move(left).in(title(process.process()));
    }
    return done;
  }

  Result<> record_all(tracee::StoppedTree& tree) {
    Pid root = tree.processes().front().seen_as();
    job_.own_ipc = TRY(ipc::has_own_namespace(root));
    job_.own_pts = TRY(fd::has_own_pts(root));
    offsets_ = TRY(task::clock_offsets(root));
    task::JobNamespaces namespaces(root);
    for (ProcessCapture& process : processes_) {
      TRY(process.capture_tasks(sink_).in(title(process.process())));
      TRY(namespaces.check(process.process().seen_as()).in(title(process.process())));
    }
    for (ProcessCapture& process : processes_) TRY(process.settle_aio(sink_).in(title(process.process())));
    for (ProcessCapture& process : processes_)
      tables_.push_back(TRY(fd::look(process.process().pid(), JobPid{process.job_pid()})));
    TRY(record_relations(tree));
    TRY(record_descriptors());
    tables_.clear();
    note_clocks();
    TRY(record_ipc());
    for (ProcessCapture& process : processes_) {
      TRY(process.capture_memory(target_.ledger_file, parent_of(process), mapped_files_, shared_memory_, sink_)
              .in(title(process.process())));
      TRY(process.put(sink_));
      report_.memory_bytes += process.memory_bytes();
    }
    for (ProcessCapture& process : processes_) process.forget_memory();
    TRY(precopy_.forget_all_but(processes_));
    TRY(shared_memory_.save(sink_));
    TRY(file_states_.settle(sink_));
    TRY(mapped_files_.settle(sink_));
    report_.memory_bytes += shared_memory_.bytes_saved();
    job_.root_pid = processes_.front().job_pid();
    return {};
  }

  const ProcessCapture* parent_of(ProcessCapture& child) {
    auto found = std::ranges::find(processes_, child.record().ppid, &ProcessCapture::job_pid);
    return found == processes_.end() ? nullptr : &*found;
  }

  // Who is whose child, in which group and session, and what they share.
  Result<> record_relations(tracee::StoppedTree& tree) {
    task::Relations relations(target_.terminal_device, job_);
    for (ProcessCapture& process : processes_)
      relations.add(process.process(), process.hands(), process.facts(), process.record());
    for (const tracee::Zombie& zombie : tree.zombies()) TRY(relations.add(zombie));
    TRY(relations.note_shared());
    TRY(relations.note_parent_threads());
    TRY(relations.note_terminals(TRY(fd::controlling_ptys(tables_))));
    TRY(relations.note_stops());
    for (const image::ZombieRecord& zombie : relations.zombies()) TRY(put(sink_, RecordType::kZombie, zombie));
    job_.foreground_pgid = relations.foreground_group();
    numbers_ = relations.numbers();
    return {};
  }

  // Of the job's own IPC namespace, everything. In another all that can be said is who did something last.
  Result<> record_ipc() {
    if (!job_.own_ipc) {
      std::set<int> pids;
      for (ProcessCapture& process : processes_) pids.insert(process.process().pid().number);
      return ipc::refuse_shared(pids);
    }
    if (!visitor_) return not_now("the job went into an IPC namespace of its own in this moment; try again");
    TRY(visitor_->look(processes_.front().process().seen_as()));
    ipc::Objects& objects = visitor_->objects();
    std::vector<ipc::Member> members;
    for (ProcessCapture& process : processes_)
      members.push_back({process.process(), process.hands(), process.job_pid()});
    TRY(ipc::capture_undo(members, objects.sets));
    std::set<uint64_t> segments;
    bool none_attached = objects.segments.empty();
    for (const image::SegmentRecord& segment : objects.segments) {
      segments.insert(static_cast<uint64_t>(segment.owner.id));
      TRY(put(sink_, RecordType::kSysvSegment, segment));
    }
    for (const image::MessageQueueRecord& queue : objects.queues) TRY(put(sink_, RecordType::kSysvMessageQueue, queue));
    for (const image::SemaphoreSetRecord& set : objects.sets) TRY(put(sink_, RecordType::kSysvSemaphoreSet, set));
    for (const image::PosixQueueRecord& queue : objects.posix_queues) TRY(put(sink_, RecordType::kPosixQueue, queue));
    shared_memory_.know_segments(std::move(segments));
    report_.memory_bytes += TRY(visitor_->save_segments(sink_));
    if (!none_attached) visitor_.reset();  // Else the program could see that somebody has attached them.
    return {};
  }

  Result<> record_descriptors() {
    SharedMemoryNotes shared_memory(shared_memory_);
    fd::CaptureContext context{.sink = sink_, .files = file_states_, .shared_memory = shared_memory};
    context.outside_streams = target_.outside_streams;
    context.terminal_device = target_.terminal_device;
    context.own_ipc = job_.own_ipc;
    context.close_external = options_.close_external;
    context.monotonic_offset_ns = offsets_.monotonic_ns, context.boottime_offset_ns = offsets_.boottime_ns;
    context.job_number = [&](int number) {
      auto found = numbers_.find(number);
      return found == numbers_.end() ? 0 : found->second;
    };
    context.ask_close_on_exec = [&](const fd::Facts& facts) -> Result<bool> {
      ProcessCapture* holder = holder_of(facts);
      return holder == nullptr ? failed("a descriptor of nobody") : holder->close_on_exec(facts.fd);
    };
    context.ask_peer_credentials = [&](const fd::Facts& facts) {
      return in_holder(facts, &ProcessCapture::peer_credentials);
    };
    context.ask_sender_credentials = [&](const fd::Facts& facts) {
      return in_holder(facts, &ProcessCapture::sender_credentials);
    };
    TRY(note_terminal(tables_));
    TRY(fd::capture_descriptors(tables_, context));
    unread_input_ = std::move(context.unread_input);
    report_.closed = std::move(context.closed);
    return {};
  }

  ProcessCapture* holder_of(const fd::Facts& facts) {
    auto holder = std::ranges::find(processes_, facts.pid, [](ProcessCapture& one) { return one.process().pid(); });
    return holder == processes_.end() ? nullptr : &*holder;
  }

  // A process that has ended has no number that we could translate: a process of the job must look.
  Result<std::optional<ucred>> in_holder(const fd::Facts& facts,
                                         Result<std::optional<ucred>> (ProcessCapture::*ask)(RemoteFd)) {
    ProcessCapture* holder = holder_of(facts);
    return holder == nullptr ? std::optional<ucred>() : (holder->*ask)(facts.fd);
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

  void thaw(tracee::StoppedTree& tree) {
    for (ProcessCapture& process : processes_) process.note_sleeps();
    tree.thaw();
    quiet_.reset();
    report_.pause_ns = precopy_.paused_ns() + sys::clock_ns(CLOCK_MONOTONIC) - stopped_at_;
    precopy_.end();
  }

  // From here on go the clocks of a restarted job. All that was left of timers was asked for before: none is early.
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
    // The program never had an agent, or somebody has removed its notes.
    if (!file.has_value() && file.error().os_errno() == ENOENT) return {};
    if (!file.has_value()) return std::move(file).error();
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
  abi::Ledger ledger_;
  task::Deadlines deadlines_;
  files::HashCache hashes_;
  files::FileStates file_states_;
  files::MappedFiles mapped_files_;
  mem::SharedMemory shared_memory_;
  image::JobRecord job_;
  PreCopy precopy_;
  std::optional<image::Quiet> quiet_;  // while it stands still
  std::vector<Pid> seen_;              // its processes, before it stood still
  std::optional<ipc::Visitor> visitor_;
  std::list<ProcessCapture> processes_;  // the root first, parents before their children
  std::vector<std::vector<fd::Facts>> tables_;
  std::map<int, int> numbers_;  // of processes, threads and groups: ours -> the job's
  task::ClockOffsets offsets_;
  std::vector<fd::UnreadInput> unread_input_;
  int64_t stopped_at_ = 0;
  CheckpointReport report_;
};

}  // namespace

Result<CheckpointReport> checkpoint(const Target& target, const CheckpointOptions& options, image::Sink& sink) {
  Capture capture(target, options, sink);
  Result<CheckpointReport> report = capture.run();
  if (!report.has_value() &&
      (report.error().os_errno() == ESRCH || tracee::life_of(target.root) != tracee::Life::kLives))
    return failed(
        fmt::format("process {} ended before its checkpoint was whole; the checkpoints before it are what they were",
                    target.root.number));
  return std::move(report).in(fmt::format("cannot checkpoint process {}", target.root.number));
}

}  // namespace stint::capture
