/*
 * Backtraces: who called whom, as far as it can be known. Each frame is found by DWARF call frame
 * information of the loaded ELF files, else by the frame pointer, else (in the first frame) by a
 * look at the code where the function has just begun or ends. Out of an interrupt handler it is
 * the frame that the processor pushed, found where the handler begins or by what its code has
 * pushed since. The stack is never searched for things that look like addresses: where knowledge
 * ends the trace ends, and says why.
 */
#ifndef DEBUG_UNWIND_H
#define DEBUG_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disasm;
struct symbols;

enum unwind_how {
    UNWIND_FIRST,   /* where the vCPU stands */
    UNWIND_CFI,     /* .debug_frame or .eh_frame */
    UNWIND_POINTER, /* RBP chain */
    UNWIND_ENTRY,   /* the callee had just begun, or was about to return */
    UNWIND_EVENT,   /* interrupted here, or SYSCALL was right before */
    UNWIND_HOWS,
};

struct unwind_frame {
    uint64_t pc;        /* linear */
    uint64_t symbol_pc; /* what to look names and lines up with: inside the call instruction */
    uint64_t sp;        /* linear; above the return address for callers */
    enum unwind_how how;
};

struct unwind_env {
    void *arg;
    unsigned bits;                 /* code size: 16, 32 or 64; fixed for the whole trace */
    const struct symbols *symbols; /* for frame information; may be NULL */
    struct disasm *disasm;         /* to read handlers without frame information; may be NULL */
    bool foreign_thread;           /* names are not asked for: that is for the main thread */
    /* Registers by enum reg_id; at least RIP, RSP and RBP, and the bases of CS and SS where they
     * are not 0. False: unknown. */
    bool (*reg)(void *arg, int reg_id, uint64_t *value);
    /* Reads exactly `len` bytes of linear memory, or false. */
    bool (*mem)(void *arg, uint64_t linear, void *dst, size_t len);
    char end[160]; /* out: why the trace ends, a clause ("the frame pointer is 0") */
};

#define UNWIND_FRAMES_MAX 1024u

/* Fills frames[0..] from the innermost out; at most `max` and UNWIND_FRAMES_MAX. Returns how many:
 * 0 only without RIP or RSP. Thread: whichever may call the callbacks (not the main one:
 * `foreign_thread`). */
size_t unwind(struct unwind_env *env, struct unwind_frame *frames, size_t max);
/* "frame information", "frame pointer", … Static text. */
const char *unwind_how_name(enum unwind_how how);

#endif
