// The first thread of a process may end while others go on: main() calls pthread_exit(3), or exit(2) alone. The process
// keeps its number, which is that thread's; but what is left under it is a zombie until the last thread ends. It cannot
// be traced, and /proc, kcmp(2), pidfd_getfd(2) and process_vm_readv(2) find under its number neither memory nor
// descriptors nor namespaces. All of these take the number of any thread, and so they are asked through one that lives.
#pragma once

#include "proc/process.h"
#include "tracee/inject.h"

namespace stint::tracee {

enum class Life { kLives, kZombie, kGone };

// Whether a process has ended. One whose first thread alone has ended lives.
Life life_of(Pid process);
Life life_of(const proc::Stat& process);

// The number under which what the process has is found: its own, or that of a thread that lives where its first has
// ended. Its own, too, when it is gone.
Pid living_thread(Pid process);

// Lets the first thread of a stopped process end by exit(2) with this status, so that the others are left; it is none
// of the process's threads() afterwards. It runs no handler on its way, with whatever mask. What the kernel does at its
// end is up to what it has told the kernel before: nothing if it has neither an address to be cleared nor robust locks.
// Where this fails the process is lost.
Result<> end_first_thread(StoppedProcess& process, const Foothold& foothold, int status);

}  // namespace stint::tracee
