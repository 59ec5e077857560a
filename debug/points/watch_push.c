/*
 * Stores of one instruction that KVM has lost. Of PUSHA, a far call or a frame of real mode its
 * emulator tells the last store to a trapped page alone. What the others were is told by registers,
 * which these instructions leave as they were; but for CS, and of a frame the interrupt flag, which
 * are found by following the code from where the vCPU was entered. The vCPU's thread.
 */
#include "debug/points/watch_push.h"

#include <string.h>

#include "debug/points/watch_int.h"
#include "disasm/disasm.h"
#include "vmm/base/le.h"
#include "vmm/far.h"
#include "vmm/insn_shape.h"
#include "vmm/x86_bits.h"

/* So many instructions are followed. */
#define REACH_MAX 512u
#define VECTORS   256u

/* Code, before the instruction at `ip`. */
struct place {
    uint64_t base, ip;
    uint16_t cs;
    uint8_t bits;
    bool interrupts; /* RFLAGS.IF */
};

struct search {
    struct vcpu *v;
    struct disasm *disasm;
    uint64_t top;      /* linear address of the stack's top */
    uint64_t event_ip; /* what real mode's frame would say */
    bool is_real;
    bool is_event;  /* a vector of real mode leads to where the vCPU is */
    bool ends_here; /* an instruction that the guest may have come to ends at RIP */
    struct place place[REACH_MAX];
    unsigned places;
};

static size_t fetch(const struct search *k, uint64_t linear, uint8_t *b, size_t n)
{
    struct walk_regs r;

    vcpu_walk_regs(k->v, &r);
    return walk_read(&k->v->vm->mem, &r, linear, b, n);
}

static uint64_t word_at(const struct search *k, uint64_t linear, unsigned bytes)
{
    uint8_t b[8] = {0};

    return fetch(k, linear, b, bytes) == bytes ? le_load(b, bytes) : UINT64_MAX;
}

static uint64_t cut(uint64_t x, unsigned bits)
{
    return bits < 64 ? x & ((1ull << bits) - 1) : x;
}

static unsigned stack_bits(const struct vcpu *v)
{
    return cpu_code_bits(v->sregs, &v->sregs->cs) == 64 ? 64 : v->sregs->ss.db ? 32 : 16;
}

/* ---- where the vCPU has been ------------------------------------------------------------------
 */

static void go(struct search *k, const struct place *p)
{
    for (unsigned i = 0; i < k->places; i++)
        if (k->place[i].base + k->place[i].ip == p->base + p->ip &&
            k->place[i].interrupts == p->interrupts && k->place[i].bits == p->bits)
            return;
    if (k->places < REACH_MAX)
        k->place[k->places++] = *p;
}

/* The place that a selector and an offset mean. */
static bool far_place(const struct search *k, uint16_t selector, uint64_t ip, struct place *p)
{
    struct assist_event fault;
    struct descriptor d;
    struct far f;

    p->cs = selector;
    p->ip = ip;
    if (k->is_real) {
        p->base = (uint64_t)selector << 4;
        return true;
    }
    far_begin(&f, k->v, &fault);
    if (!far_descriptor(&f, selector, FAR_GP, &d) || !d.seg.s || !(d.seg.type & 8))
        return false;
    p->base = d.seg.base;
    p->bits = (uint8_t)cpu_code_bits(k->v->sregs, &d.seg);
    return true;
}

static unsigned operand_bytes(const struct insn_shape *s)
{
    return s->rex & 8 ? 8 : (s->bits == 16) == s->opsize ? 4 : 2;
}

/* Is it CALL (`call`) or JMP with a far pointer? The pointer is in the instruction, or in memory
 * now. */
static bool far_pointer(const struct search *k, const struct place *p, const struct insn_shape *s,
                        bool call, uint16_t *selector, uint64_t *ip)
{
    unsigned n = operand_bytes(s);
    struct kvm_regs regs = *k->v->regs;
    uint8_t b[10];

    if (s->map || s->vex != VEX_NO)
        return false;
    if (s->opcode == (call ? 0x9a : 0xea) && s->bits != 64) {
        memcpy(b, s->b + s->opcode_at + 1, n + 2);
    } else if (s->opcode == 0xff && insn_has_memory(s) && (s->modrm >> 3 & 7) == (call ? 3 : 5)) {
        regs.rip = p->ip;
        if (fetch(k, insn_linear(s, &regs, k->v->sregs), b, n + 2) != n + 2)
            return false;
    } else {
        return false;
    }
    *ip = le_load(b, n);
    *selector = (uint16_t)le_load(b + n, 2);
    return true;
}

static void go_far(struct search *k, const struct place *p, const struct insn_shape *s, bool call)
{
    struct place to = *p;
    uint16_t selector;
    uint64_t ip;

    if (far_pointer(k, p, s, call, &selector, &ip) && far_place(k, selector, ip, &to))
        go(k, &to);
}

/* What may come after the instruction. */
static void follow(struct search *k, const struct place *p, const struct insn *in,
                   const struct insn_shape *s)
{
    struct place to = *p;

    go_far(k, p, s, false);
    go_far(k, p, s, true);
    if (in->has_target && !(in->effects & INSN_FAR)) {
        to.ip = cut(in->target - p->base, p->bits);
        go(k, &to);
    }
    if (in->effects & (INSN_RET | INSN_JMP | INSN_IRET | INSN_SYSRET))
        return;
    to.ip = cut(p->ip + in->len, p->bits);
    if (!s->map && (s->opcode == 0xfa || s->opcode == 0xfb)) /* CLI, STI */
        to.interrupts = s->opcode & 1;
    go(k, &to);
    if (!s->map && s->opcode == 0x9d) { /* POPF */
        to.interrupts = !to.interrupts;
        go(k, &to);
    }
}

/* ---- what has pushed --------------------------------------------------------------------------
 */

/* AX to DI, DI at the top. */
static void pushed_all(const struct search *k, unsigned size, struct pushes *out)
{
    const struct kvm_regs *r = k->v->regs;
    const uint64_t word[8] = {r->rdi, r->rsi, r->rbp, r->rsp + 8 * size,
                              r->rbx, r->rdx, r->rcx, r->rax};

    memcpy(out->word, word, sizeof word);
    out->count = 8;
    out->size = size;
}

/* The call whose return address is at the top, and that leads to where the vCPU is? */
static bool is_far_call(const struct search *k, const struct place *p, const struct insn_shape *s,
                        struct pushes *out)
{
    unsigned size = operand_bytes(s);
    uint16_t selector;
    uint64_t ip, next = cut(p->ip + s->len, p->bits);

    if (!far_pointer(k, p, s, true, &selector, &ip) || ip != k->v->regs->rip ||
        (selector & 0xfffc) != (k->v->sregs->cs.selector & 0xfffc) ||
        word_at(k, k->top, size) != cut(next, 8 * size))
        return false;
    *out = (struct pushes){.word = {next, p->cs}, .count = 2, .size = size};
    return true;
}

/* INT n and its kind, whose frame names what follows; or an event that came before the
 * instruction, or a fault that it has raised. */
static bool is_event(const struct search *k, const struct place *p, const struct insn_shape *s,
                     struct pushes *out)
{
    bool is_int = !s->map && ((s->opcode >= 0xcc && s->opcode <= 0xce) || s->opcode == 0xf1);
    unsigned len = s->opcode_at + (s->opcode == 0xcd ? 2u : 1u);
    uint64_t flags = k->v->regs->rflags & ~(uint64_t)(RFLAGS_IF | RFLAGS_TF);

    if (!k->is_event || (p->ip != k->event_ip && !(is_int && cut(p->ip + len, 16) == k->event_ip)))
        return false;
    flags |= (p->interrupts ? RFLAGS_IF : 0) | (k->v->given.rflags & RFLAGS_TF);
    *out = (struct pushes){.word = {k->event_ip, p->cs, flags}, .count = 3, .size = 2};
    return true;
}

enum found { NOT_FOUND, FOUND, OTHER };

/* A call within the segment, whose one store was told. */
static bool is_near_call(const struct search *k, const struct place *p, const struct insn *in)
{
    return (in->effects & (INSN_CALL | INSN_FAR)) == INSN_CALL &&
           (!in->has_target || in->target == k->v->sregs->cs.base + k->v->regs->rip) &&
           cut(word_at(k, k->top, 8), 16) == cut(p->ip + in->len, 16);
}

/* The instruction at the place: has it pushed what was stored? */
static enum found is_it(struct search *k, const struct place *p, const struct insn *in,
                        const struct insn_shape *s, struct pushes *out)
{
    uint64_t behind = p->base + cut(p->ip + in->len, p->bits);

    if (is_near_call(k, p, in))
        return OTHER;
    if (behind == k->v->sregs->cs.base + k->v->regs->rip) {
        if (!s->map && s->opcode == 0x60 && s->bits != 64) {
            pushed_all(k, operand_bytes(s), out);
            return FOUND;
        }
        k->ends_here = true;
    }
    return is_far_call(k, p, s, out) || is_event(k, p, s, out) ? FOUND : NOT_FOUND;
}

static enum found look_at(struct search *k, const struct place *p, struct pushes *out)
{
    uint8_t b[INSN_BYTES_MAX] = {0};
    size_t n = fetch(k, p->base + p->ip, b, sizeof b);
    struct insn_shape s;
    enum found found;
    struct insn in;

    if (!n)
        return NOT_FOUND;
    disasm_one(k->disasm, p->bits, p->base + p->ip, b, n, &in);
    if ((in.effects & INSN_BAD) || !insn_shape(&s, p->bits, b, sizeof b))
        s = (struct insn_shape){.map = 1}; /* nothing that is looked for */
    found = is_it(k, p, &in, &s, out);
    if (found == NOT_FOUND && !(in.effects & INSN_BAD))
        follow(k, p, &in, &s);
    return found;
}

/* By what the guest can have come to since it was entered. */
static enum found by_the_way(struct search *k, struct pushes *out)
{
    enum found found = NOT_FOUND;

    for (unsigned i = 0; i < k->places && found == NOT_FOUND; i++) {
        struct place p = k->place[i];

        found = look_at(k, &p, out);
    }
    return found;
}

/* A far call in a segment that it may have been made in, read backwards from its return address. */
static bool far_call_in(const struct search *k, uint16_t cs, struct pushes *out)
{
    struct place p = {.bits = 16};

    if (!far_place(k, cs, 0, &p))
        return false;
    for (unsigned size = 2; size <= 8; size *= 2) {
        uint64_t next = word_at(k, k->top, size);

        for (unsigned n = 2; n <= 10; n++) {
            uint8_t b[INSN_BYTES_MAX] = {0};
            struct insn_shape s;

            p.ip = cut(next - n, p.bits);
            if (fetch(k, p.base + p.ip, b, n) == n && insn_shape(&s, p.bits, b, sizeof b) &&
                s.len == n && operand_bytes(&s) == size && is_far_call(k, &p, &s, out))
                return true;
        }
    }
    return false;
}

/* The way there led through a return, or by a pointer that is gone. */
static bool by_bytes(const struct search *k, unsigned len, struct pushes *out)
{
    const struct vcpu *v = k->v;
    unsigned limit = k->is_real ? 0 : v->sregs->gdt.limit;

    if (!k->ends_here && cpu_code_bits(v->sregs, &v->sregs->cs) != 64 &&
        word_at(k, v->sregs->cs.base + v->regs->rip - 1, 1) == 0x60) {
        pushed_all(k, len, out);
        return true;
    }
    if (far_call_in(k, v->given.cs.selector, out) || far_call_in(k, v->sregs->cs.selector, out))
        return true;
    for (unsigned at = 8; at + 7 <= limit; at += 8)
        if (far_call_in(k, (uint16_t)(at | cpu_cpl(v->sregs)), out))
            return true;
    return is_event(k,
                    &(struct place){.ip = k->event_ip,
                                    .cs = v->given.cs.selector,
                                    .interrupts = v->given.rflags & RFLAGS_IF},
                    &(struct insn_shape){.map = 1}, out);
}

/* Does a vector of real mode lead to where the vCPU is? */
static bool leads_here(const struct search *k)
{
    const struct vcpu *v = k->v;
    uint8_t table[4 * VECTORS];
    size_t n = fetch(k, v->sregs->idt.base, table, sizeof table);

    for (unsigned i = 0; i < n / 4; i++)
        if (le_load(table + 4 * i, 2) == v->regs->rip &&
            le_load(table + 4 * i + 2, 2) == v->sregs->cs.selector)
            return true;
    return false;
}

/* In 64-bit code nothing but a far call pushes several words, and its return address stands behind
 * it. */
static bool may_be_far64(const struct search *k)
{
    uint8_t b[10];

    for (unsigned size = 2; size <= 8; size *= 2) {
        size_t n = fetch(k, word_at(k, k->top, size) - sizeof b, b, sizeof b);

        for (size_t at = 0; at + 2 <= n; at++)
            if ((b[at] == 0xff && (b[at + 1] >> 3 & 7) == 3) || b[at] == 0x9a)
                return true;
    }
    return false;
}

static uint64_t stack_top(const struct vcpu *v)
{
    return cpu_code_bits(v->sregs, &v->sregs->cs) == 64
               ? v->regs->rsp
               : v->sregs->ss.base + cut(v->regs->rsp, stack_bits(v));
}

bool watch_may_be_pushes(const struct vcpu *v, uint64_t gpa)
{
    uint64_t top = stack_top(v), from_top = (gpa - top) & (PAGE_BYTES - 1), at;
    struct walk_regs r;

    if (from_top >= sizeof(uint32_t[8]))
        return false;
    vcpu_walk_regs(v, &r); /* many stores are as far into some page */
    return walk_gpa(&v->vm->mem, &r, top + from_top, &at) && at == gpa;
}

bool watch_pushes(struct watches *w, struct vcpu *v, uint64_t gpa, unsigned len, struct pushes *out)
{
    struct watch_cpu *c = &w->cpu[v->id];
    const struct vcpu_given *g = &v->given;
    bool long64 = cpu_code_bits(v->sregs, &v->sregs->cs) == 64;
    struct search k = {.v = v, .is_real = !(v->sregs->cr0 & CR0_PE)};
    enum found found;
    unsigned at;

    k.top = stack_top(v);
    at = (unsigned)(gpa - k.top) & (PAGE_BYTES - 1);
    if (long64 && !may_be_far64(&k))
        return false;
    k.is_event = k.is_real && len == 2 && leads_here(&k);
    k.event_ip = word_at(&k, k.top, 2);
    if (!c->disasm)
        c->disasm = disasm_new();
    k.disasm = c->disasm;
    k.place[k.places++] = (struct place){.base = g->cs.base,
                                         .ip = g->rip,
                                         .cs = g->cs.selector,
                                         .bits = (uint8_t)cpu_code_bits(v->sregs, &g->cs),
                                         .interrupts = g->rflags & RFLAGS_IF};
    found = by_the_way(&k, out);
    if (found == OTHER || (found == NOT_FOUND && !by_bytes(&k, len, out)))
        return false;
    out->top = k.top;
    /* What was told is one of them. */
    return len == out->size && at % len == 0 && at / len < out->count &&
           word_at(&k, k.top + at, len) == cut(out->word[at / len], 8 * len);
}
