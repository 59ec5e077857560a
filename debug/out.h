/*
 * What a command writes to: text for people and, from the same calls, JSON for programs. A command
 * builds its answer from lines, key/value pairs and tables; it never prints.
 */
#ifndef DEBUG_OUT_H
#define DEBUG_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"

struct out {
    struct buf text;
    struct buf json; /* a complete JSON value after out_end; empty when nothing was structured */
    unsigned depth;
    bool failed;     /* the command ended with an error; its sentence is the last text line */
    /* open table: columns so far, used by out.c alone */
    struct out_table *table;
};

void out_init(struct out *o);
void out_fini(struct out *o);
/* Closes what is open; afterwards o->json is valid JSON. Called by cmd_exec. */
void out_end(struct out *o);

/* A free line of text; also collected in JSON under "text". */
void out_line(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* An error: text line and JSON "error". */
void out_error(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* key  value lines; the JSON member has the same key (blanks become '_'). Hex values print as 0x…
 * in text and as numbers in JSON (as strings above 2^53). */
void out_kv_str(struct out *o, const char *key, const char *value);
void out_kv_u64(struct out *o, const char *key, uint64_t value);
void out_kv_hex(struct out *o, const char *key, uint64_t value);
void out_kv_bool(struct out *o, const char *key, bool value);

/* A table: out_table names it (JSON key of the array) and its columns ("address", ">count" aligns
 * right); then rows of cells; out_table_end aligns and prints it. An empty table prints `empty`. */
void out_table(struct out *o, const char *name, const char *empty, const char *const columns[]);
void out_row(struct out *o);
void out_cell(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void out_cell_u64(struct out *o, uint64_t v);
void out_cell_hex(struct out *o, uint64_t v);
void out_table_end(struct out *o);

#endif
