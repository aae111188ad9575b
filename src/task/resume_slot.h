// Where the runner finishes a call that a stop cut off: a slot of the area that stays in the process (kContinue).
//
// The thread may be out of the slot without having left it for good: a handler of the program's that has interrupted
// the call returns into it. Only its signal frame tells, on the stack on which the kernel laid it: just below the stack
// pointer that the thread had in the call, or on its alternate stack.
#pragma once

#include <time.h>

#include <array>

#include "tracee/hands.h"

namespace stint::task {

inline constexpr size_t kMostPieces = 96;  // of a vector that fits into a slot

struct ResumeSlot {
  abi::RunnerFrame frame{};
  abi::RunnerCall call{};
  timespec time{};                               // the timeout of the call
  std::array<uint64_t, 2 * kMostPieces> rest{};  // the vector of a writev
  uint64_t in_use = 0;                           // since a thread went into it, until one was seen to leave it
  uint64_t stack = 0;                            // the thread's stack pointer
  tracee::Thread::AlternateStack alternate{};
};
static_assert(sizeof(ResumeSlot) <= tracee::Hands::kResumeSlotSize);

// Whether a handler will return into this area, which an earlier checkpoint left in the process. No thread is in it
// now. One that may be is taken for one that is: then the area is the program's, like all its memory.
Result<bool> handler_returns_into(Pid process, Range area);

}  // namespace stint::task
