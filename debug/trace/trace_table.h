/*
 * Tables of exit statistics: `info exits by port top 10` of a live guest and of a trace file are
 * these functions. One thread at a time.
 */
#ifndef DEBUG_TRACE_TABLE_H
#define DEBUG_TRACE_TABLE_H

#include <stdbool.h>

#include "debug/out.h"
#include "debug/trace/trace_filter.h"
#include "debug/trace/trace_names.h"
#include "debug/trace/trace_stat.h"

enum table_by {
    BY_KIND,
    BY_PORT,
    BY_GPA,
    BY_MSR,
    BY_VECTOR,
    BY_RIP,
    BY_SYMBOL,
    BY_VCPU,
    BY_DEVICE,
    BY_WHAT, /* what was done, wherever: "in 0x64 (i8042 status), 1 byte" */
    BY_SITE, /* what and where */
    BY_COUNT,
};
enum table_sort { SORT_COUNT, SORT_TIME, SORT_MEAN, SORT_P99, SORT_MAX, SORTS };

struct table_ask {
    enum table_by by;
    enum table_sort sort;
    unsigned top;                      /* 0: all rows */
    const struct trace_filter *filter; /* over sites; NULL: all */
    const char *empty;                 /* said when nothing was counted at all */
};

/* One row of a table, before it is printed. */
struct table_row {
    uint64_t group[2];
    const struct stat_cell *example; /* a cell of the group */
    struct stat_sum sum;
};

/* Names of the keys and orders, ended by NULL; for parsing and completion. */
extern const char *const table_by_names[];
extern const char *const table_sort_names[];
int table_by_name(const char *name);   /* enum table_by or -1 */
int table_sort_name(const char *name); /* enum table_sort or -1 */

/* Sums by group, in the asked order (all of them, `top` is not looked at); the caller frees.
 * `hidden` (may be NULL): cells of exits that have no such key are left out. */
struct table_row *table_rows(const struct trace_stats *t, const struct trace_names *n,
                             const struct table_ask *ask, size_t *count);
/* What a row is about, as text: appended. */
void table_label(enum table_by by, const struct stat_key *k, const struct trace_names *n,
                 struct buf *out);
/* Appends an expression that selects what a row is about (`kind==io && port==0x80`); false when no
 * words of expressions do. */
bool table_filter(enum table_by by, const struct stat_key *k, const struct trace_names *n,
                  struct buf *out);
/* Prints table and summary. */
void table_print(const struct trace_stats *t, const struct trace_names *n,
                 const struct table_ask *ask, struct out *o);
/* log2 histograms of the time in handlers and (without a filter) in the guest; `reason` -1: all. */
void table_hist(const struct trace_stats *t, const struct trace_filter *filter, int reason,
                struct out *o);
/* Adds a row of a list of records; columns are table_list_columns. */
extern const char *const table_list_columns[];
void table_list_row(const struct exit_event *ev, const struct trace_names *n, uint64_t zero_ns,
                    struct out *o);

#endif
