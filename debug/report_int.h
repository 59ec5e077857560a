/*
 * What the parts of `vmscope report` share.
 */
#ifndef DEBUG_REPORT_INT_H
#define DEBUG_REPORT_INT_H

#include "debug/report.h"
#include "debug/trace_file.h"
#include "debug/trace_filter.h"
#include "debug/trace_stat.h"
#include "debug/trace_table.h"

#define REPORT_BATCH 256u

struct report {
    struct trace_reader *reader;
    struct trace_stats stats;
    struct trace_filter *filter;
};

/* Opens a file as the options ask; report_close also after an error. */
int report_open(struct report *p, const char *path, const struct report_ask *ask, struct err *e);
void report_close(struct report *p);

/* Reads every record once: counts those that match and hands them to `each` (or NULL). */
typedef void report_fn(void *arg, const struct exit_event *ev);
void report_count(struct report *p, report_fn *each, void *arg);

/* ---- --fail-if (report_check.c) ---------------------------------------------------------------
 */

#define CHECK_TERMS_MAX 16u

struct check_fn;
struct report_term {
    const struct check_fn *fn;
    struct trace_filter *filter; /* NULL: every exit */
    size_t from, len;            /* where it stands in the text */
    struct stat_sum sum;
};
struct report_check {
    const char *text; /* borrowed */
    struct report_term term[CHECK_TERMS_MAX];
    unsigned terms;
    const struct trace_stats *stats;
};

int check_parse(struct report_check *c, const char *text, const struct trace_names *n,
                struct err *e);
void check_add(struct report_check *c, const struct exit_event *ev);
/* 1 when the expression is true, 0 when not, or -errno; `told` says what it came to. */
int check_value(struct report_check *c, const struct trace_stats *stats, struct buf *told,
                struct err *e);
void check_fini(struct report_check *c);

/* ---- --diff (report_diff.c) -------------------------------------------------------------------
 */

/* Compares the recording `a` with `b`, both open and not read yet. */
void diff_print(struct report *a, struct report *b, const struct table_ask *ask, struct out *o);

#endif
