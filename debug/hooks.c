/*
 * Gate hooks for ring 3 of an emulating KVM. vCPU threads; plants change only while the vCPU is
 * alone in the guest.
 */
#include "debug/hooks.h"

#include "debug/engine.h"
#include "debug/watch_run.h"
#include "vmm/assist.h"
#include "vmm/base/le.h"
#include "vmm/onestep.h"
#include "vmm/transfer.h"

#define EFER_LMA 0x400u
#define CR0_PE   1u
/* Exits between two looks at gates whose IDTR did not change. */
#define LOOK_EVERY 64

/* #BP, #UD, #GP, #PF: ring 3 of an emulating KVM (hooks.h). */
#define RING3_VECTORS (1u << 3 | 1u << 6 | 1u << 13 | 1u << 14)
/* #DF, where pages are trapped (watch_double_fault). */
#define TRAP_VECTORS (1u << 8)

static bool has_error_code(int vector)
{
    return vector == 8 || vector == 13 || vector == 14;
}

static bool to_gpa(struct vcpu *v, uint64_t linear, uint64_t *gpa)
{
    struct walk_regs r;
    struct walk w;

    vcpu_walk_regs(v, &r);
    walk(&v->vm->mem, &r, linear, &w);
    *gpa = w.gpa;
    return w.result == WALK_OK && mem_ptr(&v->vm->mem, w.gpa, 1);
}

/* Does this host lack paging outside long mode? It tells the guest so by a #GP. */
static bool paging_lacks(const struct engine *g)
{
    return !g->vm->probe.paging32 || !g->vm->probe.paging_pae;
}

static uint32_t wanted_vectors(const struct engine *g, const struct vcpu *v)
{
    bool ring3 = g->vm->probe.emulated && (v->sregs->efer & EFER_LMA);
    bool paging = !ring3 && g->vm->probe.emulated && (v->sregs->cr0 & CR0_PE) && paging_lacks(g);

    return g->points.catch_vectors | (ring3 ? RING3_VECTORS : 0) |
           (ring3 && g->points.watches.trapped ? TRAP_VECTORS : 0) | (paging ? 1u << 13 : 0);
}

static void refresh_one(struct engine *g, struct vcpu *v, int vector, bool wanted)
{
    uint64_t linear = 0, gpa = 0;
    bool want = wanted && vcpu_gate_target(v, vector, &linear) && to_gpa(v, linear, &gpa);

    if (want == g->hooks.at[vector].planted && (!want || gpa == g->hooks.at[vector].gpa))
        return;
    engine_alone_begin(g, v);
    if (g->hooks.at[vector].planted) /* perhaps by another vCPU in the meantime */
        points_unplant_hook(&g->points, g->hooks.at[vector].gpa);
    g->hooks.at[vector].planted = want && points_plant_hook(&g->points, gpa);
    g->hooks.at[vector].linear = linear;
    g->hooks.at[vector].gpa = gpa;
    engine_alone_end(g);
}

void hooks_refresh(struct engine *g, struct vcpu *v)
{
    struct hooks *k = &g->hooks;
    typeof(k->seen[0]) *seen = &k->seen[v->id];
    uint16_t limit = v->idt_hidden ? v->idt_limit_real : v->sregs->idt.limit;
    uint32_t wanted = wanted_vectors(g, v);

    if (seen->idt_base == v->sregs->idt.base && seen->idt_limit == limit && k->vectors == wanted &&
        seen->countdown--)
        return;
    seen->countdown = LOOK_EVERY;
    if (points_stale(&g->points) || g->points.pending) {
        engine_alone_begin(g, v);
        points_refresh(&g->points);
        engine_alone_end(g);
    }
    seen->idt_base = v->sregs->idt.base;
    seen->idt_limit = limit;
    for (int i = 0; i < HOOK_VECTORS; i++)
        if ((wanted | k->vectors) >> i & 1)
            refresh_one(g, v, i, wanted >> i & 1);
    k->vectors = wanted;
}

bool hooks_missing(const struct engine *g)
{
    if (!g->points.catch_vectors)
        return false;
    for (unsigned i = 0; i < HOOK_VECTORS; i++)
        if ((g->points.catch_vectors >> i & 1) && g->hooks.at[i].planted)
            return false; /* who catches all is content with what gates there are */
    return true;
}

bool hooks_wanted(const struct engine *g)
{
    for (unsigned i = 0; i < g->points.dr_usable; i++)
        if (g->points.dr_owner[i] && g->vm->probe.emulated)
            return true; /* may outgrow its debug register */
    return hooks_missing(g) || (g->vm->probe.emulated && !g->hooks.at[6].planted);
}

void hooks_forget(struct engine *g)
{
    for (unsigned i = 0; i < HOOK_VECTORS; i++)
        if (g->hooks.at[i].planted)
            points_unplant_hook(&g->points, g->hooks.at[i].gpa);
    g->hooks = (struct hooks){0};
}

uint32_t hook_vectors_here(const struct engine *g, const struct vcpu *v)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    uint32_t here = 0;

    for (unsigned i = 0; i < HOOK_VECTORS; i++)
        if (g->hooks.at[i].planted && g->hooks.at[i].linear == at)
            here |= 1u << i;
    return here;
}

const char *hook_paging(struct engine *g, struct vcpu *v)
{
    const char *kind;
    struct walk_regs r;
    uint8_t f[16]; /* error code, EIP, CS, EFLAGS */
    uint64_t at;

    if (!(hook_vectors_here(g, v) >> 13 & 1) || (v->sregs->efer & EFER_LMA))
        return NULL;
    vcpu_walk_regs(v, &r);
    if (walk_read(&g->vm->mem, &r, v->sregs->ss.base + (uint32_t)v->regs->rsp, f, 16) != 16)
        return NULL;
    at = le_load(f + 4, 4);
    kind = vcpu_paging_refused(v, v->sregs->cs.base + at);
    if (kind) {
        v->regs->rip = at;
        v->regs->rsp += 16;
        v->regs->rflags = le_load(f + 12, 4);
        vcpu_dirty(v, VS_REGS);
    }
    return kind;
}

static bool plant_at(struct engine *g, struct vcpu *v, uint64_t linear)
{
    uint64_t gpa;
    struct plant *pl;

    if (!to_gpa(v, linear, &gpa))
        return false;
    pl = points_plant(&g->points, gpa);
    return pl && pl->byte == 0xcc;
}

/* `int n` of ring 3 that arrived as #UD: done over with its own vector. */
static bool retry_int(struct engine *g, struct vcpu *v, const struct user_frame *f,
                      struct exit_event *ev)
{
    struct walk_regs r;
    uint8_t b[2];

    vcpu_walk_regs(v, &r);
    if (g->assist_off || walk_read(&g->vm->mem, &r, f->rip, b, 2) != 2 || b[0] != 0xcd)
        return false;
    if (!frame_load(v, f))
        return false;
    vcpu_assist_note(v, ev, false);
    if (!soft_int_allowed(v, b[1])) {
        queue_event(v, 13, false, true, (uint32_t)b[1] << 3 | 2);
        return true;
    }
    v->regs->rip += 2;
    queue_event(v, b[1], true, false, 0);
    return true;
}

/* SYSCALL that arrived at its entry in ring 3: RCX and R11 are right, the segments are not. */
static bool rescue_syscall(struct engine *g, struct vcpu *v, const struct user_frame *f,
                           struct exit_event *ev)
{
    uint64_t rcx = v->regs->rcx, r11 = v->regs->r11;

    if (g->assist_off || f->rip != vcpu_msr(v, MSR_LSTAR) || !frame_load(v, f))
        return false;
    vcpu_assist_note(v, ev, true);
    v->regs->rflags = r11;
    syscall_load(v, rcx);
    return true;
}

bool hook_taken(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    uint32_t here = hook_vectors_here(g, v) & (RING3_VECTORS | TRAP_VECTORS);
    int vector = here ? __builtin_ctz(here) : -1;
    uint64_t at = v->regs->rsp, error = 0;
    struct user_frame f;

    if (vector < 0 || !g->vm->probe.emulated || !(v->sregs->efer & EFER_LMA))
        return false;
    if (has_error_code(vector)) {
        struct walk_regs r;
        uint8_t raw[8];

        vcpu_walk_regs(v, &r);
        if (walk_read(&g->vm->mem, &r, at, raw, 8) != 8)
            return false;
        error = le_load(raw, 8);
        at += 8;
    }
    if (!frame_read(v, at, &f))
        return false;
    if (vector == 8)
        return watch_double_fault(g, v, &f);
    if ((f.cs & 3) != 3)
        return false;
    if (vector == 3 && plant_at(g, v, f.rip - 1)) {
        f.rip--;
        /* A point at the entry of SYSCALL, reached in the wrong ring. */
        return rescue_syscall(g, v, &f, ev) || frame_load(v, &f);
    }
    /* Without a gate that ring 3 may use, int3 is #GP with the vector as error code; compatibility
     * mode is emulated and makes it #UD. Both leave RIP at the byte. */
    if ((vector == 6 || (vector == 13 && error == (3 << 3 | 2))) && plant_at(g, v, f.rip))
        return frame_load(v, &f);
    if (vector == 6 && retry_int(g, v, &f, ev))
        return true;
    return rescue_syscall(g, v, &f, ev);
}
