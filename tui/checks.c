/*
 * Watches the console and the exits of a run against what was asked. Main thread, but for the
 * count of exits.
 */
#include "tui/checks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/cmd.h"
#include "debug/session.h"
#include "debug/trace/report.h"
#include "tui/batch.h"
#include "tui/checks_int.h"
#include "vmm/base/clock.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

#define LINE_KEEP    65536u
#define CONSOLE_KEEP (8u << 20)

static bool has_checks(const struct opts *o)
{
    return o->expects || o->fails || o->max_exits || o->conditions;
}

/* ---- watching ------------------------------------------------------------------------------- */

static void look(struct pattern *list, unsigned n, const char *line)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].seen || regexec(&list[i].re, line, 0, NULL, 0))
            continue;
        list[i].seen = true;
        list[i].line = xstrdup(line);
    }
}

/* What stands behind a --send that was not sent yet is not looked for yet. */
static unsigned reached(const struct checks *k)
{
    return k->sent < k->o->sends ? k->o->send[k->sent].after : k->o->expects;
}

/* `line` as text: a NUL of the guest's would end it. */
static void look_at(struct checks *k, struct buf *line)
{
    for (size_t i = 0; i < line->len; i++)
        if (!line->data[i])
            line->data[i] = ' ';
    look(k->expect, reached(k), buf_str(line));
    look(k->fail, k->o->fails, buf_str(line));
    for (unsigned i = 0; i < k->o->fails; i++)
        k->failed |= k->fail[i].seen;
}

/* Lines are looked at when they end and, since a prompt does not end, whenever output pauses. */
static void on_console(struct checks *k, const struct console_text *t)
{
    struct buf *line = &k->line[t->chan];
    const char *p = t->bytes;

    if (k->console.len < CONSOLE_KEEP)
        buf_add(&k->console, t->bytes, t->len);
    for (size_t i = 0; i < t->len; i++) {
        if (p[i] == '\n') {
            if (line->len && line->data[line->len - 1] == '\r')
                line->data[--line->len] = 0;
            look_at(k, line);
            buf_clear(line);
        } else if (line->len < LINE_KEEP) {
            buf_addc(line, p[i]);
        }
    }
    look_at(k, line);
}

static bool all_seen(const struct checks *k, unsigned expects)
{
    for (unsigned i = 0; i < expects; i++)
        if (!k->expect[i].seen)
            return false;
    return true;
}

bool checks_send(struct checks *k, struct buf *to)
{
    struct err e = {0};

    if (!k || k->sent == k->o->sends || !all_seen(k, k->o->send[k->sent].after))
        return false;
    BUG_ON(cmd_text(k->o->send[k->sent].text, to, &e) < 0); /* opts.c tried it */
    k->sent++;
    /* What comes next is looked for in what is printed from now on. */
    for (int i = 0; i < CONSOLE_CHANS; i++)
        buf_clear(&k->line[i]);
    return true;
}

/* With a --send behind the last --expect the guest's own end is waited for. */
static bool told_all(const struct checks *k)
{
    const struct opts *o = k->o;

    return o->expects && all_seen(k, o->expects) && k->sent == o->sends &&
           (!o->sends || o->send[o->sends - 1].after < o->expects);
}

static void on_event(void *arg, unsigned event, const void *data)
{
    struct checks *k = arg;

    if (event != EV_CONSOLE)
        return;
    on_console(k, data);
    if (checks_over(k))
        session_stop(k->s);
}

static enum hook_answer on_exit_counted(void *arg, struct hook_call *c)
{
    struct checks *k = arg;

    (void)c;
    if (atomic_fetch_add(&k->exits, 1) + 1 < k->o->max_exits)
        return HOOK_GO;
    atomic_store(&k->too_many, true);
    return HOOK_STOP;
}

bool checks_over(const struct checks *k)
{
    if (!k)
        return false;
    return k->failed || atomic_load(&k->too_many) || told_all(k);
}

static struct pattern *compile(const char **list, unsigned n)
{
    struct pattern *p = xcalloc(n ? n : 1, sizeof *p);

    for (unsigned i = 0; i < n; i++) {
        p[i].text = list[i];
        BUG_ON(regcomp(&p[i].re, list[i], REG_EXTENDED | REG_NOSUB)); /* opts.c tried it */
    }
    return p;
}

/* An expression that cannot be understood is told before the guest has run for it. */
static int try_conditions(struct session *s, const struct opts *o, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r >= 0 && i < o->conditions; i++)
        r = check_session(s, o->condition[i], NULL, e);
    return r < 0 ? r : 0;
}

int checks_new(struct checks **out, struct session *s, const struct opts *o, struct err *e)
{
    struct checks *k;
    int r = try_conditions(s, o, e);

    *out = NULL;
    if (!r)
        r = checks_try_files(o, e);
    if (r < 0 || (!has_checks(o) && !o->sends && !o->junit && !o->json_file))
        return r;
    *out = k = xcalloc(1, sizeof *k);
    k->s = s;
    k->o = o;
    k->start_ns = clock_ns();
    k->expect = compile(o->expect, o->expects);
    k->fail = compile(o->fail, o->fails);
    k->condition = xcalloc(o->conditions ? o->conditions : 1, sizeof *k->condition);
    k->subscription = session_subscribe(s, EV_CONSOLE, on_event, k);
    if (o->max_exits) {
        struct hook_spec spec = {.reason = -1, .vcpu = -1, .fn = on_exit_counted, .arg = k};

        k->hook = session_hook_add(s, &spec, NULL);
    }
    return 0;
}

static void free_patterns(struct pattern *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        regfree(&p[i].re);
        free(p[i].line);
    }
    free(p);
}

void checks_free(struct checks *k)
{
    if (!k)
        return;
    session_unsubscribe(k->s, k->subscription);
    if (k->hook > 0)
        session_hook_del(k->s, k->hook);
    free_patterns(k->expect, k->o->expects);
    free_patterns(k->fail, k->o->fails);
    for (unsigned i = 0; i < k->o->conditions; i++)
        free(k->condition[i].told);
    free(k->condition);
    for (int i = 0; i < CONSOLE_CHANS; i++)
        buf_fini(&k->line[i]);
    buf_fini(&k->console);
    free(k->kept);
    free(k);
}

/* ---- the verdict ---------------------------------------------------------------------------- */

/* Evaluates every --check of a guest that stands; false, with a sentence, for the first that does
 * not hold. */
static bool conditions_hold(const struct checks *k, struct buf *why)
{
    bool all = true;

    for (unsigned i = 0; i < k->o->conditions; i++) {
        struct condition *c = &k->condition[i];
        struct buf told = {0};
        struct err e = {0};
        int r = check_session(k->s, k->o->condition[i], &told, &e);

        c->is = r > 0 ? CONDITION_HOLDS : CONDITION_FAILS;
        if (r < 0)
            buf_adds(&told, e.msg);
        c->told = buf_take(&told);
        if (r > 0 || !all)
            continue;
        all = false;
        buf_clear(why);
        if (r < 0)
            buf_adds(why, c->told);
        else if (strcmp(c->told, k->o->condition[i]))
            buf_addf(why, "--check '%s' does not hold: it came to %s", k->o->condition[i], c->told);
        else
            buf_addf(why, "--check '%s' does not hold", k->o->condition[i]);
    }
    return all;
}

/* Why the checks fail; false when they do not. */
static bool fails(const struct checks *k, int status, bool aborted, struct buf *why)
{
    for (unsigned i = 0; i < k->o->fails; i++) {
        char line[200];

        if (!k->fail[i].seen)
            continue;
        buf_clear(why);
        esc_cut(line, sizeof line, k->fail[i].line, strlen(k->fail[i].line));
        buf_addf(why, "the guest printed \"%s\", which matches --fail '%s'", line, k->o->fail[i]);
        return true;
    }
    if (atomic_load(&k->too_many)) {
        buf_clear(why);
        buf_addf(why, "the guest made %" PRIu64 " exits, as many as --max-exits allows",
                 k->o->max_exits);
        return true;
    }
    for (unsigned i = 0; i < k->o->expects; i++) {
        struct buf end = {0};

        if (k->expect[i].seen)
            continue;
        buf_add(&end, why->data, why->len);
        buf_clear(why);
        buf_addf(why, "the guest did not print what --expect '%s' asks for: %s", k->o->expect[i],
                 buf_str(&end));
        buf_fini(&end);
        return true;
    }
    if (aborted || !conditions_hold(k, why))
        return true;
    return !k->o->expects && (status == STATUS_TRIPLE_FAULT || status == STATUS_INTERNAL);
}

int checks_verdict(struct checks *k, int status, bool aborted, struct buf *why, struct buf *told,
                   struct cmd_client *c)
{
    struct buf rerun = {0};

    if (!k)
        return status;
    if (has_checks(k->o)) {
        bool bad = fails(k, status, aborted, why);

        if (!bad && (k->o->expects || k->o->conditions)) {
            buf_clear(why);
            buf_addf(why, "%s%s%s", k->o->expects ? "the guest printed all that was expected" : "",
                     k->o->expects && k->o->conditions ? ", and " : "",
                     k->o->conditions ? "every --check holds" : "");
        }
        status = bad ? STATUS_COMMAND : STATUS_OK;
    }
    if (status && (has_checks(k->o) || k->o->keep)) {
        checks_keep(k, c, buf_str(why));
        checks_add_rerun(&rerun, k->o);
        if (k->kept)
            buf_addf(told, "vmscope: console, registers, exits and screen are in %s\n", k->kept);
        buf_addf(told, "vmscope: again: %s\n", buf_str(&rerun));
        buf_fini(&rerun);
    }
    if (!checks_write(k, status, buf_str(why)) && !status)
        status = STATUS_USAGE; /* who asked for the file would take silence for success */
    return status;
}
