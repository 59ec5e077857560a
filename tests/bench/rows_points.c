/*
 * Breakpoints whose condition is false, trapped accesses, and pages that nobody watches, against
 * loops that do no more than get past the same trap.
 */
#include <string.h>
#include <time.h>

#include "tests/bench/bench.h"
#include "vmm/vm.h"

/* The byte that leaves ring 0 on this host, and the exit that it makes. */
static uint8_t break_byte(unsigned *reason)
{
    struct session *s = bench_open(&guest_hello);
    bool int3 = session_vm(s)->probe.int3[PM_LONG0] == HOW_DEBUG;

    session_close(s);
    *reason = int3 ? KVM_EXIT_DEBUG : KVM_EXIT_INTERNAL_ERROR;
    return int3 ? 0xcc : 0xf1;
}

/* Plant; at a hit look at the registers, lift, step, plant. */
static struct rate bare_breaks(const void *arg)
{
    const struct guest *g = &guest_loop;
    unsigned reason, between;
    uint8_t byte = break_byte(&reason);
    uint64_t hits = 0;
    struct bare b;
    struct lap l;
    struct rate r;

    (void)arg;
    between = reason == KVM_EXIT_DEBUG ? KVM_GUESTDBG_USE_SW_BP : 0;
    bare_open(&b, g);
    b.run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    b.ram[LOOP_AT] = byte;
    bare_debug(&b, between);
    lap_begin(&l, CLOCK_THREAD_CPUTIME_ID);
    for (;;) {
        bare_enter(&b);
        if (b.run->exit_reason != reason || b.run->s.regs.regs.rip != LOOP_AT ||
            b.run->s.regs.regs.rax == 1u << 30)
            break;
        hits++;
        b.ram[LOOP_AT] = g->code[LOOP_AT - GUEST_AT];
        bare_debug(&b, KVM_GUESTDBG_SINGLESTEP);
        bare_enter(&b);
        b.ram[LOOP_AT] = byte;
        bare_debug(&b, between);
    }
    r = lap_end(&l, hits);
    if (hits != g->rounds || b.run->exit_reason != KVM_EXIT_IO)
        die("the bare loop hit %llu times", (unsigned long long)hits);
    bare_close(&b);
    return r;
}

static struct rate breaks(const void *arg)
{
    struct session *s = bench_open(&guest_loop);
    struct rate r;
    int id;

    (void)arg;
    id = bench_point(s, &(struct point_spec){.kind = POINT_BREAK,
                                             .space = SPACE_LINEAR,
                                             .addr = LOOP_AT,
                                             .vcpu = -1,
                                             .condition = "$rax == 1 << 30"});
    r = bench_run(s, guest_loop.rounds);
    if (session_point(s, id)->false_hits != guest_loop.rounds)
        die("%llu false hits", (unsigned long long)session_point(s, id)->false_hits);
    session_close(s);
    return r;
}

static struct rate bare_accesses(const void *arg)
{
    const struct guest *g = arg;
    uint64_t made = 0, each = g == &guest_counts ? 2 : 1;
    struct bare b;
    struct lap l;
    struct rate r;

    bare_open(&b, g);
    bare_trap_page(&b, GUEST_DATA, g != &guest_writes);
    b.run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    lap_begin(&l, CLOCK_THREAD_CPUTIME_ID);
    for (;; made++) {
        bare_enter(&b);
        if (b.run->exit_reason != KVM_EXIT_MMIO)
            break;
        if (b.run->mmio.is_write)
            memcpy(b.ram + b.run->mmio.phys_addr, b.run->mmio.data, b.run->mmio.len);
        else
            memcpy(b.run->mmio.data, b.ram + b.run->mmio.phys_addr, b.run->mmio.len);
    }
    r = lap_end(&l, g->rounds);
    if (made != g->rounds * each)
        die("the bare loop saw %llu accesses", (unsigned long long)made);
    bare_close(&b);
    return r;
}

struct watched {
    const struct guest *guest;
    uint64_t off; /* of the watched bytes from what the guest touches; UINT64_MAX: none */
    enum watch_access access;
    const char *condition;
};

/* 64 bytes are more than debug registers reach, on every host. */
static struct rate accesses(const void *arg)
{
    const struct watched *w = arg;
    struct session *s = bench_open(w->guest);
    struct rate r;

    if (w->off != UINT64_MAX)
        bench_point(s, &(struct point_spec){.kind = POINT_WATCH,
                                            .space = SPACE_LINEAR,
                                            .addr = GUEST_DATA + w->off,
                                            .len = 64,
                                            .access = w->access,
                                            .vcpu = -1,
                                            .condition = w->condition});
    r = bench_run(s, w->guest->rounds);
    session_close(s);
    return r;
}

void bench_points(void)
{
    static const struct guest many = {NULL, 0, IN_RING0, 400000};
    static struct guest free_writes;
    static const struct watched write_beside = {&guest_writes, 512, WATCH_WRITE, NULL};
    static const struct watched read_beside = {&guest_reads, 512, WATCH_READ, NULL};
    static const struct watched write_at = {&guest_writes, 0, WATCH_WRITE, "$rcx == 1 << 30"};
    static const struct watched read_at = {&guest_reads, 0, WATCH_READ, "$rcx == 1 << 30"};
    static const struct watched read_value = {&guest_reads, 0, WATCH_READ, "$eax == 1 << 30"};
    static const struct watched count_at = {&guest_counts, 0, WATCH_ACCESS, "$rcx == 1 << 30"};
    static const struct watched none = {&free_writes, UINT64_MAX, WATCH_WRITE, NULL};
    static const struct watched other_page = {&free_writes, 8192, WATCH_WRITE, NULL};
    const struct row rows[] = {
        {"false breakpoint hits", "bare", "hits/s", bare_breaks, NULL, breaks, NULL, 0.875},
        {"writes near a watchpoint", "bare", "writes/s", bare_accesses, &guest_writes, accesses,
         &write_beside, 0.85},
        {"reads near a watchpoint", "bare", "reads/s", bare_accesses, &guest_reads, accesses,
         &read_beside, 0.85},
        {"writes to it, condition", "bare", "writes/s", bare_accesses, &guest_writes, accesses,
         &write_at, 0.85},
        {"reads of one, condition", "bare", "reads/s", bare_accesses, &guest_reads, accesses,
         &read_at, 0.85},
        {"reads, condition of value", "bare", "reads/s", bare_accesses, &guest_reads, accesses,
         &read_value, 0.85},
        {"read-modify-writes", "bare", "rounds/s", bare_accesses, &guest_counts, accesses,
         &count_at, 0.85},
        {"writes to another page", "no watch", "writes/s", accesses, &none, accesses, &other_page,
         0.95},
    };

    free_writes = guest_writes;
    free_writes.rounds = many.rounds;
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
        row_print(&rows[i]);
}
