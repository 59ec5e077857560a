/*
 * What a software KVM cannot do at all is told in a sentence: paging outside long mode, and
 * instructions at which it spins. Hosts that can are checked to just do it. Exits that no host here
 * makes are put in the mouth of this one. Needs KVM; skips without.
 */
#include "tests/unit/guest_image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "debug/session.h"
#include "debug/session_priv.h"
#include "vmm/base/clock.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"

static struct session *s;

/* In place of the next exit of a KVM_RUN that was not to leave at once. */
static struct lie {
    void (*tell)(struct kvm_run *run);
    int error; /* what KVM_RUN fails with, or 0 */
} lie;

int ioctl(int fd, unsigned long request, ...)
{
    struct kvm_run *run;
    va_list ap;
    long rc;

    va_start(ap, request);
    rc = syscall(SYS_ioctl, fd, request, va_arg(ap, void *));
    va_end(ap);
    if (request != KVM_RUN || (!lie.tell && !lie.error) || rc)
        return (int)rc;
    run = s->vm->cpu[0]->run;
    if (run->immediate_exit)
        return (int)rc;
    if (lie.tell)
        lie.tell(run);
    if (lie.error)
        errno = lie.error;
    return lie.error ? -1 : 0;
}

static bool open_code(enum boot_mode mode, const void *code, size_t n)
{
    const struct session_config cfg = {.mem_bytes = 4 << 20, .boot = FLAT_AT(0x8000, mode)};

    return guest_open(&s, cfg, code, n);
}

static void close_code(void)
{
    guest_close(&s);
}

/* What the probe says; 0 when it cannot run. */
static bool probed(struct probe *p)
{
    struct err e = {0};
    int kvm = kvm_open(&e), rc = kvm < 0 ? kvm : probe_cached(kvm, p, &e);

    if (kvm >= 0)
        close(kvm);
    if (rc < 0)
        snprintf(test_why, sizeof test_why, "%.500s", e.msg);
    test_skipped = rc < 0;
    return rc == 0;
}

/* Builds tables for the first 2 or 4 MB at 0x10000, turns paging on, writes 0 to port 0xf4. */
static const uint8_t paging32[] = {
    0xb8, 0x00, 0x00, 0x01, 0x00,                         /* mov $0x10000,%eax */
    0xc7, 0x00, 0x83, 0x00, 0x00, 0x00,                   /* movl $0x83,(%eax) */
    0x0f, 0x22, 0xd8,                                     /* mov %eax,%cr3 */
    0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x10, 0x0f, 0x22, 0xe0, /* cr4 |= PSE */
    0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80,       /* cr0 | PG */
    0x0f, 0x22, 0xc0,                                     /* mov %eax,%cr0: 0x801f */
    0xb0, 0x00, 0xe6, 0xf4, 0xf4,
};
static const uint8_t paging_pae[] = {
    0xb8, 0x00, 0x00, 0x01, 0x00,                               /* mov $0x10000,%eax */
    0xc7, 0x00, 0x01, 0x10, 0x01, 0x00,                         /* movl $0x11001,(%eax) */
    0xc7, 0x80, 0x00, 0x10, 0x00, 0x00, 0x83, 0x00, 0x00, 0x00, /* movl $0x83,0x1000(%eax) */
    0x0f, 0x22, 0xd8,                                           /* mov %eax,%cr3 */
    0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0,       /* cr4 |= PAE */
    0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80,             /* cr0 | PG */
    0x0f, 0x22, 0xc0,                                           /* 0x8029 */
    0xb0, 0x00, 0xe6, 0xf4, 0xf4,
};

static void paging(const uint8_t *code, size_t n, uint64_t at, bool can, const char *kind,
                   bool step)
{
    const struct stop_info *si;
    struct err e = {0};

    if (!open_code(BOOT_MODE_PROT, code, n))
        return;
    if ((step ? session_step(s, 0, 1000, &e) : session_run(s, &e)) < 0 ||
        !session_wait(s, TEST_HANG_NS, NULL)) {
        test_fail(__FILE__, __LINE__, "it does not end: %.300s", e.msg);
    } else {
        si = session_last_stop(s);
        if (can && si->kind != STOP_DEBUG_EXIT)
            test_fail(__FILE__, __LINE__, "this KVM can, but: %.300s", si->text);
        else if (!can && (si->kind != STOP_INTERNAL_ERROR || !strstr(si->text, kind)))
            test_fail(__FILE__, __LINE__, "%.400s", si->text);
        else if (!can && si->rip != at)
            test_fail(__FILE__, __LINE__, "at 0x%llx", (unsigned long long)si->rip);
    }
    close_code();
}

static void no_paging_outside_long_mode(void)
{
    struct probe p;

    for (int step = 0; step < 2 && !test_failed; step++) {
        if (!probed(&p))
            return;
        paging(paging32, sizeof paging32, 0x801f, p.paging32, "32-bit paging", step);
        if (!test_failed)
            paging(paging_pae, sizeof paging_pae, 0x8029, p.paging_pae, "PAE paging", step);
    }
}

/* A guest that has handlers already when it turns paging on: the #GP would go to them. A gate for
 * vector 13 at 0x803b; a loop in between gives the watch its time to see the new IDT. */
static const uint8_t with_idt[] = {
    0x0f,
    0x01,
    0x1d,
    0x47,
    0x80,
    0x00,
    0x00, /* lidt 0x8047 */
    0xe6,
    0xe9, /* out %al,$0xe9 */
    0xb8,
    0x00,
    0x00,
    0x01,
    0x00,
    0x0f,
    0x22,
    0xd8, /* cr3 */
    0x0f,
    0x20,
    0xc0,
    0x0d,
    0x00,
    0x00,
    0x00,
    0x80, /* cr0 | PG */
    0x0f,
    0x22,
    0xc0, /* 0x8019 */
    0xb0,
    0x00,
    0xe6,
    0xf4,
    0xf4, /* 0x801c */
    [0x3b] = 0x90,
    0xb0,
    0x01,
    0xe6,
    0xf4,
    0xf4, /* the handler */
    [0x47] = 0x6f,
    0x00,
    0x4d,
    0x80,
    0x00,
    0x00, /* limit, base 0x804d */
    [0x4d + 13 * 8] = 0x3b,
    0x80,
    0x00,
    0x00,
    0x00,
    0x8e,
    0x00,
    0x00,
};

static void paging_with_handlers(void)
{
    const struct vcpu_state *st;
    uint8_t selector[2];
    struct probe p;

    if (!probed(&p))
        return;
    if (p.paging32)
        SKIP("this host's KVM pages in protected mode");
    if (!open_code(BOOT_MODE_PROT, with_idt, sizeof with_idt))
        return;
    st = session_cpu(s, 0, VS_SREGS);
    selector[0] = (uint8_t)st->sregs.cs.selector;
    selector[1] = (uint8_t)(st->sregs.cs.selector >> 8);
    session_mem_write(s, 0, SPACE_PHYS, 0x804d + 13 * 8 + 2, selector, 2);
    if (session_run(s, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL))
        test_fail(__FILE__, __LINE__, "it does not end");
    else if (!strstr(session_last_stop(s)->text, "32-bit paging"))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    else if (session_last_stop(s)->rip != 0x8019)
        test_fail(__FILE__, __LINE__, "at 0x%llx", (unsigned long long)session_last_stop(s)->rip);
    close_code();
}

static const uint8_t vmcall[] = {0x90, 0x0f, 0x01, 0xc1, 0xb0, 0x00, 0xe6, 0xf4, 0xf4};
static const uint8_t self[] = {0x90, 0xeb, 0xfe};
static const uint8_t long_rep[] = {0xb9, 0xff, 0xff, 0xff, 0x0f, 0x31, 0xff, /* mov ecx, xor edi */
                                   0xf3, 0xae, 0xeb, 0xf5};                  /* repe scasb, again */
static const uint8_t pausing[] = {0xf3, 0x90, 0xeb, 0xfc};
static const uint8_t idling[] = {0xfb, 0xf4, 0xf3, 0x90, 0xeb, 0xfb}; /* sti, hlt, pause */
static const uint8_t counting[] = {0x31, 0xc0, 0xff, 0xc0, 0x75, 0xfc, 0xeb, 0xf8};

static bool is_emulated(void)
{
    struct probe p;

    if (!probed(&p))
        return false;
    if (!p.emulated) {
        snprintf(test_why, sizeof test_why, "this host's KVM does not emulate ring 0");
        test_skipped = true;
    }
    return p.emulated;
}

static bool add_point(struct point_spec spec)
{
    struct err e = {0};

    spec.vcpu = -1;
    if (session_point_add(s, &spec, &e) < 0) {
        test_fail(__FILE__, __LINE__, "%.400s", e.msg);
        return false;
    }
    return true;
}

/* An emulating KVM spins at vmcall, run freely or by steps: nobody may wait for it in silence. */
static void told_stuck(enum boot_mode mode, const struct point_spec *spec, bool step)
{
    if (test_failed || !open_code(mode, vmcall, sizeof vmcall))
        return;
    if (spec && !add_point(*spec))
        ; /* told */
    else if ((step ? session_step(s, 0, 5, NULL) : session_run(s, NULL)) < 0 ||
             !session_wait(s, TEST_HANG_NS, NULL))
        test_fail(__FILE__, __LINE__, "nobody noticed in mode %d, kind %d", (int)mode,
                  spec ? (int)spec->kind : -1);
    else if (session_last_stop(s)->kind != STOP_STUCK)
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    else if (!strstr(session_last_stop(s)->text, "`vmcall` (0f 01 c1) nor") ||
             !strstr(session_last_stop(s)->text, "`print $rip = 0x8004`"))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    close_code();
}

static void stuck_is_told(void)
{
    static const struct point_spec points[] = {
        {.kind = POINT_CATCH, .catch_what = CATCH_MODE},
        {.kind = POINT_BREAK, .addr = 0x8001, .condition = "0"},
        {.kind = POINT_WATCH, .access = WATCH_CHANGE, .addr = 0x8008, .len = 1}, /* its page */
        {.kind = POINT_WATCH, .access = WATCH_ACCESS, .addr = 0x20000, .len = 1},
    };

    if (!is_emulated())
        return;
    for (enum boot_mode mode = BOOT_MODE_REAL; mode <= BOOT_MODE_LONG; mode++) {
        told_stuck(mode, NULL, false);
        told_stuck(mode, NULL, true);
        for (unsigned i = 0; i < (mode == BOOT_MODE_LONG ? sizeof points / sizeof points[0] : 1);
             i++)
            told_stuck(mode, &points[i], false);
    }
}

/* A host may take the machine away for any time, and kicks come just when it is back: neither is a
 * sign that KVM spins. Its own word is, or its counters. */
static void time_proves_nothing(void)
{
    struct exit_event kick = {.reason = EXIT_KICK, .guest_ns = UINT32_MAX},
                      step = {.reason = KVM_EXIT_DEBUG};
    struct stuck st = {.since_ns = 1};
    struct stuck_try try;
    struct vcpu *v;

    if (!open_code(BOOT_MODE_LONG, vmcall, sizeof vmcall))
        return;
    v = s->vm->cpu[0];
    st.regs = *v->regs;
    stuck_try_begin(&try, v);
    CHECK(try.counted);
    for (unsigned i = 0; i < 100; i++)
        CHECK(!stuck_tried(&st, v, &try, &kick));
    try.turns -= 1000; /* as if KVM had taken so many meanwhile */
    for (unsigned i = 0; i < 4; i++)
        CHECK(!stuck_tried(&st, v, &try, i & 1 ? &kick : &step));
    CHECK(stuck_tried(&st, v, &try, &kick));
    close_code();
}

/* Looking by the clock must not keep a slow vCPU from its next instruction. */
static void ticks_hold_back(void)
{
    struct vcpu *v;

    if (!open_code(BOOT_MODE_LONG, self, sizeof self))
        return;
    v = s->vm->cpu[0];
    atomic_store(&v->kicked, 0);
    vcpu_tick(v);
    CHECK_EQ(atomic_load(&v->kicked), 1);
    atomic_store(&v->stood, 100);
    atomic_store(&v->kicked, 0);
    v->ticked_ns = clock_ns() + 60000000000; /* the test may take as long as it likes */
    vcpu_tick(v);
    CHECK_EQ(atomic_load(&v->kicked), 0);
    v->ticked_ns = 0;
    vcpu_tick(v);
    CHECK_EQ(atomic_load(&v->kicked), 1);
    close_code();
}

/* `text`: what the stop says then. */
static void not_stuck(enum boot_mode mode, const void *code, size_t n,
                      const struct point_spec *spec, const char *text)
{
    if (test_failed || !open_code(mode, code, n))
        return;
    if (spec && !add_point(*spec))
        ; /* told */
    else if (session_run(s, NULL) < 0)
        test_fail(__FILE__, __LINE__, "it does not run");
    else if (session_wait(s, 600000000, NULL))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    else
        session_stop(s);
    if (!test_failed && !session_wait(s, TEST_HANG_NS, NULL))
        test_fail(__FILE__, __LINE__, "it does not stop");
    if (!test_failed && !strstr(session_last_stop(s)->text, text))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    close_code();
}

/* Systems wait by jumping to themselves, in loops and in long string instructions: nothing is wrong
 * with that, however they are run. */
static void waiting_is_not_stuck(void)
{
    static const struct point_spec by_steps = {.kind = POINT_CATCH, .catch_what = CATCH_MODE};

    for (enum boot_mode mode = BOOT_MODE_REAL; mode <= BOOT_MODE_LONG; mode++)
        not_stuck(mode, self, sizeof self, mode == BOOT_MODE_PROT ? &by_steps : NULL,
                  "waits in a loop with interrupts off");
    not_stuck(BOOT_MODE_LONG, pausing, sizeof pausing, NULL, "waits in a loop");
    not_stuck(BOOT_MODE_PROT, idling, sizeof idling, NULL, "waits for interrupts in a loop");
    not_stuck(BOOT_MODE_PROT, counting, sizeof counting, NULL, "Interrupted at");
    not_stuck(BOOT_MODE_LONG, long_rep, sizeof long_rep, NULL, "Interrupted at");
}

/* A vCPU that was never started stands where firmware would be: there is nothing to read. */
static void interrupted_at_nothing(void)
{
    const struct session_config cfg = {
        .mem_bytes = 4 << 20, .cpus = 2, .boot = FLAT_AT(0x8000, BOOT_MODE_PROT)};

    if (!guest_open(&s, cfg, self, sizeof self))
        return;
    if (session_set_focus(s, 1, NULL) < 0 || session_run(s, NULL) < 0 || session_stop(s) < 0 ||
        !session_wait(s, TEST_HANG_NS, NULL))
        test_fail(__FILE__, __LINE__, "it does not stop");
    else if (session_last_stop(s)->vcpu != 1 ||
             !strstr(session_last_stop(s)->text, "Interrupted at 0xfffffff0"))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    close_code();
}

/* ---- exits that no host here makes ----------------------------------------------------------- */

static void tell_unknown(struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_UNKNOWN;
    run->hw.hardware_exit_reason = 0x77;
}

static void tell_new(struct kvm_run *run)
{
    run->exit_reason = 123;
}

static void tell_xen(struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_XEN;
}

static void tell_entry(struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_FAIL_ENTRY;
    run->fail_entry.hardware_entry_failure_reason = 0x80000021;
}

static void tell_off(struct kvm_run *run)
{
    run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
    run->system_event.type = KVM_SYSTEM_EVENT_SHUTDOWN;
}

static void tell_internal(struct kvm_run *run, uint32_t sub, uint32_t ndata, uint64_t data0)
{
    run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run->internal.suberror = sub;
    run->internal.ndata = ndata;
    run->internal.data[0] = data0;
}

static void tell_delivery(struct kvm_run *run)
{
    tell_internal(run, KVM_INTERNAL_ERROR_DELIVERY_EV, 3, 0x80000b0e);
}

static void tell_two(struct kvm_run *run)
{
    tell_internal(run, KVM_INTERNAL_ERROR_SIMUL_EX, 3, 0x80000b0d);
}

static void tell_unexpected(struct kvm_run *run)
{
    tell_internal(run, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, 2, 0x42);
}

static void tell_suberror(struct kvm_run *run)
{
    tell_internal(run, 9, 0, 0);
}

/* A kernel before 5.14: no bytes, no data. */
static void tell_old(struct kvm_run *run)
{
    tell_internal(run, KVM_INTERNAL_ERROR_EMULATION, 0, 0);
}

static void odd_exits_are_told(void)
{
    static const struct {
        void (*tell)(struct kvm_run *run);
        int error;
        enum stop_kind kind;
        const char *has[3];
    } rows[] = {
        {tell_unknown, 0, STOP_HOST_ERROR, {"does not know", "0x77", "at 0x8000"}},
        {tell_new, 0, STOP_HOST_ERROR, {"exit 123", "no answer", "at 0x8000"}},
        {tell_xen, 0, STOP_HOST_ERROR, {"exit 34 (xen)", "no answer", "at 0x8000"}},
        {tell_entry,
         0,
         STOP_HOST_ERROR,
         {"refused to enter", "before `jmp 0x8000` (eb fe)", "0x80000021"}},
        {tell_off, 0, STOP_POWER_OFF, {"powered off"}},
        {NULL, EFAULT, STOP_HOST_ERROR, {"Bad address", "smaller -m", "at 0x8000"}},
        {NULL, EIO, STOP_HOST_ERROR, {"Input/output error", "dmesg", "at 0x8000"}},
        {NULL, EPERM, STOP_HOST_ERROR, {"Operation not permitted", "dmesg", "at 0x8000"}},
        {tell_delivery,
         0,
         STOP_INTERNAL_ERROR,
         {"suberror 3, vector 14 #PF", "`jmp 0x8000` (eb fe)", "info idt"}},
        {tell_two, 0, STOP_INTERNAL_ERROR, {"suberror 2, vector 13 #GP", "in long64", "info gdt"}},
        {tell_unexpected,
         0,
         STOP_INTERNAL_ERROR,
         {"suberror 4, data 0x42", "`jmp 0x8000`", "dmesg"}},
        {tell_suberror, 0, STOP_INTERNAL_ERROR, {"suberror 9", "does not say why", "reset"}},
        {tell_old,
         0,
         STOP_INTERNAL_ERROR,
         {"cannot run `jmp 0x8000` (eb fe)", "suberror 1", "hardware virtualization"}},
    };

    for (unsigned i = 0; !test_failed && i < sizeof rows / sizeof rows[0]; i++) {
        const struct stop_info *si;

        if (!open_code(BOOT_MODE_LONG, "\xeb\xfe", 2))
            return;
        lie = (struct lie){rows[i].tell, rows[i].error};
        /* The guest runs on until the kick that looks after it, whose exit is the lie. */
        if (session_run(s, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL))
            test_fail(__FILE__, __LINE__, "row %u: it does not stop", i);
        lie = (struct lie){0};
        si = session_last_stop(s);
        if (!test_failed && si->kind != rows[i].kind)
            test_fail(__FILE__, __LINE__, "row %u: %s: %.400s", i, stop_kind_name(si->kind),
                      si->text);
        for (unsigned k = 0; !test_failed && k < 3 && rows[i].has[k]; k++)
            if (!strstr(si->text, rows[i].has[k]))
                test_fail(__FILE__, __LINE__, "row %u lacks \"%s\": %.400s", i, rows[i].has[k],
                          si->text);
        close_code();
    }
}

static const struct test tests[] = {
    {"no paging outside long mode", no_paging_outside_long_mode},
    {"paging with handlers in place", paging_with_handlers},
    {"stuck is told", stuck_is_told},
    {"waiting is not stuck", waiting_is_not_stuck},
    {"time proves nothing", time_proves_nothing},
    {"ticks hold back", ticks_hold_back},
    {"an interruption where nothing can be read", interrupted_at_nothing},
    {"odd exits are told", odd_exits_are_told},
};

TEST_MAIN(tests)
