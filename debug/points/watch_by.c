/*
 * Finding the instruction that stored. Main thread.
 */
#include "debug/points/watch_by.h"

#include "debug/operands.h"
#include "debug/session_priv.h"
#include "debug/symbols/sym.h"
#include "disasm/disasm.h"
#include "vmm/base/le.h"

#define INSN_MAX   15
#define BACK_BYTES 64
/* A function longer than this is not decoded from its start. */
#define FUNCTION_MAX 16384
/* So many instructions are followed from the last entry. */
#define REACH_MAX 512

struct search {
    struct session *s;
    const struct vcpu *v;
    unsigned vcpu, bits;
    uint64_t at; /* linear RIP */
    uint64_t gpa;
    unsigned len;
    unsigned access;
    unsigned told_len; /* of the store that KVM told of; 0: it did not */
};

/* Has it an operand that is stored in parts of that length? */
static bool stores_so(const struct search *k, const struct operands *o)
{
    for (int i = 0; i < o->count && k->told_len; i++) {
        unsigned room = PAGE_BYTES - (unsigned)(o->at[i].linear & (PAGE_BYTES - 1));

        if (o->at[i].write && (o->at[i].len == k->told_len || o->at[i].len > 8 ||
                               o->at[i].is_repeated || room < o->at[i].len))
            return true;
    }
    return !k->told_len;
}

/* Does the instruction at `linear`, `want` bytes long (0: any), touch what was hit? */
static bool touched(const struct search *k, uint64_t linear, unsigned want)
{
    struct operands o;

    return operands_read(session_disasm(k->s), k->v, linear, true, &o) &&
           (!want || o.insn_len == want) && stores_so(k, &o) &&
           (((k->access & WATCH_WRITE) && operands_touch(&o, k->v, k->gpa, k->len, true)) ||
            ((k->access & WATCH_READ) && operands_touch(&o, k->v, k->gpa, k->len, false)));
}

/* A call has pushed the address behind it and gone elsewhere. */
static uint64_t find_call(const struct search *k)
{
    unsigned size = k->bits / 8;
    uint64_t sp =
        k->v->sregs->ss.base + (k->bits == 16 ? k->v->regs->rsp & 0xffff : k->v->regs->rsp);
    uint8_t raw[8];
    uint64_t ret;

    if (session_mem_read(k->s, k->vcpu, SPACE_LINEAR, sp, raw, size) != (int64_t)size)
        return 0;
    ret = k->v->sregs->cs.base + le_load(raw, size);
    for (unsigned n = 2; n <= 7; n++) {
        struct insn in;

        if (session_insn(k->s, k->vcpu, ret - n, &in) && in.len == n && (in.effects & INSN_CALL) &&
            (!in.has_target || in.target == k->at) && touched(k, ret - n, n))
            return ret - n;
    }
    return 0;
}

/* By decoding from the start of the function. */
static uint64_t find_in_function(const struct search *k)
{
    const struct symbol *y = symbols_lookup(session_symbols(k->s), k->at - 1);
    uint64_t at = y ? y->addr : k->at, last = 0;
    struct insn in;

    if (k->at - at > FUNCTION_MAX)
        return 0;
    while (at < k->at && session_insn(k->s, k->vcpu, at, &in) && !(in.effects & INSN_BAD)) {
        last = at;
        at += in.len;
    }
    return at == k->at ? last : 0;
}

/* The start that most earlier offsets lead to. */
static uint64_t find_by_votes(const struct search *k)
{
    uint8_t bytes[BACK_BYTES];
    size_t n = 0;

    /* Byte by byte: the page before may not be mapped. */
    while (n < BACK_BYTES && session_mem_read(k->s, k->vcpu, SPACE_LINEAR, k->at - n - 1,
                                              &bytes[BACK_BYTES - 1 - n], 1) == 1)
        n++;
    if (!n)
        return 0;
    return k->at - disasm_back(session_disasm(k->s), k->bits, k->at, bytes + BACK_BYTES - n, n, 1);
}

/* Places where the guest can have been, and what kind of code it met there. */
struct paths {
    struct {
        uint64_t at;
        unsigned bits;
    } place[REACH_MAX];
    unsigned known;
};

static void path(struct paths *p, uint64_t at, unsigned bits)
{
    for (unsigned i = 0; i < p->known; i++)
        if (p->place[i].at == at && p->place[i].bits == bits)
            return;
    if (p->known < REACH_MAX) {
        p->place[p->known].at = at;
        p->place[p->known++].bits = bits;
    }
}

/* Among what the guest can have come to since it was entered the last time. What decodes alike
 * without its prefix, or with the end of the instruction before, is told apart by that. */
static uint64_t find_reachable(const struct search *k)
{
    const struct kvm_segment *cs = &k->v->given.cs;
    struct paths p = {.known = 0};

    path(&p, cs->base + k->v->given.rip, cpu_code_bits(k->v->sregs, cs));
    for (unsigned i = 0; i < p.known; i++) {
        uint64_t at = p.place[i].at;
        unsigned bits = p.place[i].bits;
        struct insn in;

        if (!session_insn_of(k->s, k->vcpu, bits, at, &in) || (in.effects & INSN_BAD))
            continue;
        if (bits == k->bits && at + in.len == k->at && touched(k, at, in.len))
            return at;
        if (in.has_target && (in.effects & INSN_FAR)) /* to where it is now */
            path(&p, k->v->sregs->cs.base + in.target, k->bits);
        else if (in.has_target)
            path(&p, in.target, bits);
        if (!(in.effects & (INSN_RET | INSN_JMP | INSN_IRET | INSN_SYSRET)))
            path(&p, at + in.len, bits);
    }
    return 0;
}

static uint64_t find(const struct search *k)
{
    uint64_t by = find_call(k);

    if (by)
        return by;
    by = find_in_function(k);
    if (by && touched(k, by, 0))
        return by;
    /* A string instruction that is not finished leaves RIP at itself. */
    if (touched(k, k->at, 0)) {
        struct insn in;

        if (session_insn(k->s, k->vcpu, k->at, &in) && (in.effects & INSN_REP))
            return k->at;
    }
    by = find_reachable(k);
    if (by)
        return by;
    by = find_by_votes(k);
    if (by && by < k->at && touched(k, by, (unsigned)(k->at - by)))
        return by;
    /* The longest: what looks like a shorter one is this one without its prefix. */
    for (unsigned n = INSN_MAX; n > 0; n--)
        if (touched(k, k->at - n, n))
            return k->at - n;
    /* An instruction that loaded its own base register cannot be checked. */
    return by < k->at ? by : 0;
}

/* A debug register tells neither a read from a write that changed nothing, nor whether what was
 * written had been read. */
static void refine(const struct search *k, const struct point *p, struct stop_info *si)
{
    unsigned access = 0;
    struct operands o;

    if (!si->by || !(p->spec.access & WATCH_READ) || !(si->access & WATCH_WRITE) ||
        !operands_read(session_disasm(k->s), k->v, si->by, true, &o))
        return;
    if (operands_touch(&o, k->v, k->gpa, k->len, false))
        access |= WATCH_READ;
    if (operands_touch(&o, k->v, k->gpa, k->len, true))
        access |= WATCH_WRITE;
    if (access)
        si->access = access;
}

void watch_find_by(struct session *s, struct stop_info *si)
{
    const struct point *p = session_point(s, si->point_id);
    struct search k = {.s = s,
                       .v = s->vm->cpu[si->vcpu],
                       .vcpu = si->vcpu,
                       .gpa = si->addr,
                       .len = si->value_len,
                       .access = si->access,
                       .told_len = s->engine.points.watches.cpu[si->vcpu].told_len};
    struct walk w;

    if (!p || si->device)
        return;
    if (p->spec.space == SPACE_LINEAR) {
        if (session_walk(s, si->vcpu, si->addr, &w) < 0 || w.result != WALK_OK)
            return;
        k.gpa = w.gpa;
    }
    k.bits = cpu_mode_bits(session_mode(s, si->vcpu));
    k.at = k.v->sregs->cs.base + k.v->regs->rip;
    if (!si->by)
        si->by = find(&k);
    refine(&k, p, si);
}
