/*
 * Call stacks of exits: with each exit its callers, by frame information or frame pointers, as
 * records of kind `stack` behind the exit's own. Off unless asked for (`trace stacks on`), and then
 * an exit costs a walk through the guest's stack more. vCPU threads.
 */
#ifndef DEBUG_STACKS_H
#define DEBUG_STACKS_H

#include <stdint.h>

#include "vmm/exit.h"

struct engine;
struct vcpu;

#define STACKS_DEPTH     16u /* callers, unless asked otherwise */
#define STACKS_DEPTH_MAX 64u

/* Writes the callers of the code that an exit came from, behind the exit's record. */
void stacks_put(struct engine *g, struct vcpu *v, const struct exit_event *ev);

/* The frames of an exit put together again from its records, for readers of traces. */
struct stack_frames {
    uint64_t frame[STACKS_DEPTH_MAX]; /* the innermost caller first */
    unsigned count;
};
/* Takes a record of kind `stack`; false when it does not go on where the last one ended. */
bool stacks_take(struct stack_frames *s, const struct exit_event *ev);

#endif
