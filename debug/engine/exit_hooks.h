/*
 * Hooks: functions that see exits of the guest while they happen, and decide. A hook has a kind of
 * exit and a filter; filters are compiled expressions, and hooks whose filter asks for one port,
 * address, MSR or vector are found by a hash of it, so that many of them cost what one does.
 *
 * Hooks run on the vCPU's thread, in order of their ids. Those of accesses (io, mmio, rdmsr, wrmsr)
 * run before the device: they may answer in its stead, drop the access, or ask the device
 * themselves (hook_serve) and change its answer. A filter that names what only the device knows
 * (`value` of a read, `unclaimed`) has the device asked first.
 *
 * Adding and removing is for any thread at any time: the table is replaced as a whole, and an old
 * one is freed when no vCPU looks at it any more. A removed hook may still be running elsewhere
 * when session_hook_del returns.
 */
#ifndef DEBUG_ENGINE_EXIT_HOOKS_H
#define DEBUG_ENGINE_EXIT_HOOKS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/session.h"

struct engine;
struct vcpu;
struct hook_table;

/* One exit while a hook looks at it. The vCPU stands outside the guest; the record may be read. */
struct hook_call {
    struct engine *engine;
    struct vcpu *v;
    struct exit_event *ev;
    bool access;          /* an access: hook_serve and hook_reply are possible */
    bool served;          /* the device was asked: ev holds its answer */
    bool answered;        /* hook_reply was called */
    const char *stop_why; /* set by a hook that returns HOOK_STOP: a clause for the sentence */
};

struct exit_hooks {
    _Atomic(struct hook_table *) table; /* NULL while there is no hook */
    _Atomic(struct hook_table *) using[MACHINE_CPUS_MAX];
    pthread_mutex_t lock; /* guards what follows */
    struct exit_hook **hook;
    unsigned count, cap;
    int last_id;
    bool batch;
    struct hook_table *retired;
};

/* Main thread, as the engine. */
void exit_hooks_init(struct exit_hooks *h);
void exit_hooks_fini(struct exit_hooks *h); /* all parked */

/* vCPU threads. Before an access: true when the device shall not be asked any more. */
bool exit_hooks_access(struct engine *g, struct vcpu *v, struct exit_event *ev);
/* Any other exit. */
void exit_hooks_saw(struct engine *g, struct vcpu *v, struct exit_event *ev);
/* Asks the function of a point (point_spec.hit) that was reached, by the exit `ev`; true: it stops
 * the guest, *why (if it says so) is a clause for the sentence. With `ev` NULL the record it sees
 * says where the vCPU is and is in no ring. */
bool exit_hook_point(struct engine *g, struct vcpu *v, struct exit_event *ev, hook_fn *fn,
                     void *arg, const char **why);
static inline bool exit_hooks_any(const struct exit_hooks *h)
{
    return atomic_load_explicit(&h->table, memory_order_relaxed) != NULL;
}

/* ---- for a hook, on its thread ----------------------------------------------------------------
 */

/* Has the device answer now, once; ev->u holds the value afterwards. */
void hook_serve(struct hook_call *c);
/* Answers a read (see vcpu_answer); for a write: it reaches no device. -EINVAL when the exit is no
 * access. */
int hook_reply(struct hook_call *c, const void *bytes, size_t len);
/* Registers of this vCPU. Reading: all; writing: general ones, segments and control registers. */
int hook_reg_get(struct hook_call *c, int reg, struct reg_value *out);
int hook_reg_set(struct hook_call *c, int reg, const struct reg_value *v, struct err *e);
/* As session_mem_read and session_mem_write. A write over a planted breakpoint byte is -EBUSY. */
int64_t hook_mem_read(struct hook_call *c, enum space sp, uint64_t addr, void *dst, size_t len);
int64_t hook_mem_write(struct hook_call *c, enum space sp, uint64_t addr, const void *src,
                       size_t len);
void hook_walk(struct hook_call *c, uint64_t linear, struct walk *out);
/* Evaluates an expression here. */
int hook_eval(struct hook_call *c, const char *text, uint64_t *out, struct err *e);

#endif
