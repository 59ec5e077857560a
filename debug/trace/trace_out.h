/*
 * Exports of a recorded trace. One table (trace_out.c); each row writes to a stream what passes the
 * report's filter.
 */
#ifndef DEBUG_TRACE_OUT_H
#define DEBUG_TRACE_OUT_H

#include <stdio.h>

#include "debug/trace/report_int.h"

struct trace_export {
    const char *name;
    const char *help;
    void (*run)(struct report *p, FILE *f);
};
/* Ended by a row without name. */
extern const struct trace_export trace_exports[];

void export_csv(struct report *p, FILE *f);
void export_jsonl(struct report *p, FILE *f);
void export_folded(struct report *p, FILE *f);
void export_perfetto(struct report *p, FILE *f); /* trace_out_perfetto.c */
void export_svg(struct report *p, FILE *f);      /* trace_out_html.c */
void export_html(struct report *p, FILE *f);

/* "out 0x3f8 (COM1 data), 1 byte" of a record. */
void export_what(const struct exit_event *ev, const struct trace_names *n, struct buf *out);
/* A record as one JSON object: the line of jsonl. */
void export_json_record(const struct exit_event *ev, const struct trace_names *n, struct buf *out);

#endif
