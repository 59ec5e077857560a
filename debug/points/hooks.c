/*
 * Gate hooks for ring 3 of an emulating KVM. vCPU threads; plants change only while the vCPU is
 * alone in the guest.
 */
#include "debug/points/hooks.h"

#include <string.h>

#include "debug/engine/engine.h"
#include "debug/points/watch_run.h"
#include "vmm/assist.h"
#include "vmm/base/le.h"
#include "vmm/deliver.h"
#include "vmm/insn_shape.h"
#include "vmm/onestep.h"
#include "vmm/transfer.h"
#include "vmm/x86_bits.h"

/* Exits between two looks at gates whose IDTR did not change. */
#define LOOK_EVERY 64
#define IVT_BYTES  1024u

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

static bool is_planted(const struct engine *g, int vector)
{
    return atomic_load(&g->hooks.planted) >> vector & 1;
}

static void unplant(struct engine *g, int vector)
{
    if (!is_planted(g, vector))
        return;
    points_unplant_hook(&g->points, g->hooks.at[vector].gpa);
    atomic_fetch_and(&g->hooks.planted, ~(1u << vector));
}

static bool is_real(const struct vcpu *v)
{
    return !(v->sregs->cr0 & CR0_PE);
}

/* The handler's address. A vector of real mode that was never set leads into the table itself. */
static bool find_handler(struct vcpu *v, int vector, uint64_t *linear, uint64_t *gpa)
{
    return vcpu_gate_target(v, vector, linear) && !(is_real(v) && *linear < IVT_BYTES) &&
           to_gpa(v, *linear, gpa);
}

static void refresh_one(struct engine *g, struct vcpu *v, int vector, bool wanted)
{
    uint64_t linear = 0, gpa = 0;
    bool want = wanted && find_handler(v, vector, &linear, &gpa);

    if (want == is_planted(g, vector) && (!want || gpa == g->hooks.at[vector].gpa))
        return;
    engine_alone_begin(g, v);
    unplant(g, vector);
    if (want && points_plant_hook(&g->points, gpa)) {
        g->hooks.at[vector].linear = linear;
        g->hooks.at[vector].gpa = gpa;
        atomic_fetch_or(&g->hooks.planted, 1u << vector);
    }
    engine_alone_end(g);
}

/* Must running vCPUs be looked at often? Their threads know; the main thread reads the answer. */
static void note_often(struct engine *g)
{
    bool often = hooks_missing(g) || (g->vm->probe.emulated && !is_planted(g, 6));

    for (unsigned i = 0; i < g->points.dr_usable && g->vm->probe.emulated; i++)
        often |= g->points.dr_owner[i] != NULL; /* may outgrow its debug register */
    atomic_store(&g->hooks.often, often);
}

/* Whether a point has to move may depend on each vCPU's registers: among several they are compared
 * when no other moves. */
static void refresh_points(struct engine *g, struct vcpu *v)
{
    struct points *p = &g->points;
    bool several = g->vm->cpus > 1;
    bool moved = !await_covers(p) && points_moved(p, v, &g->hooks.look[v->id].cursor);

    if (!moved && !atomic_load(&p->look) && (several ? !points_may_move(p) : !points_stale(p)))
        return;
    engine_alone_begin(g, v);
    /* Who waited to be alone may find it done. */
    if (moved || atomic_load(&p->look) || !several || points_stale(p))
        points_refresh(p);
    engine_alone_end(g);
}

bool hooks_same(struct engine *g, const struct vcpu *v)
{
    struct hooks_look *look = &g->hooks.look[v->id];
    uint16_t limit = v->idt_hidden ? v->idt_limit_real : v->sregs->idt.limit;

    if (!look->countdown)
        return false;
    look->countdown--;
    return !atomic_load_explicit(&g->points.look, memory_order_relaxed) &&
           look->idt_base == v->sregs->idt.base && look->paged == (v->sregs->cr0 >> 31 & 1) &&
           look->cr3 == v->sregs->cr3 && look->idt_limit == limit &&
           look->vectors == wanted_vectors(g, v);
}

void hooks_refresh(struct engine *g, struct vcpu *v)
{
    struct hooks_look *look = &g->hooks.look[v->id];
    uint32_t wanted, had = look->vectors;

    if (hooks_same(g, v))
        return;
    look->countdown = LOOK_EVERY;
    refresh_points(g, v);
    wanted = wanted_vectors(g, v); /* traps may have come or gone */
    /* A guest in real mode sets vectors where they are, without a new table. */
    if (is_real(v) && wanted)
        hooks_look(g, v);
    look->paged = v->sregs->cr0 >> 31;
    look->cr3 = v->sregs->cr3;
    look->idt_base = v->sregs->idt.base;
    look->idt_limit = v->idt_hidden ? v->idt_limit_real : v->sregs->idt.limit;
    look->vectors = wanted;
    for (int i = 0; i < HOOK_VECTORS; i++)
        if ((wanted | had) >> i & 1)
            refresh_one(g, v, i, wanted >> i & 1);
    note_often(g);
}

void hooks_look(struct engine *g, const struct vcpu *v)
{
    g->hooks.look[v->id].countdown = 0;
}

bool hooks_missing(const struct engine *g)
{
    /* Who catches all is content with what gates there are. */
    return g->points.catch_vectors && !(g->points.catch_vectors & atomic_load(&g->hooks.planted));
}

bool hooks_wanted(const struct engine *g)
{
    return atomic_load(&g->hooks.often);
}

void hooks_forget(struct engine *g)
{
    for (int i = 0; i < HOOK_VECTORS; i++)
        unplant(g, i);
    memset(&g->hooks, 0, sizeof g->hooks);
}

uint32_t hook_vectors_here(const struct engine *g, const struct vcpu *v)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    uint32_t here = 0;

    for (unsigned i = 0; i < HOOK_VECTORS; i++)
        if (is_planted(g, (int)i) && g->hooks.at[i].linear == at)
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

/* What ends in a shutdown is KVM's to tell. */
static void give(struct vcpu *v, struct assist_event *ev)
{
    if (event_give(v, ev) == DELIVER_SHUTDOWN)
        event_queue(v, ev);
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
    v->regs->rip += 2;
    give(v, &(struct assist_event){
                .vector = b[1], .is_interrupt = true, .is_soft = true, .insn_len = 2});
    return true;
}

/* #UD that the processor would not have raised: this KVM makes it of movbe and rdpid in ring 0, of
 * every instruction that its emulator lacks in 32-bit ring 3, and of #GP in 64-bit ring 3 when it
 * does not know the instruction. The assist does it over; when it finds an #UD as well, everything
 * is put back and the guest's handler goes on. */
static bool retry_undefined(struct engine *g, struct vcpu *v, const struct user_frame *f,
                            struct exit_event *ev)
{
    struct kvm_sregs sregs = *v->sregs;
    struct kvm_regs regs = *v->regs;
    struct exit_event was = *ev;
    struct assist_event raise;
    struct insn_shape s;
    struct walk_regs r;
    const char *why;
    uint8_t b[15];
    size_t n;

    vcpu_walk_regs(v, &r);
    n = walk_read(&g->vm->mem, &r, f->rip, b, sizeof b);
    /* The code size hardly matters for telling whether it is such an instruction at all. */
    if (g->assist_off || !insn_shape(&s, 64, b, (unsigned)n) || insn_classify(&s) == IC_NONE ||
        !frame_load(v, f))
        return false;
    ev->mode = (uint8_t)cpu_mode_of(v->sregs, v->regs->rflags);
    ev->cpl = (uint8_t)cpu_cpl(v->sregs);
    ev->rip = v->regs->rip;
    ev->cs_base = v->sregs->cs.base;
    if (vcpu_assist(v, ev, true, &raise, &why) && raise.vector != 6) {
        if (raise.vector >= 0)
            give(v, &raise);
        return true;
    }
    *v->regs = regs;
    *v->sregs = sregs;
    *ev = was;
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    return false;
}

/* SYSCALL that arrived at its entry in ring 3: RCX and R11 are right, the segments are not. */
static bool rescue_syscall(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    uint64_t rcx = v->regs->rcx, r11 = v->regs->r11;

    if (g->assist_off || v->regs->rip != vcpu_msr(v, MSR_LSTAR))
        return false;
    vcpu_assist_note(v, ev, true);
    v->regs->rflags = r11;
    syscall_load(v, rcx);
    return true;
}

/* The same when it has faulted there. */
static bool rescue_faulted(struct engine *g, struct vcpu *v, const struct user_frame *f,
                           struct exit_event *ev)
{
    return !g->assist_off && f->rip == vcpu_msr(v, MSR_LSTAR) && frame_load(v, f) &&
           rescue_syscall(g, v, ev);
}

/* Did a SYSCALL lead here? RCX is what comes behind it; a byte of ours may be planted in it. */
static bool behind_syscall(struct vcpu *v)
{
    struct walk_regs r;
    uint8_t b[2];

    vcpu_walk_regs(v, &r);
    return walk_read(&v->vm->mem, &r, v->regs->rcx - 2, b, 2) == 2 &&
           (b[0] == 0x0f || b[0] == 0xcc) && (b[1] == 0x05 || b[1] == 0xcc);
}

/* The same before it has faulted there, or with the fault still to be delivered: somebody wanted
 * the vCPU. Whoever looks at it, or steps it, would take that for the guest's doing. */
static bool rescue_early(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    struct kvm_vcpu_events *e = v->events;

    if (!g->vm->probe.emulated || g->vm->probe.syscall_ring3 == HOW_RUNS ||
        cpu_cpl(v->sregs) != 3 || !v->sregs->cs.l || !(v->sregs->efer & EFER_SCE) ||
        !behind_syscall(v) || !rescue_syscall(g, v, ev))
        return false;
    e->exception.injected = e->exception.pending = 0;
    vcpu_dirty(v, VS_EVENTS);
    return true;
}

/* The length of the guest's own int3 that ends at RIP; 0: there is none. */
static unsigned own_int3(struct vcpu *v)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    struct walk_regs r;
    uint8_t b[2];

    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, at - 1, b + 1, 1) != 1)
        return 0;
    if (b[1] == 0xcc)
        return 1;
    return b[1] == 3 && walk_read(&v->vm->mem, &r, at - 2, b, 1) == 1 && b[0] == 0xcd ? 2 : 0;
}

/* KVM does not tell of a software exception that it has still to deliver ("injected" and "pending"
 * stay 0): only its number is there, and RIP is past the byte. vcpu_forget_bp takes the number away
 * once it was delivered. The guest's own int3 is made anew, or it would be lost with the number;
 * not after a shutdown, which it would make anew as well. */
bool hook_taken_early(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    struct kvm_vcpu_events *e = v->events;
    unsigned back;

    if (rescue_early(g, v, ev) || vcpu_forget_ud(v))
        return true;
    if (!g->vm->probe.emulated || cpu_cpl(v->sregs) != 3 || e->exception.nr != 3)
        return false;
    back = plant_at(g, v, v->sregs->cs.base + v->regs->rip - 1) ? 1
           : ev->reason == EXIT_KICK                            ? own_int3(v)
                                                                : 0;
    if (!back)
        return false;
    e->exception.injected = e->exception.pending = 0;
    e->exception.nr = 0;
    v->regs->rip -= back;
    vcpu_dirty(v, VS_REGS | VS_EVENTS);
    (void)rescue_syscall(g, v, ev); /* a point at its entry */
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
    vcpu_forget_bp(v);
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
        return vector == 6 && retry_undefined(g, v, &f, ev);
    if (vector == 3 && plant_at(g, v, f.rip - 1)) {
        f.rip--;
        /* A point at the entry of SYSCALL, reached in the wrong ring. */
        return rescue_faulted(g, v, &f, ev) || frame_load(v, &f);
    }
    /* Without a gate that ring 3 may use, int3 is #GP with the vector as error code; compatibility
     * mode is emulated and makes it #UD. Both leave RIP at the byte. */
    if ((vector == 6 || (vector == 13 && error == (3 << 3 | 2))) && plant_at(g, v, f.rip))
        return frame_load(v, &f);
    if (vector == 6 && (retry_int(g, v, &f, ev) || retry_undefined(g, v, &f, ev)))
        return true;
    return rescue_faulted(g, v, &f, ev);
}
