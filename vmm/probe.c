/*
 * The questions put to this host's KVM (probe.h), each a micro-guest of a few bytes on the bench of
 * micro.c. Programs start with a NOP, so that "RIP at the instruction" is MICRO_CODE + 1 and cannot
 * be confused with "nothing happened yet".
 */
#include "vmm/probe.h"

#include <cpuid.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/counter.h"
#include "vmm/micro.h"

#define AT (MICRO_CODE + 1u) /* the instruction under test */

/* DR7 with the local bit of DR0 and its kind; bit 10 reads as one. */
#define DR7_EXEC   0x401u
#define DR7_WRITE  0xd0401u /* four bytes, write */
#define DR7_ACCESS 0xf0401u /* four bytes, read or write */

static const char *const how_names[PROBE_HOWS] = {
    [HOW_UNKNOWN] = "not tested",
    [HOW_NEVER] = "not noticed",
    [HOW_DEBUG] = "debug exit",
    [HOW_INTERNAL] = "emulation failure exit",
    [HOW_GUEST] = "goes to the guest",
    [HOW_SHUTDOWN] = "shutdown exit",
    [HOW_HLT] = "halt exit",
    [HOW_MMIO] = "MMIO exit",
    [HOW_IO] = "port exit",
    [HOW_MSR] = "MSR exit",
    [HOW_RUNS] = "works",
    [HOW_STUCK] = "hangs",
    [HOW_OTHER] = "misbehaves",
};

static const char *const mode_keys[PROBE_MODES] = {"real", "prot", "long0", "long3", "compat3"};

const char *probe_how_name(enum probe_how h)
{
    return (unsigned)h < PROBE_HOWS ? how_names[h] : "?";
}

const char *probe_how_key(enum probe_how h)
{
    static const char *const keys[PROBE_HOWS] = {"?",        "never", "debug", "fails", "guest",
                                                 "shutdown", "halt",  "mmio",  "port",  "msr",
                                                 "works",    "hangs", "odd"};

    return (unsigned)h < PROBE_HOWS ? keys[h] : "?";
}

const char *probe_mode_key(enum probe_mode m)
{
    return (unsigned)m < PROBE_MODES ? mode_keys[m] : "?";
}

/* The answer when no exit of the wanted kind came. */
static enum probe_how other(const struct micro *m, const struct micro_exit *x)
{
    if (x->ended)
        return HOW_NEVER;
    if (x->vector >= 0)
        return HOW_GUEST;
    switch (x->reason) {
    case -ETIME:
        return HOW_STUCK;
    case KVM_EXIT_SHUTDOWN:
        return HOW_SHUTDOWN;
    case KVM_EXIT_HLT:
        return HOW_HLT;
    case KVM_EXIT_INTERNAL_ERROR:
        return m->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && x->rip == AT
                   ? HOW_INTERNAL
                   : HOW_OTHER;
    default:
        return HOW_OTHER;
    }
}

static bool debug_at(const struct micro *m, const struct micro_exit *x, unsigned exception,
                     uint64_t rip)
{
    return x->reason == KVM_EXIT_DEBUG && m->run->debug.arch.exception == exception &&
           x->rip == rip;
}

static enum probe_how ask_debug(struct micro *m, unsigned exception, uint64_t rip)
{
    struct micro_exit x = micro_run(m);

    return debug_at(m, &x, exception, rip) ? HOW_DEBUG : other(m, &x);
}

/* MOV [eBX], eAX and back: the address byte differs in 16-bit code. */
static void load_access(struct micro *m, enum probe_mode mode, bool is_store, uint64_t address)
{
    uint8_t code[] = {0x90, is_store ? 0x89 : 0x8b, mode == PM_REAL ? 0x07 : 0x03, 0x90};
    struct kvm_regs r;

    micro_load(m, mode, code, sizeof code);
    micro_regs(m, &r);
    r.rbx = address;
    micro_set_regs(m, &r);
}

static enum probe_how ask_mmio(struct micro *m, uint64_t gpa, bool is_write)
{
    struct micro_exit x = micro_run(m);

    if (x.reason == KVM_EXIT_MMIO && m->run->mmio.phys_addr == gpa &&
        m->run->mmio.is_write == is_write)
        return HOW_MMIO;
    return other(m, &x);
}

static enum probe_how ask_data_bp(struct micro *m, enum probe_mode mode, bool is_store,
                                  uint64_t dr7)
{
    uint64_t dr[4] = {MICRO_DATA};
    struct micro_exit x;

    load_access(m, mode, is_store, MICRO_DATA);
    micro_debug(m, KVM_GUESTDBG_USE_HW_BP, dr, dr7);
    x = micro_run(m);
    /* Data breakpoints are traps: RIP is behind the two-byte instruction. */
    return debug_at(m, &x, 1, AT + 2) && (m->run->debug.arch.dr6 & 1) ? HOW_DEBUG : other(m, &x);
}

static enum probe_how ask_fetch(struct micro *m, enum probe_mode mode)
{
    struct micro_exit x;

    micro_load(m, mode, "\x90\xff\xe0", 3); /* JMP eAX */
    x = micro_run(m);
    if (x.reason == KVM_EXIT_INTERNAL_ERROR && x.rip == MICRO_HOLE)
        return HOW_INTERNAL;
    return other(m, &x);
}

static void ask_mode(struct micro *m, enum probe_mode mode, struct probe *p)
{
    uint64_t dr[4] = {AT};
    struct micro_exit x;

    micro_load(m, mode, "\x90\x90\x90", 3);
    micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    x = micro_run(m);
    p->step[mode] = debug_at(m, &x, 1, AT) ? HOW_DEBUG : other(m, &x);
    /* The guest's #DB handler entered, and that stepped. */
    if (x.reason == KVM_EXIT_DEBUG && x.rip - micro_handler(1) < 16)
        p->step[mode] = HOW_GUEST;

    micro_load(m, mode, "\x90\xcc\x90", 3);
    micro_debug(m, KVM_GUESTDBG_USE_SW_BP, NULL, 0);
    x = micro_run(m);
    p->int3[mode] = debug_at(m, &x, 3, AT) ? HOW_DEBUG : other(m, &x);
    p->int3_vector[mode] = p->int3[mode] == HOW_GUEST ? (uint8_t)x.vector : 0;

    micro_load(m, mode, "\x90\xf1\x90", 3);
    micro_debug(m, KVM_GUESTDBG_USE_SW_BP, NULL, 0);
    p->icebp[mode] = ask_debug(m, 1, AT);

    micro_load(m, mode, "\x90\x90\x90", 3);
    micro_debug(m, KVM_GUESTDBG_USE_HW_BP, dr, DR7_EXEC);
    p->hw_exec[mode] = ask_debug(m, 1, AT);

    p->hw_write[mode] = ask_data_bp(m, mode, true, DR7_WRITE);
    p->hw_access[mode] = ask_data_bp(m, mode, false, DR7_ACCESS);
    load_access(m, mode, true, MICRO_RO);
    p->ro_slot_write[mode] = ask_mmio(m, MICRO_RO, true);
    load_access(m, mode, false, MICRO_HOLE);
    p->hole_read[mode] = ask_mmio(m, MICRO_HOLE, false);
    p->hole_fetch[mode] = ask_fetch(m, mode);
}

static void push(struct micro *m, struct kvm_regs *r, uint64_t value)
{
    r->rsp -= 8;
    le_store(m->mem + r->rsp, 8, value);
}

/* Can a step follow IRETQ to its target, and what does it do with a fault? */
static void ask_step_semantics(struct micro *m, struct probe *p)
{
    const uint64_t target = MICRO_CODE + 0x40;
    struct micro_exit x;
    struct kvm_regs r;

    micro_load(m, PM_LONG0, "\x48\xcf", 2); /* IRETQ */
    memset(m->mem + target, 0x90, 8);
    micro_regs(m, &r);
    push(m, &r, MICRO_DS);
    push(m, &r, MICRO_KSTACK);
    push(m, &r, 2);
    push(m, &r, MICRO_CS64);
    push(m, &r, target);
    micro_set_regs(m, &r);
    micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    x = micro_run(m);
    p->step_iret = debug_at(m, &x, 1, target)                               ? HOW_DEBUG
                   : x.reason == KVM_EXIT_DEBUG || x.reason == KVM_EXIT_HLT ? HOW_NEVER
                                                                            : other(m, &x);

    micro_load(m, PM_LONG0, "\x0f\x0b", 2); /* UD2 */
    micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    x = micro_run(m);
    p->step_fault = debug_at(m, &x, 1, micro_handler(6)) ? HOW_DEBUG
                    : x.reason == KVM_EXIT_DEBUG         ? HOW_OTHER
                                                         : other(m, &x);
}

/* Does an exception without IDT stop at the instruction, named, and can it be delivered later? */
static bool ask_hidden(struct micro *m, enum probe_mode mode, bool *keeps_state)
{
    struct kvm_vcpu_events events = {0};
    struct micro_exit x;

    micro_load(m, mode, "\x90\x0f\x0b", 3);
    micro_hide_idt(m, true);
    x = micro_run(m);
    if (kvm_get_events(m->vcpu, &events))
        return false;
    *keeps_state = x.reason == KVM_EXIT_SHUTDOWN && x.rip == AT && events.exception.nr == 6;
    if (!*keeps_state)
        return false;
    micro_hide_idt(m, false);
    memset(&events, 0, sizeof events);
    events.exception.injected = 1;
    events.exception.nr = 6;
    if (kvm_set_events(m->vcpu, &events))
        return false;
    x = micro_run(m);
    return x.vector == 6;
}

static void ask_hiding(struct micro *m, struct probe *p)
{
    struct kvm_vcpu_events events = {0};
    bool ring0_kept, ring0, ring3;
    struct micro_exit x;

    ring3 = ask_hidden(m, PM_LONG3, &p->shutdown_keeps_state);
    ring0 = ask_hidden(m, PM_LONG0, &ring0_kept);
    p->shutdown_keeps_state &= ring0_kept;
    p->hidden_idt = ring0 && ring3;

    micro_load(m, PM_LONG3, "\x90\x90", 2);
    micro_hide_idt(m, true);
    micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    x = micro_run(m);
    p->step_hidden = other(m, &x);
    if (x.reason == KVM_EXIT_DEBUG)
        p->step_hidden = HOW_DEBUG;
    else if (x.reason == KVM_EXIT_SHUTDOWN &&
             (kvm_get_events(m->vcpu, &events) || events.exception.nr != 1 || x.rip != AT))
        p->step_hidden = HOW_OTHER;
}

static void ask_gate(struct micro *m, struct probe *p)
{
    unsigned vector = p->int3_vector[PM_LONG3] == 6 ? 6 : 3;
    uint64_t dr[4] = {micro_handler(vector)};

    micro_load(m, PM_LONG3, "\x90\xcc\x90", 3);
    micro_debug(m, KVM_GUESTDBG_USE_HW_BP, dr, DR7_EXEC);
    p->gate_exec = ask_debug(m, 1, micro_handler(vector));
}

static void ask_hw_details(struct micro *m, struct probe *p)
{
    const uint64_t dr[4] = {MICRO_CODE, MICRO_CODE + 1, MICRO_CODE + 2, MICRO_CODE + 3};
    struct micro_exit x;
    struct kvm_regs r;

    micro_load(m, PM_LONG0, "\x90\x90\x90\x90\x90", 5);
    for (unsigned i = 0; i < 4; i++) {
        micro_debug(m, KVM_GUESTDBG_USE_HW_BP, dr, 0x4aa);
        x = micro_run(m);
        if (!debug_at(m, &x, 1, dr[i]) || !(m->run->debug.arch.dr6 >> i & 1))
            break;
        p->hw_exec_count++;
        micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
        (void)micro_run(m);
    }
    if (!p->hw_exec_count)
        return;
    micro_load(m, PM_LONG0, "\x90\x90\x90", 3);
    micro_debug(m, KVM_GUESTDBG_USE_HW_BP, dr, DR7_EXEC);
    (void)micro_run(m);
    micro_regs(m, &r);
    r.rflags |= 1u << 16;
    micro_set_regs(m, &r);
    micro_debug(m, KVM_GUESTDBG_USE_HW_BP, dr, DR7_EXEC);
    x = micro_run(m);
    p->hw_exec_honours_rf = x.ended;
}

static void ask_system(struct micro *m, struct probe *p)
{
    struct kvm_msr_buf msrs = {.head.nmsrs = 3};
    struct micro_exit x;

    micro_load(m, PM_LONG0, "\x90\xf4\x90", 3);
    x = micro_run(m);
    p->planted_hlt = other(m, &x);

    micro_load(m, PM_LONG3, "\x0f\x05", 2); /* SYSCALL; an OUT waits at its target */
    msrs.entry[0] = (struct kvm_msr_entry){
        .index = 0xc0000081, .data = (uint64_t)(MICRO_DSU - 8) << 48 | (uint64_t)MICRO_CS64 << 32};
    msrs.entry[1] = (struct kvm_msr_entry){.index = 0xc0000082, .data = MICRO_CODE + 0x40};
    msrs.entry[2] = (struct kvm_msr_entry){.index = 0xc0000084};
    (void)kvm_set_msrs(m->vcpu, &msrs);
    memcpy(m->mem + MICRO_CODE + 0x40, "\xe6\x60", 2);
    x = micro_run(m);
    p->syscall_ring3 = x.reason == KVM_EXIT_IO && m->run->io.port == 0x60 ? HOW_RUNS : other(m, &x);
    if (x.vector >= 0) /* "ended" means nothing here: vector 13 is OUT refused in ring 3 */
        p->syscall_ring3 = HOW_GUEST;

    micro_load(m, PM_LONG3, "\xcd\x05", 2);
    x = micro_run(m);
    p->int_ring3 = x.vector == 5 ? HOW_RUNS : x.vector >= 0 ? HOW_GUEST : other(m, &x);

    micro_load(m, PM_LONG0, "\xe6\x60", 2);
    x = micro_run(m);
    p->out_exit_past = x.rip > MICRO_CODE;
}

static void ask_inject(struct micro *m, struct probe *p)
{
    struct micro_exit x;
    struct kvm_regs r;

    /* From a stop at the INT3, as a debugger does: straight after a port exit a kvm_amd without
     * next-RIP saving would push the address behind that OUT. */
    micro_load(m, PM_LONG0, "\x90\xcc\x90", 3);
    micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    (void)micro_run(m);
    micro_debug(m, KVM_GUESTDBG_INJECT_BP, NULL, 0);
    x = micro_run(m);
    micro_regs(m, &r);
    p->inject_bp_rip_delta = PROBE_NO_DELTA;
    if (x.vector == 3 && r.rsp < MICRO_BYTES)
        p->inject_bp_rip_delta = (int)((int64_t)le_load(m->mem + r.rsp, 8) - AT);
}

static bool ask_paged(struct micro *m, enum micro_paging paging)
{
    bool is_on = micro_load_paged(m, paging, "\x90", 1);

    /* Also run where paging stayed off: such a KVM has a shutdown exit waiting, which would
     * otherwise meet the next test. */
    return micro_run(m).ended && is_on;
}

static void ask_paging(struct micro *m, struct probe *p)
{
    p->paging32 = ask_paged(m, MICRO_PAGING_32);
    p->paging_pae = ask_paged(m, MICRO_PAGING_PAE);
}

struct insn_test {
    const char *name;
    const char *code;
    uint8_t len;
    uint8_t vector; /* the good end is this vector in the guest; 0: the program's end */
    bool has_rax;   /* the good end has this in RAX */
    bool host_ext;  /* wrong results count only where this processor really has it */
    uint64_t rax;
};

#define BYTES(s) (s), sizeof(s) - 1
/* At entry RSI points to zeroes, 64-byte aligned; each program loads what else it needs. */
static const struct insn_test insn_tests[PROBE_INSNS] = {
    /* clang-format off */
    [PI_CMPXCHG16B] = {"cmpxchg16b", BYTES("\x31\xc0\x31\xd2\xbb\x05\0\0\0\x48\x0f\xc7\x0e\x8b\x06"), .has_rax = true, .rax = 5},
    [PI_POPCNT]     = {"popcnt", BYTES("\xbb\xff\x01\0\0\xf3\x0f\xb8\xc3"), .has_rax = true, .rax = 9},
    [PI_LZCNT]      = {"lzcnt", BYTES("\xbb\0\0\x01\0\xf3\x0f\xbd\xc3"), .has_rax = true, .rax = 15, .host_ext = true},
    [PI_TZCNT]      = {"tzcnt", BYTES("\x31\xdb\xf3\x0f\xbc\xc3"), .has_rax = true, .rax = 32, .host_ext = true},
    [PI_MOVBE]      = {"movbe", BYTES("\xc7\x06\x44\x33\x22\x11\x0f\x38\xf0\x06"), .has_rax = true, .rax = 0x44332211},
    [PI_RDTSCP]     = {"rdtscp", BYTES("\x0f\x01\xf9")},
    [PI_XGETBV]     = {"xgetbv", BYTES("\x31\xc9\x0f\x01\xd0\x83\xe0\x01"), .has_rax = true, .rax = 1},
    [PI_FWAIT]      = {"fwait", BYTES("\x9b")},
    [PI_FLD1]       = {"fld1", BYTES("\xd9\xe8")},
    [PI_PXOR]       = {"pxor", BYTES("\x66\x0f\xef\xc0")},
    [PI_MOVD]       = {"movd", BYTES("\xbb\x78\x56\x34\x12\x66\x0f\x6e\xc3\x66\x0f\x7e\xc0"), .has_rax = true, .rax = 0x12345678},
    [PI_LDMXCSR]    = {"ldmxcsr", BYTES("\xc7\x06\x80\x1f\0\0\x0f\xae\x16")},
    [PI_VPXOR]      = {"vpxor", BYTES("\xc5\xf9\xef\xc0")},
    [PI_BMI_ANDN]   = {"andn", BYTES("\xbb\x0f\0\0\0\xb9\xff\0\0\0\xc4\xe2\x60\xf2\xc1"), .has_rax = true, .rax = 0xf0},
    [PI_CRC32]      = {"crc32", BYTES("\x31\xc0\xbb\x01\0\0\0\xf2\x0f\x38\xf1\xc3"), .has_rax = true, .rax = 0xdd45aab8},
    [PI_RDPID]      = {"rdpid", BYTES("\xf3\x0f\xc7\xf8")},
    [PI_CLAC]       = {"clac", BYTES("\x0f\x01\xca")},
    [PI_INT_N]      = {"int n", BYTES("\xcd\x05"), .vector = 5},
    [PI_INT3]       = {"int3", BYTES("\xcc"), .vector = 3},
    [PI_INT_HIGH]   = {"int 80h (real)", BYTES("\xcd\x80")}, /* its vector leads behind it */
    /* PUSHF; PUSH MICRO_CS32; CALL +0 and add 9 to what it pushed: the frame returns behind IRET */
    [PI_IRET_PROT]  = {"iret (32-bit)", BYTES("\x9c\x6a\x18\xe8\0\0\0\0\x83\x04\x24\x05\xcf")},
    [PI_LRET_OUTER] = {"lret to ring 3", BYTES("\x6a\x3b\x68\0\xb0\0\0\x6a\x43\x68\x40\x50\0\0\x48\xcb"), .vector = 13},
    [PI_INVPCID]    = {"invpcid", BYTES("\xb8\x02\0\0\0\x66\x0f\x38\x82\x06")},
    [PI_FXSAVE]     = {"fxsave", BYTES("\x0f\xae\x06\x0f\xae\x0e")},
    [PI_VMCALL]     = {"vmcall", BYTES("\x0f\x01\xc1")},
    [PI_XSAVE]      = {"xsave", BYTES("\x31\xd2\xb8\x03\0\0\0\x0f\xae\x26\x0f\xae\x2e")},
    /* clang-format on */
};

const char *probe_insn_name(enum probe_insn i)
{
    return (unsigned)i < PROBE_INSNS ? insn_tests[i].name : "?";
}

/* LZCNT and TZCNT are BSR and BSF on processors that do not know them: right there, wrong where
 * the processor below has them. */
static bool host_has(enum probe_insn i)
{
    unsigned a = 0, b = 0, c = 0, d = 0;

    if (i == PI_LZCNT)
        return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 5 & 1);
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 3 & 1);
}

static void load_insn(struct micro *m, enum probe_insn i)
{
    const struct insn_test *t = &insn_tests[i];

    micro_load(m,
               i == PI_IRET_PROT  ? PM_PROT
               : i == PI_INT_HIGH ? PM_REAL
                                  : PM_LONG0,
               t->code, t->len);
    if (i == PI_INT_HIGH)
        le_store(m->mem + 0x80 * 4, 4, MICRO_CODE + t->len);
}

/* Where KVM spins at it, each round ends a single step in its place: no need to wait for a bound.
 */
static bool spins(struct micro *m, enum probe_insn i)
{
    struct micro_exit x;

    if (i != PI_VMCALL && i != PI_INT_HIGH)
        return false;
    load_insn(m, i);
    micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    for (int round = 0; round < 3; round++) {
        x = micro_run(m);
        if (x.reason != KVM_EXIT_DEBUG || x.rip != MICRO_CODE)
            return false;
    }
    return true;
}

static void ask_insn(struct micro *m, enum probe_insn i, struct probe *p)
{
    const struct insn_test *t = &insn_tests[i];
    struct micro_exit x;
    struct kvm_regs r;
    bool good;

    if (spins(m, i)) {
        p->insn[i] = HOW_STUCK;
        return;
    }
    load_insn(m, i);
    x = micro_run(m);
    micro_regs(m, &r);
    good = t->vector ? x.vector == t->vector : x.ended;
    if (good)
        p->insn[i] = HOW_RUNS;
    else if (x.vector >= 0)
        p->insn[i] = HOW_GUEST;
    else if (x.reason == KVM_EXIT_INTERNAL_ERROR)
        p->insn[i] = HOW_INTERNAL;
    else
        p->insn[i] = other(m, &x);
    p->insn_wrong[i] = good && t->has_rax && r.rax != t->rax && (!t->host_ext || host_has(i));
}

/* Nanoseconds for `count` rounds of DEC and JNZ, the best of three because other threads steal
 * time; 0 when the guest did not come to its end. */
static uint64_t time_loop(struct micro *m, enum probe_mode mode, uint32_t count)
{
    uint8_t code[] = {0xb9, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc};
    uint64_t best = UINT64_MAX;

    le_store(code + 1, 4, count);
    for (int i = 0; i < 3; i++) {
        uint64_t start, ns;

        micro_load(m, mode, code, sizeof code);
        start = clock_ns();
        if (!micro_run(m).ended)
            return 0;
        ns = clock_ns() - start;
        if (ns < best)
            best = ns;
    }
    return best ? best : 1;
}

/* Million instructions a second; the loop grows until it is long enough to be timed. */
static double ask_speed(struct micro *m, enum probe_mode mode)
{
    for (uint32_t count = 1000;; count *= 8) {
        uint64_t ns = time_loop(m, mode, count);

        if (!ns)
            return 0;
        if (ns > 500000 || count > 50000000)
            return 2.0 * count * 1e3 / (double)ns;
    }
}

static void ask_rates(struct micro *m, struct probe *p)
{
    /* 100 is a multiple of nothing here: enough to see through one interruption. */
    enum { ROUNDS = 100 };
    uint64_t start;
    unsigned done = 0;

    micro_load(m, PM_LONG0, "\xe6\x60\xeb\xfc", 4);
    start = clock_ns();
    while (done < ROUNDS && !kvm_run(m->vcpu))
        done++;
    p->pio_exits_s = done * 1e9 / (double)(clock_ns() - start + 1);

    micro_load(m, PM_LONG0, "\x90\xeb\xfd", 3);
    micro_debug(m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    start = clock_ns();
    for (done = 0; p->step[PM_LONG0] == HOW_DEBUG && done < ROUNDS; done++)
        if (kvm_run(m->vcpu))
            break;
    p->steps_s = done * 1e9 / (double)(clock_ns() - start + 1);
}

static void ask_counter(struct micro *m, struct probe *p)
{
    int fd = kvm_get_stats_fd(m->vcpu);
    off_t at = fd < 0 ? -1 : counter_find(fd, "insn_emulation");
    uint64_t before = 0, after = 0;
    struct micro_exit x;

    if (at >= 0) {
        /* MOV, 100 times DEC and JNZ, then the OUT. */
        micro_load(m, PM_LONG0, "\xb9\x64\0\0\0\xff\xc9\x75\xfc", 9);
        if (counter_read(fd, at, &before)) {
            x = micro_run(m);
            p->insn_counter_exact = x.ended && counter_read(fd, at, &after) &&
                                    (after - before == 202 || after - before == 201);
        }
    }
    if (fd >= 0)
        close(fd);
}

static void ask_caps(int kvm, struct probe *p)
{
    int want = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;

    p->sync_regs = (kvm_cap(kvm, KVM_CAP_SYNC_REGS) & want) == want;
}

/* Does an interrupt of the kernel's chips wait for the end of steps, in a guest that is open to it?
 * `m` has these chips. */
static bool ask_block_irq(struct micro *m)
{
    /* The first 8259 ends interrupts by itself, begins at vector 16, and lets IRQ 1 through. */
    static const char chip[] = "\xb0\x11\xe6\x20\xb0\x10\xe6\x21\xb0\x04\xe6\x21"
                               "\xb0\x03\xe6\x21\xb0\xfd\xe6\x21";
    static const char code[] = "\xfb\x90\xeb\xfe"; /* STI; NOP; JMP to itself */
    const uint64_t end = MICRO_CODE + 2;
    struct micro_exit x = {.rip = 0};

    micro_load(m, PM_REAL, chip, sizeof chip - 1);
    if (!micro_run(m).ended)
        return false;
    micro_load(m, PM_REAL, code, sizeof code - 1);
    if (kvm_irq_line(m->vm, 1, true) || micro_run(m).vector != 17)
        return false; /* it does not come without steps either */
    micro_load(m, PM_REAL, code, sizeof code - 1);
    if (kvm_irq_line(m->vm, 1, false) || kvm_irq_line(m->vm, 1, true))
        return false;
    for (unsigned i = 0; i < 5; i++) {
        micro_debug(m, KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ, NULL, 0);
        x = micro_run(m);
        if (x.reason != KVM_EXIT_DEBUG || x.rip <= MICRO_CODE || x.rip > end)
            return false;
    }
    micro_debug(m, 0, NULL, 0);
    return x.rip == end && micro_run(m).vector == 17;
}

static void ask_msr_filter(struct micro *m, struct probe *p)
{
    uint8_t none[8] = {0};
    struct kvm_msr_filter f = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
    struct micro_exit x;

    /* RDMSR of the time stamp counter, denied to the guest. */
    f.ranges[0] = (struct kvm_msr_filter_range){
        .flags = KVM_MSR_FILTER_READ, .nmsrs = 1, .base = 0x10, .bitmap = none};
    p->msr_filter = HOW_NEVER;
    if (kvm_enable_cap(m->vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER) ||
        kvm_set_msr_filter(m->vm, &f))
        return;
    micro_load(m, PM_LONG0, "\xb9\x10\0\0\0\x0f\x32", 7);
    x = micro_run(m);
    p->msr_filter = x.reason == KVM_EXIT_X86_RDMSR ? HOW_MSR : other(m, &x);
}

int probe_run(int kvm, struct probe *out, struct err *e)
{
    uint64_t start = clock_ns();
    struct micro_exit x;
    struct micro m;
    int r;

    memset(out, 0, sizeof *out);
    r = micro_open(&m, kvm, false, e);
    if (r)
        return r;
    ask_caps(kvm, out);
    for (enum probe_mode mode = 0; mode < PROBE_MODES; mode++)
        ask_mode(&m, mode, out);
    for (enum probe_insn i = 0; i < PROBE_INSNS; i++)
        ask_insn(&m, i, out);
    ask_step_semantics(&m, out);
    ask_hiding(&m, out);
    ask_gate(&m, out);
    ask_hw_details(&m, out);
    ask_system(&m, out);
    ask_inject(&m, out);
    ask_paging(&m, out);
    ask_counter(&m, out);
    out->ring0_minsn = ask_speed(&m, PM_LONG0);
    out->ring3_minsn = ask_speed(&m, PM_LONG3);
    ask_rates(&m, out);
    /* Not from the speed, which a loaded host distorts: no hardware KVM fails on PXOR. */
    out->emulated = out->insn_counter_exact || out->insn[PI_PXOR] == HOW_INTERNAL;
    ask_msr_filter(&m, out);
    /* Last: where a step runs over HLT, the halt stays latched and would end a later run. */
    micro_load(&m, PM_LONG0, "\xf4\x90", 2);
    micro_debug(&m, KVM_GUESTDBG_SINGLESTEP, NULL, 0);
    x = micro_run(&m);
    out->step_hlt = x.reason == KVM_EXIT_DEBUG ? HOW_DEBUG : other(&m, &x);
    micro_close(&m);
    if (!micro_open(&m, kvm, true, NULL)) {
        out->block_irq = ask_block_irq(&m);
        micro_close(&m);
    }
    out->took_ns = clock_ns() - start;
    return 0;
}
