/*
 * Trace files (.vtr): exit records on disk. A header, then blocks that stand on their own, each
 * compressed by zstd: what was flushed can be read after the writer was killed, and a damaged
 * block costs no other. docs/trace-format.md is the specification.
 *
 * Writer: one thread (tracer.c's). Reader: one thread; files are hostile: whatever is in them ends
 * in a sentence and whatever is readable.
 */
#ifndef DEBUG_TRACE_FILE_H
#define DEBUG_TRACE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "debug/trace/trace_names.h"
#include "vmm/base/buf.h"
#include "vmm/base/err.h"
#include "vmm/exit.h"

#define TRACE_VERSION       1u
#define TRACE_BLOCK_RECORDS 16384u

enum trace_block {
    TRACE_META = 1, /* "key=value" lines */
    TRACE_NAMES,    /* names_save */
    TRACE_RECORDS,
    TRACE_COUNTERS, /* KVM's own counters at a moment: "name=value" lines */
    TRACE_INDEX,
};

/* ---- records to bytes and back (trace_pack.c) ------------------------------------------------ */

#define PACK_WORDS     (sizeof(struct exit_event) / 8)
#define PACK_BYTES_MAX (2 + 10 * (PACK_WORDS + 1))

/* The last record of each vCPU, from which the next one is told by its differences. Zeroed at the
 * start of each block. */
struct pack {
    uint64_t last[16][PACK_WORDS];
};

/* Appends a record at `dst`, which has room for PACK_BYTES_MAX; returns the bytes used. */
size_t pack_put(struct pack *p, const struct exit_event *ev, uint8_t *dst);
/* Takes up to `max` records from [*at, end); moves *at. Stops early at bytes that are no record:
 * then *at has not reached `end` although fewer than `max` came. */
size_t pack_get(struct pack *p, const uint8_t **at, const uint8_t *end, struct exit_event *out,
                size_t max);

/* ---- writing --------------------------------------------------------------------------------- */

struct trace_writer;

/* Creates `path`, or replaces a trace file; refuses to replace anything else. `meta` is lines of
 * "key=value". */
int trace_create(struct trace_writer **out, const char *path, unsigned cpus, const char *meta,
                 const struct trace_names *names, struct err *e);
/* Adds a record; a full block goes to disk. After a write error records are counted as lost. */
void trace_put(struct trace_writer *w, const struct exit_event *ev);
/* Text blocks: TRACE_NAMES, TRACE_COUNTERS. */
void trace_put_text(struct trace_writer *w, enum trace_block type, const char *text, size_t len,
                    uint64_t at_ns);
/* Records the count of those that were overwritten before they could be written. */
void trace_put_dropped(struct trace_writer *w, uint64_t dropped);
/* Writes what is buffered. 0, or the -errno of the first write that failed. */
int trace_flush(struct trace_writer *w);
/* Flushes, writes the index and closes; `w` is gone. 0, or -errno with a sentence. */
int trace_finish(struct trace_writer *w, struct err *e);
uint64_t trace_put_records(const struct trace_writer *w);
uint64_t trace_put_bytes(const struct trace_writer *w);
uint64_t trace_put_lost(const struct trace_writer *w);
const char *trace_put_path(const struct trace_writer *w);

/* ---- reading --------------------------------------------------------------------------------- */

struct trace_reader;

struct trace_info {
    uint32_t version, record_version, cpus;
    uint64_t start_real_ns;
    uint64_t first_ns, last_ns; /* of its records */
    uint64_t records;           /* as the block heads say */
    uint64_t dropped;           /* overwritten before they could be written */
    uint64_t bytes;
    unsigned blocks;   /* of records */
    unsigned damaged;  /* blocks that could not be read so far */
    bool finished;     /* has its index: the writer closed it */
    char problem[300]; /* a sentence about what is wrong with the file, or empty */
};

/* 0, or -errno with a sentence when nothing can be read. A file that is cut off or damaged opens
 * with `problem` set. */
int trace_open(struct trace_reader **out, const char *path, struct err *e);
/* The same over a file that is open; the descriptor is taken over. `path` is for sentences. */
int trace_open_fd(struct trace_reader **out, int fd, const char *path, struct err *e);
/* Whether a file begins as a trace file does. */
bool trace_is(const char *path);
void trace_close(struct trace_reader *r); /* takes NULL */
const struct trace_info *trace_info(const struct trace_reader *r);
/* Value of a key in the file's description, safe for a terminal; false and empty without it. */
bool trace_meta(const struct trace_reader *r, const char *key, char *dst, size_t cap);
/* Names kept in the file; owned by the reader. */
struct trace_names *trace_names(struct trace_reader *r);
/* The n-th text block of a type (TRACE_COUNTERS), malloc'ed, or NULL; its time in *at_ns. */
char *trace_text(struct trace_reader *r, enum trace_block type, unsigned n, uint64_t *at_ns);

/* From the record of this number (0: the first) on. */
void trace_seek(struct trace_reader *r, uint64_t record);
/* The number of the record that trace_read gives next, unless its block is damaged. */
uint64_t trace_position(const struct trace_reader *r);
/* Blocks of records in the order of the file, for a picture of the whole at once: false past the
 * end. Times are the lowest of each. */
bool trace_block_at(const struct trace_reader *r, size_t i, uint64_t *first_record,
                    uint64_t *records, uint64_t *first_ns);
/* Next records; 0 at the end. A block that cannot be read is passed over and counted. */
size_t trace_read(struct trace_reader *r, struct exit_event *out, size_t max);

#endif
