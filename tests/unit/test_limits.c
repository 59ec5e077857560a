/*
 * What a software KVM cannot do at all is told in a sentence: paging outside long mode, and
 * instructions at which it spins. Hosts that can are checked to just do it. Needs KVM; skips
 * without.
 */
#include "tests/unit/guest_image.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "debug/session.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"

static struct session *s;

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
        !session_wait(s, 20000000000ull, NULL)) {
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
    if (session_run(s, NULL) < 0 || !session_wait(s, 20000000000ull, NULL))
        test_fail(__FILE__, __LINE__, "it does not end");
    else if (!strstr(session_last_stop(s)->text, "32-bit paging"))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    else if (session_last_stop(s)->rip != 0x8019)
        test_fail(__FILE__, __LINE__, "at 0x%llx", (unsigned long long)session_last_stop(s)->rip);
    close_code();
}

static const uint8_t vmcall[] = {0x90, 0x0f, 0x01, 0xc1, 0xb0, 0x00, 0xe6, 0xf4, 0xf4};
static const uint8_t self[] = {0x90, 0xeb, 0xfe};

/* An emulating KVM spins at vmcall. */
static void stuck_is_told(void)
{
    struct probe p;

    if (!probed(&p))
        return;
    if (!p.emulated)
        SKIP("this host's KVM does not emulate ring 0");
    if (!open_code(BOOT_MODE_LONG, vmcall, sizeof vmcall))
        return;
    if (session_run(s, NULL) < 0 || !session_wait(s, 60000000000ull, NULL))
        test_fail(__FILE__, __LINE__, "nobody noticed");
    else if (session_last_stop(s)->kind != STOP_STUCK)
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    else if (!strstr(session_last_stop(s)->text, "vmcall"))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    close_code();
}

/* A jump to itself is how systems wait for ever: nothing is wrong with it. */
static void waiting_is_not_stuck(void)
{
    if (!open_code(BOOT_MODE_LONG, self, sizeof self))
        return;
    if (session_run(s, NULL) < 0)
        test_fail(__FILE__, __LINE__, "it does not run");
    else if (session_wait(s, 1500000000, NULL))
        test_fail(__FILE__, __LINE__, "%.400s", session_last_stop(s)->text);
    else
        session_stop(s);
    if (!test_failed && !session_wait(s, 60000000000ull, NULL))
        test_fail(__FILE__, __LINE__, "it does not stop");
    close_code();
}

static const struct test tests[] = {
    {"no paging outside long mode", no_paging_outside_long_mode},
    {"paging with handlers in place", paging_with_handlers},
    {"stuck is told", stuck_is_told},
    {"waiting is not stuck", waiting_is_not_stuck},
};

TEST_MAIN(tests)
