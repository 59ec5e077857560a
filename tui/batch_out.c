/*
 * What `vmscope run` prints: console, answers, sentences; as text or as JSON lines. Main thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tui/batch_int.h"
#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

void batch_out_line(struct batch *b, const struct buf *text)
{
    sink_text(&b->out, buf_str(text), text->len, b->deadline_ns);
}

/* On the same terminal a sentence of ours starts a line of its own. */
void batch_say(struct batch *b, const char *text, size_t len)
{
    struct buf safe = {0};

    if (b->out.escape && b->err.escape && b->out.mid_line) {
        b->err.mid_line = true;
        b->out.mid_line = false;
    }
    esc_console(&safe, text, len); /* names of files may hold anything */
    sink_text(&b->err, buf_str(&safe), safe.len, b->deadline_ns);
    buf_fini(&safe);
}

/* Many guests write each byte to COM1 and to the debug console: on one terminal the latter waits
 * for the end of its line, or the two would come out letter by letter. No bytes: all that waits. */
void batch_debug_lines(struct batch *b, const void *bytes, size_t len)
{
    const char *nl;
    size_t n;

    buf_add(&b->debug_line, bytes, len);
    nl = memrchr(buf_str(&b->debug_line), '\n', b->debug_line.len);
    n = nl ? (size_t)(nl - b->debug_line.data) + 1 : 0;
    if (!len || b->debug_line.len - n > 4096)
        n = b->debug_line.len;
    if (n)
        batch_say(b, buf_str(&b->debug_line), n);
    buf_eat(&b->debug_line, n);
}

static void json_console(struct batch *b, enum console_chan chan, const void *bytes, size_t len)
{
    static const char *const names[CONSOLE_CHANS] = {"com1", "com2", "debug"};
    struct buf j = {0};

    buf_addf(&j, "{\"console\":\"%s\",\"text\":", names[chan]);
    esc_json(&j, bytes, len);
    buf_adds(&j, "}\n");
    batch_out_line(b, &j);
    buf_fini(&j);
}

void batch_out_console(struct batch *b, const struct console_text *t)
{
    struct sink *to = t->chan == CONSOLE_COM1    ? b->com1
                      : t->chan == CONSOLE_DEBUG ? b->debugcon
                                                 : NULL;

    if (!to)
        return;
    if (b->o->json && to == &b->out)
        json_console(b, t->chan, t->bytes, t->len);
    else if (to == &b->err && b->err.escape && b->out.escape && b->com1 == &b->out)
        batch_debug_lines(b, t->bytes, t->len);
    else
        sink_guest(to, t->bytes, t->len, b->deadline_ns);
}

/* A person is told at once; a script asks by `storm`. */
void batch_out_storm(struct batch *b, const char *text)
{
    struct buf line = {0};

    if (!b->interactive || b->o->json)
        return;
    buf_addf(&line, "vmscope: exit storm: %s\n", text);
    batch_say(b, buf_str(&line), line.len);
    buf_fini(&line);
}

/* What a point logged: a line among the guest's text. */
void batch_out_log(struct batch *b, const struct log_line *l)
{
    struct buf line = {0};

    if (l->point_id < 0 && b->o->json) {
        buf_adds(&line, "{\"note\":");
        esc_json(&line, l->text, strlen(l->text));
        buf_adds(&line, "}\n");
    } else if (l->point_id < 0) {
        buf_addf(&line, "vmscope: %s\n", l->text);
        batch_say(b, buf_str(&line), line.len);
        buf_fini(&line);
        return;
    } else if (b->o->json) {
        buf_addf(&line, "{\"log\":{\"point\":%d,\"vcpu\":%u,\"text\":", l->point_id, l->vcpu);
        esc_json(&line, l->text, strlen(l->text));
        buf_adds(&line, "}}\n");
    } else {
        buf_addf(&line, "%s\n", l->text);
    }
    batch_out_line(b, &line);
    buf_fini(&line);
}

/* An answer: text to standard output, the sentence of an error to standard error; or a JSON line.
 */
void batch_out_answer(struct batch *b, const char *key, const char *line, const struct out *o)
{
    struct buf j = {0};
    size_t good = o->failed ? o->error_at : o->text.len;

    if (b->o->json) {
        buf_addf(&j, "{\"%s\":", key);
        if (line) {
            esc_json(&j, line, strlen(line));
            buf_adds(&j, ",\"answer\":");
        }
        buf_adds(&j, buf_str(&o->json));
        buf_adds(&j, "}\n");
        batch_out_line(b, &j);
        buf_fini(&j);
        if (!o->failed)
            return;
        good = o->error_at;
    } else {
        sink_text(&b->out, buf_str(&o->text), good, b->deadline_ns);
    }
    if (o->failed)
        batch_say(b, buf_str(&o->text) + good, o->text.len - good);
}

/* What scripts print goes where the guest's text goes. */
void batch_out_script(void *arg, const char *text, size_t len)
{
    struct batch *b = arg;
    struct buf j = {0};

    if (!b->o->json) {
        sink_text(&b->out, text, len, b->deadline_ns);
        return;
    }
    buf_adds(&j, "{\"script\":");
    esc_json(&j, text, len);
    buf_adds(&j, "}\n");
    batch_out_line(b, &j);
    buf_fini(&j);
}
