/*
 * See watch_rest.h.
 */
#include "debug/points/watch_rest.h"

#include <string.h>

#include "debug/operands.h"
#include "debug/points/watch.h"
#include "disasm/disasm.h"
#include "vmm/regs.h"

#define INSN_MAX 15u

/* Table rows to numbers as encoded. */
static const int8_t gpr_number[] = {
    [REG_rax] = 0,  [REG_rcx] = 1,  [REG_rdx] = 2,  [REG_rbx] = 3, [REG_rsp] = 4,  [REG_rbp] = 5,
    [REG_rsi] = 6,  [REG_rdi] = 7,  [REG_r8] = 8,   [REG_r9] = 9,  [REG_r10] = 10, [REG_r11] = 11,
    [REG_r12] = 12, [REG_r13] = 13, [REG_r14] = 14, [REG_r15] = 15};

static struct disasm *disasm_of(struct watch_cpu *c)
{
    if (!c->disasm)
        c->disasm = disasm_new();
    return c->disasm;
}

/* The bytes from `at` on, or those before it, as far as they are mapped. */
static unsigned fetch(const struct vcpu *v, uint64_t at, bool before, uint8_t bytes[INSN_MAX])
{
    uint64_t room = PAGE_BYTES - (at & (PAGE_BYTES - 1));
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    if (!before)
        return (unsigned)walk_read(&v->vm->mem, &r, at, bytes, room < INSN_MAX ? room : INSN_MAX);
    room = at & (PAGE_BYTES - 1);
    room = room < INSN_MAX ? room : INSN_MAX;
    return walk_read(&v->vm->mem, &r, at - room, bytes, room) == room ? (unsigned)room : 0;
}

static void learn_load(struct disasm *d, const struct vcpu *v, struct watch_code *k)
{
    struct load l;

    k->suits =
        disasm_load(d, k->bits, k->at - v->sregs->cs.base, k->bytes, k->n, &l) && l.len <= k->n;
    if (!k->suits)
        return;
    k->gprs = l.gprs;
    k->len = l.len;
    k->access = l.access;
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

static const struct watch_code *code_at(struct watch_cpu *c, const struct vcpu *v, bool is_load)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    unsigned bits = cpu_mode_bits(cpu_mode_of(v->sregs, v->regs->rflags));
    struct watch_code *k = &c->code[(at ^ at >> 4) % WATCH_CODES];
    uint8_t bytes[INSN_MAX];
    unsigned n = fetch(v, at, !is_load, bytes);

    if (k->at == at && k->bits == bits && k->n == n && k->is_load == is_load &&
        !memcmp(k->bytes, bytes, n))
        return k;
    *k = (struct watch_code){.at = at, .bits = (uint8_t)bits, .n = (uint8_t)n, .is_load = is_load};
    memcpy(k->bytes, bytes, n);
    if (is_load)
        learn_load(disasm_of(c), v, k);
    else
        learn_store(disasm_of(c), k);
    return k;
}

static bool open_load(struct watch_cpu *c, const struct vcpu *v)
{
    const struct watch_code *k = code_at(c, v, true);
    struct access_regs r;

    if (!k->suits || k->access.size != v->run->mmio.len)
        return false;
    operands_regs(v, &r);
    if ((access_address(&k->access, &r, false) ^ v->run->mmio.phys_addr) & (PAGE_BYTES - 1))
        return false; /* it is not this instruction that reads */
    c->rest.open = true;
    c->rest.gprs = k->gprs;
    c->rest.rip = k->len;
    return true;
}

bool watch_rest_open(struct watches *w, struct vcpu *v)
{
    struct watch_cpu *c = &w->cpu[v->id];
    const struct kvm_run *run = v->run;

    c->rest.open = false;
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
    if (!w->cpu[v->id].rest.open)
        return;
    w->cpu[v->id].rest.open = false;
    vcpu_settle(v);
}

void watch_rest_close(struct watches *w, const struct vcpu *v)
{
    w->cpu[v->id].rest.open = false;
}

uint64_t watch_rest_reg(struct watches *w, struct vcpu *v, int id)
{
    struct watch_cpu *c = &w->cpu[v->id];
    bool is_gpr = id >= 0 && id < REG_rip;

    if (!c->rest.open)
        return 0;
    if (id == REG_rip)
        return c->rest.rip;
    if (is_gpr ? !(c->rest.gprs >> gpr_number[id] & 1) : reg_table[id].part == VS_SREGS)
        return 0;
    watch_rest_settle(w, v);
    return 0;
}
