/*
 * Conditions of watchpoints asked while the access is being made: most are false, and then nothing
 * need be noted, completed or judged. vCPU threads, called by the engine.
 */
#ifndef DEBUG_WATCH_ASK_H
#define DEBUG_WATCH_ASK_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct vcpu;

/* The `trapped` call of vm_config, where no watchpoint of the bytes wants to stop: makes the access
 * and counts the conditions that are false. False: nothing was done, or not all can be said yet;
 * watch_trapped makes the access and notes it. */
bool watch_ask(struct engine *g, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
               uint8_t *bytes);

#endif
