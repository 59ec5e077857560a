/*
 * Breakpoints, watchpoints and catchpoints, and the bytes planted in guest memory for them. Owned
 * by the session. The main thread changes them only while every vCPU is parked, so vCPU threads
 * read without locks; only the counters are written by them, as atomics.
 */
#ifndef DEBUG_POINTS_H
#define DEBUG_POINTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "debug/expr.h"
#include "debug/points/await.h"
#include "debug/points/watch.h"
#include "debug/session.h"
#include "vmm/base/buf.h"

struct vcpu;
struct vm;

enum bp_method {
    BP_NONE,    /* disabled */
    BP_PENDING, /* nothing is mapped there yet; looked at again at every stop and kick */
    BP_DR,      /* an execution debug register */
    BP_BOTH,    /* that and an int3: RFLAGS.RF and the instruction before may hold it back */
    BP_INT3,    /* 0xCC */
    BP_ICEBP,   /* 0xF1, which an emulating KVM refuses with RIP at it */
    BP_GATE,    /* 0xCC in ring 3, caught at the guest's handler and taken back */
    BP_PAGE,    /* its page is without memory: looked at whenever code there is fetched */
    BP_STEPS,   /* nothing stops there by itself: the guest is single-stepped */
    BP_CATCH,   /* looked at after each exit */
    BP_WATCH,   /* see watch.h */
};

/* Where a point's byte is planted, or whose page is out of memory. A linear address may lead to
 * other frames in other address spaces: all that were seen are kept as long as the tables that led
 * there still do. */
struct bp_place {
    uint64_t gpa;
    uint64_t cr3, leaf; /* linear points: of these tables, by this last entry; 0: without paging */
};

#define BP_PLACES 8u

struct bp {
    struct point pub; /* hits and false_hits are copied in when somebody asks */
    struct expr *cond, *filter;
    struct point_log *log; /* DO_LOG with a format */
    enum bp_method method;
    int dr;                        /* BP_DR, BP_BOTH: which */
    struct bp_place at[BP_PLACES]; /* planted bytes; BP_PAGE: where they would be */
    unsigned places;
    uint8_t byte;     /* what is planted */
    bool is_foreseen; /* BP_PENDING: it is planted where the image was loaded: */
    uint64_t foreseen;
    uint64_t min_rsp; /* hidden ones: counts only when RSP is at least this (finish, over) … */
    /* … or the return address that a step-over's call pushed here (linear; 0: none) is gone: what
     * it called came back with more on the stack. */
    uint64_t return_slot;
    unsigned slot_bytes;
    _Atomic uint64_t hits, false_hits, ignore_left;
    _Atomic uint32_t stopped; /* vCPUs that it stopped and whose stop was not told yet */
    _Atomic unsigned text_seen[MACHINE_CPUS_MAX]; /* CATCH_CONSOLE: came so often, by who printed */
    struct bp *same_addr;                         /* the next one at this linear address */
    struct watch watch;                           /* POINT_WATCH */
};

struct plant {
    uint64_t gpa; /* UINT64_MAX: free slot; PLANT_DEAD: was used */
    uint8_t original, byte;
    unsigned users;
    bool hook;   /* one of the users is a gate hook (hooks.c) */
    bool lifted; /* the guest's own byte is there for one step */
};

#define POINT_HIDDEN 0x40000000

struct points {
    struct vm *vm;
    struct bp **bp; /* ascending by id; `count` of them, deleted ones are gone */
    unsigned count, cap;
    int last_id, last_hidden; /* hidden ones count from POINT_HIDDEN up */
    struct bp *dr_owner[4];
    unsigned dr_usable;  /* debug registers that may be used for points */
    struct plant *plant; /* open-addressed by gpa */
    unsigned plants, plant_slots, plants_dead;
    struct bp **by_addr; /* buckets of execution points by linear address */
    unsigned addr_buckets;
    unsigned exec_points; /* enabled execution points */
    unsigned phys_points; /* of these, by physical address */
    unsigned step_points; /* of these, by single steps */
    unsigned page_points; /* and by pages without memory */
    bool no_bytes;        /* none may be planted for them */
    struct bp **catch_bp; /* enabled catchpoints */
    unsigned catches, catch_cap;
    uint32_t catch_vectors; /* exceptions that some of them want */
    unsigned catch_steps;   /* of them, such that need a look after each instruction */
    unsigned catch_texts, catch_cpuids;
    unsigned pending;
    unsigned movable;  /* linear points with places: the guest may map another page there */
    uint64_t changes;  /* how often a point was placed or taken away */
    unsigned icebps;   /* points by 0xF1, which ring 3 does not give up */
    unsigned gates;    /* by an int3 for both rings, which real mode does not give up */
    bool int3_planted; /* some 0xCC needs USE_SW_BP */
    struct watches watches;
    struct await await;
    /* An entry of a page table that a point depends on was written, or it depends on others now:
     * points_refresh answers this, before the vCPU that wrote goes on. */
    _Atomic int look;
};

/* Main thread, before vCPUs run and after the last has ended. `vm` is borrowed. */
void points_init(struct points *p, struct vm *vm);
void points_fini(struct points *p);

/* Main thread, all parked. `names` resolves words in conditions. */
int points_add(struct points *p, const struct point_spec *spec, const struct expr_names *names,
               struct err *e);
int points_del(struct points *p, int id);
int points_enable(struct points *p, int id, bool on);
int points_condition(struct points *p, int id, const char *text, const struct expr_names *names,
                     struct err *e);
/* Execution points: another address, or the first for an unresolved one. */
void points_move(struct points *p, int id, uint64_t addr);
/* Compiles condition, filter and values anew, for other symbols; what no longer means anything
 * stays as it was. */
void points_recompile(struct points *p, const struct expr_names *names);
struct bp *points_get(const struct points *p, int id);
/* The visible or hidden point after `id`. */
struct bp *points_next(const struct points *p, int id);
/* What the points that stopped this vCPU have to run (see session_take_commands) is appended; those
 * that were to be disabled are. True when none of them wants the stop to be told. */
bool points_stopped(struct points *p, unsigned vcpu, struct buf *commands);
/* Deletes hidden points and temporary ones that stopped the guest. */
void points_drop_hidden(struct points *p);
/* Places pending points whose page appeared, moves those whose method no longer reaches them, and
 * plants again where the guest overwrote. Main thread with all parked, or a vCPU that is alone.
 * True when something changed. */
bool points_refresh(struct points *p);
/* Only the last of these: plants.c. */
bool points_reassert(struct points *p);
/* Has the guest written over a planted byte? Looks at a few of them, others with each call. Any
 * thread while points do not change. */
bool points_overwritten(const struct points *p, unsigned *cursor);
/* Would a refresh place a point, or move it to another method? Looks at the registers of vCPUs: as
 * points_refresh. */
bool points_stale(struct points *p);
/* Do this vCPU's page tables lead from some point to another page than where it is planted? Looks
 * at some points, at others with each call. Any thread while points do not change. */
bool points_moved(struct points *p, const struct vcpu *v, unsigned *cursor);
/* Is there any that could? Cheap; any thread while points do not change. */
bool points_may_move(const struct points *p);
/* Forgets what is in memory (it was cleared and loaded anew) and places everything again. */
void points_replant(struct points *p);
/* Which means points may use from now on: debug registers (which a guest may want for itself),
 * bytes planted in its code (which it may read). Places all anew. */
void points_allow(struct points *p, bool registers, bool bytes);

/* Any thread while points do not change. */
struct bp *points_at(const struct points *p, uint64_t linear);
struct plant *points_plant(const struct points *p, uint64_t gpa);
/* Replaces planted bytes by the guest's own in a copy of memory [gpa, gpa+len). */
void points_hide(const struct points *p, uint64_t gpa, uint8_t *bytes, size_t len);
/* A write by a person or client to [gpa, gpa+len): keeps plants, updates what they hide. The
 * bytes in `bytes` are changed to what shall be in memory. */
void points_write_through(struct points *p, uint64_t gpa, uint8_t *bytes, size_t len);

/* A byte that is nobody's point: for gate hooks. False when there is no RAM, or no byte leaves the
 * guest on this host. */
bool points_plant_hook(struct points *p, uint64_t gpa);
void points_unplant_hook(struct points *p, uint64_t gpa);

/* A debug register for a watchpoint: a free one, or one whose point a planted byte can hold as
 * well. -1 when there is none. */
int points_spare_dr(struct points *p);

/* Has pages of planted bytes guarded against the guest's writes, and gives debug registers to
 * points whose bytes cannot be: free ones, or those of points whose bytes can. Main thread with all
 * parked, or a vCPU that is alone. */
void points_guard(struct points *p);
/* Would a byte hold that point as well as its debug register does? As points_guard. */
bool points_guards(struct points *p, const struct bp *b);

/* Moves the point in that debug register to a byte. False when there is none, or no byte can hold
 * it. While the vCPU is alone in the guest. */
bool points_leave_dr(struct points *p, unsigned dr);

const char *bp_method_name(enum bp_method m);
/* How a point is placed, or waits for its page to be mapped. Main thread. */
const char *points_how(const struct points *p, const struct bp *b);

#endif
