/*
 * State of a stopped machine: registers, memory, walks, points, expressions. Main thread.
 */
#include "debug/session_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expr.h"
#include "debug/fields.h"
#include "debug/symbols/sym.h"
#include "debug/symbols/unwind.h"
#include "disasm/disasm.h"
#include "vmm/base/x.h"

struct state_call {
    uint32_t parts;
    struct vcpu_state *st;
    int rc;
};

static void call_get(void *arg, struct vcpu *v)
{
    struct state_call *c = arg;

    c->rc = vcpu_get_state(v, c->parts, c->st);
}

static void call_set(void *arg, struct vcpu *v)
{
    struct state_call *c = arg;

    c->rc = vcpu_set_state(v, c->parts, c->st);
}

const struct vcpu_state *session_cpu(struct session *s, unsigned vcpu, uint32_t want)
{
    struct state_call c;

    if (s->state == SS_RUNNING || vcpu >= s->vm->cpus)
        return NULL;
    c = (struct state_call){.parts = want & ~s->cpu[vcpu].have, .st = &s->cpu[vcpu]};
    if (!(c.parts & ~VS_SHARED)) /* each step asks for these: spare its thread the wakening */
        vcpu_copy_state(s->vm->cpu[vcpu], c.parts, c.st);
    else
        vcpu_call(s->vm->cpu[vcpu], call_get, &c);
    return c.rc < 0 ? NULL : &s->cpu[vcpu];
}

static int bad_reg(const struct session *s, unsigned vcpu, int reg, struct err *e)
{
    if (s->state == SS_RUNNING)
        return err_set(e, EBUSY, "registers can be seen while the guest is stopped; it runs");
    if (vcpu >= s->vm->cpus)
        return err_set(e, EINVAL, "there is no vCPU %u", vcpu);
    if (reg < 0 || reg >= REG_COUNT)
        return err_set(e, EINVAL, "there is no such register");
    return 0;
}

int session_reg_get(struct session *s, unsigned vcpu, int reg, struct reg_value *out, struct err *e)
{
    int rc = bad_reg(s, vcpu, reg, e);
    const struct vcpu_state *st;

    if (rc < 0)
        return rc;
    st = session_cpu(s, vcpu, reg_table[reg].part);
    rc = st ? reg_read(st, reg, out) : -EIO;
    if (rc < 0)
        err_set(e, -rc, "register %s does not exist on this processor", reg_table[reg].name);
    return rc;
}

struct msr_call {
    uint32_t index;
    uint64_t value, kept;
    int rc;
};

/* One by itself: the TSC has moved since the others were read, and would go back. */
static void call_set_msr(void *arg, struct vcpu *v)
{
    struct msr_call *c = arg;

    c->rc = 0;
    if (vcpu_msr(v, c->index) != c->value) /* some cannot be written with what they have */
        c->rc = vcpu_set_msr(v, c->index, c->value);
    c->kept = vcpu_msr(v, c->index);
}

/* How far the TSC may be until it is read back: ten seconds and more. */
#define TSC_MOVES (1ull << 36)

static int set_msr(struct session *s, unsigned vcpu, int reg, uint64_t value, const char **why)
{
    struct msr_call c = {.index = reg_table[reg].msr_index, .value = value};

    vcpu_call(s->vm->cpu[vcpu], call_set_msr, &c);
    if (c.rc < 0)
        *why = "KVM refused the value";
    else if (c.kept - value > (reg == REG_msr_tsc ? TSC_MOVES : 0)) {
        *why = "the KVM of this host took the value without effect";
        c.rc = -EOPNOTSUPP;
    }
    return c.rc;
}

static int set_part(struct session *s, unsigned vcpu, int reg, struct vcpu_state *st,
                    const char **why)
{
    struct state_call c = {.parts = reg_table[reg].part, .st = st};

    vcpu_call(s->vm->cpu[vcpu], call_set, &c);
    if (c.rc < 0)
        *why = "KVM refused the value";
    return c.rc;
}

int session_reg_set(struct session *s, unsigned vcpu, int reg, const struct reg_value *v,
                    struct err *e)
{
    int rc = bad_reg(s, vcpu, reg, e);
    const char *why = "it refused the value";
    struct vcpu_state copy;
    const struct vcpu_state *st;

    if (rc < 0)
        return rc;
    st = session_cpu(s, vcpu, reg_table[reg].part);
    if (!st)
        return err_set(e, EIO, "cannot read register %s", reg_table[reg].name);
    copy = *st;
    rc = reg_write(&copy, reg, v, &why);
    if (rc == 0) {
        rc = reg_table[reg].kind == 'M' ? set_msr(s, vcpu, reg, v->u, &why)
                                        : set_part(s, vcpu, reg, &copy, &why);
        s->cpu[vcpu].have = 0; /* KVM may have derived other values from it */
    }
    if (rc < 0)
        return err_set(e, -rc, "cannot set %s: %s", reg_table[reg].name, why);
    session_publish(s, EV_STATE, NULL);
    return 0;
}

enum cpu_mode session_mode(struct session *s, unsigned vcpu)
{
    const struct vcpu_state *st = session_cpu(s, vcpu, VS_REGS | VS_SREGS);

    return st ? cpu_mode_of(&st->sregs, st->regs.rflags) : MODE_REAL;
}

/* ---- memory
 * ---------------------------------------------------------------------------------------- */

int session_walk_regs(struct session *s, unsigned vcpu, struct walk_regs *out)
{
    const struct vcpu_state *st = session_cpu(s, vcpu, VS_SREGS);

    if (!st)
        return -EBUSY;
    *out = (struct walk_regs){
        .cr0 = st->sregs.cr0,
        .cr3 = st->sregs.cr3,
        .cr4 = st->sregs.cr4,
        .efer = st->sregs.efer,
        .maxphyaddr = s->vm->maxphyaddr,
    };
    return 0;
}

int session_walk(struct session *s, unsigned vcpu, uint64_t linear, struct walk *out)
{
    struct walk_regs r;
    int rc = session_walk_regs(s, vcpu, &r);

    if (rc == 0)
        walk(&s->vm->mem, &r, linear, out);
    return rc;
}

const struct mem *session_mem(const struct session *s)
{
    return &s->vm->mem;
}

static size_t phys_read(struct session *s, uint64_t gpa, uint8_t *dst, size_t len)
{
    size_t n = mem_read(&s->vm->mem, gpa, dst, len);

    points_hide(&s->engine.points, gpa, dst, n);
    return n;
}

static size_t phys_write(struct session *s, uint64_t gpa, const uint8_t *src, size_t len)
{
    uint8_t *copy = xmalloc(len);
    size_t n;

    memcpy(copy, src, len);
    points_write_through(&s->engine.points, gpa, copy, len);
    n = mem_write(&s->vm->mem, gpa, copy, len);
    free(copy);
    return n;
}

/* The longest run at `addr` within one page; its GPA, or 0 when nothing is mapped. */
static size_t page_run(struct session *s, const struct walk_regs *r, uint64_t addr, size_t len,
                       uint64_t *gpa)
{
    size_t n = PAGE_BYTES - (addr & (PAGE_BYTES - 1));
    struct walk w;

    walk(&s->vm->mem, r, addr, &w);
    *gpa = w.gpa;
    if (w.result != WALK_OK)
        return 0;
    return n < len ? n : len;
}

static int64_t mem_move(struct session *s, unsigned vcpu, enum space sp, uint64_t addr, uint8_t *to,
                        const uint8_t *from, size_t len)
{
    struct walk_regs r;
    size_t done = 0;

    if (s->state == SS_RUNNING || session_walk_regs(s, vcpu, &r) < 0)
        return -EBUSY;
    while (done < len) {
        uint64_t gpa = addr + done;
        size_t n = len - done, made;

        if (sp == SPACE_LINEAR)
            n = page_run(s, &r, addr + done, n, &gpa);
        made = !n ? 0 : to ? phys_read(s, gpa, to + done, n) : phys_write(s, gpa, from + done, n);
        done += made;
        if (!n || made < n)
            break;
    }
    return (int64_t)done;
}

int64_t session_mem_read(struct session *s, unsigned vcpu, enum space sp, uint64_t addr, void *dst,
                         size_t len)
{
    return mem_move(s, vcpu, sp, addr, dst, NULL, len);
}

int64_t session_mem_write(struct session *s, unsigned vcpu, enum space sp, uint64_t addr,
                          const void *src, size_t len)
{
    int64_t n = mem_move(s, vcpu, sp, addr, NULL, src, len);

    if (n > 0)
        session_publish(s, EV_STATE, NULL);
    return n;
}

bool session_insn_of(struct session *s, unsigned vcpu, unsigned bits, uint64_t linear,
                     struct insn *out)
{
    uint8_t bytes[15];
    int64_t n = session_mem_read(s, vcpu, SPACE_LINEAR, linear, bytes, sizeof bytes);

    if (n <= 0)
        return false;
    disasm_one(s->disasm, bits, linear, bytes, (size_t)n, out);
    return true;
}

bool session_insn(struct session *s, unsigned vcpu, uint64_t linear, struct insn *out)
{
    return session_insn_of(s, vcpu, cpu_mode_bits(session_mode(s, vcpu)), linear, out);
}

/* ---- expressions
 * ------------------------------------------------------------------------------------- */

static bool name_symbol(void *arg, const char *name, uint64_t *value)
{
    const struct symbol *y = symbols_find(((struct session *)arg)->symbols, name);

    if (y)
        *value = y->addr;
    return y || field_constant(name, value);
}

static int name_field(void *arg, const char *name)
{
    (void)arg;
    return field_by_name(name);
}

static int name_text(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "symbol") ? -1 : 0;
}

struct expr_names session_names(struct session *s)
{
    return (struct expr_names){
        .arg = s, .symbol = name_symbol, .field = name_field, .text_fn = name_text};
}

struct eval_arg {
    struct session *s;
    unsigned vcpu;
};

static bool eval_reg(void *arg, int id, uint64_t *value)
{
    struct eval_arg *a = arg;
    struct reg_value v;

    if (session_reg_get(a->s, a->vcpu, id, &v, NULL) < 0)
        return false;
    *value = v.u;
    return true;
}

static bool eval_mem(void *arg, uint64_t linear, void *dst, size_t len)
{
    struct eval_arg *a = arg;

    return session_mem_read(a->s, a->vcpu, SPACE_LINEAR, linear, dst, len) == (int64_t)len;
}

static bool eval_text(void *arg, int fn, uint64_t x, char *dst, size_t cap)
{
    struct eval_arg *a = arg;

    (void)fn;
    return a->s->engine.symbol_text(a->s, x, dst, cap);
}

size_t session_backtrace(struct session *s, unsigned vcpu, struct unwind_frame *frames, size_t max,
                         char end[160])
{
    struct eval_arg arg = {.s = s, .vcpu = vcpu};
    struct unwind_env env = {
        .arg = &arg, .symbols = s->symbols, .disasm = s->disasm, .reg = eval_reg, .mem = eval_mem};
    size_t n;

    env.bits = cpu_mode_bits(session_mode(s, vcpu));
    n = unwind(&env, frames, max);
    memcpy(end, env.end, sizeof env.end);
    return n;
}

int session_eval(struct session *s, unsigned vcpu, const char *text, uint64_t *out, struct err *e)
{
    struct expr_names names = session_names(s);
    struct eval_arg arg = {.s = s, .vcpu = vcpu};
    struct expr_env env = {.arg = &arg, .reg = eval_reg, .mem = eval_mem, .text = eval_text};
    struct expr *x = expr_compile(text, &names, e);
    int rc;

    if (!x)
        return -EINVAL;
    rc = expr_eval(x, &env, out, e);
    expr_free(x);
    return rc;
}
