/*
 * Stores of one instruction that KVM has lost. For watch_note.c and watch_ask.c, on the vCPU's
 * thread.
 */
#ifndef DEBUG_WATCH_PUSH_H
#define DEBUG_WATCH_PUSH_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct watches;

/* What an instruction has pushed; word[0] is at the stack's top, the linear address `top`. */
struct pushes {
    uint64_t top;
    uint64_t word[8];
    unsigned count, size; /* bytes of each */
};

/* Not looking at code yet: may the store at `gpa` be one of several that an instruction pushed? */
bool watch_may_be_pushes(const struct vcpu *v, uint64_t gpa);
/* After the store of `len` bytes at `gpa`, which is in memory now: was it made by PUSHA, a far call
 * or real mode's delivery of an event? Of their stores to trapped pages KVM's emulator tells the
 * last one alone. */
bool watch_pushes(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len,
                  struct pushes *out);

#endif
