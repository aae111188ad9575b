// The table-runner: the only code of ours that ever runs inside the target (abi/runner_x86_64.S). The tracer writes a
// RunnerFrame and a table of RunnerCalls into an area of the target's memory, points rbx at the frame and rip at the
// runner; the runner makes the calls one after another, without touching the target's stack.
//
// Two ways out:
// - kReport: it sends itself report_signal, so that the tracer gets a signal-delivery stop, and the tracer puts the
//   target's own registers back. If there is no tracer any more (it was killed), nothing stops the runner: it leaves
//   by rt_sigreturn through sigframe, which gives the thread its registers, its xstate and its mask back, and the
//   program goes on.
// - kResume: no tracer expected. The thread finishes a system call of its own that a stop had cut short: the runner
//   makes the one call, puts every register back as a system call leaves them and jumps to where the program was.
//
// Shared by C++ and assembler; freestanding. x86-64 only.
#ifndef STINT_ABI_RUNNER_H_
#define STINT_ABI_RUNNER_H_

#define STINT_FRAME_CALLS 0
#define STINT_FRAME_COUNT 8
#define STINT_FRAME_FINISH 16
#define STINT_FRAME_SIGNAL 24
#define STINT_FRAME_SIGFRAME 32
#define STINT_FRAME_BASE 40
#define STINT_FRAME_REGS 64
#define STINT_FRAME_SIZE 192

#define STINT_CALL_NR 0
#define STINT_CALL_ARGS 8
#define STINT_CALL_RESULT 56
#define STINT_CALL_FLAGS 64
#define STINT_CALL_SIZE 72

#define STINT_FINISH_REPORT 0
#define STINT_FINISH_RESUME 1

#define STINT_CALL_STOP_ON_ERROR 1

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

namespace stint::abi {

struct RunnerCall {
  uint64_t nr;
  uint64_t args[6];
  int64_t result;  // as the kernel returns it: -errno for a failure
  uint64_t flags;  // STINT_CALL_*
};

// What kResume puts back; rax comes from the call, rcx and r11 are what the syscall instruction leaves.
struct RunnerRegisters {
  uint64_t rbx, rbp, r12, r13, r14, r15, rdi, rsi, rdx, r10, r8, r9, rip, rflags, reserved0, reserved1;
};

struct RunnerFrame {
  uint64_t calls;   // address of the first RunnerCall
  uint64_t count;   // how many
  uint64_t finish;  // STINT_FINISH_*
  uint64_t report_signal;
  uint64_t sigframe;  // kReport: address of the ucontext for rt_sigreturn
  uint64_t
      base;  // kResume: bytes that the cut call had already moved; added to a good result, returned instead of an error
  uint64_t reserved[2];
  RunnerRegisters registers;
};

static_assert(sizeof(RunnerCall) == STINT_CALL_SIZE);
static_assert(offsetof(RunnerCall, args) == STINT_CALL_ARGS);
static_assert(offsetof(RunnerCall, result) == STINT_CALL_RESULT);
static_assert(offsetof(RunnerCall, flags) == STINT_CALL_FLAGS);
static_assert(sizeof(RunnerFrame) == STINT_FRAME_SIZE);
static_assert(offsetof(RunnerFrame, sigframe) == STINT_FRAME_SIGFRAME);
static_assert(offsetof(RunnerFrame, base) == STINT_FRAME_BASE);
static_assert(offsetof(RunnerFrame, registers) == STINT_FRAME_REGS);

extern "C" const unsigned char stint_runner_start[];
extern "C" const unsigned char stint_runner_reported[];     // where a kReport stop leaves rip
extern "C" const unsigned char stint_runner_resume_call[];  // the syscall instruction of kResume is just before this
extern "C" const unsigned char stint_runner_end[];

}  // namespace stint::abi

#endif  // __ASSEMBLER__
#endif  // STINT_ABI_RUNNER_H_
