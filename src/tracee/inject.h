// One system call in the target without an area of ours in it: through a `syscall` instruction that it has anyway.
//
// Should we be killed meanwhile, nobody puts its registers back: so the way back is laid first. The thread is pointed
// at a `syscall` that is followed by `ret`; the stack pointer, at the address of the program's own call of
// rt_sigreturn(2) (every C library has one, for its signal handlers), behind which lies a signal frame with all that is
// the program's. The frame lies where the kernel would lay one: below the red zone, in memory that holds nothing of a
// program's as its ABI has it; it is put back all the same.
#pragma once

#include <array>
#include <span>

#include "proc/maps.h"
#include "tracee/stop.h"

namespace stint::tracee {

// A system call to make in the target. Arguments that point somewhere point into the target.
struct Call {
  uint64_t nr = 0;
  std::array<uint64_t, 6> args{};
  bool stop_on_error = false;
};

// What a process has in its memory that lets a call be made in it; nothing of this is ours.
struct Foothold {
  uint64_t system_call = 0;  // address of a `syscall` instruction
  uint64_t sigreturn = 0;  // of code that makes rt_sigreturn(2); 0: none was found, or `ret` does not follow the former
  Range stack;             // [stack]
  // Whether the program goes on when we are killed in the middle of a call.
  bool has_way_back() const { return sigreturn != 0; }
};

// `vmas`: the mappings of the process.
Result<Foothold> find_foothold(Pid process, std::span<const proc::Vma> vmas);
// One without a way back, for a process that is lost with us in any case.
Result<Foothold> find_bare_foothold(Pid process);

// To the next stop at the edge of a system call.
Result<> to_system_call_stop(Thread& thread);

// Makes the call in one of the process's threads; the result is as the kernel returns it (-errno).
Result<int64_t> inject_call(StoppedProcess& process, const Foothold& foothold, const Call& call);

}  // namespace stint::tracee
