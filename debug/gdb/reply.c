/*
 * Building replies. Main thread.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "debug/gdb/stub.h"

void reply_ok(struct gdb *g)
{
    reply_str(g, "OK");
}

void reply_str(struct gdb *g, const char *s)
{
    buf_adds(&g->reply, s);
}

void reply_fmt(struct gdb *g, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&g->reply, fmt, ap);
    va_end(ap);
}

void reply_errno(struct gdb *g, int code)
{
    buf_clear(&g->reply);
    reply_fmt(g, "E%02x", (code < 0 ? -code : code) & 0xff);
}

/* gdb takes "E.text"; lldb "E01;hex", once it has asked for texts. */
void reply_error(struct gdb *g, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    buf_clear(&g->reply);
    if (!g->client.lldb) {
        reply_fmt(g, "E.%s", buf_str(&text));
    } else {
        reply_str(g, "E01");
        if (g->client.error_strings) {
            reply_str(g, ";");
            hex_add(&g->reply, text.data, text.len);
        }
    }
    buf_fini(&text);
}

void gdb_console(struct gdb *g, const char *text, size_t len)
{
    while (len) {
        size_t n = len < PACKET_MAX / 4 ? len : PACKET_MAX / 4;
        struct buf b = {0};

        buf_addc(&b, 'O');
        hex_add(&b, text, n);
        gdb_send(g, b.data, b.len);
        buf_fini(&b);
        text += n;
        len -= n;
    }
}

void reply_xfer(struct gdb *g, const struct buf *text, const char *p, const char *end)
{
    uint64_t off, len;

    if (!hex_u64(&p, end, &off) || p == end || *p++ != ',' || !hex_u64(&p, end, &len) || p != end) {
        reply_errno(g, 0x16);
        return;
    }
    if (off > text->len)
        off = text->len;
    if (len > text->len - off)
        len = text->len - off;
    if (len > PACKET_MAX / 2)
        len = PACKET_MAX / 2;
    buf_addc(&g->reply, off + len < text->len ? 'm' : 'l');
    buf_add(&g->reply, buf_str(text) + off, len);
}

static bool one_number(const char **p, const char *end, int64_t *out)
{
    uint64_t v;

    if (end - *p >= 2 && (*p)[0] == '-' && (*p)[1] == '1') {
        *p += 2;
        *out = -1;
        return true;
    }
    if (!hex_u64(p, end, &v) || v > INT32_MAX)
        return false;
    *out = (int64_t)v;
    return true;
}

/* Threads are vCPU numbers plus one; 0 means any, -1 all. A process id is accepted and ignored. */
bool thread_id(struct gdb *g, const char **p, const char *end, int *vcpu)
{
    int64_t id;

    if (*p < end && **p == 'p') {
        ++*p;
        if (!one_number(p, end, &id))
            return false;
        if (*p < end && **p == '.') {
            ++*p;
            if (!one_number(p, end, &id))
                return false;
        } else {
            id = -1;
        }
    } else if (!one_number(p, end, &id)) {
        return false;
    }
    if (id == 0)
        id = session_focus(g->s) + 1;
    if (id > session_cpus(g->s))
        return false;
    *vcpu = id < 0 ? -1 : (int)id - 1;
    return true;
}
