// One thread: its registers with the whole xsave state, mask, private signals, and what it has told the kernel about
// itself: alternate stack, robust list, rseq area, the address to clear when it ends.
#pragma once

#include "image/task_records.h"
#include "proc/process.h"
#include "tracee/table.h"

namespace stint::task {

// Aborts an rseq critical section that the thread is in, as the kernel does at every preemption: the registers go to
// the abort address. Before anything is injected: the kernel does not abort after an injected call.
Result<> abort_critical_section(Pid process, tracee::Thread& thread);

// What only the thread itself can be asked, together with what is seen from outside. `resume` was planned before.
Result<image::ThreadRecord> capture_thread(tracee::StoppedProcess& process, tracee::Thread& thread,
                                           tracee::Hands& hands, int32_t job_pid, int32_t job_tid,
                                           const proc::Status& status);

// The first thread of a process, which has ended while others go on: what is still seen of it.
Result<image::ThreadRecord> look_at_ended_thread(const proc::Stat& stat, const proc::Status& status);

// Gives a new thread what the record says, but for its registers: these it gets at release
// (thread.registers, thread.signal_mask are set here). All threads exist already. Leaves capabilities alone. One that
// is to end again (tracee/first_thread) can do so then.
Result<> restore_thread(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                        const image::ThreadRecord& record);

// The last calls that a thread makes for us: they give up what made the others possible. `owner`: its process.
Result<> restore_credentials(tracee::StoppedProcess& process, tracee::Thread& thread, tracee::Hands& hands,
                             const image::ProcessRecord& owner, const image::ThreadRecord& record);

}  // namespace stint::task
