/*
 * The ladders of method.h. A rung is usable where its condition on the probe's fields holds; the
 * first usable rung is the pick, the rest stay as the engine's way down (a fifth hardware
 * watchpoint takes the next rung).
 */
#include "vmm/method.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/esc.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"

#define REAL    (1u << PM_REAL)
#define PROT    (1u << PM_PROT)
#define LONG0   (1u << PM_LONG0)
#define LONG3   (1u << PM_LONG3)
#define COMPAT3 (1u << PM_COMPAT3)
#define RING0   (REAL | PROT | LONG0)
#define RING3   (LONG3 | COMPAT3)
#define LONG    (LONG0 | RING3)
#define ALL     (RING0 | RING3)
#define PAGED   (ALL & ~REAL) /* an IDT with gates */

struct word {
    const char *name, *help;
};

static const struct word method_words[METHODS] = {
    [METHOD_NONE] = {"none", "not possible on this host"},
    [METHOD_TRAP] = {"trap", "KVM's single step"},
    [METHOD_EXACT] = {"exact", "trap flag with hidden IDT, special instructions by hand"},
    [METHOD_INT3] = {"int3", "planted 0xCC"},
    [METHOD_ICEBP] = {"icebp", "planted 0xF1, seen as emulation failure"},
    [METHOD_GATE] = {"gate", "planted 0xCC: ring 0 fails at it, ring 3 stops at its handler"},
    [METHOD_DEBUG_REG] = {"debug-register", "debug register"},
    [METHOD_RO_SLOT] = {"read-only-slot", "page made read-only memory"},
    [METHOD_NO_SLOT] = {"no-slot", "page taken out of memory"},
    [METHOD_STEPPING] = {"stepping", "single steps, with a look after each"},
    [METHOD_HANDLERS] = {"handlers", "breakpoints on the guest's handlers"},
    [METHOD_HALT_EXIT] = {"exit", "halt exit ends the step"},
    [METHOD_HALT_DECODE] = {"decode", "recognised before the step, idled by vmscope"},
    [METHOD_INJECT_AT] = {"inject-at", "injected with RIP at the INT3"},
    [METHOD_INJECT_PAST] = {"inject-past", "injected with RIP moved past the INT3"},
    [METHOD_NATIVE] = {"native", "done by the processor"},
    [METHOD_RESCUE] = {"rescue", "carried out by vmscope"},
    [METHOD_LIVE] = {"live", "registers intact at the exit"},
    [METHOD_HISTORY] = {"history", "KVM resets the vCPU; from the last records"},
};

static const struct {
    struct word word;
    unsigned modes;
} features[METHOD_FEATURES] = {
    [MF_STEP] = {{"step", "single step"}, ALL},
    [MF_BREAK] = {{"break", "breakpoints"}, ALL},
    [MF_WATCH_WRITE] = {{"watch-write", "write watchpoints"}, ALL},
    [MF_WATCH_ACCESS] = {{"watch-access", "access watchpoints"}, ALL},
    [MF_CATCH] = {{"catch", "catch exceptions"}, ALL},
    [MF_HALT] = {{"halt", "stepping over HLT"}, LONG0},
    [MF_REINJECT] = {{"reinject", "the guest's own INT3"}, LONG0},
    [MF_SYSCALL] = {{"syscall", "SYSCALL from ring 3"}, LONG3},
    [MF_SOFT_INT] = {{"soft-int", "INT n"}, LONG0 | LONG3},
    [MF_AUTOPSY] = {{"autopsy", "triple fault autopsy"}, LONG0},
};

enum test {
    T_ALWAYS,
    T_HOW,     /* the field is `want` */
    T_HOW_NOT, /* the field is known and not `want` */
    T_BOOL,    /* the flag is set */
    T_BOOL_NOT,
    T_DELTA, /* inject_bp_rip_delta is above 0 */
    T_DELTA_ZERO,
    T_BREAKS0, /* breakpoints in handlers (ring 0) exist */
    T_STEPS,   /* stepping by KVM exists in this mode */
};

struct cond {
    uint8_t test, want;
    bool per_mode;
    uint16_t offset;
    const char *what; /* what the probe looked at */
};

struct rung {
    enum method_feature feature;
    enum method method;
    unsigned modes;
    struct cond cond[3];
};

#define PER(field, value, text)                                                                    \
    {                                                                                              \
        T_HOW, value, true, offsetof(struct probe, field), text                                    \
    }
#define ONE(field, value, text)                                                                    \
    {                                                                                              \
        T_HOW, value, false, offsetof(struct probe, field), text                                   \
    }
#define NOT(field, value, text)                                                                    \
    {                                                                                              \
        T_HOW_NOT, value, false, offsetof(struct probe, field), text                               \
    }
#define IS(field, text)                                                                            \
    {                                                                                              \
        T_BOOL, 1, false, offsetof(struct probe, field), text                                      \
    }
#define OFF(field, text)                                                                           \
    {                                                                                              \
        T_BOOL_NOT, 0, false, offsetof(struct probe, field), text                                  \
    }
#define SYM(test, text)                                                                            \
    {                                                                                              \
        test, 0, false, 0, text                                                                    \
    }

/* clang-format off */
/* Best first within a feature. MF_BREAK before MF_STEP and MF_CATCH, which build on it. */
static const struct rung rungs[] = {
    /* At most four, so the next rung is as often in use. */
    {MF_BREAK, METHOD_DEBUG_REG,  RING0, {PER(hw_exec, HOW_DEBUG, "debug register")}},
    /* A page of ring 3 says nothing of the mode that it is executed in. */
    {MF_BREAK, METHOD_DEBUG_REG,  RING3, {ONE(hw_exec[PM_LONG3], HOW_DEBUG, "debug register in long ring 3"), ONE(hw_exec[PM_COMPAT3], HOW_DEBUG, "and 32-bit ring 3")}},
    {MF_BREAK, METHOD_INT3,       ALL,   {PER(int3, HOW_DEBUG, "int3")}},
    /* A page of ring 0 may be executed by ring 3 one day: the same byte for both. */
    {MF_BREAK, METHOD_GATE,       LONG,  {ONE(int3[PM_LONG0], HOW_INTERNAL, "int3 in ring 0"), ONE(int3[PM_LONG3], HOW_GUEST, "int3 in ring 3")}},
    /* In real mode int3 is the guest's; protected mode may go back there. */
    {MF_BREAK, METHOD_ICEBP,      REAL | PROT, {PER(icebp, HOW_INTERNAL, "icebp")}},
    {MF_BREAK, METHOD_ICEBP,      LONG,  {PER(icebp, HOW_INTERNAL, "icebp"), ONE(icebp[PM_LONG3], HOW_INTERNAL, "icebp in ring 3")}},
    {MF_BREAK, METHOD_STEPPING,   ALL,   {SYM(T_STEPS, "single step")}},
    /* For who wants no bytes in the guest's code. On a processor such a page gets in the way of
     * events whose handlers are in it. */
    {MF_BREAK, METHOD_NO_SLOT,    RING0, {PER(hole_fetch, HOW_INTERNAL, "fetch without memory"), IS(emulated, "ring 0 emulated")}},

    {MF_STEP, METHOD_TRAP,       ALL,   {PER(step, HOW_DEBUG, "trap flag"), ONE(step_iret, HOW_DEBUG, "step over iretq")}},
    {MF_STEP, METHOD_EXACT,      PAGED, {IS(hidden_idt, "hidden IDT"), ONE(step_hidden, HOW_SHUTDOWN, "ring-3 step with hidden IDT"), SYM(T_BREAKS0, "breakpoint on a handler")}},
    {MF_STEP, METHOD_TRAP,       ALL,   {PER(step, HOW_DEBUG, "trap flag")}},

    {MF_WATCH_WRITE, METHOD_DEBUG_REG, ALL, {PER(hw_write, HOW_DEBUG, "debug register")}},
    {MF_WATCH_WRITE, METHOD_RO_SLOT,   ALL, {PER(ro_slot_write, HOW_MMIO, "write to a read-only slot")}},
    {MF_WATCH_WRITE, METHOD_NO_SLOT,   ALL, {PER(hole_read, HOW_MMIO, "access without memory")}},
    {MF_WATCH_WRITE, METHOD_STEPPING,  ALL, {SYM(T_STEPS, "single step")}},

    {MF_WATCH_ACCESS, METHOD_DEBUG_REG, ALL, {PER(hw_access, HOW_DEBUG, "debug register")}},
    {MF_WATCH_ACCESS, METHOD_NO_SLOT,   ALL, {PER(hole_read, HOW_MMIO, "access without memory")}},
    {MF_WATCH_ACCESS, METHOD_STEPPING,  ALL, {SYM(T_STEPS, "single step")}},

    {MF_CATCH, METHOD_HANDLERS,   ALL,   {SYM(T_BREAKS0, "breakpoint on a handler")}},
    {MF_CATCH, METHOD_STEPPING,   ALL,   {SYM(T_STEPS, "single step")}},

    {MF_HALT, METHOD_HALT_EXIT,   LONG0, {ONE(step_hlt, HOW_HLT, "step over hlt")}},
    {MF_HALT, METHOD_HALT_DECODE, LONG0, {NOT(step_hlt, HOW_HLT, "step over hlt")}},

    {MF_REINJECT, METHOD_INJECT_AT,   LONG0, {SYM(T_DELTA, "injected #BP pushes the next RIP")}},
    {MF_REINJECT, METHOD_INJECT_PAST, LONG0, {SYM(T_DELTA_ZERO, "injected #BP pushes RIP as it is")}},
    {MF_REINJECT, METHOD_RESCUE,      LONG0, {{.test = T_ALWAYS}}},

    {MF_SYSCALL, METHOD_NATIVE, LONG3, {ONE(syscall_ring3, HOW_RUNS, "syscall")}},
    {MF_SYSCALL, METHOD_RESCUE, LONG3, {NOT(syscall_ring3, HOW_RUNS, "syscall")}},

    {MF_SOFT_INT, METHOD_NATIVE, LONG3, {ONE(int_ring3, HOW_RUNS, "int n")}},
    {MF_SOFT_INT, METHOD_RESCUE, LONG3, {NOT(int_ring3, HOW_RUNS, "int n")}},
    {MF_SOFT_INT, METHOD_NATIVE, LONG0, {ONE(insn[PI_INT_N], HOW_RUNS, "int n")}},
    {MF_SOFT_INT, METHOD_RESCUE, LONG0, {NOT(insn[PI_INT_N], HOW_RUNS, "int n")}},

    {MF_AUTOPSY, METHOD_LIVE,    LONG0, {IS(shutdown_keeps_state, "registers after a shutdown exit")}},
    {MF_AUTOPSY, METHOD_HISTORY, LONG0, {OFF(shutdown_keeps_state, "registers after a shutdown exit")}},
};
/* clang-format on */

static enum probe_how how_at(const struct probe *p, const struct cond *c, enum probe_mode mode)
{
    const enum probe_how *how = (const enum probe_how *)(const void *)((const char *)p + c->offset);

    return how[c->per_mode ? mode : 0];
}

/* Breakpoints that stop by themselves, not by a look after each step, and any number of them. */
static bool has_breaks(const struct methods *m, enum probe_mode mode)
{
    return method_usable(m, MF_BREAK, mode, METHOD_INT3) ||
           method_usable(m, MF_BREAK, mode, METHOD_GATE) ||
           method_usable(m, MF_BREAK, mode, METHOD_ICEBP);
}

/* Handlers run in ring 0 of the same family of modes. */
static enum probe_mode handler_mode(enum probe_mode mode)
{
    return mode == PM_LONG3 || mode == PM_COMPAT3 ? PM_LONG0 : mode;
}

static bool holds(const struct probe *p, const struct methods *m, const struct cond *c,
                  enum probe_mode mode)
{
    switch ((enum test)c->test) {
    case T_ALWAYS:
        return true;
    case T_HOW:
        return how_at(p, c, mode) == c->want;
    case T_HOW_NOT:
        return how_at(p, c, mode) != c->want;
    case T_BOOL:
    case T_BOOL_NOT:
        return *((const bool *)p + c->offset) == (c->test == T_BOOL);
    case T_DELTA:
        return p->inject_bp_rip_delta > 0;
    case T_DELTA_ZERO:
        return p->inject_bp_rip_delta == 0;
    case T_BREAKS0:
        return has_breaks(m, handler_mode(mode));
    case T_STEPS:
        return p->step[mode] == HOW_DEBUG || (mode != PM_REAL && p->step_hidden == HOW_SHUTDOWN);
    }
    return false;
}

static bool rung_usable(const struct probe *p, const struct methods *m, const struct rung *r,
                        enum probe_mode mode)
{
    if (!(r->modes >> mode & 1))
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(r->cond); i++)
        if (!holds(p, m, &r->cond[i], mode))
            return false;
    return true;
}

static void climb(const struct probe *p, struct methods *m, const struct rung *r,
                  enum probe_mode mode)
{
    struct method_pick *pick = &m->pick[r->feature][mode];
    unsigned n = 0;

    if (!rung_usable(p, m, r, mode))
        return;
    while (pick->ladder[n] != METHOD_NONE && pick->ladder[n] != r->method)
        n++;
    if (n + 1 < METHOD_RUNGS_MAX)
        pick->ladder[n] = r->method;
}

bool method_usable(const struct methods *m, enum method_feature f, enum probe_mode mode,
                   enum method how)
{
    for (unsigned i = 0; i < METHOD_RUNGS_MAX; i++)
        if (m->pick[f][mode].ladder[i] == how)
            return how != METHOD_NONE;
    return false;
}

bool method_applies(enum method_feature f, enum probe_mode mode)
{
    return features[f].modes >> mode & 1;
}

/* The forced rung becomes the first and those above it go: tests want the weaker way down too. */
static bool force_pick(struct method_pick *pick, enum method how)
{
    unsigned n = 0, to = 0;

    while (n < METHOD_RUNGS_MAX && pick->ladder[n] != how)
        n++;
    if (n == METHOD_RUNGS_MAX || how == METHOD_NONE)
        return false;
    while (n < METHOD_RUNGS_MAX)
        pick->ladder[to++] = pick->ladder[n++];
    while (to < METHOD_RUNGS_MAX)
        pick->ladder[to++] = METHOD_NONE;
    pick->is_forced = true;
    return true;
}

static int find_word(const char *text, size_t len, const char *(*name)(unsigned), unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (strlen(name(i)) == len && !memcmp(name(i), text, len))
            return (int)i;
    return -1;
}

static const char *name_of_feature(unsigned i)
{
    return features[i].word.name;
}

static const char *name_of_method(unsigned i)
{
    return method_words[i].name;
}

static const char *name_of_mode(unsigned i)
{
    return probe_mode_key(i);
}

static void complain(struct buf *out, const char *item, size_t len, const char *why)
{
    char text[80];

    esc_cut(text, sizeof text, item, len);
    if (out)
        buf_addf(out, "VMSCOPE_FORCE_METHODS: \"%s\" is ignored: %s\n", text, why);
    else
        log_warn("VMSCOPE_FORCE_METHODS: \"%s\" is ignored: %s", text, why);
}

/* It holds in other modes; nobody is to take the next rung there for the one that was asked for. */
static void complain_modes(struct buf *out, const char *item, size_t len, unsigned modes)
{
    char why[120];
    size_t n = 0;

    n += (size_t)snprintf(why, sizeof why, "this host cannot do that in");
    for (unsigned i = 0; i < PROBE_MODES; i++)
        if (modes >> i & 1)
            n += (size_t)snprintf(why + n, sizeof why - n, " %s", probe_mode_key(i));
    complain(out, item, len, why);
}

/* One "feature[.mode]=method". */
static void force_item(struct methods *m, const char *item, size_t len, struct buf *complaints)
{
    const char *eq = memchr(item, '=', len), *dot;
    int feature, mode = -1, how, done = 0;
    unsigned applies = 0;
    size_t left;

    if (!eq) {
        complain(complaints, item, len, "it has no '='");
        return;
    }
    left = (size_t)(eq - item);
    dot = memchr(item, '.', left);
    if (dot) {
        mode = find_word(dot + 1, left - (size_t)(dot + 1 - item), name_of_mode, PROBE_MODES);
        left = (size_t)(dot - item);
    }
    feature = find_word(item, left, name_of_feature, METHOD_FEATURES);
    how = find_word(eq + 1, len - (size_t)(eq + 1 - item), name_of_method, METHODS);
    if (feature < 0 || how < 0 || (dot && mode < 0)) {
        complain(complaints, item, len,
                 feature < 0 ? "no such feature"
                 : how < 0   ? "no such method"
                             : "no such mode");
        return;
    }
    for (int i = 0; i < PROBE_MODES; i++)
        if ((mode < 0 || mode == i) && method_applies((enum method_feature)feature, i)) {
            applies |= 1u << i;
            done |= force_pick(&m->pick[feature][i], (enum method)how) << i;
        }
    if (!done)
        complain(complaints, item, len, "this host cannot do that");
    else if (applies & ~(unsigned)done)
        complain_modes(complaints, item, len, applies & ~(unsigned)done);
}

void methods_choose_forced(const struct probe *p, const char *force, struct methods *out,
                           struct buf *complaints)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < ARRAY_LEN(rungs); i++)
        for (enum probe_mode mode = 0; mode < PROBE_MODES; mode++)
            climb(p, out, &rungs[i], mode);
    out->rf_skips_break = p->hw_exec_honours_rf;
    out->step_enters_free = p->step_fault != HOW_DEBUG && p->step_fault != HOW_OTHER;
    while (force && *force) {
        size_t len = strcspn(force, ",");

        if (len)
            force_item(out, force, len, complaints);
        force += len + (force[len] == ',');
    }
}

void methods_choose(const struct probe *p, struct methods *out)
{
    methods_choose_forced(p, getenv("VMSCOPE_FORCE_METHODS"), out, NULL);
}

const char *method_name(enum method m)
{
    return (unsigned)m < METHODS ? method_words[m].name : "?";
}

const char *method_help(enum method m)
{
    return (unsigned)m < METHODS ? method_words[m].help : "?";
}

const char *method_feature_name(enum method_feature f)
{
    return (unsigned)f < METHOD_FEATURES ? features[f].word.name : "?";
}

const char *method_feature_help(enum method_feature f)
{
    return (unsigned)f < METHOD_FEATURES ? features[f].word.help : "?";
}

static void tell(const struct probe *p, const struct methods *m, const struct cond *c,
                 enum probe_mode mode, struct buf *out)
{
    if (c->test == T_HOW || c->test == T_HOW_NOT)
        buf_addf(out, "%s: %s", c->what, probe_how_name(how_at(p, c, mode)));
    else
        buf_addf(out, "%s: %s", c->what,
                 holds(p, m, c, mode) == (c->test != T_BOOL_NOT) ? "yes" : "no");
}

/* Several rungs look at the same thing; it is told once. */
static void tell_once(const struct probe *p, const struct methods *m, const struct cond *c,
                      enum probe_mode mode, struct buf *out)
{
    struct buf one = {0};

    if (c->test == T_ALWAYS)
        return;
    tell(p, m, c, mode, &one);
    if (!strstr(buf_str(out), buf_str(&one)))
        buf_addf(out, "%s%s", out->len ? "; " : "", buf_str(&one));
    buf_fini(&one);
}

void method_reason(const struct probe *p, const struct methods *m, enum method_feature f,
                   enum probe_mode mode, struct buf *out)
{
    enum method how = method_of(m, f, mode);
    struct buf text = {0};

    if (m->pick[f][mode].is_forced)
        buf_adds(&text, "forced");
    for (size_t i = 0; i < ARRAY_LEN(rungs); i++) {
        const struct rung *r = &rungs[i];
        bool is_pick = r->method == how && rung_usable(p, m, r, mode);

        if (r->feature != f || !(r->modes >> mode & 1))
            continue;
        for (unsigned c = 0; c < ARRAY_LEN(r->cond); c++)
            /* Of a rung passed over only what failed is of interest. */
            if (is_pick || (!m->pick[f][mode].is_forced && !holds(p, m, &r->cond[c], mode)))
                tell_once(p, m, &r->cond[c], mode, &text);
        if (is_pick)
            break;
    }
    buf_adds(out, buf_str(&text));
    buf_fini(&text);
}

enum probe_mode probe_mode_of(enum cpu_mode mode, unsigned cpl)
{
    if (mode == MODE_REAL || mode == MODE_V86)
        return PM_REAL;
    if (mode == MODE_LONG64)
        return cpl == 3 ? PM_LONG3 : PM_LONG0;
    return cpl == 3 ? PM_COMPAT3 : PM_PROT;
}
