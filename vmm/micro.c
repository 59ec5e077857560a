/*
 * The probe's bench (micro.h): memory image, processor state per mode, and runs with a time bound.
 * The bound is a timer of this thread whose signal is let through only inside KVM_RUN
 * (KVM_SET_SIGNAL_MASK), so it needs no handler and cannot strike anywhere else.
 */
#include "vmm/micro.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/le.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define IDT64   0x1000u
#define IDT32   0x1800u
#define GDT     0x2000u
#define TSS64   0x3000u
#define TSS32   0x3800u
#define STUBS   0x4000u /* 32 handlers of 16 bytes, the same bytes in every mode */
#define PML4    0x10000u
#define PDPT    0x11000u
#define PD      0x12000u
#define PT      0x13000u
#define PD_32   0x14000u
#define PDPT_32 0x15000u
#define PAGE    0x1000u

/* Bounds of a run and of each of its further chances: a loaded host may not come to it for long. No
 * chance more for one that spins, or after so many stuck runs. */
#define STEADY_NS  30000000
#define RETRY_NS   300000000
#define RETRIES    10
#define STUCK_MAX  3
#define SPIN_TURNS 5000 /* of KVM (counter.h): these guests are a few hundred instructions long */

/* One real-time signal nobody else here uses; blocked except inside our KVM_RUN. */
static int bound_signal(void)
{
    return SIGRTMIN + 9;
}

static bool micro_is_user(enum probe_mode mode)
{
    return mode == PM_LONG3 || mode == PM_COMPAT3;
}

static bool is_long(enum probe_mode mode)
{
    return mode == PM_LONG0 || micro_is_user(mode);
}

uint64_t micro_handler(unsigned vector)
{
    return STUBS + vector * 16;
}

static void put_gdt(uint8_t *mem, unsigned selector, uint64_t descriptor)
{
    le_store(mem + GDT + (selector & ~7u), 8, descriptor);
}

static void build_tables(uint8_t *mem)
{
    le_store(mem + PML4, 8, PDPT | 7);
    le_store(mem + PDPT, 8, PD | 7);
    le_store(mem + PD, 8, PT | 7);
    le_store(mem + PDPT_32, 8, PD | 1); /* bits 1 and 2 are reserved in a PAE PDPT */
    le_store(mem + PD_32, 4, 0x87);     /* one 4 MB page */
    for (unsigned i = 0; i < 512; i++)
        le_store(mem + PT + i * 8, 8, (uint64_t)i * PAGE | 7);
}

static void build_gates(uint8_t *mem)
{
    for (unsigned v = 0; v < 32; v++) {
        uint8_t *stub = mem + STUBS + v * 16, *g64 = mem + IDT64 + v * 16;
        uint8_t *g32 = mem + IDT32 + v * 8;
        /* Software interrupts that ring 3 may raise: 1, 3, 4, 5. */
        uint8_t type = v == 1 || (v >= 3 && v <= 5) ? 0xee : 0x8e;
        const uint8_t body[] = {0x90, 0xe6, (uint8_t)(MICRO_VECTOR + v), 0xeb, 0xfe};

        memcpy(stub, body, sizeof body);
        le_store(mem + v * 4, 4, micro_handler(v)); /* real-mode vector, segment 0 */
        le_store(g64, 2, micro_handler(v));
        le_store(g64 + 2, 2, MICRO_CS64);
        g64[5] = type;
        le_store(g32, 2, micro_handler(v));
        le_store(g32 + 2, 2, MICRO_CS32);
        g32[5] = type;
    }
}

/* Memory as at the start of every run; the code page is filled with HLT, so that a guest which
 * runs away ends at once. */
static void build_memory(uint8_t *mem)
{
    memset(mem, 0, MICRO_BYTES);
    memset(mem + MICRO_CODE, 0xf4, PAGE);
    build_gates(mem);
    build_tables(mem);
    put_gdt(mem, MICRO_CS64, 0x00af9b000000ffffu);
    put_gdt(mem, MICRO_DS, 0x00cf93000000ffffu);
    put_gdt(mem, MICRO_CS32, 0x00cf9b000000ffffu);
    put_gdt(mem, MICRO_CS32U, 0x00cffb000000ffffu);
    put_gdt(mem, MICRO_DSU, 0x00cff3000000ffffu);
    put_gdt(mem, MICRO_CS64U, 0x00affb000000ffffu);
    put_gdt(mem, MICRO_TSS, 0x00008b0000000067u | (uint64_t)TSS64 << 16);
    le_store(mem + TSS64 + 4, 8, MICRO_KSTACK);
    le_store(mem + TSS32 + 4, 4, MICRO_KSTACK);
    le_store(mem + TSS32 + 8, 4, MICRO_DS);
    mem[TSS64 + 0x66] = mem[TSS32 + 0x66] = 0x68; /* no I/O bitmap: ring 3 has no ports */
}

static struct kvm_segment segment(unsigned selector, unsigned type, bool is_64, bool is_32)
{
    return (struct kvm_segment){.limit = is_64 || is_32 ? 0xffffffff : 0xffff,
                                .selector = (uint16_t)selector,
                                .type = (uint8_t)type,
                                .present = 1,
                                .dpl = selector & 3,
                                .db = is_32,
                                .s = 1,
                                .l = is_64,
                                .g = is_64 || is_32};
}

static void set_real(struct kvm_sregs *s)
{
    s->cr0 = 0x10;
    s->cs = segment(0, 11, false, false);
    s->ds = s->es = s->fs = s->gs = s->ss = segment(0, 3, false, false);
    s->idt = (struct kvm_dtable){.base = 0, .limit = 0x3ff};
}

static void set_protected(const struct micro *m, struct kvm_sregs *s, enum probe_mode mode,
                          enum micro_paging paging)
{
    bool lm = is_long(mode), user = micro_is_user(mode);
    bool is_64 = mode == PM_LONG0 || mode == PM_LONG3;
    unsigned cs = is_64 ? (user ? MICRO_CS64U : MICRO_CS64) : (user ? MICRO_CS32U : MICRO_CS32);

    s->cr0 = 0x33;                 /* PE MP ET NE */
    s->cr4 = 0x600 | m->cr4_extra; /* OSFXSR OSXMMEXCPT */
    if (lm) {
        s->cr0 |= 1u << 31;
        s->cr3 = PML4;
        s->cr4 |= 0x20;
        s->efer = 0x501; /* SCE LME LMA */
    } else if (paging != MICRO_PAGING_MODE) {
        s->cr0 |= 1u << 31;
        s->cr3 = paging == MICRO_PAGING_32 ? PD_32 : PDPT_32;
        s->cr4 |= paging == MICRO_PAGING_32 ? 0x10 : 0x20;
    }
    s->cs = segment(cs, 11, is_64, !is_64);
    s->ds = s->es = s->fs = s->gs = s->ss = segment(user ? MICRO_DSU : MICRO_DS, 3, false, true);
    s->gdt = (struct kvm_dtable){.base = GDT, .limit = 0x4f};
    s->idt = (struct kvm_dtable){.base = lm ? IDT64 : IDT32, .limit = lm ? 511 : 255};
    s->tr = (struct kvm_segment){
        .base = lm ? TSS64 : TSS32, .limit = 0x67, .selector = MICRO_TSS, .type = 11, .present = 1};
}

/* An exit left open (the data of an IN, the second half of an access) would be completed on top of
 * the next program: let KVM finish it first. */
static void settle(struct micro *m)
{
    m->run->immediate_exit = 1;
    for (int i = 0; i < 8 && kvm_run(m->vcpu) != -EINTR; i++)
        ;
    m->run->immediate_exit = 0;
}

static bool load(struct micro *m, enum probe_mode mode, enum micro_paging paging, const void *code,
                 size_t len)
{
    static const uint8_t end0[] = {0xe6, MICRO_END, 0xeb, 0xfe};
    struct kvm_sregs s = m->fresh, back = {0};
    struct kvm_regs r = {.rip = MICRO_CODE, .rflags = 2, .rax = MICRO_HOLE};
    struct kvm_vcpu_events events = {0};
    struct kvm_debugregs debug = {.dr6 = 0xffff0ff0, .dr7 = 0x400};

    m->mode = mode;
    micro_debug(m, 0, NULL, 0);
    build_memory(m->mem);
    memcpy(m->mem + MICRO_CODE, code, len);
    if (!micro_is_user(mode))
        memcpy(m->mem + MICRO_CODE + len, end0, sizeof end0);
    s.cr2 = s.cr3 = s.cr4 = s.efer = 0;
    s.ldt = (struct kvm_segment){.type = 2, .unusable = 1};
    if (mode == PM_REAL)
        set_real(&s);
    else
        set_protected(m, &s, mode, paging);
    r.rbx = r.rsi = MICRO_DATA;
    r.rsp = micro_is_user(mode) ? MICRO_USTACK : MICRO_KSTACK;
    if (kvm_set_events(m->vcpu, &events) || kvm_set_sregs(m->vcpu, &s) ||
        kvm_set_regs(m->vcpu, &r) || kvm_set_debugregs(m->vcpu, &debug))
        return false;
    return paging == MICRO_PAGING_MODE ||
           (!kvm_get_sregs(m->vcpu, &back) && (back.cr0 >> 31 & 1) && back.cr3 == s.cr3);
}

void micro_load(struct micro *m, enum probe_mode mode, const void *code, size_t len)
{
    /* A refusal here shows as an exit that fits no test; there is nothing better to do with it. */
    (void)load(m, mode, MICRO_PAGING_MODE, code, len);
}

bool micro_load_paged(struct micro *m, enum micro_paging paging, const void *code, size_t len)
{
    return load(m, PM_PROT, paging, code, len);
}

void micro_hide_idt(struct micro *m, bool hide)
{
    struct kvm_sregs s = {0};

    if (kvm_get_sregs(m->vcpu, &s))
        return;
    s.idt.limit = hide ? 0 : is_long(m->mode) ? 511 : m->mode == PM_REAL ? 0x3ff : 255;
    (void)kvm_set_sregs(m->vcpu, &s);
}

void micro_debug(struct micro *m, uint32_t control, const uint64_t dr[4], uint64_t dr7)
{
    struct kvm_guest_debug d = {.control = control ? control | KVM_GUESTDBG_ENABLE : 0};

    for (int i = 0; i < 4 && dr; i++)
        d.arch.debugreg[i] = dr[i];
    d.arch.debugreg[7] = dr7;
    (void)kvm_set_guest_debug(m->vcpu, &d);
}

void micro_regs(struct micro *m, struct kvm_regs *r)
{
    memset(r, 0, sizeof *r);
    (void)kvm_get_regs(m->vcpu, r);
}

void micro_set_regs(struct micro *m, const struct kvm_regs *r)
{
    (void)kvm_set_regs(m->vcpu, r);
}

static void arm(struct micro *m, uint64_t ns)
{
    struct itimerspec t = {.it_value = clock_timespec(ns)};

    (void)timer_settime(m->timer, 0, &t, NULL);
}

/* Takes the timer's signal off the queue; true when it was there. */
static bool expired(void)
{
    struct timespec now = {0};
    sigset_t s;

    sigemptyset(&s);
    sigaddset(&s, bound_signal());
    return sigtimedwait(&s, NULL, &now) > 0;
}

/* KVM_RUN until an exit or the bound: 0, -ETIME or another -errno. */
static int bounded_run(struct micro *m, uint64_t ns)
{
    bool late;
    int r;

    arm(m, ns);
    do {
        r = kvm_run(m->vcpu);
        late = expired();
    } while ((r == -EINTR || r == -EAGAIN) && !late);
    arm(m, 0);
    late |= expired();
    return r == -EINTR && late ? -ETIME : r;
}

static bool spins(struct micro *m, uint64_t before)
{
    uint64_t now;

    return kvm_work_read(&m->work, m->vcpu, &now) && now - before >= SPIN_TURNS;
}

/* Nothing is lost by the interruption: going on is the further chance. */
static int run_patiently(struct micro *m)
{
    int rc = bounded_run(m, STEADY_NS);

    for (int i = 0; i < RETRIES && rc == -ETIME && m->stuck < STUCK_MAX; i++) {
        uint64_t before;
        bool counts = kvm_work_read(&m->work, m->vcpu, &before);

        rc = bounded_run(m, RETRY_NS);
        if (counts && spins(m, before))
            break;
    }
    if (rc == -ETIME)
        m->stuck++;
    return rc;
}

struct micro_exit micro_run(struct micro *m)
{
    struct micro_exit x = {.vector = -1};
    struct kvm_regs r;
    int rc = run_patiently(m);

    x.reason = rc ? rc : (int)m->run->exit_reason;
    micro_regs(m, &r);
    x.rip = r.rip;
    if (!rc && m->run->exit_reason == KVM_EXIT_IO) {
        unsigned port = m->run->io.port;

        if (port >= MICRO_VECTOR && port < MICRO_VECTOR + 32)
            x.vector = (int)(port - MICRO_VECTOR);
        x.ended = micro_is_user(m->mode) ? x.vector == 13 : port == MICRO_END;
    }
    if (rc != -ETIME) {
        struct kvm_run keep = *m->run; /* the completing runs overwrite the exit */

        settle(m);
        m->run->exit_reason = keep.exit_reason;
        memcpy(m->run->padding, keep.padding, sizeof keep.padding);
    }
    return x;
}

static int open_timer(struct micro *m, struct err *e)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = bound_signal()};
    sigset_t block;
    uint64_t mask = 0;

    ev.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_MONOTONIC, &ev, &m->timer))
        return err_set(e, errno,
                       "cannot test this host's KVM: no timer to bound the test guests (%s)",
                       strerror(errno));
    sigemptyset(&block);
    sigaddset(&block, bound_signal());
    pthread_sigmask(SIG_BLOCK, &block, &m->old_mask);
    for (int i = 1; i <= 64; i++)
        if (sigismember(&m->old_mask, i) == 1 && i != bound_signal())
            mask |= 1ull << (i - 1);
    if (kvm_set_signal_mask(m->vcpu, &mask)) {
        pthread_sigmask(SIG_SETMASK, &m->old_mask, NULL);
        timer_delete(m->timer);
        return err_set(e, EIO, "cannot test this host's KVM: KVM_SET_SIGNAL_MASK is refused");
    }
    return 0;
}

/* The processor that the instruction tests see: all that this KVM supports, switched on. */
static void offer_everything(struct micro *m, int kvm)
{
    static const uint64_t wishes[] = {1u << 18 /* OSXSAVE */, 1u << 16 /* FSGSBASE */};
    struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = 7}}};
    struct cpuid_table c;

    if (!kvm_supported_cpuid(kvm, &c))
        (void)kvm_set_cpuid(m->vcpu, &c);
    for (unsigned i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        m->cr4_extra |= wishes[i];
        if (!load(m, PM_LONG0, MICRO_PAGING_MODE, "\x90", 1))
            m->cr4_extra &= ~wishes[i];
    }
    (void)kvm_set_xcrs(m->vcpu, &x); /* x87, SSE and AVX state; without AVX it is refused */
}

static int open_slots(struct micro *m)
{
    int r = kvm_set_slot(m->vm, 0, 0, MICRO_RO, m->mem, 0);

    if (!r)
        r = kvm_set_slot(m->vm, 1, MICRO_HOLE + PAGE, MICRO_BYTES - MICRO_HOLE - PAGE,
                         m->mem + MICRO_HOLE + PAGE, 0);
    if (!r && kvm_set_slot(m->vm, 2, MICRO_RO, PAGE, m->mem + MICRO_RO, KVM_MEM_READONLY))
        r = kvm_set_slot(m->vm, 2, MICRO_RO, PAGE, m->mem + MICRO_RO, 0);
    return r;
}

int micro_open(struct micro *m, int kvm, bool irqchip, struct err *e)
{
    int r, bytes;

    *m = (struct micro){.vcpu = -1, .mem = MAP_FAILED, .run = MAP_FAILED};
    m->vm = kvm_create_vm(kvm);
    if (m->vm < 0)
        return kvm_explain("", -m->vm, e);
    (void)kvm_set_tss_addr(m->vm, 0xfffbd000); /* wanted by Intel's real mode, unused elsewhere */
    m->mem = mmap(NULL, MICRO_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->mem == MAP_FAILED) {
        r = err_set(e, ENOMEM, "cannot test this host's KVM: no memory for the test guest");
        goto fail;
    }
    r = irqchip ? kvm_create_irqchip(m->vm) : 0;
    if (!r)
        r = open_slots(m);
    if (!r)
        r = m->vcpu = kvm_create_vcpu(m->vm, 0);
    bytes = kvm_vcpu_mmap_bytes(kvm);
    if (r >= 0 && bytes >= (int)sizeof(struct kvm_run)) {
        m->run_bytes = (size_t)bytes;
        m->run = mmap(NULL, m->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
    }
    if (r >= 0 && m->run != MAP_FAILED)
        r = kvm_get_sregs(m->vcpu, &m->fresh);
    if (r < 0 || m->run == MAP_FAILED) {
        r = err_set(e, r < 0 ? -r : ENOMEM, "cannot test this host's KVM: %s",
                    strerror(r < 0 ? -r : ENOMEM));
        goto fail;
    }
    r = open_timer(m, e);
    if (r)
        goto fail;
    offer_everything(m, kvm);
    return 0;
fail:
    m->old_mask = (sigset_t){0};
    if (m->run != MAP_FAILED)
        munmap(m->run, m->run_bytes);
    if (m->vcpu >= 0)
        close(m->vcpu);
    if (m->mem != MAP_FAILED)
        munmap(m->mem, MICRO_BYTES);
    close(m->vm);
    return r;
}

void micro_close(struct micro *m)
{
    timer_delete(m->timer);
    (void)expired();
    pthread_sigmask(SIG_SETMASK, &m->old_mask, NULL);
    munmap(m->run, m->run_bytes);
    kvm_work_close(&m->work);
    close(m->vcpu);
    munmap(m->mem, MICRO_BYTES);
    close(m->vm);
}
