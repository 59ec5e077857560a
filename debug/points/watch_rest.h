/*
 * The rest of an access: what completing it in KVM will change. A completion costs as much as an
 * entry, and conditions that are false are asked far more often than true ones, so they are asked
 * before it where their registers are known. vCPU threads, called by watch_run.c and the engine.
 */
#ifndef DEBUG_WATCH_REST_H
#define DEBUG_WATCH_REST_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct watches;

/* Can the access in hand be judged as it is? Either nothing is left to complete that changes a
 * register, or it is a plain load, whose rest is open from now on until watch_rest_close or
 * watch_rest_settle. False: complete the next part of it first (vcpu_settle_to). */
bool watch_rest_open(struct watches *w, struct vcpu *v);
/* Completes an open rest: the vCPU's registers are those after the instruction. */
void watch_rest_settle(struct watches *w, struct vcpu *v);
/* Leaves it to the next entry. */
void watch_rest_close(struct watches *w, const struct vcpu *v);
/* The value that a register (REG_*) is going to have, where an open rest changes it. False: it is
 * as it stands; or that cannot be told, and the rest is completed now. */
bool watch_rest_reg(struct watches *w, struct vcpu *v, int id, uint64_t *value);

#endif
