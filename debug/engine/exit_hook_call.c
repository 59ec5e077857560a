/*
 * What a hook may do with the exit it was called for, on the vCPU's thread: answer it, look at the
 * guest, change it.
 */
#include "debug/engine/exit_hooks.h"

#include <errno.h>
#include <string.h>

#include "debug/engine/engine.h"
#include "debug/expr.h"
#include "debug/session_priv.h"

void hook_serve(struct hook_call *c)
{
    if (!c->access || c->served || c->answered)
        return;
    c->served = true;
    vcpu_serve(c->v, c->ev);
}

int hook_reply(struct hook_call *c, const void *bytes, size_t len)
{
    if (!c->access || !len)
        return -EINVAL;
    c->answered = true;
    vcpu_answer(c->v, c->ev, bytes, len);
    return 0;
}

int hook_reg_get(struct hook_call *c, int reg, struct reg_value *out)
{
    struct vcpu_state st;
    uint32_t part = reg_table[reg].part;

    st.have = part;
    if (part & ~(VS_REGS | VS_SREGS)) {
        int rc = vcpu_get_state(c->v, part, &st);

        if (rc < 0)
            return rc;
    }
    if (part & VS_REGS)
        st.regs = *c->v->regs;
    if (part & VS_SREGS)
        st.sregs = *c->v->sregs;
    return reg_read(&st, reg, out);
}

int hook_reg_set(struct hook_call *c, int reg, const struct reg_value *v, struct err *e)
{
    const char *why = "it refused the value";
    uint32_t part = reg_table[reg].part;
    struct vcpu_state st;
    int rc;

    if (part & ~(VS_REGS | VS_SREGS))
        return err_set(e, EBUSY,
                       "cannot set %s inside a hook: only general, segment and control registers "
                       "can be; stop the guest first",
                       reg_table[reg].name);
    st.have = VS_REGS | VS_SREGS;
    st.regs = *c->v->regs;
    st.sregs = *c->v->sregs;
    rc = reg_write(&st, reg, v, &why);
    if (rc < 0)
        return err_set(e, -rc, "cannot set %s: %s", reg_table[reg].name, why);
    *c->v->regs = st.regs;
    *c->v->sregs = st.sregs;
    vcpu_dirty(c->v, part);
    return 0;
}

void hook_walk(struct hook_call *c, uint64_t linear, struct walk *out)
{
    struct walk_regs r;

    vcpu_walk_regs(c->v, &r);
    walk(&c->engine->vm->mem, &r, linear, out);
}

/* The longest run at `addr` within one page; 0 when nothing is mapped there. */
static size_t page_run(struct hook_call *c, enum space sp, uint64_t addr, size_t len, uint64_t *gpa)
{
    size_t n = PAGE_BYTES - (addr & (PAGE_BYTES - 1));
    struct walk w;

    *gpa = addr;
    if (sp == SPACE_LINEAR) {
        hook_walk(c, addr, &w);
        if (w.result != WALK_OK)
            return 0;
        *gpa = w.gpa;
    }
    return n < len ? n : len;
}

int64_t hook_mem_read(struct hook_call *c, enum space sp, uint64_t addr, void *dst, size_t len)
{
    size_t done = 0;

    while (done < len) {
        uint64_t gpa;
        size_t n = page_run(c, sp, addr + done, len - done, &gpa), made;

        made = n ? mem_read(&c->engine->vm->mem, gpa, (uint8_t *)dst + done, n) : 0;
        points_hide(&c->engine->points, gpa, (uint8_t *)dst + done, made);
        done += made;
        if (!n || made < n)
            break;
    }
    return (int64_t)done;
}

/* Whether a breakpoint's byte lies in [gpa, gpa+n): hiding it would change what is there. */
static bool planted(struct hook_call *c, uint64_t gpa, size_t n)
{
    uint8_t raw[PAGE_BYTES], hidden[PAGE_BYTES];

    if (!c->engine->points.plants || mem_read(&c->engine->vm->mem, gpa, raw, n) != n)
        return false;
    memcpy(hidden, raw, n);
    points_hide(&c->engine->points, gpa, hidden, n);
    return memcmp(raw, hidden, n) != 0;
}

int64_t hook_mem_write(struct hook_call *c, enum space sp, uint64_t addr, const void *src,
                       size_t len)
{
    size_t done = 0;

    while (done < len) {
        uint64_t gpa;
        size_t n = page_run(c, sp, addr + done, len - done, &gpa), made;

        if (n && planted(c, gpa, n))
            return done ? (int64_t)done : -EBUSY;
        made = n ? mem_write(&c->engine->vm->mem, gpa, (const uint8_t *)src + done, n) : 0;
        done += made;
        if (!n || made < n)
            break;
    }
    return (int64_t)done;
}

int hook_eval(struct hook_call *c, const char *text, uint64_t *out, struct err *e)
{
    struct expr_names names = session_names(c->engine->session);
    struct expr *x = expr_compile(text, &names, e);
    int rc;

    if (!x)
        return -EINVAL;
    rc = engine_eval(c->engine, c->v, x, c->ev, out, e);
    expr_free(x);
    return rc;
}
