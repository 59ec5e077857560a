/*
 * Shared by the files of the bench: guests of a few instructions, a bare KVM that begins exactly
 * where a session stands, and rows that compare the two. Figures, not tests.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/session.h"

/* What was done a second: by the clock, and by the processor time of the thread that runs the
 * guest, which other programs on the machine do not use up. */
struct rate {
    double wall, cpu;
};

struct lap {
    clockid_t clock;
    uint64_t wall_ns, cpu_ns;
};
void lap_begin(struct lap *l, clockid_t cpu_clock);
struct rate lap_end(const struct lap *l, uint64_t done);

/* Prints what failed and ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);
int need(int r, const char *what); /* dies with errno when r < 0 */

/* ---- guests: flat images at GUEST_AT; each ends by writing port 0xF4 ------------------------- */

#define GUEST_AT   0x7c00u
#define GUEST_DATA 0x9000u /* a page of its own, for what the guest writes */

enum guest_ring { IN_REAL, IN_RING0, IN_RING3 }; /* real mode; long mode */

struct guest {
    const uint8_t *code;
    size_t len;
    enum guest_ring ring;
    uint64_t rounds; /* goes to RCX */
};

extern const struct guest guest_storm;     /* a round: out %al,$0x80 */
extern const struct guest guest_hello;     /* 'A' to COM1 */
extern const struct guest guest_stroll[3]; /* by ring: five instructions, for ever */
extern const struct guest guest_loop;      /* a round passes LOOP_AT once; no exits */
extern const struct guest guest_writes;    /* a round: a store to GUEST_DATA */
extern const struct guest guest_reads;     /* a round: a load from GUEST_DATA, to EAX */
extern const struct guest guest_counts;  /* a round: a load and a store there, by one instruction */
extern const struct guest guest_spin[3]; /* by ring: for ever, without an exit */
extern const struct guest guest_sleep;   /* hlt, for ever */
extern const struct guest guest_exits;   /* out %al,$0x80, for ever */
extern const struct guest guest_peek;    /* a load from GUEST_DATA to EAX, for ever */
#define LOOP_AT (GUEST_AT + 1u)

/* ---- the session ------------------------------------------------------------------------------
 */

#define SESSION_RAM (2u << 20)

struct session *bench_open(const struct guest *g);
struct session *bench_open_sized(const struct guest *g, uint64_t mem_bytes);
/* All of `cpus` vCPUs at the guest's entry. */
struct session *bench_open_cpus(const struct guest *g, unsigned cpus);
clockid_t bench_clock(struct session *s); /* of vCPU 0's thread */
/* Runs to the guest's end; `done` of whatever is counted. */
struct rate bench_run(struct session *s, uint64_t done);
int bench_point(struct session *s, const struct point_spec *spec);

/* ---- the bare KVM -----------------------------------------------------------------------------
 */

struct bare {
    int kvm, vm, cpu;
    struct kvm_run *run;
    size_t run_bytes, ram_bytes;
    uint8_t *ram;
};

/* As the guest stands at its entry in a session. */
void bare_open(struct bare *b, const struct guest *g);
void bare_close(struct bare *b);
void bare_enter(struct bare *b); /* KVM_RUN; dies when it fails */
void bare_debug(struct bare *b, uint32_t control);
/* Backs the page at `gpa` by read-only memory, or by none; the rest stays. */
void bare_trap_page(struct bare *b, uint64_t gpa, bool absent);

/* ---- rows -------------------------------------------------------------------------------------
 */

struct row {
    const char *what, *base, *unit; /* `base`: what `of` measures */
    struct rate (*of)(const void *arg);
    const void *of_arg;
    struct rate (*ours)(const void *arg);
    const void *ours_arg;
    double target; /* least ratio ours / of */
};
void row_print(const struct row *r);
bool row_wanted(const char *what); /* BENCH_ROW */
void verdict(bool met);            /* ends the line */

void bench_exits(void);
void bench_steps(void);
void bench_points(void);
void bench_scripts(void);
void bench_stops(void);
void bench_report(void);
void bench_start(void);

extern char image_path[64], trace_path[80];

#endif
