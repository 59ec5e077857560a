/*
 * Reads trace files. Nothing in a file is trusted: heads carry checksums, sizes are bounded before
 * anything is allocated, and zstd checks what it unpacks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "debug/trace/trace_disk.h"
#include "debug/trace/trace_file.h"
#include "vmm/base/esc.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

struct block {
    uint64_t offset;
    uint64_t first_record;
    uint32_t records, type;
    uint64_t first_ns;
    bool damaged;
};

struct trace_reader {
    int fd;
    char name[160]; /* safe for a terminal */
    struct trace_info info;
    struct block *block;
    size_t blocks, cap;
    ZSTD_DCtx *zstd;
    struct trace_names *names;
    char *meta;
    /* the block being read */
    size_t next_block;
    struct pack pack;
    uint8_t *stored, *raw;
    size_t stored_cap, raw_cap;
    const uint8_t *at, *end;
    uint32_t left; /* records of it still to come */
    uint64_t skip;
};

static void problem(struct trace_reader *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void problem(struct trace_reader *r, const char *fmt, ...)
{
    va_list ap;

    if (r->info.problem[0])
        return; /* the first one says most */
    va_start(ap, fmt);
    vsnprintf(r->info.problem, sizeof r->info.problem, fmt, ap);
    va_end(ap);
}

static bool read_at(const struct trace_reader *r, uint64_t offset, void *dst, size_t len)
{
    uint8_t *p = dst;

    if (offset > r->info.bytes || len > r->info.bytes - offset)
        return false;
    while (len) {
        ssize_t n = pread(r->fd, p, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static bool parse_head(const uint8_t raw[BLOCK_HEAD_BYTES], struct block_head *h)
{
    if (le_load(raw, 4) != BLOCK_MAGIC || le_load(raw + 52, 4) != trace_crc(raw, 52))
        return false;
    *h = (struct block_head){
        .type = (uint16_t)le_load(raw + 4, 2),
        .stored_bytes = (uint32_t)le_load(raw + 8, 4),
        .raw_bytes = (uint32_t)le_load(raw + 12, 4),
        .records = (uint32_t)le_load(raw + 16, 4),
        .first_ns = le_load(raw + 24, 8),
        .last_ns = le_load(raw + 32, 8),
        .dropped = le_load(raw + 40, 8),
    };
    if (h->type == TRACE_RECORDS)
        return h->raw_bytes <= RECORD_RAW_MAX && h->records <= TRACE_BLOCK_RECORDS;
    return h->raw_bytes <= TEXT_RAW_MAX;
}

static bool read_head(const struct trace_reader *r, uint64_t offset, struct block_head *h)
{
    uint8_t raw[BLOCK_HEAD_BYTES];

    return read_at(r, offset, raw, sizeof raw) && parse_head(raw, h);
}

static void add_block(struct trace_reader *r, uint64_t offset, const struct block_head *h)
{
    if (r->blocks == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 64;
        r->block = xrealloc(r->block, r->cap, sizeof *r->block);
    }
    r->block[r->blocks++] = (struct block){.offset = offset,
                                           .first_record = r->info.records,
                                           .records = h->type == TRACE_RECORDS ? h->records : 0,
                                           .type = h->type,
                                           .first_ns = h->first_ns};
    if (h->type != TRACE_RECORDS)
        return;
    if (!r->info.blocks++ || h->first_ns < r->info.first_ns)
        r->info.first_ns = h->first_ns;
    if (h->last_ns > r->info.last_ns)
        r->info.last_ns = h->last_ns;
    r->info.records += h->records;
    if (h->dropped > r->info.dropped)
        r->info.dropped = h->dropped;
}

/* Unpacks the bytes of a block into r->raw; the size, or 0. */
static size_t load_block(struct trace_reader *r, uint64_t offset, struct block_head *h)
{
    size_t n;

    if (!read_head(r, offset, h) || !h->raw_bytes || h->stored_bytes > r->info.bytes)
        return 0;
    if (h->stored_bytes > r->stored_cap) {
        r->stored = xrealloc(r->stored, h->stored_bytes, 1);
        r->stored_cap = h->stored_bytes;
    }
    if (!read_at(r, offset + BLOCK_HEAD_BYTES, r->stored, h->stored_bytes))
        return 0;
    /* What zstd says first, so that a small file cannot ask for much memory. */
    if (ZSTD_getFrameContentSize(r->stored, h->stored_bytes) != h->raw_bytes)
        return 0;
    if (h->raw_bytes > r->raw_cap) {
        r->raw = xrealloc(r->raw, h->raw_bytes, 1);
        r->raw_cap = h->raw_bytes;
    }
    n = ZSTD_decompressDCtx(r->zstd, r->raw, h->raw_bytes, r->stored, h->stored_bytes);
    return ZSTD_isError(n) || n != h->raw_bytes ? 0 : n;
}

/* ---- finding the blocks ---------------------------------------------------------------------- */

static bool read_index(struct trace_reader *r)
{
    uint8_t end[TRACE_END_BYTES];
    struct block_head h;
    size_t n;

    if (r->info.bytes < TRACE_HEAD_BYTES + TRACE_END_BYTES ||
        !read_at(r, r->info.bytes - TRACE_END_BYTES, end, sizeof end) ||
        memcmp(end, TRACE_END_MAGIC, 8) || le_load(end + 20, 4) != trace_crc(end, 20))
        return false;
    n = load_block(r, le_load(end + 8, 8), &h);
    if (!n || h.type != TRACE_INDEX || n % INDEX_ENTRY_BYTES)
        return false;
    for (size_t at = 0; at < n; at += INDEX_ENTRY_BYTES) {
        const uint8_t *p = r->raw + at;
        struct block_head b = {
            .type = (uint16_t)le_load(p + 36, 2),
            .records = (uint32_t)le_load(p + 32, 4),
            .first_ns = le_load(p + 8, 8),
            .last_ns = le_load(p + 16, 8),
            .dropped = le_load(p + 24, 8),
        };

        if (b.records > TRACE_BLOCK_RECORDS || le_load(p, 8) >= r->info.bytes)
            return false;
        add_block(r, le_load(p, 8), &b);
    }
    r->info.finished = true;
    return true;
}

/* The next offset after `from` where a block begins; the end of the file when there is none. */
static uint64_t resync(const struct trace_reader *r, uint64_t from)
{
    uint8_t chunk[65536];
    struct block_head h;

    for (uint64_t at = from; at + BLOCK_HEAD_BYTES <= r->info.bytes;) {
        uint64_t left = r->info.bytes - at;
        size_t len = left < sizeof chunk ? (size_t)left : sizeof chunk;

        if (!read_at(r, at, chunk, len))
            break;
        for (size_t i = 0; i + BLOCK_HEAD_BYTES <= len; i++)
            if (le_load(chunk + i, 4) == BLOCK_MAGIC && parse_head(chunk + i, &h))
                return at + i;
        at += len - BLOCK_HEAD_BYTES + 1;
    }
    return r->info.bytes;
}

/* Whether what is left is the begin of the file's end. */
static bool is_end(const struct trace_reader *r, uint64_t at)
{
    uint8_t raw[8] = {0};
    size_t n = r->info.bytes - at < sizeof raw ? (size_t)(r->info.bytes - at) : sizeof raw;

    return read_at(r, at, raw, n) && !memcmp(raw, TRACE_END_MAGIC, n);
}

static void walk(struct trace_reader *r)
{
    uint64_t at = TRACE_HEAD_BYTES;
    struct block_head h;

    while (at < r->info.bytes && r->blocks < BLOCKS_MAX) {
        if (!read_head(r, at, &h)) {
            uint64_t next = resync(r, at + 1);

            if (next == r->info.bytes && is_end(r, at))
                problem(r, "%s lacks its last bytes; all blocks are there", r->name);
            else if (next == r->info.bytes && r->info.bytes - at < BLOCK_HEAD_BYTES)
                problem(r, "%s ends in the middle of a block; what stands before is whole",
                        r->name);
            else
                problem(r, "%s is damaged: %llu bytes from byte %llu on are no trace", r->name,
                        (unsigned long long)(next - at), (unsigned long long)at);
            at = next;
            continue;
        }
        if (h.stored_bytes > r->info.bytes - at - BLOCK_HEAD_BYTES) {
            if (h.type == TRACE_RECORDS)
                problem(r,
                        "%s ends in the middle of a block of %u records; what stands before is "
                        "whole",
                        r->name, h.records);
            else
                problem(r, "%s ends in the middle of its %s; what stands before is whole", r->name,
                        h.type == TRACE_META    ? "description"
                        : h.type == TRACE_NAMES ? "names"
                        : h.type == TRACE_INDEX ? "index"
                                                : "counters");
            break;
        }
        if (h.type != TRACE_INDEX)
            add_block(r, at, &h);
        at += BLOCK_HEAD_BYTES + h.stored_bytes;
    }
    problem(r, "%s has no index: its writer was killed or is still at work", r->name);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int check_head(struct trace_reader *r, struct err *e)
{
    uint8_t h[TRACE_HEAD_BYTES];

    if (!r->info.bytes)
        return err_set(e, EINVAL, "%s is empty: nothing was recorded in it", r->name);
    if (!read_at(r, 0, h, sizeof h))
        return err_set(e, EINVAL,
                       "%s is no whole trace file: it has only %llu bytes, and the head of one "
                       "has %u",
                       r->name, (unsigned long long)r->info.bytes, TRACE_HEAD_BYTES);
    if (memcmp(h, TRACE_MAGIC, 8))
        return err_set(e, EINVAL,
                       "%s is no trace file: it does not begin as one (traces are written by "
                       "--trace FILE and `trace on FILE`)",
                       r->name);
    r->info.version = (uint32_t)le_load(h + 8, 4);
    r->info.record_version = (uint32_t)le_load(h + 20, 4);
    if (r->info.version != TRACE_VERSION || !r->info.record_version ||
        r->info.record_version > EXIT_RECORD_VERSION ||
        le_load(h + 16, 4) != sizeof(struct exit_event))
        return err_set(e, ENOTSUP,
                       "%s is of trace format %u with records of version %u and %u bytes, and "
                       "this vmscope reads format %u with versions 1 to %u and %u bytes: use the "
                       "vmscope that wrote it",
                       r->name, r->info.version, r->info.record_version,
                       (unsigned)le_load(h + 16, 4), TRACE_VERSION, EXIT_RECORD_VERSION,
                       (unsigned)sizeof(struct exit_event));
    r->info.start_real_ns = le_load(h + 32, 8);
    r->info.cpus = (uint32_t)le_load(h + 40, 4);
    if (le_load(h + 60, 4) != trace_crc(h, 60))
        problem(r, "the head of %s is damaged: its times may be wrong", r->name);
    return 0;
}

static void load_texts(struct trace_reader *r)
{
    struct block_head h;

    for (size_t i = 0; i < r->blocks; i++) {
        size_t n;

        if (r->block[i].type != TRACE_META && r->block[i].type != TRACE_NAMES)
            continue;
        n = load_block(r, r->block[i].offset, &h);
        if (!n || h.type != r->block[i].type) {
            r->info.damaged++;
            problem(r, "a block of %s in %s is damaged and left out",
                    r->block[i].type == TRACE_META ? "descriptions" : "names", r->name);
        } else if (h.type == TRACE_NAMES) {
            names_free(r->names); /* the newest knows most */
            r->names = names_new();
            names_load(r->names, (const char *)r->raw, n);
        } else if (!r->meta) {
            r->meta = xmalloc(n + 2);
            r->meta[0] = '\n';
            memcpy(r->meta + 1, r->raw, n);
            r->meta[n + 1] = 0;
        }
    }
}

int trace_open_fd(struct trace_reader **out, int fd, const char *path, struct err *e)
{
    struct trace_reader *r = xcalloc(1, sizeof *r);
    struct stat st;
    int rc = 0;

    *out = NULL;
    r->fd = fd;
    esc_cut(r->name, sizeof r->name, path, strlen(path));
    r->names = names_new();
    r->zstd = ZSTD_createDCtx();
    BUG_ON(!r->zstd);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        rc = err_set(e, EINVAL, "%s is not a regular file, so it is no trace file", r->name);
    else
        r->info.bytes = (uint64_t)st.st_size;
    if (rc == 0)
        rc = check_head(r, e);
    if (rc < 0) {
        trace_close(r);
        return rc;
    }
    if (!read_index(r)) {
        struct trace_info *in = &r->info;

        r->blocks = 0;
        in->records = in->dropped = in->first_ns = in->last_ns = 0;
        in->blocks = 0;
        walk(r);
    }
    load_texts(r);
    *out = r;
    return 0;
}

int trace_open(struct trace_reader **out, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char name[160];

    *out = NULL;
    if (fd < 0)
        return err_set(e, errno, "cannot open the trace file %s: %s",
                       esc_cut(name, sizeof name, path, strlen(path)), strerror(errno));
    return trace_open_fd(out, fd, path, e);
}

bool trace_is(const char *path)
{
    char magic[8];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool is = fd >= 0 && read(fd, magic, sizeof magic) == (ssize_t)sizeof magic &&
              !memcmp(magic, TRACE_MAGIC, sizeof magic);

    if (fd >= 0)
        close(fd);
    return is;
}

void trace_close(struct trace_reader *r)
{
    if (!r)
        return;
    close(r->fd);
    ZSTD_freeDCtx(r->zstd);
    names_free(r->names);
    free(r->meta);
    free(r->block);
    free(r->stored);
    free(r->raw);
    free(r);
}

const struct trace_info *trace_info(const struct trace_reader *r)
{
    return &r->info;
}

struct trace_names *trace_names(struct trace_reader *r)
{
    return r->names;
}

bool trace_meta(const struct trace_reader *r, const char *key, char *dst, size_t cap)
{
    size_t len = strlen(key);

    dst[0] = 0;
    for (const char *at = r->meta; at && (at = strchr(at, '\n'));) {
        at++;
        if (!strncmp(at, key, len) && at[len] == '=') {
            esc_cut(dst, cap, at + len + 1, strcspn(at + len + 1, "\n"));
            return true;
        }
    }
    return false;
}

char *trace_text(struct trace_reader *r, enum trace_block type, unsigned n, uint64_t *at_ns)
{
    struct block_head h;

    for (size_t i = 0; i < r->blocks; i++) {
        size_t len;
        char *text;

        if (r->block[i].type != type || n--)
            continue;
        len = load_block(r, r->block[i].offset, &h);
        if (!len)
            return NULL;
        text = xmalloc(len + 1);
        memcpy(text, r->raw, len);
        text[len] = 0;
        *at_ns = h.first_ns;
        r->left = 0; /* the buffer held a block that was being read */
        return text;
    }
    return NULL;
}

/* ---- records --------------------------------------------------------------------------------- */

void trace_seek(struct trace_reader *r, uint64_t record)
{
    size_t low = 0, high = r->blocks;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (r->block[mid].first_record + r->block[mid].records <= record)
            low = mid + 1;
        else
            high = mid;
    }
    r->next_block = low;
    r->left = 0;
    r->skip = low < r->blocks ? record - r->block[low].first_record : 0;
}

uint64_t trace_position(const struct trace_reader *r)
{
    size_t i = r->next_block;

    if (r->left && i)
        return r->block[i - 1].first_record + r->block[i - 1].records - r->left + r->skip;
    for (; i < r->blocks; i++)
        if (r->block[i].records)
            return r->block[i].first_record + r->skip;
    return r->info.records;
}

bool trace_block_at(const struct trace_reader *r, size_t i, uint64_t *first_record,
                    uint64_t *records, uint64_t *first_ns)
{
    if (i >= r->blocks)
        return false;
    *first_record = r->block[i].first_record;
    *records = r->block[i].records;
    *first_ns = r->block[i].first_ns;
    return true;
}

static void damaged(struct trace_reader *r, struct block *b)
{
    if (!b->damaged) {
        b->damaged = true;
        r->info.damaged++;
        problem(r, "%s is damaged at byte %llu: the %u records of that block are left out", r->name,
                (unsigned long long)b->offset, b->records);
    }
}

static bool next_block(struct trace_reader *r)
{
    while (r->next_block < r->blocks) {
        struct block *b = &r->block[r->next_block++];
        struct block_head h;
        size_t n;

        if (b->type != TRACE_RECORDS || !b->records)
            continue;
        n = load_block(r, b->offset, &h);
        if (!n || h.type != TRACE_RECORDS) {
            damaged(r, b);
            r->skip = 0;
            continue;
        }
        memset(&r->pack, 0, sizeof r->pack);
        r->at = r->raw;
        r->end = r->raw + n;
        r->left = h.records;
        return true;
    }
    return false;
}

size_t trace_read(struct trace_reader *r, struct exit_event *out, size_t max)
{
    size_t n = 0;

    while (n < max) {
        size_t want, got;

        if (!r->left && !next_block(r))
            break;
        want = r->skip ? (r->skip < max - n ? (size_t)r->skip : max - n) : max - n;
        want = want < r->left ? want : r->left;
        got = pack_get(&r->pack, &r->at, r->end, out + n, want);
        r->left -= (uint32_t)got;
        if (got < want) {
            damaged(r, &r->block[r->next_block - 1]);
            r->left = 0;
        }
        if (r->skip) {
            r->skip = got < want ? 0 : r->skip - got;
            continue; /* these were only to be passed over */
        }
        n += got;
    }
    return n;
}
