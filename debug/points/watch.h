/*
 * Watchpoints: where each one's bytes lie, the pages trapped or compared for them, and who touched
 * what. A part of `struct points`; points.c places and removes them, the engine asks after each
 * exit and step. How a page is watched is chosen page by page:
 *
 *   debug registers   linear ranges that fit, where the probe saw them fire
 *   read-only slot    writes leave the guest (vmm/slots.h)
 *   no slot           reads as well
 *   single steps      the vCPU is stepped and the page compared: for page tables, and for pages
 *                     whose trap got in the processor's way
 *
 * Pages that hold planted bytes are read-only slots as well, where that costs the guest nothing: a
 * guest that writes code over a breakpoint changes what the planted byte hides. Elsewhere
 * (WATCH_OPEN) planted bytes are looked at after exits.
 *
 * Pages and points change only with every vCPU parked, or by a vCPU that is alone in the guest; the
 * list of hits of a vCPU belongs to its thread.
 */
#ifndef DEBUG_WATCH_H
#define DEBUG_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/operands.h"
#include "vmm/base/err.h"
#include "vmm/mem.h"
#include "vmm/vcpu.h"

struct bp;
struct buf;
struct dev;
struct disasm;
struct points;

enum watch_how {
    WATCH_BY_DR,
    WATCH_READ_ONLY,
    WATCH_NO_SLOT,
    WATCH_STEPS,
    WATCH_OPEN, /* no watchpoint here, and planted bytes that cannot be guarded */
    WATCH_HOWS,
};

/* The part of a watchpoint that lies in one page; listed in each line of it that it touches, or
 * once when it is the whole page. */
struct watch_node {
    struct watch_node *next;
    struct bp *bp;
    uint16_t from, to; /* bytes of the page, `to` excluded */
    uint64_t off;      /* of `from` in the watchpoint */
};

#define WATCH_LINE_BYTES 64u
#define WATCH_LINES      (PAGE_BYTES / WATCH_LINE_BYTES)

/* A table that the guest writes so often where no breakpoint looks is given up: it has become
 * something else, or costs too much. */
#define WATCH_IDLE_MAX 20000u

struct watch_page {
    uint64_t gpa;
    enum watch_how how;
    unsigned parts, readers; /* watchpoints here; of these, such that want reads (or fetches) */
    unsigned plants;         /* breakpoints' bytes to be guarded here */
    unsigned tables;         /* watched for breakpoints, as a page table (await.h) */
    unsigned idle;           /* writes to that which no breakpoint depends on, lately */
    bool is_table;           /* a page table of some vCPU, or about to be one */
    bool suspect;            /* it came to hold nothing but what may be table entries */
    bool is_stack;           /* a stack that the processor pushes frames to */
    bool is_system;          /* a table of the processor's own (watch_pages.c) */
    bool lifted_last;        /* its trap was lifted the last time that one was in the way */
    bool troubled;           /* its trap is in the way too often: compare instead */
    uint8_t *old;            /* compared pages: as last seen */
    struct watch_node *whole;
    struct watch_node **line; /* WATCH_LINES lists, or NULL */
};

/* What the present instruction of a vCPU did to one watchpoint. */
struct watch_hit {
    struct bp *bp;
    uint64_t off; /* of the reported value in the watchpoint */
    unsigned len; /* its bytes, 1 to 8 */
    uint64_t old_value, new_value;
    uint64_t by;           /* linear address of the instruction; 0: not known yet */
    const struct dev *dma; /* a device did it instead, or NULL */
    bool read, write;
};

/* Code that an access in hand belongs to, decoded once (watch_rest.c). */
struct watch_code {
    uint64_t at; /* linear: of a load, or behind a store */
    uint8_t bits, n;
    bool is_load, suits;
    struct load load;
    uint8_t bytes[15]; /* `n` of them, from there on, or up to there */
};

#define WATCH_CODES 16u

struct watch_cpu {
    struct watch_hit *hit;
    unsigned hits, cap;
    /* Bytes of the store to a trapped page that made the first of them, or of those judged last; 0:
     * it was known another way. */
    unsigned told_len;
    uint64_t step_from;    /* while a step is made: where; 0 otherwise */
    const struct dev *dma; /* while a device touches memory: which */
    bool kicked;           /* the last exit was a kick, which found these: */
    struct kvm_regs kicked_regs;
    struct disasm *disasm;  /* its own; made when first needed */
    struct operands expect; /* of the step being made; count -1: not known */
    uint64_t rcx;           /* before it */
    uint64_t gdt, idt;      /* where they were when methods of pages were chosen */
    bool no_traps;          /* it runs where no page is trapped */
    /* The access in hand is this load, which KVM has not completed: the vCPU's registers are those
     * before it. NULL: they are right. */
    const struct load *rest;
    bool asking; /* a condition is asked in the midst of it; off again: for what cannot be known */
    struct watch_code code[WATCH_CODES];
};

/* Where a placed watchpoint is. */
struct watch {
    uint64_t *gpa;  /* per page of its range; UINT64_MAX: not mapped */
    uint64_t cr3;   /* of the tables that led there (await.c) */
    unsigned pages; /* 0 with debug registers */
    unsigned drs;   /* mask of debug registers */
    /* With those, and the machine's lock: the value last told, the one before it, and who told it
     * when (clock_ns). */
    uint8_t seen[32], before[32];
    unsigned changed_by;
    uint64_t changed_ns;
};

struct watches {
    struct points *points;
    struct vm *vm;
    struct watch_page **page; /* ascending */
    size_t pages, cap;
    struct bp *dr[4]; /* owners of data debug registers */
    unsigned by_linear;
    uint64_t changes;                   /* how often pages of watchpoints came or went */
    _Atomic int waiting;                /* with pages that are not mapped yet */
    unsigned trapped, stepped;          /* pages */
    unsigned unguarded;                 /* pages with planted bytes whose writes pass unseen */
    bool guards_stale;                  /* planted bytes came or went: choose again */
    bool no_guards;                     /* KVM has no more slots */
    uint64_t recover_ns, recover_since; /* host time spent on traps in the way, and since when */
    unsigned recovers;                  /* how many these were */
    _Atomic int stale; /* a trapped page came to look like a page table: choose again */
    /* Whoever of several vCPUs is kicked next looks at page tables; not each at each kick, as every
     * such look kicks all the others. */
    _Atomic int look;
    struct watch_cpu cpu[MACHINE_CPUS_MAX];
};

/* Part of points_init and points_fini. */
void watches_init(struct watches *w, struct points *p, struct vm *vm);
void watches_fini(struct watches *w);

/* Parked or alone. Sets method, pending and their text in `b`. -errno with a sentence when this
 * host cannot watch that; a range that is not mapped yet is pending instead. */
int watch_place(struct watches *w, struct bp *b, struct err *e);
void watch_unplace(struct watches *w, struct bp *b);
/* Looks at page tables anew: moves watchpoints whose address maps elsewhere now, and chooses the
 * methods of pages again. True when something changed. */
bool watch_refresh(struct watches *w);
/* How a placed watchpoint's bytes are covered now, for people: registers, or pages by method, with
 * the reason where one takes the slowest, and what is not mapped. Parked. */
void watch_coverage(const struct watches *w, const struct bp *b, struct buf *out);
/* Has an address come to be mapped that a watchpoint waits for? As watch_refresh. */
bool watch_stale(const struct watches *w);
/* Memory may have been changed by a person: compared values start from now. */
void watch_resync(struct watches *w);

/* What breakpoints need of a page. */
enum watch_need {
    NEED_GUARD, /* a byte is planted there: what overwrites it leaves the guest */
    NEED_TABLE, /* it is a page table that they depend on: await_written hears of writes to it */
    NEED_FETCH, /* fetching code from it leaves the guest */
};
/* One more needs that of the page of `gpa`, or one less (!on): each on has its off. Parked or
 * alone; takes effect with watch_guard_apply. */
void watch_need(struct watches *w, uint64_t gpa, enum watch_need need, bool on);
void watch_guard_apply(struct watches *w);
/* Would a byte planted at `gpa` be guarded? With several vCPUs no page is, but for the time that
 * its tables are watched. Takes as long as choosing for all pages. Parked or alone. */
bool watch_can_guard(struct watches *w, uint64_t gpa);

/* Is there one whose address is not mapped yet? Any thread. */
bool watch_waits(const struct watches *w);

/* vCPU threads. */

/* The `trapped` call of vm_config; `w` is the engine's; locked as said there. */
void watch_trapped(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                   uint8_t *bytes);
/* The `dma` call of vm_config. Hits are those of the instruction that `v` is carrying out. */
void watch_dma(struct watches *w, struct vcpu *v, const struct dev *d, uint64_t gpa, void *dst,
               const void *src, size_t len);
/* False: the access in hand is no string instruction's. */
bool watch_may_be_string(const struct vcpu *v);
/* Data debug registers that fired, from DR6. `stepped`: at the end of a step; `merged`: an
 * execution debug register is reported along with them. Then hosts report old hits once more. */
void watch_fired(struct watches *w, struct vcpu *v, uint64_t dr6, bool stepped, bool merged);
/* Was what is noted done by the repeated string instruction at RIP, and is that still to go on, or
 * to be left? KVM's exit for it is the last one. */
bool watch_in_string(struct watches *w, struct vcpu *v);
/* Before a step: notes what the instruction at RIP is going to touch on pages that are compared or
 * whose trap is lifted. */
void watch_expect(struct watches *w, struct vcpu *v);
/* The same before an instruction that is carried out without any trap (the assist): all pages. */
void watch_expect_all(struct watches *w, struct vcpu *v);
/* After it: forgets that when the instruction was not carried out, else takes the new values. */
void watch_expected(struct watches *w, struct vcpu *v, bool made);
/* At the exit for a port or a device, where KVM itself stores what INS and MOVS read there, and has
 * loaded what OUTS writes (`out`): no debug register sees that. Notes it, and completes what reads.
 */
void watch_passed_by(struct watches *w, struct vcpu *v, bool out);
/* After that: the step ended at a handler's first instruction, and the processor pushed a frame. */
void watch_entered(struct watches *w, struct vcpu *v);
/* Compares pages that are watched by steps, after a step. */
void watch_compare(struct watches *w, struct vcpu *v);
/* Remembers a page's bytes, to be compared with watch_compare_page. */
void watch_remember(struct watches *w, struct watch_page *p);
void watch_compare_page(struct watches *w, struct vcpu *v, struct watch_page *p);
/* Does the hit count for its watchpoint's kind of access? */
bool watch_counts(const struct watch_hit *h);
struct watch_page *watch_page_at(const struct watches *w, uint64_t gpa);
/* Bits of DR6 that belong to watchpoints. */
unsigned watch_dr_bits(const struct watches *w);

#endif
