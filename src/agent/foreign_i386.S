// What a 32-bit program finds under the names of the agent's libraries ($PLATFORM is i686 there): nothing to preload,
// and an audit interface that says it is not interested. So a 32-bit linker has nothing to complain about.
    .text
    .globl la_version
    .type la_version, @function
la_version:
    xor %eax, %eax
    ret
    .size la_version, .-la_version
    .section .note.GNU-stack, "", @progbits
