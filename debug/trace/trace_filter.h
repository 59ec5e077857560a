/*
 * An expression over exit records (`kind==io && port==0x3f8 && symbol(rip)=="uart_putc"`), the
 * same words as in catchpoints, evaluated away from the machine: only the record and names.
 */
#ifndef DEBUG_TRACE_FILTER_H
#define DEBUG_TRACE_FILTER_H

#include <stdbool.h>

#include "debug/trace/trace_names.h"
#include "vmm/base/err.h"
#include "vmm/exit.h"
#include "vmm/machine.h"

struct trace_filter;

/* NULL with a sentence. `n` is borrowed until filter_free or filter_names. */
struct trace_filter *filter_compile(const char *text, const struct trace_names *n, struct err *e);
void filter_free(struct trace_filter *f); /* takes NULL */
void filter_names(struct trace_filter *f, const struct trace_names *n);
const char *filter_text(const struct trace_filter *f);
/* A record without a field that is asked for does not match. NULL matches everything. */
bool filter_match(const struct trace_filter *f, const struct exit_event *ev);
/* The same in a stream of records, where callers (EXIT_STACK) go the way of their vCPU's exit. */
struct filter_stream {
    bool wanted[MACHINE_CPUS_MAX]; /* the last exit */
};
bool filter_next(struct filter_stream *s, const struct trace_filter *f,
                 const struct exit_event *ev);
/* True when the expression reads a field that sites of statistics do not keep (value, seq, times):
 * it can only be applied record by record. `word` is set to the field's name. */
bool filter_needs_records(const struct trace_filter *f, const char **word);

#endif
