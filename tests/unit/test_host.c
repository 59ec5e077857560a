/*
 * What single steps and debug registers rest on, asked of KVM alone by programs of a few bytes,
 * without the debugger: when one of these fails, the fault is the host's. In the rig each of them
 * found one of QEMU's, which tests/svm/qemu_shim.c mends.
 */
#include "tests/test.h"

#include <unistd.h>

#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/kvm.h"
#include "vmm/micro.h"

#define FLAG_CF    0x1u
#define FLAG_PF    0x4u
#define FLAG_AF    0x10u
#define FLAG_ZF    0x40u
#define FLAG_DF    0x400u
#define FLAGS      0xcd5u /* the arithmetic ones and DF */
#define DR7_EXEC0  0x401u
#define DR7_WRITE8 0x90401u
#define SEG_BASE   0x4000u

static struct micro bench;

/* False with the test skipped or failed. */
static bool open_bench(void)
{
    struct err e = {0};
    int kvm = kvm_open(&e), rc;

    if (kvm < 0) {
        test_skipped = true;
        snprintf(test_why, sizeof test_why, "%.500s", e.msg);
        return false;
    }
    rc = micro_open(&bench, kvm, false, &e);
    close(kvm);
    if (rc < 0)
        test_fail(__FILE__, __LINE__, "%.500s", e.msg);
    return rc >= 0;
}

static bool is_debug(const struct micro_exit *x)
{
    return x->reason == KVM_EXIT_DEBUG && bench.run->debug.arch.exception == 1;
}

/* A lock that crosses an alignment: processors that are emulated carry it out apart from others. */
static void lock_in_mode(enum probe_mode mode)
{
    /* STD; LOCK AND [eBX+3], eAX */
    static const uint8_t code[] = {0xfd, 0xf0, 0x21, 0x43, 0x03, 0x90};
    struct micro_exit x = {0};
    struct kvm_regs r;

    micro_load(&bench, mode, code, sizeof code);
    for (int i = 0; i < 2; i++) {
        micro_debug(&bench, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
        x = micro_run(&bench);
        if (!is_debug(&x) || x.rip != MICRO_CODE + (i ? 5 : 1))
            TEST_FAIL("%s: step %d: exit %d at 0x%llx", probe_mode_key(mode), i, x.reason,
                      (unsigned long long)x.rip);
    }
    micro_regs(&bench, &r);
    if ((r.rflags & FLAGS) != (FLAG_DF | FLAG_ZF | FLAG_PF))
        TEST_FAIL("%s: flags are 0x%llx after the lock", probe_mode_key(mode),
                  (unsigned long long)r.rflags);
}

static void a_stepped_lock_keeps_its_flags(void)
{
    if (!open_bench())
        return;
    lock_in_mode(PM_PROT);
    lock_in_mode(PM_LONG0);
    micro_close(&bench);
}

/* The store of a SETcc that memory refuses: whoever carries it out needs the flags before it. */
static void setcc_in_mode(enum probe_mode mode)
{
    /* CMP ECX, 80000001h; SETO [eAX] */
    static const uint8_t code[] = {0x81, 0xf9, 1, 0, 0, 0x80, 0x0f, 0x90, 0x00};
    struct micro_exit x;
    struct kvm_regs r;

    micro_load(&bench, mode, code, sizeof code);
    x = micro_run(&bench);
    if (x.reason != KVM_EXIT_MMIO || bench.run->mmio.phys_addr != MICRO_HOLE ||
        bench.run->mmio.data[0])
        TEST_FAIL("%s: exit %d at 0x%llx, the store of %u", probe_mode_key(mode), x.reason,
                  (unsigned long long)x.rip, bench.run->mmio.data[0]);
    micro_regs(&bench, &r);
    if ((r.rflags & FLAGS) != (FLAG_CF | FLAG_PF | FLAG_AF))
        TEST_FAIL("%s: flags are 0x%llx at the store", probe_mode_key(mode),
                  (unsigned long long)r.rflags);
}

static void a_refused_setcc_keeps_the_flags(void)
{
    if (!open_bench())
        return;
    setcc_in_mode(PM_PROT);
    setcc_in_mode(PM_LONG0);
    setcc_in_mode(PM_LONG3);
    micro_close(&bench);
}

/* Ring 3 has no port here: the #GP's frame has the flags before it. */
static void a_refused_port_keeps_the_flags(void)
{
    /* MOV CL, 1; CMP EDX, 80000001h; REP OUTSB */
    static const uint8_t code[] = {0xb1, 1, 0x81, 0xfa, 1, 0, 0, 0x80, 0xf3, 0x6e};
    struct micro_exit x;
    uint64_t flags;

    if (!open_bench())
        return;
    micro_load(&bench, PM_LONG3, code, sizeof code);
    x = micro_run(&bench);
    flags = le_load(bench.mem + MICRO_KSTACK - 24, 8);
    if (x.vector != 13 || (flags & FLAGS) != (FLAG_CF | FLAG_PF | FLAG_AF))
        test_fail(__FILE__, __LINE__, "exit %d, vector %d, flags 0x%llx", x.reason, x.vector,
                  (unsigned long long)flags);
    micro_close(&bench);
}

static void a_debug_register_is_linear(void)
{
    uint64_t dr[4] = {MICRO_CODE + 1};
    struct kvm_sregs sregs;
    struct micro_exit x;
    struct kvm_regs r;

    if (!open_bench())
        return;
    micro_load(&bench, PM_REAL, "\x90\x90\x90", 3);
    micro_regs(&bench, &r);
    r.rip -= SEG_BASE;
    micro_set_regs(&bench, &r);
    if (kvm_get_sregs(bench.vcpu, &sregs) == 0) {
        sregs.cs.base = SEG_BASE;
        sregs.cs.selector = SEG_BASE >> 4;
        kvm_set_sregs(bench.vcpu, &sregs);
    }
    micro_debug(&bench, KVM_GUESTDBG_USE_HW_BP, dr, DR7_EXEC0);
    x = micro_run(&bench);
    if (!is_debug(&x) || x.rip != MICRO_CODE + 1 - SEG_BASE || !(bench.run->debug.arch.dr6 & 1))
        test_fail(__FILE__, __LINE__, "exit %d at 0x%llx", x.reason, (unsigned long long)x.rip);
    micro_close(&bench);
}

/* The event arrives once, and the access is reported at the handler or not at all. */
static void a_frame_on_watched_data_arrives(void)
{
    uint64_t dr[4] = {0};
    struct micro_exit x;
    struct kvm_regs r;

    if (!open_bench())
        return;
    micro_load(&bench, PM_LONG0, "\x90\x0f\x0b", 3); /* UD2 */
    micro_regs(&bench, &r);
    dr[0] = (r.rsp & ~15ull) - 40; /* of the frame, RIP's place */
    micro_debug(&bench, KVM_GUESTDBG_USE_HW_BP, dr, DR7_WRITE8);
    x = micro_run(&bench);
    if (is_debug(&x)) {
        if (x.rip != micro_handler(6) || !(bench.run->debug.arch.dr6 & 1))
            test_fail(__FILE__, __LINE__, "reported at 0x%llx", (unsigned long long)x.rip);
        x = micro_run(&bench);
    }
    if (!test_failed && x.vector != 6)
        test_fail(__FILE__, __LINE__, "exit %d at 0x%llx, vector %d", x.reason,
                  (unsigned long long)x.rip, x.vector);
    micro_close(&bench);
}

static const struct test tests[] = {
    {"host: a stepped lock keeps its flags", a_stepped_lock_keeps_its_flags},
    {"host: a refused SETcc keeps the flags", a_refused_setcc_keeps_the_flags},
    {"host: a refused port keeps the flags", a_refused_port_keeps_the_flags},
    {"host: a debug register is linear", a_debug_register_is_linear},
    {"host: a frame on watched data arrives", a_frame_on_watched_data_arrives},
};
TEST_MAIN(tests)
