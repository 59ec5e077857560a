/*
 * Single steps with all general and segment registers at each, against the shortest loop that gets
 * the same from KVM: the trap flag, and in ring 3 of a KVM that emulates ring 0 the trap flag
 * behind a hidden IDT, where every step is a shutdown exit that says vector 1.
 */
#include <sys/ioctl.h>
#include <time.h>

#include "tests/bench/bench.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define STEPS 40000

static bool hidden_idt_host(void)
{
    struct session *s = bench_open(&guest_hello);
    bool yes = session_vm(s)->probe.hidden_idt && session_vm(s)->probe.emulated;

    session_close(s);
    return yes;
}

static void hide_idt(struct bare *b)
{
    struct kvm_sregs sr;

    need(ioctl(b->cpu, KVM_GET_SREGS, &sr), "KVM_GET_SREGS");
    sr.idt.limit = 0;
    need(ioctl(b->cpu, KVM_SET_SREGS, &sr), "KVM_SET_SREGS");
}

static struct rate bare_steps(const void *arg)
{
    const struct guest *g = arg;
    bool hidden = g->ring == IN_RING3 && hidden_idt_host();
    volatile uint64_t sum = 0;
    struct bare b;
    struct lap l;
    struct rate r;

    bare_open(&b, g);
    if (hidden)
        hide_idt(&b);
    b.run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    if (hidden)
        b.run->kvm_valid_regs |= KVM_SYNC_X86_EVENTS;
    bare_debug(&b, KVM_GUESTDBG_SINGLESTEP);
    lap_begin(&l, CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < STEPS; i++) {
        if (hidden) /* in ring 3 the trap flag does not last */
            bare_debug(&b, KVM_GUESTDBG_SINGLESTEP);
        bare_enter(&b);
        if (hidden
                ? b.run->exit_reason != KVM_EXIT_SHUTDOWN || b.run->s.regs.events.exception.nr != 1
                : b.run->exit_reason != KVM_EXIT_DEBUG)
            die("bare step %d ended in exit %u", i, b.run->exit_reason);
        sum += b.run->s.regs.regs.rax;
    }
    r = lap_end(&l, STEPS);
    bare_close(&b);
    return r;
}

static bool add_rax(void *arg, const struct vcpu *v)
{
    *(uint64_t *)arg += v->regs->rax;
    return true;
}

static struct rate steps(const void *arg)
{
    struct session *s = bench_open(arg);
    struct err e = {0};
    uint64_t sum = 0;
    struct rate r;
    struct lap l;
    int64_t n;

    lap_begin(&l, bench_clock(s));
    n = session_step_each(s, 0, STEPS, add_rax, &sum, &e);
    r = lap_end(&l, STEPS);
    if (n != STEPS)
        die("%lld steps made: %s", (long long)n, n < 0 ? e.msg : session_last_stop(s)->text);
    session_close(s);
    return r;
}

void bench_steps(void)
{
    static const struct {
        const char *what;
        double target;
    } by_ring[3] = {{"steps, real mode", 0.8}, {"steps, ring 0", 0.9}, {"steps, ring 3", 0.8}};

    for (unsigned i = 0; i < 3; i++)
        row_print(&(struct row){by_ring[i].what, "bare", "steps/s", bare_steps, &guest_stroll[i],
                                steps, &guest_stroll[i], by_ring[i].target});
}
