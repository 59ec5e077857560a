/*
 * Memory to and from files, and searching it: dump, restore, find. Main thread.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug/commands/commands.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

#define CHUNK     65536u
#define FILE_MAX_ (16ull << 30)

/* An address with an optional "phys:" in front. */
static int address(struct cmd_client *c, const char *text, struct location *at, struct err *e)
{
    *at = (struct location){.space = SPACE_LINEAR};
    if (!strncmp(text, "phys:", 5)) {
        at->space = SPACE_PHYS;
        text += 5;
    }
    return cmd_eval(c, text, &at->addr, e);
}

static int unreadable(struct out *o, enum space sp, uint64_t addr)
{
    out_error(o, "Cannot access %smemory at address 0x%" PRIx64 ": no RAM is there",
              sp == SPACE_PHYS ? "physical " : "", addr);
    return -EFAULT;
}

static bool write_all(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static int dump_to(struct cmd_client *c, const char *path, struct location at, uint64_t len,
                   struct out *o)
{
    uint8_t *chunk = xmalloc(CHUNK);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), r = 0;

    if (fd < 0) {
        r = -errno;
        out_error(o, "cannot write %s: %s", path, strerror(-r));
    }
    for (uint64_t done = 0; !r && done < len;) {
        size_t want = len - done < CHUNK ? (size_t)(len - done) : CHUNK;
        int64_t n =
            session_mem_read(c->s, session_focus(c->s), at.space, at.addr + done, chunk, want);

        if (n > 0 && !write_all(fd, chunk, (size_t)n)) {
            r = -errno;
            out_error(o, "cannot write %s: %s", path, strerror(-r));
        } else if (n < (int64_t)want) {
            r = unreadable(o, at.space, at.addr + done + (uint64_t)(n > 0 ? n : 0));
        }
        done += want;
    }
    if (fd >= 0 && close(fd) && !r) {
        r = -errno;
        out_error(o, "cannot write %s: %s", path, strerror(-r));
    }
    free(chunk);
    return r;
}

int cmd_dump_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct location start, end;
    struct err e = {0};
    char path[1024], word[256];

    cmd_keyword(&args, "binary");
    if (!cmd_keyword(&args, "memory") || !cmd_word(&args, path, sizeof path) ||
        !cmd_word(&args, word, sizeof word) || !*args) {
        out_error(o, "the form is `dump binary memory FILE START END`; END is the first address "
                     "not written, or +LENGTH");
        return -EINVAL;
    }
    if (address(c, word, &start, &e))
        return cmd_fail(o, &e);
    end = start;
    if (*args == '+' ? cmd_eval(c, args + 1, &end.addr, &e) : address(c, args, &end, &e))
        return cmd_fail(o, &e);
    if (*args == '+')
        end.addr += start.addr;
    if (end.addr <= start.addr || end.addr - start.addr > FILE_MAX_) {
        out_error(o,
                  "the end 0x%" PRIx64 " is not behind the start 0x%" PRIx64
                  " (or more than 16 GiB behind it)",
                  end.addr, start.addr);
        return -EINVAL;
    }
    if (dump_to(c, path, start, end.addr - start.addr, o))
        return -EIO;
    out_text(o, "%" PRIu64 " bytes written to %s.", end.addr - start.addr, path);
    out_json_str(o, "file", path);
    out_json_u64(o, "bytes", end.addr - start.addr);
    return 0;
}

static int restore_from(struct cmd_client *c, const char *path, struct location at, uint64_t *done,
                        struct out *o)
{
    uint8_t *chunk = xmalloc(CHUNK);
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) {
        r = -errno;
        out_error(o, "cannot read %s: %s", path, strerror(-r));
    } else if (!S_ISREG(st.st_mode)) {
        r = -EINVAL;
        out_error(o, "%s is no regular file", path);
    }
    for (*done = 0; !r;) {
        ssize_t n = read(fd, chunk, CHUNK);
        int64_t w;

        if (n < 0) {
            r = -errno;
            out_error(o, "cannot read %s: %s", path, strerror(-r));
        }
        if (n <= 0)
            break;
        w = session_mem_write(c->s, session_focus(c->s), at.space, at.addr + *done, chunk,
                              (size_t)n);
        *done += (uint64_t)(w > 0 ? w : 0);
        if (w < n)
            r = unreadable(o, at.space, at.addr + *done);
    }
    if (fd >= 0)
        close(fd);
    free(chunk);
    return r;
}

int cmd_restore_run(struct cmd_client *c, const char *args, struct out *o)
{
    struct location at;
    struct err e = {0};
    char path[1024];
    uint64_t n;
    int r;

    if (!cmd_word(&args, path, sizeof path) || !cmd_keyword(&args, "binary") || !*args) {
        out_error(o, "the form is `restore FILE binary ADDRESS`");
        return -EINVAL;
    }
    if (address(c, args, &at, &e))
        return cmd_fail(o, &e);
    r = restore_from(c, path, at, &n, o);
    if (r)
        return r;
    out_text(o, "Restored %" PRIu64 " bytes of %s to 0x%" PRIx64 ".", n, path, at.addr);
    out_json_u64(o, "bytes", n);
    return 0;
}

/* ---- find --------------------------------------------------------------------------------------
 */

struct search {
    struct location at;
    uint64_t len;
    unsigned unit, max;
    struct buf pattern;
};

/* One value of the list: a quoted text, or an expression of `unit` bytes (by its size when the
 * unit is not given, as in gdb: here 1, 2, 4 or 8 by the value). */
static int add_value(struct cmd_client *c, const char *text, struct search *s, struct err *e)
{
    uint8_t bytes[8];
    unsigned size = s->unit;
    uint64_t v;
    int r;

    if (*text == '"')
        return cmd_text(text, &s->pattern, e);
    r = cmd_eval(c, text, &v, e);
    if (r)
        return r;
    if (!size)
        size = v >> 32 ? 8 : v >> 16 ? 4 : v >> 8 ? 2 : 1;
    le_store(bytes, 8, v);
    buf_add(&s->pattern, bytes, size);
    return 0;
}

static int find_args(struct cmd_client *c, const char *args, struct search *s, struct err *e)
{
    struct format f;
    int r = format_parse(&args, &f, e);

    *s = (struct search){.unit = f.size, .max = f.count};
    for (unsigned i = 0; !r && (*args || i < 3); i++) {
        const char *comma = cmd_scan(args, ',');
        char *part = cmd_trim_dup(args, (size_t)(comma - args));

        if (!*part)
            r = err_set(e, EINVAL,
                        "the form is `find START, +LENGTH, VALUE…` or `find START, END, "
                        "VALUE…`");
        else if (i == 0)
            r = address(c, part, &s->at, e);
        else if (i == 1)
            r = cmd_eval(c, *part == '+' ? part + 1 : part, &s->len, e);
        else
            r = add_value(c, part, s, e);
        if (!r && i == 1 && *part != '+') {
            if (s->len < s->at.addr)
                r = err_set(e, EINVAL, "the range ends before it starts");
            s->len = s->len - s->at.addr + 1; /* gdb: END is the last byte */
        }
        free(part);
        args = *comma ? comma + 1 : comma;
    }
    if (!r && s->pattern.len > 4096)
        r = err_set(e, EINVAL, "the pattern has more than 4096 bytes");
    return r;
}

static unsigned report(struct cmd_client *c, uint64_t addr, struct out *o)
{
    char name[200];

    out_row(o);
    out_cell_hex(o, addr);
    cmd_symbol(c, addr, name, sizeof name);
    out_cell(o, "%s", name);
    out_text(o, "0x%" PRIx64 "%s", addr, name);
    return 1;
}

/* Searches chunk by chunk, each overlapping the next by the pattern's length. Pages that are not
 * there are passed over. */
static unsigned search(struct cmd_client *c, const struct search *s, uint64_t *last, struct out *o)
{
    size_t n = s->pattern.len, keep = n - 1;
    uint8_t *chunk = xmalloc(CHUNK + keep);
    uint64_t done = 0;
    unsigned found = 0;

    while (done < s->len && (!s->max || found < s->max)) {
        uint64_t here = s->at.addr + done, left = s->len - done;
        size_t want = left < CHUNK + keep ? (size_t)left : CHUNK + keep;
        int64_t got = session_mem_read(c->s, session_focus(c->s), s->at.space, here, chunk, want);
        const uint8_t *p = chunk, *hit;

        while (got >= (int64_t)n && (!s->max || found < s->max) &&
               (hit = memmem(p, (size_t)(chunk + got - p), s->pattern.data, n))) {
            *last = here + (uint64_t)(hit - chunk);
            found += report(c, *last, o);
            p = hit + 1;
        }
        if (got == (int64_t)want)
            done += want > keep && left > want ? want - keep : left;
        else /* to the next page, for something is missing here */
            done = ((here + (uint64_t)(got > 0 ? got : 0)) | (PAGE_BYTES - 1)) + 1 - s->at.addr;
    }
    free(chunk);
    return found;
}

int cmd_find_run(struct cmd_client *c, const char *args, struct out *o)
{
    static const char *const columns[] = {"address", "symbol", NULL};
    struct search s;
    struct err e = {0};
    uint64_t last = 0;
    unsigned n;

    if (find_args(c, args, &s, &e)) {
        buf_fini(&s.pattern);
        return cmd_fail(o, &e);
    }
    if (s.len > 1ull << 34) {
        buf_fini(&s.pattern);
        out_error(o, "`find` searches at most 16 GiB at once");
        return -EINVAL;
    }
    out_records(o, "found", columns);
    n = search(c, &s, &last, o);
    out_table_end(o);
    if (n) {
        cmd_var_set(c, "_", last);
        out_text(o, "%u pattern%s found.", n, n == 1 ? "" : "s");
    } else {
        out_text(o, "Pattern not found.");
    }
    cmd_var_set(c, "numfound", n);
    buf_fini(&s.pattern);
    return 0;
}
