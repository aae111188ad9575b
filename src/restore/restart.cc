#include "restore/restart.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ptrace.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstring>

#include "files/agent_install.h"
#include "files/put_back.h"
#include "mem/rebuild.h"
#include "proc/process.h"
#include "restore/husk.h"
#include "restore/relay.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/procfs.h"
#include "sys/tasks.h"
#include "task/interrupted.h"
#include "task/process.h"
#include "task/thread.h"

namespace stint::restore {
namespace {

job::FamilyPlan family_plan(const Plan& plan, const RestartOptions& options) {
  job::FamilyPlan family;
  family.directory = options.job_directory;
  family.contained = plan.job.contained;
  family.user_namespace = options.user_namespace;
  if (!plan.job.stand_ins.empty()) family.stand_in = plan.job.stand_ins.front();
  family.root_pid = plan.job.root_pid;
  family.root_group = plan.process.pgid == plan.process.pid ? 0 : plan.process.pgid;
  family.monotonic_offset_ns = plan.job.monotonic_ns - sys::clock_ns(CLOCK_MONOTONIC);
  family.boottime_offset_ns = plan.job.boottime_ns - sys::clock_ns(CLOCK_BOOTTIME);
  family.terminal = plan.job.has_terminal || options.terminal;
  family.size = options.size;
  termios modes;
  if (plan.job.terminal_modes.size() == sizeof(modes)) {
    std::memcpy(&modes, plan.job.terminal_modes.data(), sizeof(modes));
    family.modes = modes;
  }
  return family;
}

Result<HuskReport> receive_report(int socket) {
  Bytes buffer(1 << 20);
  std::optional<sys::Message> message = TRY(sys::receive_message(socket, buffer, true));
  if (!message || message->size == 0) return failed("the new process ended before it was ready");
  HuskReport report = TRY(image::decode<HuskReport>(ByteView(buffer).first(message->size)));
  if (!report.ready) return Error(static_cast<ErrorKind>(report.error_kind), report.error);
  return report;
}

// Turns a prepared husk into the program.
class Takeover {
 public:
  Takeover(const Plan& plan, const image::Source& source, const HuskReport& report, task::Deadlines& deadlines)
      : plan_(plan), source_(source), report_(report), deadlines_(deadlines) {}

  Result<> run(Pid root) {
    tracee::StoppedProcess process =
        TRY(tracee::StoppedProcess::stop(root, std::chrono::seconds(10), PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL));
    Result<> done = become(process);
    if (!done.has_value()) process.kill();
    return done;
  }

 private:
  Result<> become(tracee::StoppedProcess& process) {
    {
      tracee::Hands hands = tracee::Hands::adopt_area(process, plan_.area);
      TRY(restore_memory(process, hands).in("memory"));
      TRY(create_threads(process, hands).in("threads"));
      TRY(restore_threads(process, hands));
      TRY(task::restore_process_last(process, hands, plan_.process));
      for (size_t i = 0; i < plan_.threads.size(); ++i)
        TRY(task::restore_credentials(process, process.threads()[i], hands, plan_.threads[i]));
      TRY(prepare_resumes(process, hands));
    }
    TRY(task::restore_dumpable(process, plan_.process));
    for (size_t i = 0; i < plan_.threads.size(); ++i)
      task::note_sleep(process.threads()[i], plan_.threads[i].resume, deadlines_);
    process.thaw();
    return {};
  }

  Result<> restore_memory(tracee::StoppedProcess& process, tracee::Hands& hands) {
    mem::Rebuild rebuild(process, hands, source_, plan_.vmas, plan_.shared_memory);
    mem::MappingFds fds;
    for (const ObjectFd& file : report_.files) fds.files[file.object] = file.fd;
    for (const ObjectFd& memory : report_.shared_memory) fds.shared_memory[memory.object] = memory.fd;
    TRY(rebuild.empty(plan_.area));
    if (plan_.process.vvar_start != 0)
      TRY(rebuild.map_vdso(plan_.process.vvar_start, plan_.process.vdso_start));
    TRY(rebuild.map(fds));
    TRY(rebuild.fill(plan_.process.pid));
    TRY(rebuild.advise());
    return finish_mappings(process, hands, fds);
  }

  Result<> finish_mappings(tracee::StoppedProcess& process, tracee::Hands& hands, const mem::MappingFds& fds) {
    constexpr uint64_t kAddSeals = 1033;  // F_ADD_SEALS
    tracee::Table table(hands);
    auto exe = fds.files.find(plan_.process.exe_file);
    TRY(task::restore_memory_map(plan_.process, exe == fds.files.end() ? -1 : exe->second, table));
    for (const image::SharedMemoryRecord& object : plan_.shared_memory)
      if (object.memfd && object.seals > 1)
        table.must("F_ADD_SEALS", SYS_fcntl,
                   {static_cast<uint64_t>(fds.shared_memory.at(object.id)), kAddSeals, object.seals});
    TRY(table.run(process.leader(), process.pid()));
    for (size_t at = 0; at < report_.to_close.size(); at += tracee::Hands::kTableCalls) {
      tracee::Table close_all(hands);
      for (size_t i = at; i < std::min(report_.to_close.size(), at + tracee::Hands::kTableCalls); ++i)
        close_all.ask(SYS_close, {static_cast<uint64_t>(report_.to_close[i])});
      TRY(close_all.run(process.leader(), process.pid()));
    }
    return take_locks(process, hands);
  }

  Result<> take_locks(tracee::StoppedProcess& process, tracee::Hands& hands) {
    for (const HeldLock& held : report_.locks) {
      tracee::Table table(hands);
      struct flock lock{};
      lock.l_type = held.lock.exclusive ? F_WRLCK : F_RDLCK;
      lock.l_whence = SEEK_SET;
      lock.l_start = static_cast<off_t>(held.lock.start), lock.l_len = static_cast<off_t>(held.lock.length);
      table.must("F_SETLK", SYS_fcntl, {static_cast<uint64_t>(held.fd), F_SETLK, table.in(lock)});
      TRY(table.run(process.leader(), process.pid()));
    }
    return {};
  }

  // All with their numbers, by the leader, which still has the right to choose them. Each stops at once, before it has
  // executed an instruction.
  Result<> create_threads(tracee::StoppedProcess& process, tracee::Hands& hands) {
    struct CloneArgs {
      uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size;
    };
    constexpr uint64_t kFlags =
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    for (size_t at = 1; at < plan_.threads.size(); at += tracee::Hands::kTableCalls) {
      tracee::Table table(hands);
      for (size_t i = at; i < std::min(plan_.threads.size(), at + tracee::Hands::kTableCalls); ++i) {
        CloneArgs args{};
        args.flags = kFlags;
        args.set_tid = table.in(plan_.threads[i].tid);
        args.set_tid_size = 1;
        table.must("clone3", SYS_clone3, {table.in(args), sizeof(args)});
      }
      TRY(table.run(process.leader(), process.pid()));
    }
    return adopt_threads(process);
  }

  // In the order of the records: our number of each is found by the job's.
  Result<> adopt_threads(tracee::StoppedProcess& process) {
    std::map<int, Pid> by_job_tid;
    for (Pid tid : TRY(sys::list_threads(process.pid()))) {
      proc::Status status = TRY(proc::parse_status(TRY(sys::read_proc(tid, "status"))));
      by_job_tid[status.nspid.empty() ? tid.number : status.nspid.back()] = tid;
    }
    for (size_t i = 1; i < plan_.threads.size(); ++i) {
      tracee::Thread thread;
      auto found = by_job_tid.find(plan_.threads[i].tid);
      if (found == by_job_tid.end()) return failed(fmt::format("thread {} was not made", plan_.threads[i].tid));
      thread.tid = found->second;
      TRY(sys::wait_thread(thread.tid, true));
      thread.registers = TRY(sys::get_registers(thread.tid));
      thread.known = true;
      process.threads().push_back(thread);
    }
    return {};
  }

  Result<> restore_threads(tracee::StoppedProcess& process, tracee::Hands& hands) {
    for (size_t i = 0; i < plan_.threads.size(); ++i)
      TRY(task::restore_thread(process, process.threads()[i], hands, plan_.threads[i])
              .in(fmt::format("thread {}", plan_.threads[i].tid)));
    return {};
  }

  Result<> prepare_resumes(tracee::StoppedProcess& process, tracee::Hands& hands) {
    for (size_t i = 0; i < plan_.threads.size(); ++i) {
      const image::ResumeCall& resume = plan_.threads[i].resume;
      TRY(task::prepare_restored(process, process.threads()[i], resume, hands));
      if (task::needs_area(resume)) hands.keep_area();
    }
    return {};
  }

  const Plan& plan_;
  const image::Source& source_;
  const HuskReport& report_;
  task::Deadlines& deadlines_;
};

files::CheckOptions file_options(const RestartOptions& options) {
  files::CheckOptions check;
  check.after.stopped = options.stopped_then;
  check.kept_directory = options.kept_directory;
  check.bundle_directory = options.state_directory + "/bundle";
  check.state_directory = options.state_directory;
  return check;
}

// The agent goes on with its notes in the ledger of the job that this is now.
Result<> lay_out_ledger(const image::Source& source, const std::string& path) {
  const std::vector<image::Source::Block>& blocks = source.blocks(image::kLedgerSpace);
  if (blocks.empty()) return {};
  TRY(files::create_ledger(path));
  sys::UniqueFd file = TRY(sys::open(path, O_WRONLY));
  Bytes bytes(image::kPageBufferSize);
  for (const image::Source::Block& block : blocks) {
    if (block.all_zero) continue;
    TRY(source.read(block, bytes.data()));
    const std::byte* from = bytes.data();
    for (const image::PageRun& run : block.runs) {
      TRY(sys::pwrite_all(file.get(), {from, run.size}, run.offset));
      from += run.size;
    }
  }
  return {};
}

}  // namespace

Result<Restarted> restart(const RestartOptions& options) {
  std::unique_ptr<store::Reader> source = TRY(store::Reader::open(options.checkpoint));
  Plan plan = TRY(read_plan(*source));
  TRY(check_host(plan));
  files::HashCache hashes(options.state_directory + "/hashes");
  files::CheckOptions check = file_options(options);
  files::FilePlan file_plan = TRY(files::check_files(*source, hashes, check));

  TRY(relay_input(*source));
  auto [ours, theirs] = TRY(sys::message_pair());
  std::string ledger = options.job_directory + "/ledger";
  TRY(lay_out_ledger(*source, ledger));
  HuskJob husk{plan, *source, file_plan, check, options.streams, ledger, theirs.get()};
  job::FamilyPlan family_wanted = family_plan(plan, options);
  family_wanted.root_main = [&](int terminal) -> int { husk_main(husk, terminal); };
  Restarted restarted;
  restarted.job = plan.job;
  if (options.before_start) TRY(options.before_start());
  restarted.remarks = TRY(files::put_back(file_plan, *source, check));
  restarted.family = TRY(job::start_family(family_wanted));
  theirs.reset();
  HuskReport report = TRY(receive_report(ours.get()));

  task::Deadlines deadlines(options.sleeps_file);
  Takeover takeover(plan, *source, report, deadlines);
  TRY(takeover.run(restarted.family.root));
  TRY(deadlines.save());
  return restarted;
}

}  // namespace stint::restore
