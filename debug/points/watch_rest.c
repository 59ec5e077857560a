/*
 * See watch_rest.h.
 */
#include "debug/points/watch_rest.h"

#include <string.h>

#include "debug/points/watch.h"
#include "disasm/disasm.h"
#include "vmm/base/le.h"
#include "vmm/regs.h"
#include "vmm/x86_bits.h"

#define INSN_MAX 15u

/* By number as encoded. */
static const uint16_t gpr_at[16] = {
    offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx), offsetof(struct kvm_regs, rdx),
    offsetof(struct kvm_regs, rbx), offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp),
    offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi), offsetof(struct kvm_regs, r8),
    offsetof(struct kvm_regs, r9),  offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
    offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13), offsetof(struct kvm_regs, r14),
    offsetof(struct kvm_regs, r15)};

/* Table rows to these numbers. */
static const int8_t gpr_number[] = {
    [REG_rax] = 0,  [REG_rcx] = 1,  [REG_rdx] = 2,  [REG_rbx] = 3, [REG_rsp] = 4,  [REG_rbp] = 5,
    [REG_rsi] = 6,  [REG_rdi] = 7,  [REG_r8] = 8,   [REG_r9] = 9,  [REG_r10] = 10, [REG_r11] = 11,
    [REG_r12] = 12, [REG_r13] = 13, [REG_r14] = 14, [REG_r15] = 15};

static uint64_t gpr(const struct vcpu *v, unsigned number)
{
    return *(const uint64_t *)(const void *)((const char *)v->regs + gpr_at[number]);
}

static struct disasm *disasm_of(struct watch_cpu *c)
{
    if (!c->disasm)
        c->disasm = disasm_new();
    return c->disasm;
}

/* The bytes before `at`, as far as they are mapped. */
static unsigned fetch_before(const struct vcpu *v, uint64_t at, uint8_t bytes[INSN_MAX])
{
    uint64_t room = at & (PAGE_BYTES - 1);
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    room = room < INSN_MAX ? room : INSN_MAX;
    return walk_read(&v->vm->mem, &r, at - room, bytes, room) == room ? (unsigned)room : 0;
}

static void learn_load(struct disasm *d, const struct vcpu *v, struct watch_code *k)
{
    k->suits = disasm_load(d, k->bits, k->at - v->sregs->cs.base, k->bytes, k->n, &k->load) &&
               k->load.len <= k->n;
}

/* Which of the starts is the store's cannot be told from behind it: none may be one of more than 8
 * bytes. A call leaves RIP elsewhere, but does not store more either. */
static void learn_store(struct disasm *d, struct watch_code *k)
{
    struct access a[ACCESS_MAX];
    unsigned len;

    k->suits = k->n == INSN_MAX;
    for (unsigned back = 1; back <= k->n && k->suits; back++) {
        int count =
            disasm_accesses(d, k->bits, k->at - back, k->bytes + k->n - back, back, a, &len);

        for (int i = 0; i < count && len == back; i++)
            if (a[i].write && a[i].size > 8)
                k->suits = false;
    }
}

/* The same code as when it was last decoded there? */
static bool is_known(const struct watch_code *k, uint64_t at, unsigned bits, bool is_load,
                     const uint8_t *bytes, unsigned n)
{
    if (k->at != at || k->bits != bits || k->is_load != is_load || k->n != n)
        return false;
    if (n != INSN_MAX)
        return !memcmp(k->bytes, bytes, n);
    return le_load(k->bytes, 8) == le_load(bytes, 8) &&
           le_load(k->bytes + INSN_MAX - 8, 8) == le_load(bytes + INSN_MAX - 8, 8);
}

static const struct watch_code *code_at(struct watch_cpu *c, struct vcpu *v, bool is_load)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    unsigned bits = cpu_mode_bits(cpu_mode_of(v->sregs, v->regs->rflags)), n = INSN_MAX;
    struct watch_code *k = &c->code[(at ^ at >> 4) % WATCH_CODES];
    const uint8_t *bytes = is_load ? vcpu_code(v) : NULL;
    uint8_t copy[INSN_MAX];

    if (!bytes) {
        n = is_load ? vcpu_fetch(v, copy) : fetch_before(v, at, copy);
        bytes = copy;
    }
    if (is_known(k, at, bits, is_load, bytes, n))
        return k;
    *k = (struct watch_code){.at = at, .bits = (uint8_t)bits, .n = (uint8_t)n, .is_load = is_load};
    memcpy(k->bytes, bytes, n);
    if (is_load)
        learn_load(disasm_of(c), v, k);
    else
        learn_store(disasm_of(c), k);
    return k;
}

/* Where in its page a plain load reads. */
static unsigned offset_of(const struct vcpu *v, const struct access *a)
{
    static const uint16_t base_at[] = {
        [ACCESS_ES] = offsetof(struct kvm_sregs, es), [ACCESS_CS] = offsetof(struct kvm_sregs, cs),
        [ACCESS_SS] = offsetof(struct kvm_sregs, ss), [ACCESS_DS] = offsetof(struct kvm_sregs, ds),
        [ACCESS_FS] = offsetof(struct kvm_sregs, fs), [ACCESS_GS] = offsetof(struct kvm_sregs, gs)};
    bool is_long = (v->sregs->efer & EFER_LMA) && v->sregs->cs.l;
    uint64_t at = (uint64_t)a->disp;

    if (a->base != ACCESS_NONE)
        at += gpr(v, (unsigned)a->base);
    if (a->index != ACCESS_NONE)
        at += gpr(v, (unsigned)a->index) * a->scale;
    if (!is_long || a->segment == ACCESS_FS || a->segment == ACCESS_GS) {
        const struct kvm_segment *seg =
            (const void *)((const char *)v->sregs + base_at[a->segment]);

        at += seg->base;
    }
    return (unsigned)at & (PAGE_BYTES - 1);
}

static bool open_load(struct watch_cpu *c, struct vcpu *v)
{
    const struct watch_code *k = code_at(c, v, true);
    const struct kvm_run *run = v->run;

    if (!k->suits || k->load.access.size != run->mmio.len ||
        offset_of(v, &k->load.access) != (run->mmio.phys_addr & (PAGE_BYTES - 1)))
        return false; /* it is not this instruction that reads, or a part of it */
    c->rest = &k->load;
    return true;
}

bool watch_rest_open(struct watches *w, struct vcpu *v)
{
    struct watch_cpu *c = &w->cpu[v->id];
    const struct kvm_run *run = v->run;

    c->rest = NULL;
    if (!v->unsettled)
        return true;
    if (run->exit_reason != KVM_EXIT_MMIO)
        return false;
    if (!run->mmio.is_write)
        return open_load(c, v);
    /* KVM has written the registers back before a store leaves. Only one of more than 8 bytes, or
     * into the next page, comes in parts. */
    if (!((run->mmio.phys_addr + run->mmio.len) % PAGE_BYTES))
        return false;
    return run->mmio.len < 8 || code_at(c, v, false)->suits;
}

void watch_rest_settle(struct watches *w, struct vcpu *v)
{
    if (!w->cpu[v->id].rest)
        return;
    w->cpu[v->id].rest = NULL;
    vcpu_settle(v);
}

void watch_rest_close(struct watches *w, const struct vcpu *v)
{
    w->cpu[v->id].rest = NULL;
}

/* What a move makes of its register, as KVM's emulator writes it back. */
static uint64_t moved(const struct vcpu *v, const struct load *l)
{
    unsigned from = l->access.size * 8u;
    uint64_t was = gpr(v, (unsigned)l->into), x = le_load(v->run->mmio.data, l->access.size), mask;

    if (l->is_signed && from < 64)
        x = (x ^ 1ull << (from - 1)) - (1ull << (from - 1));
    if (l->bits == 64)
        return x;
    if (l->bits == 32)
        return (uint32_t)x;
    mask = ((1ull << l->bits) - 1) << l->low;
    return (was & ~mask) | (x << l->low & mask);
}

/* As `value` when it is known. */
static bool after_load(const struct vcpu *v, const struct load *l, int id, uint64_t *value)
{
    if (id == REG_rip)
        *value = v->regs->rip + l->len;
    else if (id == REG_rflags && l->into != ACCESS_NONE)
        *value = v->regs->rflags & ~(uint64_t)RFLAGS_RF;
    else if (id < REG_rip && l->into == gpr_number[id])
        *value = moved(v, l);
    else
        return false;
    return true;
}

static bool is_kept(const struct load *l, int id)
{
    const struct reg_desc *d = &reg_table[id];

    return id < REG_rip ? !(l->gprs >> gpr_number[id] & 1) : d->part == VS_SREGS;
}

bool watch_rest_reg(struct watches *w, struct vcpu *v, int id, uint64_t *value)
{
    struct watch_cpu *c = &w->cpu[v->id];

    if (c->rest && after_load(v, c->rest, id, value))
        return true;
    if (c->asking &&
        (c->rest ? !is_kept(c->rest, id) : !(reg_table[id].part & (VS_REGS | VS_SREGS)))) {
        c->asking = false;
        *value = 0;
        return true;
    }
    if (c->rest && !is_kept(c->rest, id))
        watch_rest_settle(w, v);
    return false;
}
