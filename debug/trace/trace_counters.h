/*
 * KVM's own counters as a trace file has them: readings taken when the file was begun and ended and
 * twice a second between. One thread; whatever a file says is bounded.
 */
#ifndef DEBUG_TRACE_COUNTERS_H
#define DEBUG_TRACE_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include "debug/out.h"
#include "debug/trace/trace_file.h"

#define COUNTER_NAME_BYTES 64u

struct trace_counters {
    size_t names, points;
    char (*name)[COUNTER_NAME_BYTES]; /* safe for a terminal */
    uint64_t *at_ns;                  /* CLOCK_MONOTONIC of each reading */
    uint64_t *value;                  /* [point * names + name] */
};

/* Reads them all; none is no error. */
void counters_load(struct trace_counters *c, struct trace_reader *r);
void counters_fini(struct trace_counters *c);
/* How much counter `i` grew from the first reading to the last. */
uint64_t counters_growth(const struct trace_counters *c, size_t i);
/* A table of those that grew: count, rate, meaning. */
void counters_print(const struct trace_counters *c, struct out *o);

#endif
