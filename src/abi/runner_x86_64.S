// See runner.h. Position independent; entered at stint_runner_start with rbx = address of the RunnerFrame.
// Uses no stack: rsp stays the program's own, so that a signal handler that runs during a resumed call finds it.
#include "abi/runner.h"

    .section .text.stint_runner, "ax", @progbits
    .globl stint_runner_start
    .globl stint_runner_reported
    .globl stint_runner_resume_call
    .globl stint_runner_end
    .hidden stint_runner_start
    .hidden stint_runner_reported
    .hidden stint_runner_resume_call
    .hidden stint_runner_end
    .balign 64
stint_runner_start:
    mov STINT_FRAME_CALLS(%rbx), %r12
    mov STINT_FRAME_COUNT(%rbx), %r13
    cmpq $STINT_FINISH_RESUME, STINT_FRAME_FINISH(%rbx)
    je resume

next_call:
    test %r13, %r13
    jz report
    mov STINT_CALL_NR(%r12), %rax
    mov STINT_CALL_ARGS+0(%r12), %rdi
    mov STINT_CALL_ARGS+8(%r12), %rsi
    mov STINT_CALL_ARGS+16(%r12), %rdx
    mov STINT_CALL_ARGS+24(%r12), %r10
    mov STINT_CALL_ARGS+32(%r12), %r8
    mov STINT_CALL_ARGS+40(%r12), %r9
    syscall
    mov %rax, STINT_CALL_RESULT(%r12)
    testq $STINT_CALL_STOP_ON_ERROR, STINT_CALL_FLAGS(%r12)
    jz called
    cmp $-4095, %rax
    jae report
called:
    add $STINT_CALL_SIZE, %r12
    dec %r13
    jmp next_call

report:
    mov $186, %eax                      // gettid: only here is the number that this pid namespace has for it
    syscall
    mov %rax, %rdi
    mov STINT_FRAME_SIGNAL(%rbx), %rsi
    mov $200, %eax                      // tkill: the tracer sees a signal-delivery stop
    syscall
stint_runner_reported:
    mov STINT_FRAME_SIGFRAME(%rbx), %rsp  // only without a tracer
    mov $15, %eax                       // rt_sigreturn
    syscall
    ud2

resume:
    mov STINT_CALL_NR(%r12), %rax
    mov STINT_CALL_ARGS+0(%r12), %rdi
    mov STINT_CALL_ARGS+8(%r12), %rsi
    mov STINT_CALL_ARGS+16(%r12), %rdx
    mov STINT_CALL_ARGS+24(%r12), %r10
    mov STINT_CALL_ARGS+32(%r12), %r8
    mov STINT_CALL_ARGS+40(%r12), %r9
    syscall
stint_runner_resume_call:
    mov STINT_FRAME_BASE(%rbx), %rcx
    test %rcx, %rcx
    jz resumed
    cmp $-4095, %rax
    jae keep_base
    add %rcx, %rax
    jmp resumed
keep_base:
    mov %rcx, %rax
resumed:
    lea STINT_FRAME_REGS(%rbx), %r11
    mov 8(%r11), %rbp
    mov 16(%r11), %r12
    mov 24(%r11), %r13
    mov 32(%r11), %r14
    mov 40(%r11), %r15
    mov 48(%r11), %rdi
    mov 56(%r11), %rsi
    mov 64(%r11), %rdx
    mov 72(%r11), %r10
    mov 80(%r11), %r8
    mov 88(%r11), %r9
    mov 96(%r11), %rcx
    mov 0(%r11), %rbx
    mov 104(%r11), %r11
    jmp *%rcx
stint_runner_end:

    .section .note.GNU-stack, "", @progbits
