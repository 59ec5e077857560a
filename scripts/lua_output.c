/*
 * What scripts print, and the errors that nobody catches: kept until the main thread hands it to a
 * command or to the front end. Any thread that holds the lock.
 */
#include <string.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

static void give_lines(struct out *o, const char *text, size_t len)
{
    while (len) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) : len;

        out_line(o, "%.*s", (int)n, text);
        text += n + (end != NULL);
        len -= n + (end != NULL);
    }
}

void host_flush(struct scripts *h)
{
    struct buf text = h->output;
    uint64_t lost = h->output_lost;
    struct out *o = h->out;

    h->output = (struct buf){0};
    h->output_lost = 0;
    if (lost)
        buf_addf(&text, "(%llu bytes that scripts printed were too fast and are lost)\n",
                 (unsigned long long)lost);
    if (!text.len) {
        buf_fini(&text);
        return;
    }
    host_release(h);
    if (o)
        give_lines(o, text.data, text.len);
    else if (h->cfg.print)
        h->cfg.print(h->cfg.arg, text.data, text.len);
    else
        log_info("script: %s", text.data);
    host_retake(h);
    buf_fini(&text);
}

void host_print(struct scripts *h, const char *text, size_t len)
{
    if (h->output.len + len > OUTPUT_MAX)
        h->output_lost += len;
    else
        buf_add(&h->output, text, len);
    if (h->inside && h->inside->is_main)
        host_flush(h);
    else
        host_ring(h);
}

void host_printf(struct scripts *h, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    host_print(h, buf_str(&b), b.len);
    buf_fini(&b);
}

void host_fail(struct scripts *h, const char *why)
{
    if (!h->failed)
        h->failed = xstrdup(why);
    if (!h->quiet) /* else it is told as the answer to who runs it */
        host_printf(h, "script error: %s\n", why);
}

void host_quiet(struct scripts *h, struct quiet *q)
{
    *q = (struct quiet){.failed = h->failed, .quiet = h->quiet};
    h->failed = NULL;
    h->quiet = true;
}

char *host_loud(struct scripts *h, struct quiet *q)
{
    char *why = h->failed;

    h->failed = q->failed;
    h->quiet = q->quiet;
    return why;
}
