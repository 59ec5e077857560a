/*
 * Points of a session, and what they say and ask for when they are hit. Main thread, except on_log.
 */
#include "debug/session_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/points/await.h"
#include "debug/points/points.h"
#include "debug/symbols/sym.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

/* Lines that were not taken yet; past this the guest outruns whoever reads them, and the rest is
 * dropped and counted. */
#define LOGS_MAX (4u << 20)

/* Points change only while everything is parked: a running machine is held for the moment. */
static bool hold(struct session *s)
{
    if (s->state != SS_RUNNING)
        return false;
    vm_park(s->vm);
    return true;
}

static void unhold(struct session *s, bool held)
{
    /* A vCPU that stopped for its own reason meanwhile keeps its report: then all stay parked and
     * the next dispatch publishes it. */
    bool reported = false;

    for (unsigned i = 0; i < s->vm->cpus; i++)
        reported |= s->engine.report[i].present && (s->run_mask >> i & 1);
    if (held && !reported && !s->user_stop)
        vm_run(s->vm, s->run_mask);
    session_publish(s, EV_POINTS, NULL);
}

int session_point_add(struct session *s, const struct point_spec *spec, struct err *e)
{
    struct expr_names names = session_names(s);
    bool held = hold(s);
    int id = points_add(&s->engine.points, spec, &names, e);

    unhold(s, held);
    return id;
}

/* Points do not change by this, so nobody is told. */
void session_point_coverage(struct session *s, int id, struct buf *out)
{
    const struct bp *b = points_get(&s->engine.points, id);
    bool held;

    if (!b || b->pub.spec.kind != POINT_WATCH || !b->pub.enabled)
        return;
    held = session_hold(s);
    watch_coverage(&s->engine.points.watches, b, out);
    if (held)
        session_unhold(s);
    if (b->watch.drs)
        buf_adds(out, ": in every address space");
    else if (b->pub.spec.space == SPACE_PHYS)
        buf_adds(out, "; wherever they are mapped");
    else if (await_has(&s->engine.points, b))
        buf_addf(out, "; %s; a new CR3 is looked for every %u ms",
                 b->pub.pending ? "noticed when a page table comes to map it"
                                : "followed when a page table maps it elsewhere",
                 SESSION_WATCH_NS / 1000000);
    else if (b->pub.pending)
        buf_addf(out, "; the address is looked up every %u ms", SESSION_WATCH_FAST_NS(s) / 1000000);
    else
        buf_addf(out, "; the address is looked up at each start and every %u ms",
                 SESSION_WATCH_NS / 1000000);
}

int session_point_del(struct session *s, int id)
{
    bool held = hold(s);
    int rc = points_del(&s->engine.points, id);

    unhold(s, held);
    return rc;
}

int session_point_enable(struct session *s, int id, bool on)
{
    bool held = hold(s);
    int rc = points_enable(&s->engine.points, id, on);

    unhold(s, held);
    return rc;
}

int session_point_condition(struct session *s, int id, const char *condition, struct err *e)
{
    struct expr_names names = session_names(s);
    bool held = hold(s);
    int rc = points_condition(&s->engine.points, id, condition, &names, e);

    unhold(s, held);
    return rc;
}

void session_allow_points(struct session *s, bool registers, bool bytes)
{
    bool held = hold(s);

    points_allow(&s->engine.points, registers, bytes);
    unhold(s, held);
}

bool session_registers_allowed(const struct session *s)
{
    return s->engine.points.dr_usable;
}

bool session_bytes_allowed(const struct session *s)
{
    return !s->engine.points.no_bytes;
}

int session_point_ignore(struct session *s, int id, uint64_t count)
{
    struct bp *b = points_get(&s->engine.points, id);

    if (!b)
        return -ENOENT;
    atomic_store(&b->ignore_left, count);
    b->pub.spec.ignore = count;
    session_publish(s, EV_POINTS, NULL);
    return 0;
}

static const struct point *public_of(const struct session *s, struct bp *b)
{
    if (!b)
        return NULL;
    b->pub.hits = atomic_load(&b->hits);
    b->pub.false_hits = atomic_load(&b->false_hits);
    b->pub.method = points_how(&s->engine.points, b);
    return &b->pub;
}

const struct point *session_point(const struct session *s, int id)
{
    return public_of(s, points_get(&s->engine.points, id));
}

const struct point *session_point_next(struct session *s, int id)
{
    struct bp *b = points_next(&s->engine.points, id);

    if (s->state != SS_RUNNING && s->engine.points.watches.guards_stale)
        points_guard(&s->engine.points); /* how points are placed, who lists them tells */
    while (b && b->pub.spec.hidden)
        b = points_next(&s->engine.points, b->pub.id);
    return public_of(s, b);
}

int session_point_commands(struct session *s, int id, const char *lines)
{
    struct bp *b = points_get(&s->engine.points, id);

    if (!b)
        return -ENOENT;
    free((char *)(uintptr_t)b->pub.commands);
    b->pub.commands = lines && *lines ? xstrdup(lines) : NULL;
    session_publish(s, EV_POINTS, NULL);
    return 0;
}

int session_point_dispose(struct session *s, int id, enum point_end end, uint64_t stops)
{
    struct bp *b = points_get(&s->engine.points, id);

    if (!b)
        return -ENOENT;
    b->pub.spec.temporary = end == POINT_DELETE;
    b->pub.disables = end == POINT_DISABLE;
    b->pub.stops_left = stops;
    session_publish(s, EV_POINTS, NULL);
    return 0;
}

void session_points_told(struct session *s, unsigned vcpu)
{
    buf_clear(&s->commands);
    s->silent = points_stopped(&s->engine.points, vcpu, &s->commands);
    points_drop_hidden(&s->engine.points);
}

bool session_has_commands(const struct session *s)
{
    return s->commands.len != 0;
}

char *session_take_commands(struct session *s, bool *silent)
{
    *silent = s->silent;
    s->silent = false;
    return s->commands.len ? buf_take(&s->commands) : NULL;
}

/* What a location of symbols means: FILE:LINE or an expression. */
static bool resolve(struct session *s, const char *text, uint64_t *addr)
{
    struct expr_names names = session_names(s);
    const char *colon = strchr(text, ':');
    struct expr *x;
    char *end;
    bool found;

    if (colon && memchr(text, '.', (size_t)(colon - text))) {
        long line = strtol(colon + 1, &end, 10);
        char *file = xasprintf("%.*s", (int)(colon - text), text);

        found = line > 0 && line < INT32_MAX && !*end &&
                symbols_line_addr(s->symbols, file, (int)line, addr);
        free(file);
        return found;
    }
    x = expr_compile(*text == '*' ? text + 1 : text, &names, NULL);
    found = x && expr_eval(x, NULL, addr, NULL) == 0; /* not of registers and memory */
    expr_free(x);
    return found;
}

void session_symbols_chosen(struct session *s)
{
    s->symbols_chosen = true;
}

void session_points_resolve(struct session *s, struct buf *told)
{
    struct expr_names names = session_names(s);
    struct points *p = &s->engine.points;
    bool held = hold(s);

    points_recompile(p, &names);
    for (struct bp *b = points_next(p, 0); b; b = points_next(p, b->pub.id)) {
        const struct point_spec *spec = &b->pub.spec;
        uint64_t addr;

        if (spec->kind != POINT_BREAK || spec->space != SPACE_LINEAR || spec->hidden ||
            !spec->location || !*spec->location || !resolve(s, spec->location, &addr) ||
            (!spec->unresolved && addr == spec->addr))
            continue;
        points_move(p, b->pub.id, addr);
        if (told)
            buf_addf(told, "Breakpoint %d (%s) is at 0x%llx now.\n", b->pub.id, spec->location,
                     (unsigned long long)addr);
    }
    unhold(s, held);
}

/* ---- what they log ----------------------------------------------------------------------------
 */

struct log_head {
    int id;
    unsigned vcpu;
    uint64_t rip; /* linear */
    bool is_whole;
    size_t len; /* of the text behind */
};

void session_on_log(void *arg, const struct vcpu *v, int id, const char *text, bool is_whole)
{
    struct session *s = arg;
    struct log_head h = {.id = id,
                         .vcpu = v->id,
                         .rip = vcpu_linear_rip(v),
                         .is_whole = is_whole,
                         .len = strlen(text)};

    pthread_mutex_lock(&s->console_lock);
    if (s->logs.len + h.len < LOGS_MAX) {
        buf_add(&s->logs, &h, sizeof h);
        buf_add(&s->logs, text, h.len);
    } else {
        s->logs_dropped++;
    }
    pthread_mutex_unlock(&s->console_lock);
    session_ring(s);
}

/* As a stop would begin, and then what happened. */
static void log_text(struct session *s, const struct log_head *h, const char *text, struct buf *out)
{
    static const char *const kinds[] = {
        [POINT_BREAK] = "Breakpoint", [POINT_WATCH] = "Watchpoint", [POINT_CATCH] = "Catchpoint"};
    const struct bp *b = points_get(&s->engine.points, h->id);
    char sym[160];

    buf_clear(out);
    if (!h->is_whole) {
        buf_addf(out, "%s %d", kinds[b ? b->pub.spec.kind : POINT_BREAK], h->id);
        buf_addf(out, ", 0x%llx", (unsigned long long)h->rip);
        if (symbols_format(s->symbols, h->rip, sym, sizeof sym))
            buf_addf(out, " <%s>", sym);
        if (s->vm->cpus > 1)
            buf_addf(out, " on vCPU %u", h->vcpu);
        buf_adds(out, h->len ? ": " : "");
    }
    esc_console(out, text, h->len);
    while (out->len && out->data[out->len - 1] == '\n')
        out->data[--out->len] = 0;
}

void session_deliver_logs(struct session *s)
{
    struct buf take, line = {0};
    struct log_head h;
    uint64_t dropped;

    pthread_mutex_lock(&s->console_lock);
    take = s->logs;
    s->logs = (struct buf){0};
    dropped = s->logs_dropped;
    s->logs_dropped = 0;
    pthread_mutex_unlock(&s->console_lock);
    for (size_t at = 0; at < take.len; at += sizeof h + h.len) {
        struct log_line l;

        memcpy(&h, take.data + at, sizeof h);
        log_text(s, &h, take.data + at + sizeof h, &line);
        l = (struct log_line){.point_id = h.id, .vcpu = h.vcpu, .text = buf_str(&line)};
        session_publish(s, EV_LOG, &l);
    }
    if (dropped) {
        struct log_line l = {.point_id = -1};

        buf_clear(&line);
        buf_addf(&line,
                 "%llu lines that points logged are lost: the guest is faster than they can be "
                 "shown; `do count` costs less",
                 (unsigned long long)dropped);
        l.text = buf_str(&line);
        session_publish(s, EV_LOG, &l);
    }
    buf_fini(&line);
    buf_fini(&take);
}
