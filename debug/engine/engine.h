/*
 * What a vCPU does while it runs: the loop of entries, the recognition of points, steps, and the
 * decision to stop. Its body runs on vCPU threads; the rest is for the main thread with all vCPUs
 * parked. Knows no people: reports go to session_run.c.
 */
#ifndef DEBUG_ENGINE_ENGINE_H
#define DEBUG_ENGINE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "debug/engine/exit_hooks.h"
#include "debug/engine/stuck.h"
#include "debug/points/points.h"
#include "vmm/vcpu.h"

enum job_kind {
    JOB_RUN,
    JOB_STEP,
};

/* The end of what a console channel printed, so that a text is found across two writes: as it was
 * printed, and without the escape sequences that colour it and move about. */
#define CONSOLE_MATCH_MAX 256
struct console_tail {
    char bytes[CONSOLE_MATCH_MAX];
    unsigned len;
};
struct console_match {
    struct console_tail raw[CONSOLE_CHANS], plain[CONSOLE_CHANS];
    uint8_t escape[CONSOLE_CHANS]; /* where in an escape sequence; 0: in none */
    _Atomic uint32_t due;          /* vCPUs that printed some catchpoint's text */
};

/* What one vCPU was asked; set while it is parked. */
struct cpu_job {
    enum job_kind kind;
    uint64_t steps; /* JOB_STEP: still to make */
    enum step_to to;
    struct disasm *disasm; /* STEP_TO_BRANCH and like: the job's own */
    uint64_t made;
    bool (*each)(void *arg, const struct vcpu *v); /* after each step, or NULL */
    void *each_arg;
};

struct stop_report {
    bool present;
    bool late; /* another vCPU's stop was told first */
    struct stop_info info;
    uint64_t at_ns;
    struct exit_event ev; /* of a stop of stop_error.h: the exit behind it */
    /* What a catchpoint held up, or STOP_NONE: told when the guest goes on. */
    enum stop_kind then;
    uint32_t then_code;
    int then_vector; /* of STOP_TRIPLE_FAULT */
};

#define HOOK_VECTORS 32

/* Plants at the guest's handlers: of the exceptions by which ring 3 of an emulating KVM escapes us,
 * and of those that a catchpoint waits for. */
struct hooks {
    /* What each vCPU saw last; its thread's own. */
    struct hooks_look {
        uint32_t vectors; /* planted for, or looked for in vain */
        uint64_t idt_base;
        uint16_t idt_limit;
        bool paged; /* CR0.PG, and the tables then */
        uint64_t cr3;
        unsigned countdown;
        unsigned cursor; /* of points_moved */
    } look[MACHINE_CPUS_MAX];
    _Atomic unsigned steps;   /* made because a caught exception had no handler yet */
    _Atomic uint32_t planted; /* vectors; with `at`, changed by a vCPU that is alone */
    _Atomic int often;        /* for the main thread: hooks_wanted */
    struct {
        uint64_t linear, gpa;
    } at[HOOK_VECTORS]; /* by vector */
};

struct session;

struct engine {
    struct session *session; /* for callbacks; the engine does not look inside */
    struct vm *vm;
    struct points points;
    _Atomic unsigned stack_depth; /* callers recorded with each exit (stacks.h); 0: none */
    const struct symbols *stack_symbols;
    bool step_irq;
    bool assist_off;
    struct hooks hooks;
    struct exit_hooks exit_hooks;
    struct console_match console; /* machine lock */
    struct cpu_job job[MACHINE_CPUS_MAX];
    bool past[MACHINE_CPUS_MAX]; /* the points at the vCPU's RIP were dealt with: step over them */
    unsigned looked[MACHINE_CPUS_MAX]; /* points_overwritten's */
    bool stands[MACHINE_CPUS_MAX];     /* kicks find the vCPU where it was: make a step */
    unsigned inits[MACHINE_CPUS_MAX];  /* vcpu.inits when the vCPU was looked at last */
    uint64_t judged[MACHINE_CPUS_MAX]; /* linear RIP whose points were looked at; UINT64_MAX none */
    /* The step past a point entered a handler on purpose: its gate hook is not to take it back. */
    struct {
        uint64_t rip, rsp; /* there; UINT64_MAX none */
    } delivered[MACHINE_CPUS_MAX];
    struct stop_report report[MACHINE_CPUS_MAX]; /* written by its vCPU, read when parked */
    struct stuck stuck[MACHINE_CPUS_MAX];
    struct kvm_regs before[MACHINE_CPUS_MAX];  /* the step being made */
    const char *why_refused[MACHINE_CPUS_MAX]; /* what the assist said of the last exit, or NULL */
    bool (*symbol_text)(void *arg, uint64_t addr, char *dst, size_t cap);
    void *symbol_arg;
    /* What a point with DO_LOG says; `is_whole`: the line is as the user wants it. */
    void (*log)(void *arg, const struct vcpu *v, int id, const char *text, bool is_whole);
    void *log_arg;

    /* One vCPU alone in the guest, while it steps over a planted byte that it has lifted. */
    pthread_mutex_t alone;
    pthread_cond_t alone_cond;
    unsigned in_body, paused;
    struct vcpu *_Atomic alone_owner;
    unsigned alone_depth; /* the owner began so many times more */
    _Atomic int alone_wanted;
    _Atomic int spins;            /* a kick has found real mode's int 80h or above (engine_spun) */
    struct vcpu *turn;            /* inside the guest, when they take turns (watch_run.h) */
    const struct vcpu *turn_last; /* who had the last turn, */
    unsigned turns, turn_waits;   /* how many in a row, and how many wait for one */
    uint64_t turn_since;          /* since when it is inside, or was asked to leave */
};

/* Main thread, before vCPUs run and after the last has ended. `vm` is borrowed. */
void engine_init(struct engine *g, struct vm *vm);
void engine_fini(struct engine *g);
/* The body given to vm_open; `arg` is the engine. */
void engine_body(void *arg, struct vcpu *v);
/* vm_config.access: hooks of an access have their turn before its device. */
bool engine_access(void *arg, struct vcpu *v, struct exit_event *ev);
/* vCPU threads: asks all vCPUs to park for this reason, unless this vCPU has one already. Returns
 * the report that counts. */
struct stop_info *engine_stop(struct engine *g, struct vcpu *v, enum stop_kind kind);
/* vCPU threads: an expression over this vCPU and, unless NULL, the record. As expr_eval. */
int engine_eval(struct engine *g, struct vcpu *v, const struct expr *x, const struct exit_event *ev,
                uint64_t *value, struct err *e);
/* What the exit was, for people: its operands, the device's register, the assisted instruction. */
void engine_exit_text(struct engine *g, const struct exit_event *ev, struct buf *out);
/* A point was reached, by the exit `ev` or NULL: conditions, counts and what it does then. `detail`
 * (or NULL) says what happened, for its log line. The stop's report when the guest stops, else
 * NULL; it may be that of an earlier stop. */
struct stop_info *engine_point_hit(struct engine *g, struct vcpu *v, struct bp *b,
                                   struct exit_event *ev, const char *detail);
/* One instruction, with the byte planted at RIP lifted for that time and watchpoints noting what it
 * touches. Returns whether it was made. */
struct onestep_info;
bool engine_one_step(struct engine *g, struct vcpu *v, struct onestep_info *info);
/* What each exit of a step passes through. */
struct onestep_ops;
void engine_ops(struct engine *g, struct onestep_ops *out);
/* The `trapped` call given to vm_open. */
void engine_trapped(void *arg, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                    uint8_t *bytes);
/* The `dma` call given to vm_open. */
struct dev;
void engine_dma(void *arg, struct vcpu *v, const struct dev *d, uint64_t gpa, void *dst,
                const void *src, size_t len);
/* All points at the instruction about to execute; true when one of them stops the guest. */
bool engine_points_hit(struct engine *g, struct vcpu *v);
/* Debug state of a free run. */
void engine_want_debug(struct engine *g, struct vcpu_debug *want);
/* Does a debug register hold a point at the instruction about to execute? */
bool engine_register_here(const struct engine *g, const struct vcpu *v);
/* Makes the calling vCPU the only one inside the guest, and lets the others go on. */
void engine_alone_begin(struct engine *g, struct vcpu *v);
void engine_alone_end(struct engine *g);

#endif
