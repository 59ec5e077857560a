/*
 * What a command writes to: text for people and, from the same calls, JSON for programs. A command
 * builds its answer from lines, key/value pairs and tables; it never prints.
 *
 * Text passes esc_console, so that nothing a guest or a file says can drive a terminal; commands
 * still escape with esc_line where a line must stay one line. JSON is one object. A member name
 * that is used twice in one answer gets "_2", "_3", … appended.
 * One thread an `out`; zero-initialising is enough, out_init does the same.
 */
#ifndef DEBUG_OUT_H
#define DEBUG_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"

struct out {
    struct buf text;
    struct buf json; /* a complete JSON object after out_end */
    bool failed;     /* the command ended with an error; its sentence is the last text line */
    /* out.c's own: JSON members so far, their names, free lines, the last error, open table */
    struct buf members, names, lines, error;
    size_t error_at; /* where its sentence begins in `text` */
    struct out_table *table;
};

/* An empty answer; given back with out_fini, after out_end if its JSON is wanted. */
void out_init(struct out *o);
void out_fini(struct out *o);
/* Closes what is open; afterwards o->json is valid JSON. Called by cmd_exec. May be called again
 * after more was added. */
void out_end(struct out *o);

/* A free line of text; also collected in JSON under "text". */
void out_line(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line of text that JSON has in a better form already. */
void out_text(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* An error: text line and JSON "error". */
void out_error(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "FILE:LINE: " before the last error, which must be the last text. */
void out_error_from(struct out *o, const char *file, unsigned line);

/* key  value lines; the JSON member has the same key (blanks become '_'). Hex values print as 0x…
 * in text and as numbers in JSON (as strings above 2^53). */
void out_kv_str(struct out *o, const char *key, const char *value);
void out_kv_u64(struct out *o, const char *key, uint64_t value);
void out_kv_hex(struct out *o, const char *key, uint64_t value);
/* The same without the text line, for what out_text says better. */
void out_json_str(struct out *o, const char *key, const char *value);
void out_json_u64(struct out *o, const char *key, uint64_t value);
void out_json_hex(struct out *o, const char *key, uint64_t value);
void out_json_bool(struct out *o, const char *key, bool value);

/* A table: out_table names it (JSON key of the array) and its columns ("address", ">count" aligns
 * right, "~0~>count" is left out of the text when all its cells are the usual "0"); then rows of
 * cells; out_table_end aligns and prints it. An empty table prints `empty` (nothing when that is
 * NULL). `columns` ends with NULL and must live until out_table_end. */
void out_table(struct out *o, const char *name, const char *empty, const char *const columns[]);
/* A table of JSON alone: its text is made by out_text beside the cells. */
void out_records(struct out *o, const char *name, const char *const columns[]);
void out_row(struct out *o);
void out_cell(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void out_cell_u64(struct out *o, uint64_t v);
void out_cell_hex(struct out *o, uint64_t v);
void out_cell_bool(struct out *o, bool v); /* y and n in text */
/* A number with a text of its own ("12.5%"). */
void out_cell_num(struct out *o, double v, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* After the cells of a row: lines of text under it, and unless `key` is NULL a member of the row in
 * JSON. */
void out_row_note(struct out *o, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void out_table_end(struct out *o);

#endif
