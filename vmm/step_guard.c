/*
 * Guards on handlers for the time of one step. vCPU thread.
 */
#include "vmm/step_guard.h"

#include <string.h>

#include "vmm/onestep.h"
#include "vmm/vcpu.h"

#define INT3       0xcc
#define EXCEPTIONS 32
#define VECTORS    256
#define TF_BYTE    0x01 /* the trap flag is bit 8 of the flags */

/* Handlers that were never set lead into the table itself in real mode (0:0): a byte there would
 * change the gates that the processor is about to read. */
static bool is_gate(const struct vcpu *v, uint64_t linear)
{
    return linear - v->sregs->idt.base <= v->sregs->idt.limit;
}

static void add(struct vcpu *v, struct step_guard *g, uint64_t linear, int vector)
{
    struct walk_regs r;
    struct walk w;
    uint8_t *hva;

    if (is_gate(v, linear))
        return;
    for (unsigned i = 0; i < g->count; i++)
        if (g->at[i].linear == linear)
            return; /* several vectors share one handler */
    vcpu_walk_regs(v, &r);
    walk(&v->vm->mem, &r, linear, &w);
    hva = w.result == WALK_OK ? mem_ptr(&v->vm->mem, w.gpa, 1) : NULL;
    if (!hva || g->count == GUARD_MAX)
        return;
    g->at[g->count].linear = linear;
    g->at[g->count].hva = hva;
    g->at[g->count++].vector = vector;
}

/* The guest's tables rarely change between two steps, so their bytes are compared instead of
 * walking 32 gates each time. */
static void handlers(struct vcpu *v, struct step_guard *g)
{
    struct guard_cache *c = &v->guard_cache;
    uint32_t bytes = v->sregs->idt.limit + 1u;
    uint8_t now[sizeof c->idt];
    struct walk_regs r;
    uint64_t target;

    vcpu_walk_regs(v, &r);
    if (bytes > sizeof now)
        bytes = sizeof now;
    bytes = (uint32_t)walk_read(&v->vm->mem, &r, v->sregs->idt.base, now, bytes);
    if (c->cr0 != r.cr0 || c->cr3 != r.cr3 || c->idt_base != v->sregs->idt.base ||
        c->idt_bytes != bytes || memcmp(c->idt, now, bytes)) {
        c->handlers.count = 0;
        for (int i = 0; i < EXCEPTIONS; i++)
            if (vcpu_gate_target(v, i, &target))
                add(v, &c->handlers, target, i);
        c->cr0 = r.cr0;
        c->cr3 = r.cr3;
        c->idt_base = v->sregs->idt.base;
        c->idt_bytes = bytes;
        memcpy(c->idt, now, bytes);
    }
    g->count = c->handlers.count;
    memcpy(g->at, c->handlers.at, g->count * sizeof g->at[0]);
}

/* Our own chips wait until a step is over; the kernel's do so only when they are told to. */
static bool may_be_interrupted(const struct vcpu *v)
{
    return v->vm->m.irqchip_kernel && !v->hold_irq;
}

void guard_place(struct vcpu *v, struct step_guard *g, int vector, uint64_t also)
{
    uint64_t target, here = v->sregs->cs.base + v->regs->rip;

    handlers(v, g);
    for (int i = EXCEPTIONS; i < VECTORS; i++)
        if ((i == vector || may_be_interrupted(v)) && vcpu_gate_target(v, i, &target))
            add(v, g, target, i);
    if (also)
        add(v, g, also, -1);
    for (unsigned i = 0; i < g->count; i++) {
        g->at[i].placed = g->at[i].linear != here; /* the step starts there */
        if (!g->at[i].placed)
            continue;
        g->at[i].original = *g->at[i].hva;
        *g->at[i].hva = INT3;
    }
}

void guard_lift(struct step_guard *g)
{
    for (unsigned i = g->count; i-- > 0;)
        if (g->at[i].placed)
            *g->at[i].hva = g->at[i].original;
}

bool guard_hit(const struct vcpu *v, const struct step_guard *g, int *vector)
{
    for (unsigned i = 0; i < g->count; i++) {
        if (g->at[i].placed && g->at[i].linear == v->sregs->cs.base + v->regs->rip) {
            *vector = g->at[i].vector;
            return true;
        }
    }
    return false;
}

static bool pushes_error_code(int vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 ||
           vector == 29 || vector == 30; /* SDM volume 3, table 7-1; AMD's #VC and #SX */
}

void guard_frame_tf(struct vcpu *v, int vector, bool on)
{
    bool real = !(v->sregs->cr0 & 1);
    unsigned slot = real ? 2 : v->sregs->efer & 0x400 ? 8 : 4;
    unsigned skip = (!real && pushes_error_code(vector) ? 1 : 0) + 2; /* code, IP, CS */
    uint64_t at = v->sregs->ss.base + v->regs->rsp + slot * skip + 1;
    struct walk_regs r;
    uint8_t b;

    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, at, &b, 1) != 1 || !(b & TF_BYTE) == !on)
        return;
    b ^= TF_BYTE;
    walk_write(&v->vm->mem, &r, at, &b, 1);
}
