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

#endif
