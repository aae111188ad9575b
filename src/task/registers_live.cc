// Every register that a thread can see: a thread spins on one memory word with known values in all of them, and looks
// at them again when it is let go.
#include <asm/prctl.h>
#include <string.h>
#include <sys/syscall.h>

#include <atomic>
#include <thread>

#include "test/live/program/descriptors.h"
#include "test/live/program/threads.h"

// All of them are called as ordinary functions: (rdi) where the values come from, (rsi) where they go, (rdx) the word
// that is 1 until the spinning is over, and which is set to 1 by the thread itself once the registers are loaded.
asm(R"(
.pushsection .text
.macro live_save_callee
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
.endm
.macro live_restore_callee
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
.endm

// rax rbx rcx rdx rsi rdi rbp r8-r15; the word is live_spin_word.
.globl live_spin_general
live_spin_general:
  live_save_callee
  push %rsi
  mov 0(%rdi), %rax
  mov 8(%rdi), %rbx
  mov 16(%rdi), %rcx
  mov 24(%rdi), %rdx
  mov 32(%rdi), %rsi
  mov 48(%rdi), %rbp
  mov 56(%rdi), %r8
  mov 64(%rdi), %r9
  mov 72(%rdi), %r10
  mov 80(%rdi), %r11
  mov 88(%rdi), %r12
  mov 96(%rdi), %r13
  mov 104(%rdi), %r14
  mov 112(%rdi), %r15
  mov 40(%rdi), %rdi
  movl $1, live_spin_word(%rip)
1:
  pause
  cmpl $1, live_spin_word(%rip)
  je 1b
  xchg %rsi, (%rsp)
  mov %rax, 0(%rsi)
  mov %rbx, 8(%rsi)
  mov %rcx, 16(%rsi)
  mov %rdx, 24(%rsi)
  mov %rdi, 40(%rsi)
  mov %rbp, 48(%rsi)
  mov %r8, 56(%rsi)
  mov %r9, 64(%rsi)
  mov %r10, 72(%rsi)
  mov %r11, 80(%rsi)
  mov %r12, 88(%rsi)
  mov %r13, 96(%rsi)
  mov %r14, 104(%rsi)
  mov %r15, 112(%rsi)
  pop %rax
  mov %rax, 32(%rsi)
  live_restore_callee
  ret

// The flags that user code may set and that no compare touches: direction, alignment check, identification.
.globl live_spin_flags
live_spin_flags:
  pushf
  pushf
  pop %rax
  or %rdi, %rax
  push %rax
  popf
  movl $1, live_spin_word(%rip)
1:
  pause
  cmpl $1, live_spin_word(%rip)
  je 1b
  pushf
  pop %rax
  popf
  ret

.globl live_spin_avx
live_spin_avx:
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovdqu (32*\n)(%rdi), %ymm\n
.endr
  movl $1, (%rdx)
1:
  pause
  cmpl $1, (%rdx)
  je 1b
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovdqu %ymm\n, (32*\n)(%rsi)
.endr
  vzeroupper
  ret

.globl live_spin_sse
live_spin_sse:
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  movdqu (16*\n)(%rdi), %xmm\n
.endr
  movl $1, (%rdx)
1:
  pause
  cmpl $1, (%rdx)
  je 1b
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  movdqu %xmm\n, (16*\n)(%rsi)
.endr
  ret

.globl live_spin_avx512
live_spin_avx512:
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovdqu64 (64*\n)(%rdi), %zmm\n
.endr
.irp n, 0,1,2,3,4,5,6,7
  kmovq (2048+8*\n)(%rdi), %k\n
.endr
  movl $1, (%rdx)
1:
  pause
  cmpl $1, (%rdx)
  je 1b
.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
  vmovdqu64 %zmm\n, (64*\n)(%rsi)
.endr
.irp n, 0,1,2,3,4,5,6,7
  kmovq %k\n, (2048+8*\n)(%rsi)
.endr
  vzeroupper
  ret

// Eight values on the x87 stack, a control word, mxcsr: 8 doubles, then the two control words at 64 and 68.
.globl live_spin_x87
live_spin_x87:
  sub $24, %rsp
  fnstcw 0(%rsp)
  stmxcsr 4(%rsp)
.irp n, 0,1,2,3,4,5,6,7
  fldl (8*\n)(%rdi)
.endr
  fldcw 64(%rdi)
  ldmxcsr 68(%rdi)
  movl $1, (%rdx)
1:
  pause
  cmpl $1, (%rdx)
  je 1b
  fnstcw 64(%rsi)
  stmxcsr 68(%rsi)
.irp n, 7,6,5,4,3,2,1,0
  fstpl (8*\n)(%rsi)
.endr
  fldcw 0(%rsp)
  ldmxcsr 4(%rsp)
  add $24, %rsp
  ret
.popsection
)");

extern "C" {
// asm() names it, so it cannot have internal linkage.
std::atomic<int> live_spin_word;
void live_spin_general(const uint64_t* in, uint64_t* out);
uint64_t live_spin_flags(uint64_t set);
void live_spin_sse(const void* in, void* out, std::atomic<int>* word);
void live_spin_avx(const void* in, void* out, std::atomic<int>* word);
void live_spin_avx512(const void* in, void* out, std::atomic<int>* word);
void live_spin_x87(const void* in, void* out, std::atomic<int>* word);
}

namespace live {
namespace {

// Runs `spin` in a thread, which is spinning while the freeze point is passed.
template <class F>
void freeze_while(std::atomic<int>& word, F spin) {
  word = 0;
  std::thread thread(spin);
  while (word == 0) sleep_for(0.0005);
  freeze_point();
  word = 2;
  thread.join();
}

LIVE_TEST(general_registers_keep_every_bit) {
  uint64_t in[15];
  uint64_t out[15] = {};
  pattern(sizeof in).copy(reinterpret_cast<char*>(in), sizeof in);
  freeze_while(live_spin_word, [&] { live_spin_general(in, out); });
  for (int i = 0; i < 15; ++i) EXPECT_EQ(out[i], in[i]);
}

LIVE_TEST(flags_register_keeps_the_direction) {
  constexpr uint64_t kDirection = 1 << 10;
  uint64_t flags = 0;
  freeze_while(live_spin_word, [&] { flags = live_spin_flags(kDirection); });
  EXPECT_EQ(flags & kDirection, kDirection);
}

void expect_vectors_kept(size_t size, void (*spin)(const void*, void*, std::atomic<int>*)) {
  const std::string in = pattern(size, 5);
  std::string out(size, '\0');
  std::atomic<int> word;
  freeze_while(word, [&] { spin(in.data(), out.data(), &word); });
  EXPECT_TRUE(out == in);
}

LIVE_TEST(sse_registers_keep_every_bit) { expect_vectors_kept(16 * 16, live_spin_sse); }

LIVE_TEST(avx_registers_keep_every_bit) {
  if (!__builtin_cpu_supports("avx")) skip("the processor has no AVX");
  expect_vectors_kept(16 * 32, live_spin_avx);
}

LIVE_TEST(avx512_and_mask_registers_keep_every_bit) {
  if (!__builtin_cpu_supports("avx512bw")) skip("the processor has no AVX-512BW");
  expect_vectors_kept(32 * 64 + 8 * 8, live_spin_avx512);
}

struct Floating {
  double values[8];
  uint32_t control;
  uint32_t mxcsr;
};

LIVE_TEST(x87_stack_and_control_words_are_kept) {
  // Rounding towards zero in both, flush-to-zero in mxcsr: what a program may really have set.
  const Floating in = {{1.5, -2.25, 3e100, -4e-100, 5, 6, 7, 0.1}, 0x0f7f, 0xffa0};
  Floating out = {};
  std::atomic<int> word;
  freeze_while(word, [&] { live_spin_x87(&in, &out, &word); });
  for (int i = 0; i < 8; ++i) EXPECT_EQ(out.values[i], in.values[i]);
  EXPECT_EQ(out.control & 0x0f3fU, in.control & 0x0f3fU);
  EXPECT_EQ(out.mxcsr & 0xffc0U, in.mxcsr & 0xffc0U);
}

LIVE_TEST(thread_pointers_fs_and_gs_are_kept) {
  static uint64_t words[4] = {0, 0x1122334455667788UL, 0, 0};
  unsigned long before_fs = 0;
  unsigned long before_gs = 0;
  EXPECT_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &before_fs));
  EXPECT_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &before_gs));
  EXPECT_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, words));
  freeze_point();
  uint64_t through_gs;
  asm volatile("mov %%gs:8, %0" : "=r"(through_gs));
  EXPECT_EQ(through_gs, words[1]);
  unsigned long fs = 0;
  EXPECT_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
  EXPECT_EQ(fs, before_fs);
  EXPECT_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, before_gs));
}

LIVE_TEST(long_floating_point_sum_is_that_of_an_uncut_run) {
  double sum = 0;
  for (int i = 1; i < 1'000'000; ++i) {
    sum += 1.0 / i / (i % 7 + 1);
    if (i == 500'000) freeze_point();
  }
  volatile double again = 0;
  for (int i = 1; i < 1'000'000; ++i) again = again + 1.0 / i / (i % 7 + 1);
  EXPECT_EQ(sum, static_cast<double>(again));
}

}  // namespace
}  // namespace live
