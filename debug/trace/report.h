/*
 * `vmscope report FILE`: a recorded trace, with the tables of the live view. Needs no KVM and no
 * guest. Main thread.
 */
#ifndef DEBUG_REPORT_H
#define DEBUG_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"

/* As on the command line; NULL or 0: not given. Strings are borrowed. */
struct report_ask {
    const char *file;
    const char *diff; /* the other recording */
    const char *by;   /* names of trace_table.h */
    const char *sort;
    const char *filter;  /* expression over records */
    const char *fail_if; /* expression over counts: 'count(kind==mmio) > 1000' */
    const char *symbols; /* ELF file instead of the names in the trace */
    const char *export;  /* a name of trace_exports */
    const char *output;  /* where the export goes; standard output unless given */
    unsigned top;
    uint64_t list;    /* records to list */
    uint64_t from;    /* first record of the list */
    uint64_t explain; /* record to explain, from 1; 0: none */
    bool hist, storms, counters, json;
};

enum { REPORT_OK = 0, REPORT_ERROR = 2, REPORT_FAILED = 8 /* --fail-if was true */ };

struct trace_reader;

/* Opens a file with the symbols that were asked for, for other readers of recordings (the browser).
 * 0, or -errno with a sentence; a reader that was opened is the caller's in any case. */
int report_open_reader(struct trace_reader **r, const char *path, const struct report_ask *ask,
                       struct err *e);
struct exit_event;
struct out;
/* Behind explain_print of the record that was read last: its callers, if they were recorded. */
void explain_following(const struct exit_event *ev, struct trace_reader *r, struct out *o);
/* Prints to standard output; errors as sentences to standard error. Returns the exit status. */
int report_main(const struct report_ask *ask);

struct session;

/* An expression over registers, memory and symbols of a guest that stands, and over its exits as in
 * --fail-if ("$rax == 5 && count(kind==mmio) < 100"): 1 when it is true, 0 when not, or -EINVAL
 * with a sentence. `told` gets it with the counts filled in; NULL only looks whether it can be
 * understood, at any time. */
int check_session(struct session *s, const char *text, struct buf *told, struct err *e);

#endif
