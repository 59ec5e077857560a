/*
 * On processors that step by the trap flag, an instruction that faults runs its whole handler
 * inside the one step: the processor clears the flag on entry and the frame that it pushes shows
 * it. So while a step is made int3 stands at the first instruction of every handler that the
 * instruction can reach; the step ends there, the bytes go back, and the pushed flags are cleaned.
 * vCPU thread; the caller sees to it that no other vCPU runs meanwhile.
 */
#ifndef VMM_STEP_GUARD_H
#define VMM_STEP_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* All vectors, and one address more. */
#define GUARD_MAX 257

struct step_guard {
    unsigned count;
    struct {
        uint64_t linear;
        uint8_t *hva;
        uint8_t original;
        bool placed;
        int vector; /* -1: no handler */
    } at[GUARD_MAX];
};

/* Where the handlers of exceptions were last time, and of which tables that was true. */
struct guard_cache {
    uint64_t cr0, cr3, idt_base;
    uint32_t idt_bytes;
    uint8_t idt[512];
    struct step_guard handlers;
};

/* Puts int3 where the instruction at RIP may end up by a transfer through a gate: at the handlers
 * of exceptions, of software interrupt `vector` (-1: none), of all interrupts where the kernel's
 * chips may give one within the step, and at `also` when it is not 0 (the entry of SYSCALL, or what
 * follows an instruction that holds the trap flag back). */
void guard_place(struct vcpu *v, struct step_guard *g, int vector, uint64_t also);
void guard_lift(struct step_guard *g);
/* Is the vCPU stopped at one of them? *vector is its number. */
bool guard_hit(const struct vcpu *v, const struct step_guard *g, int *vector);
/* The trap flag in the frame that entering `vector`'s handler has pushed: as the guest has it. */
void guard_frame_tf(struct vcpu *v, int vector, bool on);

#endif
