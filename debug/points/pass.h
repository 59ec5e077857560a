/*
 * Past a breakpoint's byte without single steps, on a KVM that emulates ring 0: an instruction that
 * cannot but arrive at the next one is run up to a byte planted there. Two ioctls are saved at each
 * hit of a breakpoint whose condition is false. vCPU threads.
 */
#ifndef DEBUG_PASS_H
#define DEBUG_PASS_H

#include <stdbool.h>

struct engine;
struct plant;
struct vcpu;

enum pass {
    PASS_NO,     /* nothing was done: make a step */
    PASS_MADE,   /* the instruction at `pl` was carried out */
    PASS_KICKED, /* somebody wants the vCPU first */
};

/* The vCPU stands at `pl`, whose points have been looked at and are in no debug register. */
enum pass pass_plain(struct engine *g, struct vcpu *v, struct plant *pl);

#endif
