/*
 * Writes trace files. Called by the tracer's thread; memory is one block and its compressed copy,
 * however long the trace gets, and the index (40 bytes for 16384 records).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "debug/trace/trace_disk.h"
#include "debug/trace/trace_file.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

/* The fastest level that still halves what packing leaves; the writer competes with vCPUs. */
#define ZSTD_LEVEL 1

struct trace_writer {
    int fd;
    char *path;
    int error; /* errno of the first failed write */
    ZSTD_CCtx *zstd;
    struct pack pack;
    uint8_t *raw;
    size_t raw_len;
    uint8_t *stored;
    size_t stored_cap;
    struct block_head head; /* of the block being filled */
    uint64_t offset;        /* bytes written */
    uint64_t records, lost, dropped;
    struct buf index;
};

uint32_t trace_crc(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    uint32_t crc = UINT32_MAX;

    while (len--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static int write_all(struct trace_writer *w, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    while (len && !w->error) {
        ssize_t n = write(w->fd, p, len);

        if (n < 0 && errno != EINTR)
            w->error = errno;
        if (n <= 0)
            continue;
        p += n;
        len -= (size_t)n;
        w->offset += (uint64_t)n;
    }
    return w->error ? -w->error : 0;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void encode_head(const struct block_head *h, uint8_t out[BLOCK_HEAD_BYTES])
{
    memset(out, 0, BLOCK_HEAD_BYTES);
    le_store(out, 4, BLOCK_MAGIC);
    le_store(out + 4, 2, h->type);
    le_store(out + 8, 4, h->stored_bytes);
    le_store(out + 12, 4, h->raw_bytes);
    le_store(out + 16, 4, h->records);
    le_store(out + 24, 8, h->first_ns);
    le_store(out + 32, 8, h->last_ns);
    le_store(out + 40, 8, h->dropped);
    le_store(out + 52, 4, trace_crc(out, 52));
}

static void note_index(struct trace_writer *w, const struct block_head *h)
{
    uint8_t entry[INDEX_ENTRY_BYTES];

    le_store(entry, 8, w->offset);
    le_store(entry + 8, 8, h->first_ns);
    le_store(entry + 16, 8, h->last_ns);
    le_store(entry + 24, 8, h->dropped);
    le_store(entry + 32, 4, h->records);
    le_store(entry + 36, 4, h->type);
    buf_add(&w->index, entry, sizeof entry);
}

/* Head and compressed bytes in one write, so that a kill leaves a whole block or none. */
static int put_block(struct trace_writer *w, struct block_head *h, const void *raw, size_t len)
{
    size_t need = BLOCK_HEAD_BYTES + ZSTD_compressBound(len), n;

    if (w->error)
        return -w->error;
    if (need > w->stored_cap) {
        w->stored = xrealloc(w->stored, need, 1);
        w->stored_cap = need;
    }
    n = ZSTD_compress2(w->zstd, w->stored + BLOCK_HEAD_BYTES, w->stored_cap - BLOCK_HEAD_BYTES, raw,
                       len);
    if (ZSTD_isError(n)) {
        w->error = EIO;
        return -EIO;
    }
    h->raw_bytes = (uint32_t)len;
    h->stored_bytes = (uint32_t)n;
    h->dropped = w->dropped;
    encode_head(h, w->stored);
    if (h->type != TRACE_INDEX)
        note_index(w, h);
    return write_all(w, w->stored, BLOCK_HEAD_BYTES + n);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int write_head(struct trace_writer *w, unsigned cpus)
{
    uint8_t head[TRACE_HEAD_BYTES] = {0};
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    memcpy(head, TRACE_MAGIC, 8);
    le_store(head + 8, 4, TRACE_VERSION);
    le_store(head + 12, 4, TRACE_HEAD_BYTES);
    le_store(head + 16, 4, sizeof(struct exit_event));
    le_store(head + 20, 4, EXIT_RECORD_VERSION);
    le_store(head + 24, 8, clock_ns());
    le_store(head + 32, 8, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    le_store(head + 40, 4, cpus);
    le_store(head + 60, 4, trace_crc(head, 60));
    return write_all(w, head, sizeof head);
}

/* Opens for writing, but never over a file that is something else: `trace on kernel.elf` must not
 * cost a kernel. */
static int open_output(const char *path, struct err *e)
{
    char name[160], magic[8];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    struct stat st;
    ssize_t n;

    esc_cut(name, sizeof name, path, strlen(path));
    if (fd < 0)
        return err_set(e, errno, "cannot write the trace file %s: %s", name, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(e, EINVAL, "%s is not a regular file: a trace needs one to write to", name);
    }
    n = pread(fd, magic, sizeof magic, 0);
    if (st.st_size && (n != sizeof magic || memcmp(magic, TRACE_MAGIC, sizeof magic))) {
        close(fd);
        return err_set(e, EEXIST,
                       "%s exists and is no trace file; it is left alone: choose another name or "
                       "remove it first",
                       name);
    }
    if (ftruncate(fd, 0) < 0) {
        int code = errno;

        close(fd);
        return err_set(e, code, "cannot empty the trace file %s: %s", name, strerror(code));
    }
    return fd;
}

static void writer_free(struct trace_writer *w)
{
    ZSTD_freeCCtx(w->zstd);
    buf_fini(&w->index);
    free(w->raw);
    free(w->stored);
    free(w->path);
    free(w);
}

int trace_create(struct trace_writer **out, const char *path, unsigned cpus, const char *meta,
                 const struct trace_names *names, struct err *e)
{
    int fd = open_output(path, e);
    struct trace_writer *w;
    struct buf text = {0};

    *out = NULL;
    if (fd < 0)
        return fd;
    w = xcalloc(1, sizeof *w);
    w->fd = fd;
    w->path = xstrdup(path);
    w->raw = xmalloc(TRACE_BLOCK_RECORDS * PACK_BYTES_MAX);
    w->zstd = ZSTD_createCCtx();
    BUG_ON(!w->zstd);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
    write_head(w, cpus);
    trace_put_text(w, TRACE_META, meta, strlen(meta), clock_ns());
    names_save(names, &text);
    trace_put_text(w, TRACE_NAMES, buf_str(&text), text.len, clock_ns());
    buf_fini(&text);
    if (w->error) {
        int code = w->error;

        close(fd);
        writer_free(w);
        return err_set(e, code, "cannot write the trace file: %s", strerror(code));
    }
    *out = w;
    return 0;
}

/* ---- records --------------------------------------------------------------------------------- */

int trace_flush(struct trace_writer *w)
{
    if (w->head.records) {
        uint32_t records = w->head.records;

        w->head.type = TRACE_RECORDS;
        if (put_block(w, &w->head, w->raw, w->raw_len) < 0)
            w->lost += records;
        else
            w->records += records;
        w->head = (struct block_head){0};
        w->raw_len = 0;
        memset(&w->pack, 0, sizeof w->pack);
    }
    return w->error ? -w->error : 0;
}

void trace_put(struct trace_writer *w, const struct exit_event *ev)
{
    struct block_head *h = &w->head;

    if (w->error) {
        w->lost++;
        return;
    }
    if (!h->records || ev->at_ns < h->first_ns)
        h->first_ns = ev->at_ns;
    if (ev->at_ns > h->last_ns)
        h->last_ns = ev->at_ns;
    w->raw_len += pack_put(&w->pack, ev, w->raw + w->raw_len);
    if (++h->records == TRACE_BLOCK_RECORDS)
        trace_flush(w);
}

void trace_put_text(struct trace_writer *w, enum trace_block type, const char *text, size_t len,
                    uint64_t at_ns)
{
    struct block_head h = {.type = (uint16_t)type, .first_ns = at_ns, .last_ns = at_ns};

    if (len && len < TEXT_RAW_MAX)
        put_block(w, &h, text, len);
}

void trace_put_dropped(struct trace_writer *w, uint64_t dropped)
{
    w->dropped = dropped;
}

int trace_finish(struct trace_writer *w, struct err *e)
{
    struct block_head h = {.type = TRACE_INDEX};
    uint8_t end[TRACE_END_BYTES] = {0};
    uint64_t at;
    int code;

    trace_flush(w);
    at = w->offset;
    put_block(w, &h, w->index.data, w->index.len);
    memcpy(end, TRACE_END_MAGIC, 8);
    le_store(end + 8, 8, at);
    le_store(end + 20, 4, trace_crc(end, 20));
    write_all(w, end, sizeof end);
    if (close(w->fd) < 0 && !w->error)
        w->error = errno;
    code = w->error;
    if (code)
        err_set(e, code,
                "the trace file could not be written to its end (%s): %llu records are in it, "
                "%llu are lost",
                strerror(code), (unsigned long long)w->records, (unsigned long long)w->lost);
    writer_free(w);
    return -code;
}

uint64_t trace_put_records(const struct trace_writer *w)
{
    return w->records + w->head.records;
}

uint64_t trace_put_bytes(const struct trace_writer *w)
{
    return w->offset;
}

uint64_t trace_put_lost(const struct trace_writer *w)
{
    return w->lost;
}

const char *trace_put_path(const struct trace_writer *w)
{
    return w->path;
}
