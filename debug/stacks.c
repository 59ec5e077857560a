/*
 * Walks the stack of a vCPU on its own thread, right after an exit.
 */
#include "debug/stacks.h"

#include <string.h>

#include "debug/engine/engine.h"
#include "debug/symbols/unwind.h"
#include "vmm/base/x.h"
#include "vmm/vcpu.h"
#include "vmm/walk.h"

#define FRAMES_A_RECORD ARRAY_LEN(((struct exit_stack *)0)->frame)

struct stack_arg {
    struct engine *g;
    struct vcpu *v;
    struct walk_regs regs;
    /* The page that was read last: a stack lies in one or two. */
    uint64_t page, gpa;
    bool known;
};

static bool read_reg(void *arg, int id, uint64_t *value)
{
    const struct vcpu *v = ((struct stack_arg *)arg)->v;
    const struct kvm_regs *r = v->regs;
    const uint64_t gpr[] = {r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rbp, r->rsp,
                            r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
    static const int ids[] = {REG_rax, REG_rbx, REG_rcx, REG_rdx, REG_rsi, REG_rdi,
                              REG_rbp, REG_rsp, REG_r8,  REG_r9,  REG_r10, REG_r11,
                              REG_r12, REG_r13, REG_r14, REG_r15};

    if (id == REG_rip)
        *value = r->rip;
    else if (id == REG_cs_base)
        *value = v->sregs->cs.base;
    else if (id == REG_ss_base)
        *value = v->sregs->ss.base;
    else
        for (size_t i = 0; i < ARRAY_LEN(ids); i++)
            if (ids[i] == id) {
                *value = gpr[i];
                return true;
            }
    return id == REG_rip || id == REG_cs_base || id == REG_ss_base;
}

static bool read_mem(void *arg, uint64_t linear, void *dst, size_t len)
{
    struct stack_arg *a = arg;

    for (size_t done = 0; done < len;) {
        uint64_t at = linear + done, page = at & ~(uint64_t)(PAGE_BYTES - 1);
        size_t n = PAGE_BYTES - (at & (PAGE_BYTES - 1));
        struct walk w;

        n = n < len - done ? n : len - done;
        if (!a->known || a->page != page) {
            walk(&a->g->vm->mem, &a->regs, at, &w);
            if (w.result != WALK_OK)
                return false;
            a->page = page;
            a->gpa = w.gpa & ~(uint64_t)(PAGE_BYTES - 1);
            a->known = true;
        }
        if (mem_read(&a->g->vm->mem, a->gpa + (at - page), (uint8_t *)dst + done, n) != n)
            return false;
        points_hide(&a->g->points, a->gpa + (at - page), (uint8_t *)dst + done, n);
        done += n;
    }
    return true;
}

void stacks_put(struct engine *g, struct vcpu *v, const struct exit_event *ev)
{
    unsigned depth = atomic_load_explicit(&g->stack_depth, memory_order_relaxed);
    struct unwind_frame frame[STACKS_DEPTH_MAX + 1];
    struct stack_arg arg = {.g = g, .v = v};
    struct unwind_env env = {
        .arg = &arg,
        .bits = cpu_mode_bits((enum cpu_mode)ev->mode),
        .symbols = g->stack_symbols,
        .foreign_thread = true,
        .reg = read_reg,
        .mem = read_mem,
    };
    size_t n;

    if (!depth || ev->reason >= EXIT_OUR_FIRST)
        return;
    vcpu_walk_regs(v, &arg.regs);
    n = unwind(&env, frame, depth + 1 < ARRAY_LEN(frame) ? depth + 1 : ARRAY_LEN(frame));
    for (size_t i = 1; i < n; i += FRAMES_A_RECORD) {
        struct exit_event out = {
            .at_ns = ev->at_ns,
            .rip = ev->rip,
            .cs_base = ev->cs_base,
            .cr3 = ev->cr3,
            .reason = EXIT_STACK,
            .vcpu = ev->vcpu,
            .mode = ev->mode,
            .cpl = ev->cpl,
            .u.stack = {.first = (uint8_t)(i - 1), .total = (uint8_t)(n - 1)},
        };

        for (; out.u.stack.count < FRAMES_A_RECORD && i + out.u.stack.count < n;
             out.u.stack.count++)
            out.u.stack.frame[out.u.stack.count] = frame[i + out.u.stack.count].symbol_pc;
        vcpu_note(v, &out);
    }
}

bool stacks_take(struct stack_frames *s, const struct exit_event *ev)
{
    const struct exit_stack *k = &ev->u.stack;

    if (k->first == 0)
        s->count = 0;
    if (k->first != s->count || k->count > FRAMES_A_RECORD ||
        s->count + k->count > STACKS_DEPTH_MAX)
        return false;
    memcpy(&s->frame[s->count], k->frame, k->count * sizeof k->frame[0]);
    s->count += k->count;
    return true;
}
