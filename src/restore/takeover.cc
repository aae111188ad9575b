#include "restore/takeover.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "ipc/undo.h"
#include "mem/aio_rebuild.h"
#include "task/interrupted.h"
#include "task/process.h"
#include "task/thread.h"
#include "tracee/first_thread.h"

namespace stint::restore {
namespace {

tracee::Hands hands_in(Newborn& one, const Plan& plan) {
  return tracee::Hands::borrow_area(one.process, one.area_range(plan));
}

std::string title(const Newborn& one) { return fmt::format("process {} ({})", one.pid, one.plan->threads[0].comm); }

}  // namespace

Takeover::Takeover(const Plan& plan, const image::Source& source, const fd::Tables& tables, const MakerReport& report,
                   task::Deadlines& deadlines)
    : plan_(plan), source_(source), tables_(tables), deadlines_(deadlines) {
  for (const ObjectFd& file : report.files) sources_.files[file.object] = file.fd;
  for (const ObjectFd& memory : report.shared_memory) sources_.memfds[memory.object] = memory.fd;
  for (const image::SharedMemoryRecord& object : plan.shared_memory) sources_.memory[object.id] = object;
  sources_.staging = plan.staging;
  for (const ObjectFd& pty : report.controlling_ptys) ptys_[static_cast<int32_t>(pty.object)] = pty.fd;
  for (const ObjectFd& description : report.descriptions) descriptions_[description.object] = description.fd;
}

Result<> Takeover::run(Pid root, const std::function<Result<>()>& before_run) {
  tracee::StoppedProcess process = TRY(tracee::StoppedProcess::stop(root, std::chrono::seconds(10), Births::kOptions));
  Result<> done = become(std::move(process), before_run);
  if (!done.has_value() && births_.has_value()) births_->kill_all();
  if (done.has_value()) go();
  return done;
}

Result<> Takeover::become(tracee::StoppedProcess root, const std::function<Result<>()>& before_run) {
  births_.emplace(plan_, std::move(root), ptys_);
  std::list<Newborn>& everybody = births_->everybody();
  {
    Newborn& first = everybody.front();
    tracee::Hands hands = hands_in(first, plan_);
    TRY(mem::empty_memory(first.process, hands, plan_.areas[0]));
    TRY(mem::stage_shared_memory(first.process, hands, source_, sources_));
    std::vector<int> removed;
    for (const image::SegmentRecord& segment : plan_.ipc.segments)
      if (segment.removed) removed.push_back(segment.owner.id);
    TRY(mem::remove_segments(first.process, hands, removed));
  }
  TRY(births_->run());
  // The list grows meanwhile: who shares pages with a parent is born when the parent has them.
  for (auto one = everybody.begin(); one != everybody.end(); ++one) {
    if (one->plan != nullptr) TRY(restore_memory(*one).in("memory").in(title(*one)));
    TRY(births_->bear_heirs(*one));
    if (std::next(one) == everybody.end()) TRY(births_->bear_waiting_orphans());
  }
  TRY(births_->settle_groups());
  TRY(births_->settle_terminals());
  TRY(seal(everybody.front()));
  TRY(births_->end_zombies());
  TRY(births_->tell_continuations());
  fd::Distribution descriptors =
      TRY(fd::Distribution::make(source_, tables_, descriptions_, fd::first_free_number(tables_)));
  for (Newborn& one : everybody)
    if (one.plan != nullptr) TRY(restore_state(one, descriptors).in(title(one)));
  TRY(take_foreground(everybody.front()));
  // Whoever is stopped goes into its stop now, and would be left there if we were killed: the job has its name before.
  TRY(before_run());
  TRY(finish_all());
  return descriptors.settle().in("descriptors");
}

// Those that a signal had stopped come first, children before their parents: each goes into its stop, and what that
// tells its parent is taken from there before the parent gets the signals that it had.
Result<> Takeover::finish_all() {
  std::list<Newborn>& everybody = births_->everybody();
  for (auto one = everybody.rbegin(); one != everybody.rend(); ++one) {
    if (one->plan->record.stop_signal == 0) continue;
    TRY(finish(*one).in(title(*one)));
    note_sleeps(*one);
    TRY(one->process.thaw_into_stop(one->plan->record.stop_signal).in(title(*one)));
    if (one->plan->record.stop_is_known) TRY(births_->take_stop(*one));
  }
  for (Newborn& one : everybody)
    if (one.plan->record.stop_signal == 0) TRY(finish(one).in(title(one)));
  return {};
}

// A first thread that has ended by now is none of the process's.
void Takeover::note_sleeps(Newborn& one) {
  size_t ended = one.plan->threads.size() - one.process.threads().size();
  for (size_t i = 0; i < one.process.threads().size(); ++i)
    task::note_sleep(one.process.threads()[i], one.plan->threads[i + ended].resume, deadlines_);
}

Result<> Takeover::restore_memory(Newborn& one) {
  const image::ProcessRecord& record = one.plan->record;
  tracee::Hands hands = hands_in(one, plan_);
  mem::Rebuild rebuild(one.process, hands, source_, one.plan->vmas, sources_);
  bool heir = record.memory_from != 0;
  if (heir) TRY(rebuild.keep_from(TRY(plan_of(record.memory_from))->vmas));
  if (record.vvar_start != 0 && !heir) TRY(rebuild.map_vdso(record.vvar_start, record.vdso_start));
  TRY(rebuild.map());
  TRY(rebuild.fill(record.pid));
  for (const image::AioRingRecord& ring : one.plan->aio_rings) TRY(mem::rebuild_aio_ring(one.process, hands, ring));
  TRY(rebuild.advise());
  one.full = true;
  tracee::Table table(hands);
  auto exe = sources_.files.find(record.exe_file);
  // The kernel does not let go of a program of which anything is mapped, not even for itself.
  int exe_fd = one.exe_file == record.exe_file || exe == sources_.files.end() ? -1 : exe->second;
  one.exe_file = record.exe_file;
  TRY(task::restore_memory_map(record, exe_fd, table));
  return table.run(one.process.representative(), one.process.seen_as());
}

Result<const ProcessPlan*> Takeover::plan_of(int32_t pid) const {
  for (const ProcessPlan& process : plan_.processes)
    if (process.record.pid == pid) return &process;
  return damaged(fmt::format("process {} has its memory from one that is not there", pid));
}

// When nobody has to map a memfd any more in a way that its seals forbid.
Result<> Takeover::seal(Newborn& root) {
  constexpr uint64_t kAddSeals = 1033;  // F_ADD_SEALS
  tracee::Hands hands = hands_in(root, plan_);
  tracee::Table table(hands);
  for (const auto& [id, fd] : sources_.memfds)
    if (uint32_t seals = sources_.memory.at(id).seals; seals > 1)
      table.must("F_ADD_SEALS", SYS_fcntl, {static_cast<uint64_t>(fd), kAddSeals, seals});
  return table.empty() ? Result<>() : table.run(root.process.representative(), root.process.seen_as());
}

Result<> Takeover::restore_state(Newborn& one, fd::Distribution& descriptors) {
  tracee::Hands hands = hands_in(one, plan_);
  TRY(mem::drop_staging(one.process, hands, sources_));
  TRY(task::restore_process(one.process, hands, one.plan->record));
  ipc::Member member{one.process, hands, one.pid};
  TRY(ipc::restore_undo(member, plan_.ipc.sets).in("semaphores"));
  fd::Receiver receiver{one.process, hands, JobPid{one.pid}};
  bool shares = (one.plan->record.shared_with_parent & CLONE_FILES) != 0;
  return shares ? descriptors.give_shared(receiver) : descriptors.give(receiver);
}

Result<> Takeover::finish(Newborn& one) {
  const std::vector<image::ThreadRecord>& threads = one.plan->threads;
  TRY(births_->make_threads(one).in("threads"));
  {
    // The last ones: with them the area goes, unless a thread is to go on in it.
    tracee::Entrance entrance{std::nullopt, TRY(tracee::find_bare_foothold(one.process.seen_as()))};
    tracee::Hands hands = tracee::Hands::adopt_area(one.process, entrance, one.area_range(plan_));
    for (size_t i = 0; i < threads.size(); ++i)
      TRY(task::restore_thread(one.process, one.process.threads()[i], hands, threads[i])
              .in(fmt::format("thread {}", threads[i].tid)));
    TRY(task::restore_process_last(one.process, hands, one.plan->record));
    for (size_t i = 0; i < threads.size(); ++i)
      TRY(task::restore_credentials(one.process, one.process.threads()[i], hands, one.plan->record, threads[i]));
    for (size_t i = 0; i < threads.size(); ++i) {
      const image::ResumeCall& resume = threads[i].resume;
      TRY(task::prepare_restored(one.process, one.process.threads()[i], resume, hands));
      if (task::needs_area(resume)) hands.keep_area();
    }
  }
  if (const image::ThreadRecord& first = threads.front(); first.ended) {
    tracee::Foothold foothold = TRY(tracee::find_bare_foothold(one.process.seen_as()));
    TRY(tracee::end_first_thread(one.process, foothold, static_cast<int>(first.exit_status)).in("its first thread"));
  }
  return task::restore_dumpable(one.process, one.plan->record);
}

// The group that reads the job's terminal.
Result<> Takeover::take_foreground(Newborn& root) {
  if (!root.plan->record.controlling_terminal || plan_.job.foreground_pgid <= 0) return {};
  tracee::Hands hands = hands_in(root, plan_);
  tracee::Thread& leader = root.process.representative();
  tracee::Table open(hands);
  constexpr char kPath[] = "/dev/tty";
  uint64_t path = open.in(bytes_of({kPath, sizeof(kPath)}));
  size_t opened = open.must("open /dev/tty", SYS_openat, {static_cast<uint64_t>(AT_FDCWD), path, O_RDWR | O_CLOEXEC});
  TRY(open.run(leader, root.process.seen_as()));
  uint64_t terminal = static_cast<uint64_t>(open.result(opened));
  tracee::Table set(hands);
  set.must("tcsetpgrp", SYS_ioctl, {terminal, TIOCSPGRP, set.in(plan_.job.foreground_pgid)});
  set.must("close", SYS_close, {terminal});
  return set.run(leader, root.process.seen_as());
}

void Takeover::go() {
  std::vector<tracee::StoppedProcess*> processes;
  for (Newborn& one : births_->everybody()) {
    if (one.plan->record.stop_signal != 0) continue;
    note_sleeps(one);
    processes.push_back(&one.process);
  }
  tracee::thaw_together(processes);
}

}  // namespace stint::restore
