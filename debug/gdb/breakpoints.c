/*
 * Z and z. gdb takes all its breakpoints out at every stop and puts them in again at every resume;
 * here they stay where they are: z only marks, and what is not asked for again by the next resume
 * is deleted then. A repeated Z is no second breakpoint. Main thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/gdb/stub.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

/* ---- the list
 * -------------------------------------------------------------------------------------- */

static void point_remove(struct gdb *g, unsigned i)
{
    struct gdb_point *p = &g->point[i];

    session_point_del(g->s, p->id);
    if (p->wide_id)
        session_point_del(g->s, p->wide_id);
    gdb_test_free(p->test);
    free(p->text);
    memmove(p, p + 1, (--g->points - i) * sizeof *p);
}

static struct gdb_point *point_find(struct gdb *g, int type, uint64_t addr, uint64_t len)
{
    for (unsigned i = 0; i < g->points; i++)
        if (g->point[i].type == type && g->point[i].addr == addr &&
            (type < 2 || g->point[i].len == len))
            return &g->point[i];
    return NULL;
}

const struct gdb_point *gdb_point_of(const struct gdb *g, const struct stop_info *si)
{
    if (si->kind != STOP_BREAKPOINT && si->kind != STOP_WATCHPOINT)
        return NULL;
    for (unsigned i = 0; i < g->points; i++) {
        const struct gdb_point *p = &g->point[i];

        if (p->inserted && (p->id == si->point_id || (p->wide_id && p->wide_id == si->point_id)))
            return p;
    }
    /* Another client's point at the same place is ours, too. */
    for (unsigned i = 0; i < g->points; i++) {
        const struct gdb_point *p = &g->point[i];

        if (p->inserted && p->type < 2 && si->kind == STOP_BREAKPOINT &&
            p->addr == si->rip + si->cs_base && !p->test)
            return p;
    }
    return NULL;
}

bool gdb_point_is_out(const struct gdb *g, const struct stop_info *si)
{
    for (unsigned i = 0; si->kind == STOP_BREAKPOINT && i < g->points; i++)
        if (!g->point[i].inserted && g->point[i].id == si->point_id)
            return true;
    return false;
}

static int add_at(struct gdb *g, const struct gdb_point *p, uint64_t addr, struct err *e)
{
    static const enum watch_access access[] = {0, 0, WATCH_WRITE, WATCH_READ, WATCH_ACCESS};
    char location[40];
    struct point_spec spec = {
        .kind = p->type < 2 ? POINT_BREAK : POINT_WATCH,
        .space = g->phys ? SPACE_PHYS : SPACE_LINEAR,
        .addr = addr,
        .len = p->type < 2 ? 1 : p->len,
        .access = access[p->type],
        .location = location,
        .vcpu = -1,
        .test = (const struct point_test *)p->test,
    };

    snprintf(location, sizeof location, "gdb: *0x%llx", (unsigned long long)addr);
    return session_point_add(g->s, &spec, e);
}

static void session_add(struct gdb *g, struct gdb_point *p, struct err *e)
{
    struct err none = {0}; /* nobody asked for that one */

    p->id = add_at(g, p, p->addr, e);
    p->wide = p->id < 0 ? 0 : gdb_widen(g, p->addr);
    p->wide_id = p->wide ? add_at(g, p, p->wide, &none) : 0;
    if (p->wide_id < 0)
        p->wide_id = 0;
}

/* Another client deleted it, but gdb has it still: what gdb lists has to stop it. */
static void set_again(struct gdb *g, struct gdb_point *p)
{
    struct err e = {0};

    session_add(g, p, &e);
    if (p->id < 0)
        log_warn("gdb's breakpoint at 0x%llx is lost: %s", (unsigned long long)p->addr, e.msg);
    else
        log_info(
            "gdb's breakpoint at 0x%llx is set again as %d: delete it in gdb, or disable it here",
            (unsigned long long)p->addr, p->id);
}

void gdb_points_forgotten(struct gdb *g)
{
    for (unsigned i = 0; i < g->points; i++)
        g->point[i].inserted = false;
}

void gdb_points_tidy(struct gdb *g)
{
    bool keeps = false;

    for (unsigned i = 0; i < g->points; i++)
        keeps |= g->point[i].inserted;
    for (unsigned i = g->points; keeps && i-- > 0;)
        if (!g->point[i].inserted)
            point_remove(g, i);
}

void gdb_points_sync(struct gdb *g, bool all)
{
    for (unsigned i = g->points; i-- > 0;) {
        if (all || !g->point[i].inserted)
            point_remove(g, i);
        else if (!session_point(g->s, g->point[i].id))
            set_again(g, &g->point[i]);
    }
}

/* A client that has learned of 64 bits sends the address whole: the point is there already. */
static struct gdb_point *point_adopt(struct gdb *g, const struct gdb_point *want)
{
    for (unsigned i = 0; i < g->points; i++) {
        struct gdb_point *p = &g->point[i];

        if (!p->wide_id || p->wide != want->addr || p->type != want->type || p->len != want->len)
            continue;
        session_point_del(g->s, p->id);
        p->id = p->wide_id;
        p->addr = p->wide;
        p->wide_id = 0;
        return p;
    }
    return NULL;
}

/* ---- packets
 * ------------------------------------------------------------------------------------------ */

/* "type,addr,kind"; *p behind it. */
static bool parse_point(const char **p, const char *end, struct gdb_point *out)
{
    if (*p == end || **p < '0' || **p > '4')
        return false;
    out->type = *(*p)++ - '0';
    if (*p == end || *(*p)++ != ',' || !hex_u64(p, end, &out->addr) || *p == end ||
        *(*p)++ != ',' || !hex_u64(p, end, &out->len))
        return false;
    return out->type < 2 || out->len > 0;
}

/* An unknown type is not an error but a packet we do not know. */
static bool bad_point(struct gdb *g, const char *p, const char *end)
{
    if (p < end && *p >= '5' && *p <= '9')
        return true;
    reply_errno(g, EINVAL);
    return true;
}

void pk_Z(struct gdb *g, const char *p, const char *end)
{
    struct gdb_point want = {.inserted = true}, *old;
    struct err e = {0};
    const char *rest;

    rest = p;
    if (!parse_point(&rest, end, &want)) {
        bad_point(g, p, end);
        return;
    }
    want.text = xasprintf("%.*s", (int)(end - rest), rest);
    old = point_find(g, want.type, want.addr, want.len);
    if (!old)
        old = point_adopt(g, &want);
    if (old && !strcmp(old->text, want.text)) {
        if (!session_point(g->s, old->id))
            set_again(g, old);
        old->inserted = true;
        free(want.text);
        reply_ok(g);
        return;
    }
    if (old)
        point_remove(g, (unsigned)(old - g->point));
    want.test = gdb_test_new(g, rest, end, &want.persist, &e);
    if (!e.code)
        session_add(g, &want, &e);
    if (e.code || want.id < 0) {
        reply_error(g, "%s", e.code ? e.msg : "the session has no place for another point");
        gdb_test_free(want.test);
        free(want.text);
        return;
    }
    if (g->points == g->points_cap) {
        g->points_cap = g->points_cap ? 2 * g->points_cap : 16;
        g->point = xrealloc(g->point, g->points_cap, sizeof *g->point);
    }
    g->point[g->points++] = want;
    reply_ok(g);
}

void pk_z(struct gdb *g, const char *p, const char *end)
{
    struct gdb_point want = {0}, *old;
    const char *rest = p;

    if (!parse_point(&rest, end, &want)) {
        bad_point(g, p, end);
        return;
    }
    old = point_find(g, want.type, want.addr, want.len);
    if (old)
        old->inserted = false;
    if (old && session_state(g->s) == SS_RUNNING) /* there is no resume to wait for */
        point_remove(g, (unsigned)(old - g->point));
    reply_ok(g);
}
