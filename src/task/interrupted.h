// What a stop did to the system call that a thread was in, and how to undo it, so that the program cannot tell.
//
// The kernel restarts most interrupted calls by itself when no signal handler runs (its -ERESTART codes, left in rax).
// What is left to us: calls that give EINTR at every interruption (epoll_wait, sigtimedwait, semop ...), calls that
// return how far they got (write to a full pipe), and, at a restart on another kernel life, sleeps whose restart block
// is gone. The whole table is in kernel terms in doc/architecture.md; each row has a live test (task/*_live.cc).
#pragma once

#include "image/task_records.h"
#include "task/deadlines.h"
#include "tracee/hands.h"
#include "tracee/stop.h"

namespace stint::task {

// Looks at one stopped thread. Changes thread.registers where the kernel's own restart logic then does the right thing,
// and says how the call is to be finished otherwise. kRefused when a call cannot be carried over.
Result<image::ResumeCall> plan_resume(Pid process, tracee::Thread& thread, Deadlines& deadlines);

// A live program goes on: puts a frame into the area where a call has to be finished by the runner.
Result<> prepare_thaw(tracee::StoppedProcess& process, tracee::Thread& thread, const image::ResumeCall& resume,
                      tracee::Hands& hands);

// A restored program: gives the kernel its restart block again, by making the call with the time that is left and
// interrupting it (kReissue), or as prepare_thaw does (kContinue).
Result<> prepare_restored(tracee::StoppedProcess& process, tracee::Thread& thread, const image::ResumeCall& resume,
                          tracee::Hands& hands);

// The last thing before the thread goes on: nothing may stop it any more.
void note_sleep(const tracee::Thread& thread, const image::ResumeCall& resume, Deadlines& deadlines);

// Whether any of these needs the runner's area after the thaw.
inline bool needs_area(const image::ResumeCall& resume) { return resume.kind == image::ResumeKind::kContinue; }

// Whether the thread is inside the runner of this area, which an earlier checkpoint left in the process (kContinue).
bool is_in_runner(const tracee::Thread& thread, Range area);
// Such a thread gets back the registers that its program would see there, as if the call had been the program's own.
Result<image::ResumeCall> leave_runner(Pid process, tracee::Thread& thread, Range area, Deadlines& deadlines);

}  // namespace stint::task
