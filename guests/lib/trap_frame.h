/*
 * The frame of a trap in 64-bit code, as trap_entry.S pushes it.
 */
#ifndef GUESTS_LIB_TRAP_FRAME_H
#define GUESTS_LIB_TRAP_FRAME_H

#include <stdint.h>

/* Lowest address first; changes take effect on return. */
struct trap {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Called for every exception and interrupt; each kernel writes its own. */
void trap_dispatch(struct trap *t);

#endif
