/*
 * A vCPU's registers beyond the shared page, what is kept of the guest's DR6 and trap flag, the
 * bytes at RIP, and what it waits for. Its own thread, or any while it stands.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/devices/lapic.h"
#include "vmm/x86_bits.h"

static int get_msrs(struct vcpu *v, struct vcpu_state *st)
{
    for (unsigned i = 0; i < reg_msr_count; i++) {
        struct kvm_msr_buf one = {.head.nmsrs = 1};

        one.entry[0].index = reg_msr_index[i];
        st->msr_known[i] = kvm_get_msrs(v->fd, &one) == 1;
        st->msr[i] = one.entry[0].data;
    }
    return 0;
}

void vcpu_copy_state(const struct vcpu *v, uint32_t parts, struct vcpu_state *st)
{
    if (parts & VS_REGS) {
        st->regs = *v->regs;
        st->regs.rflags |= v->own_tf ? RFLAGS_TF : 0;
    }
    if (parts & VS_SREGS) {
        st->sregs = *v->sregs;
        if (v->idt_hidden)
            st->sregs.idt.limit = v->idt_limit_real;
    }
    if (parts & VS_EVENTS)
        st->events = *v->events;
    st->have |= parts & VS_SHARED;
}

int vcpu_get_state(struct vcpu *v, uint32_t parts, struct vcpu_state *st)
{
    int rc = 0;

    vcpu_flush(v);
    vcpu_copy_state(v, parts, st);
    if (parts & VS_DEBUG)
        rc = kvm_get_debugregs(v->fd, &st->debug);
    if (rc == 0 && (parts & VS_XSAVE))
        rc = kvm_get_xsave(v->fd, &st->xsave);
    if (rc == 0 && (parts & VS_XCRS) && kvm_get_xcrs(v->fd, &st->xcrs) < 0)
        st->xcrs = (struct kvm_xcrs){.nr_xcrs = 1, .xcrs[0].value = 3}; /* no XSAVE here */
    if (rc == 0 && (parts & VS_MSRS))
        rc = get_msrs(v, st);
    if (rc == 0)
        st->have |= parts;
    return rc;
}

static int set_msrs(struct vcpu *v, const struct vcpu_state *st)
{
    for (unsigned i = 0; i < reg_msr_count; i++) {
        struct kvm_msr_buf one = {.head.nmsrs = 1};

        if (!st->msr_known[i])
            continue;
        one.entry[0].index = reg_msr_index[i];
        if (kvm_get_msrs(v->fd, &one) == 1 && one.entry[0].data == st->msr[i])
            continue; /* some MSRs cannot be written with the value they already have */
        one.entry[0].data = st->msr[i];
        if (kvm_set_msrs(v->fd, &one) != 1)
            return -EINVAL;
    }
    return 0;
}

int vcpu_set_state(struct vcpu *v, uint32_t parts, const struct vcpu_state *st)
{
    int rc = 0;

    vcpu_flush(v);
    if (parts & VS_SREGS) {
        struct kvm_sregs s = st->sregs;

        memset(s.interrupt_bitmap, 0, sizeof s.interrupt_bitmap); /* vcpu_dirty says why */
        if (v->idt_hidden) {
            v->idt_limit_real = s.idt.limit;
            s.idt.limit = 0;
        }
        rc = kvm_set_sregs(v->fd, &s);
        if (rc == 0)
            v->run->cr8 = s.cr8;
    }
    if (rc == 0 && (parts & VS_XCRS))
        rc = kvm_set_xcrs(v->fd, &st->xcrs);
    if (rc == 0 && (parts & VS_XSAVE))
        rc = kvm_set_xsave(v->fd, &st->xsave);
    if (rc == 0 && (parts & VS_REGS)) {
        struct kvm_regs r = st->regs;

        v->own_tf = r.rflags & RFLAGS_TF; /* where a step is armed still, KVM would lose it */
        r.rflags &= ~(uint64_t)RFLAGS_TF;
        rc = kvm_set_regs(v->fd, &r);
    }
    if (rc == 0 && (parts & VS_DEBUG))
        rc = kvm_set_debugregs(v->fd, &st->debug);
    if (rc == 0 && (parts & VS_MSRS))
        rc = set_msrs(v, st);
    if (rc == 0 && (parts & VS_EVENTS))
        rc = kvm_set_events(v->fd, &st->events);
    v->debug_valid = false;
    vcpu_refresh(v);
    return rc;
}

uint64_t vcpu_msr(struct vcpu *v, uint32_t index)
{
    struct kvm_msr_buf one = {.head.nmsrs = 1};

    one.entry[0].index = index;
    return kvm_get_msrs(v->fd, &one) == 1 ? one.entry[0].data : 0;
}

int vcpu_set_msr(struct vcpu *v, uint32_t index, uint64_t value)
{
    struct kvm_msr_buf one = {.head.nmsrs = 1};

    one.entry[0].index = index;
    one.entry[0].data = value;
    return kvm_set_msrs(v->fd, &one) == 1 ? 0 : -EINVAL;
}

void vcpu_dr6_keep(struct vcpu *v)
{
    struct kvm_debugregs d;

    if (v->dr6_kept || kvm_get_debugregs(v->fd, &d) < 0)
        return;
    v->dr6_kept = true;
    v->dr6 = d.dr6;
}

void vcpu_dr6_restore(struct vcpu *v)
{
    struct kvm_debugregs d;

    if (!v->dr6_kept)
        return;
    v->dr6_kept = false;
    if (kvm_get_debugregs(v->fd, &d) < 0 || d.dr6 == v->dr6)
        return;
    d.dr6 = v->dr6;
    if (kvm_set_debugregs(v->fd, &d) < 0)
        log_error("vCPU %u: DR6 keeps the trace of a step", v->id);
}

void vcpu_dr6_add(struct vcpu *v, uint64_t bits)
{
    struct kvm_debugregs d;

    v->dr6 |= bits; /* in case that it is kept */
    if (kvm_get_debugregs(v->fd, &d) < 0)
        return;
    d.dr6 |= bits;
    if (kvm_set_debugregs(v->fd, &d) < 0)
        log_error("vCPU %u: DR6 does not tell the guest of its own #DB", v->id);
}

void vcpu_give_tf(struct vcpu *v)
{
    if (!v->own_tf)
        return;
    v->own_tf = false;
    v->regs->rflags |= RFLAGS_TF;
    vcpu_dirty(v, VS_REGS);
}

void vcpu_walk_regs(const struct vcpu *v, struct walk_regs *out)
{
    *out = (struct walk_regs){
        .cr0 = v->sregs->cr0,
        .cr3 = v->sregs->cr3,
        .cr4 = v->sregs->cr4,
        .efer = v->sregs->efer,
        .maxphyaddr = v->vm->maxphyaddr,
    };
}

#define INSN_MAX 15

/* Would a walk from there end where the last one did? */
static bool same_code(const struct vcpu_code *c, const struct walk_regs *r, uint64_t linear)
{
    if (!c->hva || linear - c->linear > PAGE_BYTES - INSN_MAX || r->cr3 != c->regs.cr3 ||
        r->cr0 != c->regs.cr0 || r->cr4 != c->regs.cr4 || r->efer != c->regs.efer)
        return false;
    for (unsigned i = 0; i < c->levels; i++) {
        uint64_t now = 0;

        if (c->level[i].size == sizeof now)
            memcpy(&now, c->level[i].hva, sizeof now);
        else
            memcpy(&now, c->level[i].hva, 4);
        if (now != c->level[i].entry)
            return false;
    }
    return true;
}

static void remember_code(struct vcpu *v, const struct walk_regs *r, uint64_t linear)
{
    const struct mem *m = &v->vm->mem;
    struct vcpu_code *c = &v->code;
    struct walk w;

    c->hva = NULL;
    c->regs = *r;
    c->linear = linear & ~(uint64_t)(PAGE_BYTES - 1);
    walk(m, r, c->linear, &w);
    if (w.result != WALK_OK)
        return;
    for (unsigned i = 0; i < w.steps; i++) {
        c->level[i].hva = mem_ptr(m, w.step[i].entry_gpa, w.step[i].entry_size);
        c->level[i].entry = w.step[i].entry;
        c->level[i].size = w.step[i].entry_size;
    }
    c->levels = w.steps;
    c->hva = mem_ptr(m, w.gpa, PAGE_BYTES);
}

const uint8_t *vcpu_code(struct vcpu *v)
{
    uint64_t linear = v->sregs->cs.base + v->regs->rip;
    struct walk_regs r;

    vcpu_walk_regs(v, &r);
    if (!same_code(&v->code, &r, linear)) {
        remember_code(v, &r, linear);
        if (!same_code(&v->code, &r, linear))
            return NULL;
    }
    return v->code.hva + (linear - v->code.linear);
}

unsigned vcpu_fetch(struct vcpu *v, uint8_t insn[15])
{
    const uint8_t *code = vcpu_code(v);
    struct walk_regs r;

    if (code) {
        memcpy(insn, code, INSN_MAX);
        return INSN_MAX;
    }
    vcpu_walk_regs(v, &r);
    return (unsigned)walk_read(&v->vm->mem, &r, v->sregs->cs.base + v->regs->rip, insn, INSN_MAX);
}

enum vcpu_idle vcpu_ask_idle(const struct vcpu *v)
{
    uint32_t state;

    if (kvm_get_mp_state(v->fd, &state) < 0)
        return VCPU_ACTIVE;
    switch (state) {
    case KVM_MP_STATE_HALTED:
        return v->regs->rflags & 0x200 ? VCPU_HALTED : VCPU_DEAD;
    case KVM_MP_STATE_UNINITIALIZED:
    case KVM_MP_STATE_INIT_RECEIVED:
        return VCPU_WAIT_SIPI;
    default:
        return VCPU_ACTIVE;
    }
}

enum vcpu_idle vcpu_waits(const struct vcpu *v)
{
    if (v->vm->m.irqchip_kernel && v->parked)
        return (enum vcpu_idle)v->idle_inside;
    return (enum vcpu_idle)atomic_load(&v->idle);
}

const char *vcpu_status(struct vcpu *v)
{
    switch (vcpu_waits(v)) {
    case VCPU_HALTED:
        return "halted";
    case VCPU_DEAD:
        return "halted, interrupts off";
    case VCPU_WAIT_SIPI:
        return "waiting for SIPI";
    case VCPU_ACTIVE:
        break;
    }
    return v->parked ? "stopped" : "running";
}
