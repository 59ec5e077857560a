/*
 * Statistics of exit records: who left the guest, where, how often, how long. The same code counts
 * live (tracer.c), offline (report.c) and in tests. A record is counted in the cell of its site:
 * kind, port or address, instruction, direction, vCPU; every table is made by adding cells up.
 * Bounded: past STAT_CELLS_MAX sites the rest is counted by kind alone, and said to be.
 * One thread at a time.
 */
#ifndef DEBUG_TRACE_STAT_H
#define DEBUG_TRACE_STAT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"
#include "vmm/machine.h"

#define STAT_CELLS_MAX 32768u
/* Eight buckets an octave, so that a quantile is right within an eighth. */
#define STAT_BUCKETS 240u

struct stat_key {
    uint64_t rip;  /* linear */
    uint64_t what; /* port, GPA, MSR, vector, suberror: by reason */
    uint16_t reason;
    uint8_t vcpu, size, write;
    uint8_t flags; /* EXIT_F_UNCLAIMED, _PAST, _STRING, and STAT_FOLDED */
    uint8_t mode, cpl;
};
_Static_assert(sizeof(struct stat_key) == 24, "compared as three words");
#define STAT_FOLDED 0x80u /* sites beyond the limit; only reason and vcpu are known */

struct stat_cell {
    struct stat_key key;
    uint64_t count;
    uint64_t host_sum, guest_sum; /* ns */
    uint64_t wait_sum;            /* ns from a halt to the next entry */
    uint64_t marked;              /* count at the last stat_mark */
    uint32_t host_min, host_max, guest_min, guest_max;
    uint32_t host_hist[STAT_BUCKETS];
};

struct stat_cpu {
    uint64_t active_ns; /* time in the guest, in handlers and between them */
    uint64_t end_ns;    /* when the last exit was dealt with; 0: unknown */
    uint64_t next_seq;
    uint32_t halt_cell; /* cell + 1 of the halt it is in, or 0 */
};

struct trace_stats {
    struct stat_cell *cell;
    uint32_t *slot; /* open-addressed: cell + 1, 0 empty */
    unsigned cells, cap, slots;
    uint64_t records;  /* exits counted */
    uint64_t notes;    /* counted records that are no exits (stat_is_note) */
    uint64_t skipped;  /* refused by a filter */
    uint64_t folded;   /* counted by kind alone */
    uint64_t dropped;  /* overwritten before anybody read them */
    uint64_t first_ns; /* CLOCK_MONOTONIC; 0: no record yet */
    uint64_t last_ns;
    uint32_t trip_hist[STAT_BUCKETS]; /* time in KVM_RUN of exits that a device answered */
    uint32_t guest_hist[EXIT_COUNTERS][STAT_BUCKETS]; /* time in KVM_RUN by reason (exit_counter) */
    struct stat_cpu cpu[MACHINE_CPUS_MAX];
};

void stat_init(struct trace_stats *t);
void stat_fini(struct trace_stats *t);
/* Forgets all counts; the vCPUs' clocks go on. */
void stat_clear(struct trace_stats *t);
/* Takes a record into account; `counted` false: for the time alone. Records of one vCPU come in
 * their order. */
void stat_add(struct trace_stats *t, const struct exit_event *ev, bool counted);
/* Starts a window for storm rates: what was counted so far is old. */
void stat_mark(struct trace_stats *t);

/* The key under which a record is counted, and a record that has nothing but what a key knows. */
struct stat_key stat_key_of(const struct exit_event *ev);
void stat_key_event(const struct stat_key *k, struct exit_event *ev);
/* Events of our own that happen while the guest is outside anyway: without time of their own. */
bool stat_is_note(unsigned reason);

/* Sum of cells. Zero-initialise. */
struct stat_sum {
    uint64_t count, host_sum, guest_sum;
    uint32_t host_min, host_max, guest_min, guest_max;
    uint32_t hist[STAT_BUCKETS];
};
/* Adds a cell to a sum. */
void stat_sum_add(struct stat_sum *s, const struct stat_cell *c);

unsigned stat_bucket(uint32_t ns);
/* Smallest value of a bucket; of STAT_BUCKETS: 2^32. */
uint64_t stat_bucket_floor(unsigned b);
/* Value below which the share `q` (0 to 1) of the counted values lie: the middle of its bucket,
 * kept within min and max. 0 for an empty histogram. */
uint32_t stat_quantile(const uint32_t hist[STAT_BUCKETS], double q, uint32_t min, uint32_t max);

/* What one crossing into the guest and back costs at least: the fastest percent of those that a
 * device answered; ns, 0 unknown. */
uint32_t stat_trip_ns(const struct trace_stats *t);
/* Time of the busiest vCPU, and of all together; ns. */
uint64_t stat_span_ns(const struct trace_stats *t);
uint64_t stat_active_ns(const struct trace_stats *t);
/* What exits of a sum cost: handlers, and a crossing each; ns. */
uint64_t stat_cost_ns(const struct stat_sum *s, uint32_t trip_ns);

#endif
