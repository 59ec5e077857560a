/*
 * A pass over a recorded trace in slices, for those who must not wait for it (the browser): counts,
 * finds storms, and remembers where records that match a filter are. Memory is bounded whatever
 * the file's length. One thread.
 */
#ifndef DEBUG_TRACE_SCAN_H
#define DEBUG_TRACE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "debug/trace/storm.h"
#include "debug/trace/trace_file.h"
#include "debug/trace/trace_filter.h"
#include "debug/trace/trace_stat.h"

struct trace_scan;

#define SCAN_STEPS 400u /* of the recording's time */

/* Opens the file anew; reading it disturbs no other reader. `f` and `n` are borrowed, NULL `f`
 * matches everything. NULL with a sentence. */
struct trace_scan *scan_new(const char *path, const struct trace_filter *f,
                            const struct trace_names *n, struct err *e);
void scan_free(struct trace_scan *s); /* takes NULL */
/* Reads about `records` more; false when all have been read. */
bool scan_some(struct trace_scan *s, uint64_t records);
bool scan_done(const struct trace_scan *s);
uint64_t scan_read(const struct trace_scan *s);    /* records so far */
uint64_t scan_matched(const struct trace_scan *s); /* of them match */
const struct trace_stats *scan_stats(const struct trace_scan *s);
const struct storm_watch *scan_storms(const struct trace_scan *s);
/* Matching records in each step of time, SCAN_STEPS of them. */
const uint64_t *scan_steps(const struct trace_scan *s);
/* A matching record at or before match number `m` (from 0): its number, and which match it is. */
void scan_near(const struct trace_scan *s, uint64_t m, uint64_t *record, uint64_t *match);
/* The first match at or behind `record`, as a lower bound: some match before it, to go on from. */
uint64_t scan_match_before(const struct trace_scan *s, uint64_t record);

#endif
