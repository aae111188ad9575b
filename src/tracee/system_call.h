// Which system call a stopped thread is in, read from its registers and its code (x86-64).
#pragma once

#include <sys/syscall.h>

#include <cstdint>
#include <optional>

#include "base/remote.h"
#include "sys/ptrace.h"

namespace stint::tracee {

// What rax shows of a call that was interrupted, and is to be made again: -ERESTARTSYS, -ERESTARTNOINTR,
// -ERESTARTNOHAND; or gone on with by restart_syscall(2): -ERESTART_RESTARTBLOCK.
inline constexpr int64_t kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514, kRestartBlock = -516;

// The calls that the kernel goes on with by restart_syscall(2).
inline constexpr uint32_t kRestartedCalls[] = {SYS_nanosleep, SYS_clock_nanosleep, SYS_poll, SYS_futex};

// Whether the thread was inside a system call when it stopped (and not in user code).
bool in_system_call(const sys::Registers& registers);

// Before the kernel makes a call again it puts rip back onto the instruction and the number into rax, and leaves it in
// orig_rax, too. A thread that is stopped just then, before it has executed anything, seems to be in a call that has
// returned its own number: it is in none. And restart_syscall(2), whose number it puts there for a sleep, is no call of
// the program's: that thread still is in the sleep (the kernel will put rip back once more).
void see_call_to_be_made_again(Pid tid, sys::Registers& registers);

// The number in the code just before rip, where that is "mov $nr, %eax" and a system call after it. Nothing where the
// number comes from elsewhere, as in syscall(3), or is none of kRestartedCalls.
std::optional<uint64_t> restarted_call_in_code(Pid tid, uint64_t rip);

// The call that the thread is in, or enters with its next instruction: it may have been on its way back into the call
// when it was stopped. SYS_restart_syscall where its code does not tell which.
std::optional<uint64_t> call_of(Pid tid, const sys::Registers& registers);

}  // namespace stint::tracee
