/*
 * The kernel's own trace points of KVM for our vCPU threads, by perf_event_open: what KVM dealt
 * with without leaving to user space becomes records of kind `kernel` on the same clock. Needs
 * CAP_PERFMON (or perf_event_paranoid -1) and a readable tracefs; what is not there is said once.
 */
#ifndef DEBUG_TRACEPOINTS_H
#define DEBUG_TRACEPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"
#include "vmm/exit.h"

struct vm;
struct tracepoints;

/* Opens the points named in `names` (blank-separated, "all", or NULL for those that are no
 * duplicates of exits to user space). On success `told` gets a line for each that this kernel does
 * not have. Main thread, vCPUs parked. NULL with a sentence that says what would help. */
struct tracepoints *tracepoints_open(struct vm *vm, const char *names, struct buf *told,
                                     struct err *e);
void tracepoints_close(struct tracepoints *t); /* takes NULL */
/* Hands over every event since the last call; one thread at a time. */
void tracepoints_drain(struct tracepoints *t, void (*fn)(void *arg, struct exit_event *ev),
                       void *arg);
/* Events that the kernel had to drop. */
uint64_t tracepoints_lost(const struct tracepoints *t);
/* The names of the points that are open, blank-separated. */
const char *tracepoints_names(const struct tracepoints *t);

#endif
