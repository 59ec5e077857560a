/*
 * What the parts of `vmscope report` share.
 */
#ifndef DEBUG_REPORT_INT_H
#define DEBUG_REPORT_INT_H

#include "debug/trace/report.h"
#include "debug/trace/trace_file.h"
#include "debug/trace/trace_filter.h"
#include "debug/trace/trace_stat.h"
#include "debug/trace/trace_table.h"

#define REPORT_BATCH 256u

struct report {
    struct trace_reader *reader;
    struct trace_stats stats;
    struct trace_filter *filter;
    uint64_t read; /* records that report_count could read */
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
/* What a comparison adds to the words of --fail-if; NULL without --diff. */
struct check_diff {
    uint64_t differ; /* exits that are in one recording alone */
};
struct report_term {
    const struct check_fn *fn;
    struct trace_filter *filter; /* NULL: every exit */
    size_t from, len;            /* where it stands in the text */
    struct stat_sum sum;
    uint64_t before; /* records of the other recording */
};
struct report_check {
    const char *option, *text; /* borrowed */
    struct report_term term[CHECK_TERMS_MAX];
    unsigned terms;
    const struct trace_stats *stats;
    const struct check_diff *diff;
};

/* `diff`: the words of comparisons are allowed. */
int check_parse(struct report_check *c, const char *text, const struct trace_names *n, bool diff,
                struct err *e);
void check_add(struct report_check *c, const struct exit_event *ev);
/* A record of the recording that is compared with. */
void check_add_before(struct report_check *c, const struct exit_event *ev);
/* 1 when the expression is true, 0 when not, or -errno; `told` says what it came to. */
int check_value(struct report_check *c, const struct trace_stats *stats, struct buf *told,
                struct err *e);
void check_fini(struct report_check *c);

/* ---- --diff (report_diff.c) -------------------------------------------------------------------
 */

#define ALIGN_SHOWN 20u

/* A place where two recordings differ: so many exits are in one of them alone. */
struct difference {
    uint64_t at_a, at_b; /* exits of the vCPU before it */
    uint64_t only_a, only_b;
    struct exit_event a, b; /* what came there */
    bool a_ended, b_ended;  /* nothing did */
};
struct alignment {
    uint64_t alike, only_a, only_b, exits_a, exits_b;
    uint64_t differences;
    struct difference difference[ALIGN_SHOWN]; /* the first ones */
    bool lost;                                 /* they did not meet any more */
};
/* Aligns the exits of a vCPU (report_align.c). */
void align(struct report *a, struct report *b, unsigned vcpu, struct alignment *al);

/* Compares the recording `a` with `b`, both open and not read yet; `check` (may be NULL) is fed
 * with the records of both. */
void diff_print(struct report *a, struct report *b, const struct table_ask *ask,
                struct report_check *check, struct check_diff *found, struct out *o);

#endif
