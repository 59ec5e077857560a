/*
 * A vCPU that burns time without moving: an emulating KVM spins inside the kernel at instructions
 * that it neither runs nor refuses (vmcall). Found by kicks that see the same registers, confirmed
 * by single steps that change nothing although the instruction is no jump to itself. A vCPU that is
 * stepped anyway needs no kicks: its steps end, at the same place again and again. vCPU threads.
 */
#ifndef DEBUG_ENGINE_STUCK_H
#define DEBUG_ENGINE_STUCK_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct exit_event;
struct vcpu;

struct stuck {
    uint64_t since_ns; /* 0: nothing seen */
    struct kvm_regs regs;
    unsigned kicks;
    unsigned tries; /* steps that changed nothing */
    unsigned stood; /* steps in a row that ended where they began */
};

/* Equal but for flags that steps leave behind. */
bool stuck_same(const struct kvm_regs *a, const struct kvm_regs *b);
/* A kick found the vCPU so. True when it is time to try single steps. */
bool stuck_suspect(struct stuck *s, const struct vcpu *v);
/* One such step: what KVM had done for the vCPU before (counter.h). */
struct stuck_try {
    bool counted;
    uint64_t turns;
};
/* Before the step; the vCPU's thread. */
void stuck_try_begin(struct stuck_try *t, struct vcpu *v);
/* It ended with `ev`. True when the vCPU is stuck. */
bool stuck_tried(struct stuck *s, struct vcpu *v, const struct stuck_try *t,
                 const struct exit_event *ev);
/* A step that was made began with `before`: true when it ended there again, although its
 * instruction must have changed something. It was none, then. */
bool stuck_stood(struct stuck *s, struct vcpu *v, const struct kvm_regs *before);
/* After so many of them in a row there is no hope. */
#define STUCK_STOOD_MAX 16
/* Any other exit. */
static inline void stuck_clear(struct stuck *s)
{
    s->since_ns = 0;
}

#endif
