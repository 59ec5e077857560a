/*
 * Recognising a vCPU that does not move. vCPU threads.
 */
#include "debug/engine/stuck.h"

#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/le.h"
#include "vmm/vcpu.h"

/* Kicks come every 10 or 200 ms; a loop of several instructions shows itself by then. */
#define SUSPECT_NS    300000000u
#define SUSPECT_KICKS 3
#define TRIES         5 /* that changed nothing */
/* A step takes microseconds, but a loaded host may not run us for as long as it likes, and kicks
 * may come just when steps begin. So no time counts, only what KVM did meanwhile: a step into
 * memory that is all unmapped takes some 20 exits, a vCPU that spins makes thousands in a
 * millisecond. */
#define TURNS_OF_SPIN 64
#define TRY_NS        20000000u /* instead, of a kernel that does not count */

#define FLAGS_OURS 0x10100u /* TF and RF come and go with steps */

bool stuck_same(const struct kvm_regs *a, const struct kvm_regs *b)
{
    struct kvm_regs x = *a, y = *b;

    x.rflags &= ~(uint64_t)FLAGS_OURS;
    y.rflags &= ~(uint64_t)FLAGS_OURS;
    return !memcmp(&x, &y, sizeof x);
}

bool stuck_suspect(struct stuck *s, const struct vcpu *v)
{
    uint64_t now = clock_ns();

    if (!s->since_ns || !stuck_same(&s->regs, v->regs)) {
        *s = (struct stuck){.since_ns = now, .regs = *v->regs, .stood = s->stood};
        return false;
    }
    return ++s->kicks >= SUSPECT_KICKS && now - s->since_ns >= SUSPECT_NS;
}

/* A far jump reads a table, which may be trapped: does it lead to itself? */
static bool far_jump_stays(const struct vcpu *v, const uint8_t *target, unsigned n, bool opsize)
{
    unsigned size = v->sregs->cs.db != opsize ? 4 : 2;

    return n < size + 2 || (le_load(target, size) == v->regs->rip &&
                            le_load(target + size, 2) == v->sregs->cs.selector);
}

/* Jumps may lead to themselves, and returns, SYSCALL and its like be made to. */
static bool may_stay(struct vcpu *v)
{
    uint8_t b[15];
    unsigned n = vcpu_fetch(v, b), i = 0;
    bool opsize = false;

    while (i < n && (b[i] == 0x66 || b[i] == 0x67 || b[i] == 0x2e || b[i] == 0x3e || b[i] == 0xf2 ||
                     (v->sregs->cs.l && (b[i] & 0xf0) == 0x40)))
        opsize |= b[i++] == 0x66;
    if (i + 1 >= n)
        return true; /* nothing can be said */
    if (b[i] == 0x0f)
        return (b[i + 1] & 0xf0) == 0x80 || (b[i + 1] & 0xfd) == 0x05 || (b[i + 1] & 0xfe) == 0x34;
    if (b[i] == 0xea)
        return far_jump_stays(v, b + i + 1, n - i - 1, opsize);
    return b[i] == 0xeb || b[i] == 0xe9 || b[i] == 0xff || b[i] == 0xcf || (b[i] & 0xf0) == 0x70 ||
           (b[i] & 0xfc) == 0xe0;
}

bool stuck_stood(struct stuck *s, struct vcpu *v, const struct kvm_regs *before)
{
    if (before->rip != v->regs->rip || !stuck_same(before, v->regs) || may_stay(v)) {
        s->stood = 0;
        return false;
    }
    s->stood++;
    return true;
}

void stuck_try_begin(struct stuck_try *t, struct vcpu *v)
{
    t->counted = kvm_work_read(&v->work, v->fd, &t->turns);
}

/* Did KVM have its chance? */
static bool was_tried(const struct stuck_try *t, struct vcpu *v, const struct exit_event *ev)
{
    uint64_t turns;

    if (ev->reason == KVM_EXIT_DEBUG) /* KVM says that it made the step */
        return true;
    if (t->counted && kvm_work_read(&v->work, v->fd, &turns))
        return turns - t->turns >= TURNS_OF_SPIN;
    return ev->guest_ns >= TRY_NS;
}

bool stuck_tried(struct stuck *s, struct vcpu *v, const struct stuck_try *t,
                 const struct exit_event *ev)
{
    if (!stuck_same(&s->regs, v->regs) || may_stay(v)) {
        stuck_clear(s);
        return false;
    }
    return was_tried(t, v, ev) && ++s->tries >= TRIES;
}
