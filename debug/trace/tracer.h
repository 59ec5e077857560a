/*
 * The live tracer of a session: a thread of its own reads the rings of all vCPUs by cursors, counts
 * every record and writes those that pass the filter to a file, so that no vCPU ever waits for
 * statistics or a disk. The rings hold what it has not read yet; if they overflow that is counted.
 *
 * Calls are for the main thread; `tracer_lock` gives it the statistics with everything that has
 * happened so far.
 */
#ifndef DEBUG_TRACER_H
#define DEBUG_TRACER_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/trace/kvmstats.h"
#include "debug/trace/storm.h"
#include "debug/trace/trace_names.h"
#include "debug/trace/trace_stat.h"
#include "vmm/base/err.h"

struct session;
struct tracer;
struct names_live;

struct tracer *tracer_new(struct session *s);
/* Finishes the file. Before the machine goes away. Takes NULL. */
void tracer_free(struct tracer *t);

/* session_run.c tells when the machine starts and stops. */
void tracer_launched(struct tracer *t);
void tracer_stopped(struct tracer *t, unsigned kind, int point);

/* Reads what the rings have and gives the statistics, until tracer_unlock. */
struct trace_stats *tracer_lock(struct tracer *t);
void tracer_unlock(struct tracer *t);
/* Several times a second while the machine runs. */
void tracer_tick(struct tracer *t);
/* True once for each storm that began, with its sentence. */
bool tracer_storm_news(struct tracer *t, char *text, size_t cap);
/* A copy of what is known of storms; rates set. */
void tracer_storms(struct tracer *t, struct storm_watch *out);
/* Rates from which exits are a storm: exits a second, and a share of all (0 to 1). */
void tracer_storm_limits(struct tracer *t, double min_rate, double min_share);
/* Names as of now; valid until the next call on the tracer. Hold no lock. */
const struct trace_names *tracer_names(struct tracer *t);

/* Streams records to `path` from now on, and with `all_kept` those that the rings still hold. */
int tracer_file(struct tracer *t, const char *path, struct err *e);
/* Ends the file; 0 also when there is none. */
int tracer_file_end(struct tracer *t, struct err *e);
struct tracer_status {
    bool writing;
    char path[200]; /* safe for a terminal */
    uint64_t records, bytes, lost;
    char filter[200]; /* empty: none */
    char kernel[300]; /* open trace points; empty: none */
    uint64_t kernel_lost;
};
void tracer_status(struct tracer *t, struct tracer_status *st);
/* KVM's own counters, read now and held until tracer_unlock (to be called in any case); NULL with
 * a sentence where there are none. */
const struct kvmstats *tracer_counters_lock(struct tracer *t, char *why, size_t cap);
/* Trace points of the kernel (tracepoints.h): on with these names, or off with `names` NULL.
 * `told` gets lines about what this host lacks. The machine stands. */
int tracer_kernel(struct tracer *t, const char *names, struct buf *told, struct err *e);
/* What the session's names say beside their copy (trace_names.h). Main thread. */
void tracer_set_live(struct tracer *t, const struct names_live *live);
/* What is counted and written from now on; NULL or empty: everything. */
int tracer_filter(struct tracer *t, const char *text, struct err *e);

#endif
