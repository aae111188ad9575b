// The agent's libraries as bytes of the stint binary (agent/embedded.h).
    .section .rodata
    .macro embed name, file
    .globl stint_\name\()_start, stint_\name\()_end
    .hidden stint_\name\()_start, stint_\name\()_end
    .balign 16
stint_\name\()_start:
    .incbin "\file"
stint_\name\()_end:
    .endm
    embed preload, STINT_PRELOAD
    embed audit, STINT_AUDIT
    embed foreign, STINT_FOREIGN
    .section .note.GNU-stack, "", @progbits
