/*
 * Conditions and commands of gdb's breakpoints: agent expressions behind a Z packet, run on vCPU
 * threads when the point is met. Main thread, but for what says otherwise.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/gdb/stub.h"
#include "vmm/base/x.h"

#define AGENTS_MAX  32u
#define PRINTED_MAX (1u << 20)

/* Conditions and commands of one point. */
struct gdb_test {
    struct point_test test; /* first: the session hands this back */
    struct gdb *g;
    const struct desc *desc;
    bool linear;
    bool follows; /* the client learns of another architecture at the stop */
    unsigned conds, cmds;
    struct agent *cond[AGENTS_MAX], *cmd[AGENTS_MAX];
};

/* ---- on vCPU threads
 * ----------------------------------------------------------------------------- */

struct agent_arg {
    const struct gdb_test *t;
    const struct expr_env *env;
};

static bool arch_now(const struct expr_env *env, enum gdb_arch *arch)
{
    uint64_t cr0, efer, cs, flags;
    struct kvm_sregs s = {0};

    if (!env->reg(env->arg, REG_cr0, &cr0) || !env->reg(env->arg, REG_efer, &efer) ||
        !env->reg(env->arg, REG_cs_attr, &cs) || !env->reg(env->arg, REG_rflags, &flags))
        return false;
    s.cr0 = cr0;
    s.efer = efer;
    s.cs.l = cs >> 13 & 1; /* as flags_segment has them */
    s.cs.db = cs >> 14 & 1;
    *arch = desc_arch_of(cpu_mode_of(&s, flags));
    return true;
}

/* gdb's number of a register to its value, as the description at the time of Z has it. */
static bool agent_reg(void *arg, unsigned number, uint64_t *value)
{
    const struct agent_arg *a = arg;
    const struct desc *d = a->t->desc;
    const struct desc_reg *r = &d->reg[number];
    enum gdb_arch now;
    uint64_t base = 0;

    if (number >= d->count || r->bytes > 8 || !a->env->reg(a->env->arg, r->id, value))
        return false;
    if ((r->how == DR_PC || r->how == DR_SP) && a->t->linear && arch_now(a->env, &now) &&
        now != GDB_X86_64 &&
        a->env->reg(a->env->arg, r->how == DR_PC ? REG_cs_base : REG_ss_base, &base))
        *value += base;
    if (r->bytes < 8)
        *value &= (1ull << 8 * r->bytes) - 1;
    return true;
}

static bool agent_mem(void *arg, uint64_t addr, void *dst, size_t len)
{
    const struct agent_arg *a = arg;

    return a->env->mem(a->env->arg, addr, dst, len);
}

static void run_commands(const struct gdb_test *t, const struct agent_env *env)
{
    struct gdb *g = t->g;
    struct buf text = {0};
    struct agent_env with = *env;
    uint64_t one = 1;

    with.print = &text;
    for (unsigned i = 0; i < t->cmds; i++) {
        struct err e = {0};
        uint64_t ignored;

        if (agent_run(t->cmd[i], &with, &ignored, &e) < 0)
            buf_addf(&text, "vmscope: a breakpoint's command failed: %s\n", e.msg);
    }
    pthread_mutex_lock(&g->print_lock);
    if (g->print.len + text.len <= PRINTED_MAX)
        buf_add(&g->print, buf_str(&text), text.len);
    pthread_mutex_unlock(&g->print_lock);
    if (text.len && g->print_fd >= 0)
        (void)!write(g->print_fd, &one, sizeof one);
    buf_fini(&text);
}

/* Byte code names registers by their numbers in one description, and cuts addresses to its size. In
 * another architecture it means nothing; gdb evaluates the condition anew once it knows of that. */
static bool is_foreign(const struct gdb_test *t, const struct expr_env *env)
{
    enum gdb_arch now;

    return t->follows && arch_now(env, &now) && now != t->desc->arch;
}

/* Any condition that is true stops the guest, as gdb has it; commands alone do not. */
static int holds(const struct point_test *pt, const struct expr_env *env, struct err *why)
{
    const struct gdb_test *t = (const struct gdb_test *)pt;
    struct agent_arg arg = {.t = t, .env = env};
    struct agent_env ae = {.arg = &arg, .reg = agent_reg, .mem = agent_mem};
    bool yes = t->conds == 0 || is_foreign(t, env);

    for (unsigned i = 0; i < t->conds && !yes; i++) {
        uint64_t v = 0;

        if (agent_run(t->cond[i], &ae, &v, why) < 0)
            return -1;
        yes = v != 0;
    }
    if (!yes || !t->cmds)
        return yes;
    run_commands(t, &ae);
    return 0;
}

/* ---- parsing ------------------------------------------------------------------------------------
 */

void gdb_test_free(struct gdb_test *t)
{
    for (unsigned i = 0; t && i < AGENTS_MAX; i++) {
        agent_free(t->cond[i]);
        agent_free(t->cmd[i]);
    }
    free(t);
}

/* "X len,hex", at *p. */
static struct agent *parse_agent(const char **p, const char *end, struct err *e)
{
    struct agent *a = NULL;
    uint64_t len;
    uint8_t *code;
    size_t n;

    ++*p;
    if (!hex_u64(p, end, &len) || *p == end || *(*p)++ != ',' || len > (uint64_t)(end - *p) / 2) {
        err_set(e, EINVAL, "an agent expression of the packet is cut");
        return NULL;
    }
    code = xmalloc(len + 1);
    if (hex_bytes(*p, *p + 2 * len, code, len, &n))
        a = agent_compile(code, n, e);
    else
        err_set(e, EINVAL, "an agent expression of the packet is not in hex");
    free(code);
    *p += 2 * len;
    return a;
}

/* ";X…X…;cmds:persist,X…": conditions and commands behind Z. */
static int parse_test(struct gdb_test *t, bool *persist, const char *p, const char *end,
                      struct err *e)
{
    bool cmds = false;

    while (p < end) {
        if (*p == ';' || *p == ',') {
            p++;
        } else if (end - p > 7 && !memcmp(p, "cmds:", 5)) {
            cmds = true;
            *persist = p[5] == '1';
            p += 6;
        } else if (*p == 'X') {
            unsigned *n = cmds ? &t->cmds : &t->conds;
            struct agent *a;

            if (*n == AGENTS_MAX)
                return err_set(e, E2BIG, "more than %u conditions", AGENTS_MAX);
            a = parse_agent(&p, end, e);
            if (!a)
                return -e->code;
            (cmds ? t->cmd : t->cond)[(*n)++] = a;
        } else {
            return err_set(e, EINVAL, "the packet is not understood behind the address");
        }
    }
    return 0;
}

struct gdb_test *gdb_test_new(struct gdb *g, const char *p, const char *end, bool *persist,
                              struct err *e)
{
    struct gdb_test *t;

    if (p == end)
        return NULL;
    t = xcalloc(1, sizeof *t);
    t->test.holds = holds;
    t->g = g;
    t->desc = gdb_desc(g);
    t->linear = g->linear;
    t->follows = g->client.exec_events && !g->arch_pinned;
    if (parse_test(t, persist, p, end, e) < 0) {
        gdb_test_free(t);
        return NULL;
    }
    return t;
}
