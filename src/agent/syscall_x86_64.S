// long stint_system_call(long nr, long a, long b, long c, long d, long e, long f): one system call, and the kernel's
// answer as it is (-errno for a failure). The program's errno is not ours to touch.
//
// vfork and clone, interposed without a frame of our own, since both return twice on the caller's stack: they leave a
// mark and jump to the real one. From the mark on, whoever takes a note asks for its pid first (agent/ledger.cc),
// because a child that shares its parent's memory must not write into its parent's notes.
    .text
    .globl stint_system_call
    .hidden stint_system_call
    .type stint_system_call, @function
stint_system_call:
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    syscall
    ret
    .size stint_system_call, .-stint_system_call

    .globl vfork, stint_vfork
    .hidden stint_vfork
    .type vfork, @function
vfork:
stint_vfork:
    .cfi_startproc
    movb $1, stint_memory_shared(%rip)
    cmpq $0, stint_real_vfork(%rip)
    je vfork_too_early
    jmp *stint_real_vfork(%rip)
vfork_too_early:                    // before the agent could look for libc's: its way, without its errno
    pop %rdx
    mov $58, %eax
    syscall
    jmp *%rdx
    .cfi_endproc
    .size vfork, .-vfork

    .globl clone, stint_clone
    .hidden stint_clone
    .type clone, @function
clone:
stint_clone:
    .cfi_startproc
    movb $1, stint_memory_shared(%rip)
    cmpq $0, stint_real_clone(%rip)
    je clone_too_early
    jmp *stint_real_clone(%rip)
clone_too_early:
    mov $-1, %eax
    ret
    .cfi_endproc
    .size clone, .-clone

    .section .note.GNU-stack, "", @progbits
