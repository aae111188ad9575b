// The signal frame by which the runner gives a thread back to its program when its tracer has died: what
// rt_sigreturn(2) expects (kernel: arch/x86/kernel/signal_64.c), built from the registers and the xstate of the stop.
#pragma once

#include "base/bytes.h"
#include "sys/ptrace.h"

namespace stint::tracee {

// Bytes to be put at `address` (64-byte aligned) in the target; the ucontext for rsp is at its start. A system call
// that the stop interrupted is set up to be made again, as the kernel would have done.
Bytes build_sigframe(uint64_t address, const sys::Registers& registers, uint64_t signal_mask, ByteView xstate);

}  // namespace stint::tracee
