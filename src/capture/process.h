// One stopped process of a job, from the moment it stands still to the moment it may go on. Our hands are in it for as
// long as this is there: what later steps need of it (shared memory, its parent's view of it) can be asked at any time.
#pragma once

#include <sys/socket.h>

#include <optional>

#include "abi/ledger_reader.h"
#include "capture/memory.h"
#include "task/interrupted.h"
#include "task/process.h"

namespace stint::capture {

class ProcessCapture {
 public:
  // All outlive this. `ledger`: what the agents of the job have noted; `copied`: what was put of its memory before it
  // was stopped, null for nothing.
  ProcessCapture(tracee::StoppedProcess& process, const abi::Ledger& ledger, task::Deadlines& deadlines,
                 const CopiedAhead* copied = nullptr)
      : process_(process), ledger_(ledger), deadlines_(deadlines), copied_(copied) {}
  ProcessCapture(ProcessCapture&&) = delete;

  // Plans how its threads go on, and gets our hands into it. kRefused when it may not be entered. To be called for
  // every process that was stopped, whatever became of the others: the plan undoes what the stop did to its system
  // calls.
  Result<> enter();
  // The same for a stop in which nothing is recorded, and in which the flags of mappings() are not known: smaps takes
  // time by the memory that there is.
  Result<> enter_for_a_moment();
  // Its own state and that of its threads, but for descriptors and memory. Fills record().
  Result<> capture_tasks(image::Sink& sink);
  // Waits until what it does asynchronously is done, and puts the AioRingRecords. Before anything is looked at that a
  // request could change: the memory of any process, and files.
  Result<> settle_aio(image::Sink& sink);
  // `parent`: the one that can give it pages at birth; null for none.
  Result<> capture_memory(const std::string& ledger, const ProcessCapture* parent, files::MappedFiles& mapped_files,
                          mem::SharedMemory& shared_memory, image::Sink& sink);
  // When nobody is held against it any more.
  void forget_memory() { memory_.vmas.clear(), memory_.pages.clear(), scanned_.reset(); }
  // Its ProcessRecord, when everything in it is known.
  Result<> put(image::Sink& sink);
  // F_GETFD.
  Result<bool> close_on_exec(RemoteFd fd);
  // SO_PEERCRED of its socket, as the process itself sees it.
  Result<std::optional<ucred>> peer_credentials(RemoteFd socket);
  // SCM_CREDENTIALS of the message at SO_PEEK_OFF in its socket, likewise.
  Result<std::optional<ucred>> sender_credentials(RemoteFd socket);
  // The last thing before it goes on, also after a failure.
  Result<> leave();
  void note_sleeps();

  tracee::StoppedProcess& process() { return process_; }
  tracee::Hands& hands() { return *hands_; }
  const task::ProcessFacts& facts() const { return facts_; }
  std::vector<proc::Vma> mappings() const;  // until its memory is captured
  image::ProcessRecord& record() { return record_; }
  const image::ProcessRecord& record() const { return record_; }
  // As the job numbers it.
  int32_t job_pid() const { return record_.pid; }
  uint64_t memory_bytes() const { return memory_.saved; }

 private:
  Result<> plan_resumes(const std::vector<Range>& left);
  Result<> look_at_threads();
  Result<> look_at_mappings();
  Result<> enter(Result<> looked);
  Result<> get_hands_in(std::span<const proc::Vma> vmas, const std::vector<Range>& left);
  Result<> note_kernel_pages();
  bool can_inherit(const image::ProcessRecord& parent) const;

  tracee::StoppedProcess& process_;
  const abi::Ledger& ledger_;
  task::Deadlines& deadlines_;
  std::vector<image::ResumeCall> resumes_;  // one for each thread
  task::ProcessFacts facts_;
  std::vector<proc::VmaUsage> mappings_;  // the program's, as they were before anything of ours was among them
  Range lent_;                            // by its agent; empty for none
  const CopiedAhead* copied_;
  std::optional<std::vector<sys::PageRun>> scanned_;  // of the page table, before anything of ours was in it
  std::optional<tracee::Hands> hands_;
  std::optional<task::Readable> readable_;
  image::ProcessRecord record_;
  CapturedMemory memory_;
};

}  // namespace stint::capture
