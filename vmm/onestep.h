/*
 * Exactly one guest instruction on one vCPU, on every kind of host. KVM's own single step differs
 * between hosts: where it loses its way (HLT, iret, software interrupts, everything in ring 3 of a
 * KVM that emulates ring 0) this file does the instruction's control part itself and stops at the
 * architectural next instruction. vCPU thread.
 */
#ifndef VMM_ONESTEP_H
#define VMM_ONESTEP_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/assist.h"
#include "vmm/exit.h"

struct vcpu;

enum onestep {
    ONE_DONE,  /* one instruction (or one iteration of a rep) was carried out */
    ONE_HALT,  /* that instruction was HLT */
    ONE_OTHER, /* the last exit needs a decision: `last`; the instruction was not carried out */
};

struct onestep_info {
    int vector;   /* of the exception or software interrupt that was entered; -1 none */
    bool trapped; /* `vector` is of a trap behind the instruction, which was carried out */
    bool partial; /* a repeated string instruction that goes on: somebody wants the vCPU */
    bool told;    /* `again` was called for the last step, and said no */
    struct exit_event last; /* EXIT_KICK only with ONE_OTHER; EXIT_RUN: nothing to tell */
};

struct onestep_ops {
    void *arg;
    /* Each exit made on the way, before its record goes to the ring; may change the flags. */
    void (*saw)(void *arg, struct vcpu *v, struct exit_event *ev);
    /* The instruction raises #UD: true when it was carried out after all (some KVMs raise it for
     * instructions that the processor has), with what it raised itself in `raise`. NULL: nothing is
     * carried out that this KVM cannot. */
    bool (*undefined)(void *arg, struct vcpu *v, struct exit_event *ev, struct assist_event *raise);
    /* After a step that ended at the next instruction, without an event: true when the next step
     * follows at once. Who gives it has no use for `saw` at a step's own trap. Or NULL: one step.
     */
    bool (*again)(void *arg, struct vcpu *v);
};

/* What is returned is of the last step: those before it were told to `again`. */
enum onestep vcpu_onestep(struct vcpu *v, const struct onestep_ops *ops, struct onestep_info *out);

/* Would vcpu_onestep carry out the instruction at RIP itself, past trapped pages, with memory that
 * disasm/access.h knows of? */
bool vcpu_steps_by_hand(struct vcpu *v);

/* Gives the guest an event (deliver.h), up to the first instruction of its handler. RIP must
 * already be what the handler's frame shall hold. ONE_DONE, or ONE_OTHER when the guest cannot take
 * it (then `last` tells: usually a triple fault). */
enum onestep vcpu_deliver(struct vcpu *v, const struct onestep_ops *ops,
                          const struct assist_event *event, struct onestep_info *out);

/* The vCPU stands at the handler of an exception: where a #BP leaves its number in the events, it
 * goes, so that a number found there later is that of one still to be delivered. */
void vcpu_forget_bp(struct vcpu *v);
/* Takes back an #UD that waits to be delivered to ring 3 of an emulating KVM, which makes it of
 * instructions that are none (`int n`): the instruction is still at RIP and is made anew. True when
 * there was one. The vCPU's thread. */
bool vcpu_forget_ud(struct vcpu *v);
/* A kick ended an entry: takes back a fault that an emulating KVM may have made of a descriptor
 * table in a trapped page. Its next entry would deliver it, or say that it cannot, as if it were
 * the guest's. One that is comes again: its instruction is still at RIP. The vCPU's thread. */
void vcpu_forget_fault(struct vcpu *v);

/* Linear address of a vector's handler by the guest's IDT or IVT; false when there is none. */
bool vcpu_gate_target(struct vcpu *v, int vector, uint64_t *linear);

/* Shows the guest's own IDT again when a step has hidden it. */
void vcpu_show_idt(struct vcpu *v);

#endif
