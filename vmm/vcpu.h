/*
 * One vCPU: its thread, its KVM descriptor, its record ring, and the primitives from which the
 * engine's body is built. Unless said otherwise a function here is for the vCPU's own thread.
 *
 * Registers: KVM_CAP_SYNC_REGS hands regs, sregs and events out with every KVM_RUN for free; they
 * are read at v->regs, v->sregs, v->events, and written by changing them and calling vcpu_dirty.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "vmm/assist.h"
#include "vmm/base/awake.h"
#include "vmm/base/ticks.h"
#include "vmm/counter.h"
#include "vmm/exit.h"
#include "vmm/regs.h"
#include "vmm/ring.h"
#include "vmm/step_guard.h"
#include "vmm/vm.h"
#include "vmm/walk.h"

/* What the vCPU waits for when it does not execute. */
enum vcpu_idle {
    VCPU_ACTIVE,
    VCPU_HALTED,    /* HLT: until an interrupt, NMI, INIT */
    VCPU_DEAD,      /* HLT with interrupts off: until an NMI or INIT */
    VCPU_WAIT_SIPI, /* an application processor before its start */
};

/* Debug registers and trap flag as wanted for the next entries; see vcpu_debug. */
struct vcpu_debug {
    bool step;
    bool sw_bp; /* int3 leaves the guest */
    uint64_t dr[4];
    uint64_t dr7; /* 0: no debug register in use */
};

/* The page of the last fetch, and the page table's entries that led there: while they read the same
 * it needs no walk. */
struct vcpu_code {
    struct walk_regs regs;
    uint64_t linear;    /* of the page */
    const uint8_t *hva; /* NULL: nothing is known */
    unsigned levels;
    struct {
        const uint8_t *hva;
        uint64_t entry;
        unsigned size;
    } level[WALK_LEVELS_MAX];
};

struct vcpu {
    struct vm *vm;
    unsigned id;
    int fd;
    struct kvm_run *run;
    size_t run_bytes;
    pthread_t thread;
    timer_t timer;
    struct kvm_regs *regs;   /* in the kvm_run page */
    struct kvm_sregs *sregs; /* likewise */
    struct kvm_vcpu_events *events;
    struct exit_ring ring;
    _Atomic uint64_t counts[EXIT_COUNTERS]; /* by reason (exit_counter) */

    /* commands, under vm->ctl */
    pthread_cond_t wake;
    bool go, quit, started, timer_made;
    struct awake awake;
    _Atomic bool wanted; /* one of these or a call has come: for who waits awake */
    _Atomic bool parked; /* changes under vm->ctl; vcpu_status looks at any time */
    int start_rc;
    const struct cpuid_table *cpuid; /* only while it starts */
    void (*call)(void *arg, struct vcpu *v);
    void *call_arg;

    _Atomic int park;        /* leave the body soon */
    _Atomic uint32_t kicked; /* futex word for sleeping in HLT */
    _Atomic unsigned stood;  /* kicks in a row that found it at kicked_regs */
    struct kvm_regs kicked_regs;
    uint64_t ticked_ns; /* vcpu_tick's own */
    _Atomic int idle;   /* enum vcpu_idle */
    int idle_inside;    /* the same, of the kernel's interrupt chips, when it parked */
    bool hold_irq;      /* do not inject interrupts (steps) */
    bool unsettled;     /* the last exit's access is not completed in KVM yet */
    bool ram_stored;    /* a store to a trapped page was made here */
    bool own_tf;        /* the guest's own trap flag, while the shared RFLAGS lack it */
    /* Completing it, vcpu_settle met another exit instead (0: none): KVM_EXIT_INTERNAL_ERROR, KVM
     * refuses the instruction after all; KVM_EXIT_SHUTDOWN, its exception behind a hidden IDT, or
     * what that led to. Who settles may look. */
    struct exit_event refused;
    uint16_t idt_limit_real; /* while idt_hidden */
    bool idt_hidden;         /* sregs->idt.limit is 0 by us */
    unsigned inits;          /* INITs that it took: it stands elsewhere since the last */
    bool idt_shown;          /* it is not, but in KVM it is: all that the registers differ in */

    bool dr6_kept; /* dr6 holds the guest's value from before our steps */
    uint64_t dr6;

    /* Data debug registers of watchpoints: part of every entry, where an execution point does not
     * use the same one. Set while parked. */
    struct vcpu_debug data;
    struct vcpu_debug debug_set; /* as last given to KVM */
    bool debug_valid;            /* false: registers were written since, KVM dropped the flag */
    struct vcpu_code code;       /* vcpu_fetch's */

    enum board_wish wish; /* what the last access asked of the board */
    uint32_t wish_value;
    uint64_t cr8_seen;

    struct guard_cache guard_cache; /* step_guard.c's own */

    struct native *native; /* carries out what this KVM refuses; NULL until needed */
    bool native_broken;    /* it could not be made: do not try again */
    _Atomic uint64_t assists[ASSIST_KINDS];

    /* Where the last entry was, and what it had to deliver: a KVM that cannot push the frame to a
     * trapped page forgets it. */
    struct vcpu_given {
        uint64_t rip, rsp, rflags;
        struct kvm_segment cs;
        int vector; /* -1: nothing */
        bool is_interrupt, has_ec;
        uint32_t error_code;
    } given;
    struct kvm_work work;    /* KVM's own turns, for who doubts that it gets on */
    int injected;            /* vector given by KVM_INTERRUPT for the next entry; -1 none */
    uint64_t irq_pending_ns; /* since when an interrupt waits for a window; 0: none waits */
    struct ticks ticks;      /* the clock of its records */
    uint64_t last_ns;        /* when the last exit was dealt with */
};

/* True when the body should return: a park was asked. */
static inline bool vcpu_parking(struct vcpu *v)
{
    return atomic_load_explicit(&v->park, memory_order_acquire) != 0;
}

/* Has vcpu_ready more to do than to say yes, or wants somebody the vCPU? */
bool vcpu_asked(const struct vcpu *v);
/* Deals with what waits outside the guest: alarms, INIT, SIPI, NMI, interrupts, HLT. Sleeps while
 * halted. Returns false when the body should look at vcpu_parking (nothing was entered). */
bool vcpu_ready(struct vcpu *v);

/* One KVM_RUN: enters with `want` as debug state, fills `ev`, serves devices. The record is not in
 * the ring yet. The access of an I/O exit is completed by the next entry or vcpu_settle. */
void vcpu_enter(struct vcpu *v, const struct vcpu_debug *want, struct exit_event *ev);
/* For vm_config.access, at most one of each: the device's turn at the access, whose answer goes
 * into the record; or an answer in its stead. `bytes` (1 and up) answer a read, little-endian: one
 * element answers every element of a string access, more bytes fill them in turn; an answered
 * write goes nowhere. After vcpu_serve an answer replaces what the guest will see. */
void vcpu_serve(struct vcpu *v, struct exit_event *ev);
void vcpu_answer(struct vcpu *v, struct exit_event *ev, const void *bytes, size_t len);
/* One more step like the last, while vcpu_may_step_on says that KVM is told all that it needs. True
 * when the step's own trap ended it; then the record is in the ring. False: as vcpu_enter. No page
 * may be trapped (slots.h), no data debug register be in use. */
bool vcpu_step_on(struct vcpu *v, struct exit_event *ev);
static inline bool vcpu_may_step_on(const struct vcpu *v)
{
    return v->debug_valid && v->debug_set.step && !v->debug_set.dr7 && !v->debug_set.sw_bp &&
           cpu_cpl(v->sregs) == 0;
}
/* True while the vCPU is halted, or waits for its start, inside the kernel, as it does with the
 * kernel's interrupt chips: an entry then lasts until an interrupt or a kick. Its own thread, or
 * the main thread by vcpu_call. */
bool vcpu_sleeps_inside(const struct vcpu *v);
/* Will the next entry deliver an event before the instruction at RIP? The vCPU's own thread. */
bool vcpu_event_queued(const struct vcpu *v);
/* Puts the record into the ring with the handler's time. */
void vcpu_commit(struct vcpu *v, struct exit_event *ev);
/* A record of something that was no exit, at the instruction at RIP and the time of the last look
 * at the clock. It is in no ring by that. Its own thread. */
void vcpu_event_here(const struct vcpu *v, unsigned reason, struct exit_event *ev);
/* An interrupt that the next entry brings, as a record without its time. The vCPU's thread. */
void vcpu_inject_event(const struct vcpu *v, unsigned vector, struct exit_event *ev);
/* Puts a record that is no exit there: seq and count, nothing else is filled in. */
void vcpu_note(struct vcpu *v, struct exit_event *ev);
/* Completes a pending access without executing guest code, so that registers are those after the
 * instruction. */
void vcpu_settle(struct vcpu *v);
/* The same for a load of a far return or POPA from a page without memory alone: left to the next
 * entry, KVM's emulator, which begins them anew, would leave RSP too high, and wrong words in
 * POPA's registers. */
void vcpu_settle_stack_loads(struct vcpu *v);
/* The same, one part of the access after the other, up to where `enough` says so. */
void vcpu_settle_to(struct vcpu *v, bool (*enough)(void *arg, struct vcpu *v), void *arg);
/* Registers at v->regs etc. were changed: VS_REGS | VS_SREGS | VS_EVENTS. They take effect with
 * the next entry. */
void vcpu_dirty(struct vcpu *v, uint32_t parts);
/* Makes changed registers known to KVM now (needed before reading parts that KVM derives). */
void vcpu_flush(struct vcpu *v);
/* Fetches the registers of the shared page, and what follows from them, anew. */
void vcpu_refresh(struct vcpu *v);

/* The parts of VS_SHARED, which lie in memory that KVM shares with us: no call to the kernel. For
 * the vCPU's thread, and for the main thread while it is parked. */
void vcpu_copy_state(const struct vcpu *v, uint32_t parts, struct vcpu_state *st);
/* Whole state in and out; `parts` are VS_*. The vCPU must be settled. 0 or -errno. */
int vcpu_get_state(struct vcpu *v, uint32_t parts, struct vcpu_state *st);
int vcpu_set_state(struct vcpu *v, uint32_t parts, const struct vcpu_state *st);

/* Registers that decide a page walk, now. */
void vcpu_walk_regs(const struct vcpu *v, struct walk_regs *out);
/* The linear address of the instruction at CS:RIP. */
static inline uint64_t vcpu_linear_rip(const struct vcpu *v)
{
    return v->sregs->cs.base + v->regs->rip;
}
/* Bytes of the instruction at CS:RIP; returns how many could be read (0 to 15). */
unsigned vcpu_fetch(struct vcpu *v, uint8_t insn[15]);
/* Where these 15 bytes lie in memory; NULL when they are not RAM of one page. */
const uint8_t *vcpu_code(struct vcpu *v);

/* One MSR now; 0 when KVM does not have it. */
uint64_t vcpu_msr(struct vcpu *v, uint32_t index);
int vcpu_set_msr(struct vcpu *v, uint32_t index, uint64_t value);

/* Steps in ring 3 of an emulating KVM leave DR6.BS set for the guest to see: remembers the guest's
 * value before the first of them, and puts it back. */
void vcpu_dr6_keep(struct vcpu *v);
void vcpu_dr6_restore(struct vcpu *v);
/* The guest's DR6 gets `bits` more, as by a #DB that is its own. vCPU thread. */
void vcpu_dr6_add(struct vcpu *v, uint64_t bits);
/* The guest's own trap flag goes back into the shared RFLAGS. vCPU thread. */
void vcpu_give_tf(struct vcpu *v);

/* Makes the vCPU look at its flags soon; any thread. */
void vcpu_kick(struct vcpu *v);
/* A kick by the clock, to have a look. Left out while the last ones found the vCPU in one place,
 * for up to 50 ms: on a host that is slow enough they would come before its next instruction,
 * always. Main thread. */
void vcpu_tick(struct vcpu *v);
/* The vCPU whose thread this is, or NULL. Any thread. */
struct vcpu *vcpu_self(void);
/* Waits for what a kicked vCPU tells by `cond`, under `lock`. False after a while: kick it again,
 * for a step takes a few kicks for such as can wait until it ends. Any thread. */
bool vcpu_wait_a_while(pthread_cond_t *cond, pthread_mutex_t *lock);
/* What it waits for: its own thread, or any while it is parked. */
enum vcpu_idle vcpu_waits(const struct vcpu *v);
/* Asks KVM, which alone knows when the interrupt chips are the kernel's. vCPU thread. */
enum vcpu_idle vcpu_ask_idle(const struct vcpu *v);
/* "running", "halted", "waiting for SIPI", "stopped"; any thread. */
const char *vcpu_status(struct vcpu *v);

/* vm.c's side. */
int vcpu_start(struct vm *vm, unsigned id, const struct cpuid_table *cpuid, struct err *e);
void vcpu_end(struct vcpu *v);

#endif
