/*
 * Expressions over a vCPU that stands between two instructions: conditions of points, filters, and
 * what their log lines say. vCPU threads.
 */
#include "debug/engine/engine_int.h"

#include <stdio.h>
#include <string.h>

#include "debug/fields.h"
#include "debug/points/point_log.h"
#include "debug/points/watch_rest.h"
#include "debug/trace/trace_names.h"
#include "vmm/base/le.h"

struct env_arg {
    struct engine *g;
    struct vcpu *v;
    const struct exit_event *ev;
};

static bool env_reg(void *arg, int id, uint64_t *value)
{
    struct env_arg *a = arg;
    const struct reg_desc *d = &reg_table[id];
    struct vcpu_state st;
    struct reg_value rv;

    if (watch_rest_reg(&a->g->points.watches, a->v, id, value))
        return true;
    if (d->kind == 'R' && d->part == VS_REGS) { /* most are: no need to copy them all */
        *value = le_load(
            (const uint8_t *)a->v->regs + (d->offset - offsetof(struct vcpu_state, regs)), d->size);
        return true;
    }
    st.have = VS_REGS | VS_SREGS;
    if (d->part & VS_REGS)
        st.regs = *a->v->regs;
    else if (d->part & VS_SREGS)
        st.sregs = *a->v->sregs;
    else if (vcpu_get_state(a->v, d->part, &st) < 0)
        return false;
    if (reg_read(&st, id, &rv) < 0)
        return false;
    *value = rv.u;
    return true;
}

static bool env_mem(void *arg, uint64_t linear, void *dst, size_t len)
{
    struct env_arg *a = arg;
    struct walk_regs r;

    vcpu_walk_regs(a->v, &r);
    for (size_t done = 0; done < len;) {
        struct walk w;
        size_t n = PAGE_BYTES - ((linear + done) & (PAGE_BYTES - 1));

        n = n < len - done ? n : len - done;
        walk(&a->g->vm->mem, &r, linear + done, &w);
        if (w.result != WALK_OK || mem_read(&a->g->vm->mem, w.gpa, (char *)dst + done, n) != n)
            return false;
        points_hide(&a->g->points, w.gpa, (uint8_t *)dst + done, n);
        done += n;
    }
    return true;
}

static bool env_field(void *arg, int id, uint64_t *value)
{
    struct env_arg *a = arg;

    return a->ev && field_table[id].get(a->ev, value);
}

static bool env_text(void *arg, int fn, uint64_t x, char *dst, size_t cap)
{
    struct env_arg *a = arg;

    (void)fn; /* symbol() is the only one */
    return a->g->symbol_text && a->g->symbol_text(a->g->symbol_arg, x, dst, cap);
}

int engine_eval(struct engine *g, struct vcpu *v, const struct expr *x, const struct exit_event *ev,
                uint64_t *value, struct err *e)
{
    struct env_arg a = {.g = g, .v = v, .ev = ev};
    struct expr_env env = {
        .arg = &a, .reg = env_reg, .mem = env_mem, .field = env_field, .text = env_text};

    return expr_eval(x, &env, value, e);
}

bool engine_holds(struct engine *g, struct vcpu *v, const struct expr *x,
                  const struct exit_event *ev, struct err *why)
{
    uint64_t value;

    if (!x)
        return true;
    if (engine_eval(g, v, x, ev, &value, why) < 0)
        return true;
    return value != 0;
}

bool engine_test_holds(struct engine *g, struct vcpu *v, const struct point_test *t,
                       struct err *why)
{
    struct env_arg a = {.g = g, .v = v};
    struct expr_env env = {.arg = &a, .reg = env_reg, .mem = env_mem};

    return !t || t->holds(t, &env, why) != 0;
}

void engine_exit_text(struct engine *g, const struct exit_event *ev, struct buf *out)
{
    char insn[120];

    if (ev->reason != EXIT_ASSIST) {
        exit_format(ev, session_reg_name(g->session, ev), out);
        return;
    }
    exit_format(ev, names_assisted(ev, insn, sizeof insn), out);
    buf_addf(out, ", carried out at 0x%llx", (unsigned long long)(ev->cs_base + ev->rip));
}

void engine_log_point(struct engine *g, struct vcpu *v, const struct bp *b,
                      const struct exit_event *ev, const char *detail)
{
    struct env_arg a = {.g = g, .v = v, .ev = ev};
    struct expr_env env = {
        .arg = &a, .reg = env_reg, .mem = env_mem, .field = env_field, .text = env_text};
    struct buf line = {0};

    if (b->log)
        point_log_format(b->log, &env, &line);
    else if (detail)
        buf_adds(&line, detail);
    else if (ev)
        engine_exit_text(g, ev, &line);
    g->log(g->log_arg, v, b->pub.id, buf_str(&line), b->log != NULL);
    buf_fini(&line);
}
