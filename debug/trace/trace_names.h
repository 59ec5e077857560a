/*
 * What ports, device registers and code addresses are called: a copy that tables, filters and
 * trace files use, so that a trace can be read on another machine and by a thread that must not
 * touch the session. Made on the main thread; read-only afterwards, for any thread.
 */
#ifndef DEBUG_TRACE_NAMES_H
#define DEBUG_TRACE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"
#include "vmm/exit.h"

struct session;
struct symbols;
struct trace_names;

/* An empty copy; never NULL. */
struct trace_names *names_new(void);
void names_free(struct trace_names *n); /* takes NULL */
/* The device registers of a session. Some names follow a device's state (the UART's divisor
 * latch), so this is for a machine at its start. */
struct trace_names *names_of_machine(struct session *s);
/* A copy with other symbols. */
struct trace_names *names_with_symbols(const struct trace_names *n, const struct symbols *t);
/* Replaces the symbols. */
void names_set_symbols(struct trace_names *n, const struct symbols *t);

/* "COM1 data", "i8042 status"; NULL when unknown. Owned by `n`; safe for a terminal. */
const char *names_reg(const struct trace_names *n, const struct exit_event *ev);
/* What an exit did as text: exit_format with the names of `n`. */
void names_what(const struct trace_names *n, const struct exit_event *ev, struct buf *out);
/* What a live session has to say beside the copy; for the main thread alone, which is who calls
 * names_what and names_place_now. */
struct names_live {
    /* Appends a client's own words for an exit, one line, and returns true; or false. */
    bool (*what)(void *arg, const struct exit_event *ev, struct buf *out);
    void *arg;
    const struct symbols *symbols; /* asked where the copy knows nothing */
};
void names_set_live(struct trace_names *n, const struct names_live *live);
/* The instruction of an EXIT_ASSIST record as text, into dst; the kind's name when its bytes say
 * nothing. Returns dst. */
const char *names_assisted(const struct exit_event *ev, char *dst, size_t cap);
/* The device that answers there, or NULL. */
const char *names_dev(const struct trace_names *n, const struct exit_event *ev);
/* The function or label that holds a linear address and where it begins; NULL when unknown. */
const char *names_symbol(const struct trace_names *n, uint64_t addr, uint64_t *start);
/* "main+0x12", or empty. Returns dst. An address behind its instruction (`past`) is looked up one
 * byte earlier, so that the last instruction of a function belongs to it. */
const char *names_place(const struct trace_names *n, uint64_t addr, bool past, char *dst,
                        size_t cap);
/* As names_place of a record's address, and then what a live session's symbols say of it. */
const char *names_place_now(const struct trace_names *n, const struct exit_event *ev, char *dst,
                            size_t cap);
/* The address of a symbol by its exact name. */
bool names_address(const struct trace_names *n, const char *name, uint64_t *addr);

/* As lines of text, for a trace file; and back. A line that is not understood is passed over;
 * text is escaped. False when nothing could be used. */
void names_save(const struct trace_names *n, struct buf *out);
bool names_load(struct trace_names *n, const char *text, size_t len);

#endif
