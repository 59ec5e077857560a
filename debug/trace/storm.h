/*
 * Exit storms: one operation, with others of its device, that makes up most exits at a high rate,
 * named with its place and what is known to cause and cure it. Works on windows of the statistics,
 * live (tracer.c) and over recordings. One thread at a time.
 */
#ifndef DEBUG_STORM_H
#define DEBUG_STORM_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/out.h"
#include "debug/trace/trace_names.h"
#include "debug/trace/trace_stat.h"

#define STORMS_MAX      16u
#define STORM_WINDOW_NS 500000000u

struct storm {
    struct stat_key key;       /* its commonest site */
    char dev[32];              /* the device whose other registers belong to it, or empty */
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC; end 0: still on */
    uint64_t exits;            /* of this operation while it lasted */
    double peak_rate;          /* a second */
    char text[600];            /* the sentence, safe for a terminal */
};

struct storm_watch {
    double min_rate;                /* exits a second of one operation; 5000 unless changed */
    double min_share;               /* of all exits, 0 to 1; 0.5 unless changed */
    struct storm storm[STORMS_MAX]; /* the newest last */
    unsigned storms;
    uint64_t seen;      /* storms that began ever */
    uint64_t window_ns; /* begin of the window; 0: none */
    unsigned calm;      /* windows without the present storm */
};

/* Default limits, and nothing seen. Owns nothing. */
void storm_init(struct storm_watch *w);
/* Looks at a window that ends `now_ns` and starts the next (stat_mark). True when a storm began. */
bool storm_window(struct storm_watch *w, struct trace_stats *t, const struct trace_names *n,
                  uint64_t now_ns);
/* For recordings, a record after another: ends windows by the records' own clock, `end`: the last
 * one, too. */
bool storm_follow(struct storm_watch *w, struct trace_stats *t, const struct trace_names *n,
                  uint64_t at_ns, bool end);
/* The storms of a recording, in sentences; times count from `zero_ns`. */
void storm_print(const struct storm_watch *w, uint64_t zero_ns, uint64_t last_ns, struct out *o);

#endif
