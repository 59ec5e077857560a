/*
 * The assist: instructions that an emulating KVM refuses, carried out here. vCPU thread.
 */
#include "vmm/assist.h"

#include <string.h>

#include "vmm/assist_system.h"
#include "vmm/base/le.h"
#include "vmm/far.h"
#include "vmm/guest_access.h"
#include "vmm/insn_head.h"
#include "vmm/insn_shape.h"
#include "vmm/native.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

#define XCR0_SSE_AVX 6u
#define XCR0_AVX512  0xe6u

#define VECTOR_DB 1
#define VECTOR_UD 6
#define VECTOR_NM 7
#define VECTOR_GP 13

static const struct {
    const char *name, *help;
} kinds[] = {
    /* clang-format off */
    [ASSIST_INT]      = {"int n", "software interrupts, int3 and into; in real mode int 80h and up"},
    [ASSIST_IRET]     = {"iret", "interrupt returns of 16- and 32-bit protected mode"},
    [ASSIST_RETF]     = {"retf", "far returns, also to an outer ring"},
    [ASSIST_GATE]     = {"call gate", "far calls and jumps through gates"},
    [ASSIST_TASK]     = {"task switch", "calls, jumps and returns to another task state"},
    [ASSIST_SYSCALL]  = {"syscall", "SYSCALL from ring 3, which this KVM leaves in ring 3"},
    [ASSIST_USER_INT] = {"int n from ring 3", "software interrupts from ring 3, which arrive as #UD"},
    [ASSIST_SYSENTER] = {"sysenter", "SYSENTER and SYSEXIT"},
    [ASSIST_FWAIT]    = {"fwait", "FWAIT"},
    [ASSIST_X87]      = {"x87", "floating point of the 8087 kind"},
    [ASSIST_MMX]      = {"mmx", "MMX"},
    [ASSIST_SSE]      = {"sse", "SSE to SSE4.2, AES and SHA"},
    [ASSIST_AVX]      = {"avx", "AVX, AVX2 and FMA"},
    [ASSIST_AVX512]   = {"avx512", "AVX-512"},
    [ASSIST_BITS]     = {"bits", "popcnt, crc32, movbe, rdrand, ADX, BMI1 and BMI2"},
    [ASSIST_CX16]     = {"cmpxchg16b", "compare and exchange of 16 bytes"},
    [ASSIST_XSAVE]    = {"xsave", "XSAVE and XRSTOR in all forms, FXSAVE and FXRSTOR"},
    [ASSIST_XGETBV]   = {"xgetbv", "reading XCR0"},
    [ASSIST_RDTSCP]   = {"rdtscp", "RDTSCP and RDPID"},
    [ASSIST_SMAP]     = {"stac", "STAC and CLAC"},
    [ASSIST_CACHE]    = {"clwb", "cache control and direct stores: clwb, clzero, movdiri, movdir64b"},
    [ASSIST_SEGMENT]  = {"lar", "questions about selectors: lar, lsl, verr, verw"},
    [ASSIST_INVPCID]  = {"invpcid", "INVPCID"},
    [ASSIST_MONITOR]  = {"mwait", "MONITOR and MWAIT, which return at once"},
    [ASSIST_BCD]      = {"bcd", "decimal adjustment: aaa, aas, daa, das"},
    [ASSIST_BOUND]    = {"bound", "BOUND"},
    [ASSIST_ENTER]    = {"enter", "ENTER with nested frames"},
    [ASSIST_ARPL]     = {"arpl", "ARPL"},
    [ASSIST_UNDEFINED] = {"ud", "#UD at opcodes that no processor has, or none without VMX"},
    [ASSIST_NOP]      = {"nop", "hints that do nothing: endbr, rdssp without shadow stacks"},
    [ASSIST_LOCK]     = {"split lock", "locked accesses of ring 3 across a cache line"},
    /* clang-format on */
};
_Static_assert(sizeof kinds / sizeof kinds[0] == ASSIST_KINDS, "a name for each kind");

const char *assist_name(unsigned what)
{
    return what < ASSIST_KINDS ? kinds[what].name : NULL;
}

const char *assist_help(unsigned what)
{
    return what < ASSIST_KINDS ? kinds[what].help : NULL;
}

uint64_t vcpu_assist_count(const struct vcpu *v, unsigned what)
{
    return atomic_load_explicit(&v->assists[what], memory_order_relaxed);
}

/* ---- the record ------------------------------------------------------------------------------ */

static void fill_record(struct vcpu *v, struct exit_event *ev, enum assist_kind what, unsigned len)
{
    uint8_t insn[15];
    unsigned n = vcpu_fetch(v, insn);

    ev->reason = EXIT_ASSIST;
    memset(&ev->u, 0, sizeof ev->u);
    ev->u.assist.what = what;
    ev->u.assist.insn_len = (uint8_t)(len < n ? len : n);
    memcpy(ev->u.assist.insn, insn, ev->u.assist.insn_len);
}

static void count(struct vcpu *v, enum assist_kind what)
{
    atomic_fetch_add_explicit(&v->assists[what], 1, memory_order_relaxed);
}

void vcpu_assist_note(struct vcpu *v, struct exit_event *ev, bool is_syscall)
{
    enum assist_kind what = is_syscall ? ASSIST_SYSCALL : ASSIST_USER_INT;

    fill_record(v, ev, what, 2); /* CD n */
    ev->rip = v->regs->rip;
    if (is_syscall) { /* the vCPU is at its entry */
        memcpy(ev->u.assist.insn, "\x0f\x05", 2);
        ev->rip = v->regs->rcx - 2;
    }
    count(v, what);
}

static bool raises(struct assist_event *e, int vector, bool has_ec, uint32_t ec)
{
    *e = (struct assist_event){.vector = vector, .has_ec = has_ec, .ec = ec};
    return true;
}

/* ---- control transfers ----------------------------------------------------------------------- */

static uint64_t behind(const struct vcpu *v, unsigned len)
{
    uint64_t rip = v->regs->rip + len;

    if (far_is_64(v->sregs))
        return rip;
    return v->sregs->cs.db ? (uint32_t)rip : (uint16_t)rip;
}

/* An NMI's handler is over with any IRET. */
static void nmi_over(struct vcpu *v)
{
    if (!v->events->nmi.masked)
        return;
    v->events->nmi.masked = 0;
    vcpu_dirty(v, VS_EVENTS);
}

static bool transfer(struct vcpu *v, const struct insn_head *h, struct assist_event *raise)
{
    unsigned size = far_operand_bytes(v->sregs, h->rexw, h->opsize);
    uint64_t next = behind(v, h->len);

    if (h->special == SP_RETF)
        return far_return(v, size, h->imm, raise);
    if (h->special == SP_IRET) {
        nmi_over(v);
        return far_iret(v, size, next, raise);
    }
    v->regs->rip = next;
    vcpu_dirty(v, VS_REGS);
    *raise = (struct assist_event){.vector = h->vector,
                                   .is_interrupt = h->is_int_n,
                                   .is_soft = !h->icebp,
                                   .insn_len = (uint8_t)h->len};
    return true;
}

/* The far pointer of a CALL or JMP: in the instruction, or in memory. */
static bool far_pointer(struct vcpu *v, const struct insn_shape *s, unsigned size,
                        uint16_t *selector, uint64_t *offset, struct assist_event *raise)
{
    uint8_t raw[10];

    if (!insn_has_memory(s))
        memcpy(raw, s->b + s->len - size - 2, size + 2);
    else if (!guest_read(v, insn_linear(s, v->regs, v->sregs), raw, size + 2, raise))
        return false;
    *offset = le_load(raw, size);
    *selector = (uint16_t)le_load(raw + size, 2);
    return true;
}

static bool call_or_jump(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    unsigned size = far_operand_bytes(v->sregs, s->rex & 8, s->opsize);
    bool call = s->opcode == 0x9a || (s->opcode == 0xff && (s->modrm >> 3 & 7) == 3);
    uint16_t selector;
    uint64_t offset;

    return far_pointer(v, s, size, &selector, &offset, raise) &&
           far_call(v, selector, offset, size, behind(v, s->len), call, raise);
}

/* A trap flag of the guest's own is honoured after the instruction, and the shadow of an STI or
 * MOV SS before it is over. */
static void finish(struct vcpu *v, uint64_t flags, struct assist_event *raise)
{
    struct kvm_debugregs d;

    if (raise->vector >= 0)
        return;
    if (v->events->interrupt.shadow) {
        v->events->interrupt.shadow = 0;
        vcpu_dirty(v, VS_EVENTS);
    }
    if (!(flags & RFLAGS_TF) || kvm_get_debugregs(v->fd, &d) < 0)
        return;
    d.dr6 |= DR6_BS;
    (void)kvm_set_debugregs(v->fd, &d);
    raises(raise, VECTOR_DB, false, 0);
}

/* What kind of far transfer stands at RIP; ASSIST_KINDS: none. */
static enum assist_kind transfer_kind(const struct insn_head *h, const struct insn_shape *s)
{
    switch (h->special) {
    case SP_INT:
        return ASSIST_INT;
    case SP_IRET:
        return ASSIST_IRET;
    case SP_RETF:
        return ASSIST_RETF;
    default:
        return s->len && insn_classify(s) == IC_FAR ? ASSIST_GATE : ASSIST_KINDS;
    }
}

const char assist_why_v86[] = "it leads to virtual-8086 mode, which this KVM does not have";

/* Has the transfer led to virtual-8086 mode, of which an emulating KVM knows nothing (it drops
 * RFLAGS.VM)? Then the guest had better stand before it. */
static bool is_lost_in_v86(struct vcpu *v, const struct kvm_regs *regs,
                           const struct kvm_sregs *sregs, struct assist_event *raise)
{
    if (!v->vm->probe.emulated || !(v->regs->rflags & RFLAGS_VM) || (regs->rflags & RFLAGS_VM))
        return false;
    *v->regs = *regs;
    *v->sregs = *sregs;
    vcpu_dirty(v, VS_REGS | VS_SREGS);
    raise->vector = -1;
    return true;
}

/* Of real mode's KVM knows all but int1 and some vectors of int n. */
static bool is_lost_int(const struct vcpu *v, const struct insn_head *h)
{
    return h->icebp || (h->special == SP_INT && h->is_int_n && h->vector >= 0x80 &&
                        v->vm->probe.insn[PI_INT_HIGH] == HOW_STUCK);
}

static bool assist_transfer(struct vcpu *v, struct exit_event *ev, struct assist_event *raise,
                            const char **why)
{
    const struct kvm_sregs sregs = *v->sregs;
    const struct kvm_regs regs = *v->regs;
    uint16_t task = v->sregs->tr.selector;
    uint64_t flags = v->regs->rflags;
    struct exit_event record = *ev;
    struct insn_shape s;
    enum assist_kind what;
    struct insn_head h;
    bool done;

    insn_head_read(v, &h);
    if (!(v->sregs->cr0 & CR0_PE) && !is_lost_int(v, &h))
        return false;
    if (!insn_shape(&s, cpu_mode_bits((enum cpu_mode)ev->mode), h.b, h.n))
        s.len = 0;
    what = transfer_kind(&h, &s);
    if (what == ASSIST_KINDS)
        return false;
    fill_record(v, &record, what, what == ASSIST_GATE ? s.len : h.len);
    done = what == ASSIST_GATE ? call_or_jump(v, &s, raise) : transfer(v, &h, raise);
    if (!done && raise->vector < 0)
        return false;
    if (is_lost_in_v86(v, &regs, &sregs, raise)) {
        *why = assist_why_v86;
        return false;
    }
    if (done)
        finish(v, flags, raise);
    if (v->sregs->tr.selector != task)
        record.u.assist.what = what = ASSIST_TASK;
    *ev = record;
    count(v, what);
    return true;
}

/* ---- locks that cross a cache line ---------------------------------------------------------- */

#define CACHE_LINE 64u
#define XCHG       0x87 /* of more than a byte; locked without a prefix */

static unsigned lock_bytes(const struct insn_shape *s)
{
    return s->map == 0 && !(s->opcode & 1) ? 1 : s->rex & 8 ? 8 : s->opsize ? 2 : 4;
}

/* Whose length insn_shape knows, and which locks what it names: not cmpxchg8b. */
static bool is_split_lock(const struct vcpu *v, const struct insn_shape *s)
{
    bool xchg = s->map == 0 && s->opcode == XCHG;

    return v->vm->probe.emulated && s->bits == 64 && cpu_cpl(v->sregs) == 3 && (s->lock || xchg) &&
           insn_has_memory(s) && insn_is_plain(s) &&
           insn_linear(s, v->regs, v->sregs) % CACHE_LINE + lock_bytes(s) > CACHE_LINE;
}

static bool exchange(struct vcpu *v, const struct insn_shape *s, struct assist_event *raise)
{
    uint64_t *reg = insn_reg(v->regs, (s->modrm >> 3 & 7) | (s->rex & 4) << 1);
    uint64_t at = insn_linear(s, v->regs, v->sregs);
    unsigned len = lock_bytes(s);
    uint8_t old[8], new[8];

    le_store(new, 8, *reg);
    if (!guest_read(v, at, old, len, raise) || !guest_write(v, at, new, len, raise))
        return raise->vector >= 0;
    *reg = len == 2 ? (*reg & ~0xffffull) | le_load(old, 2) : le_load(old, len);
    v->regs->rip += s->len;
    vcpu_dirty(v, VS_REGS);
    return true;
}

/* Carried out without its lock, the caller seeing to it that this makes no difference. */
static bool assist_lock(struct vcpu *v, struct insn_shape *s, struct assist_event *raise,
                        const char **why)
{
    struct native_fault f;

    if (!s->lock)
        return exchange(v, s, raise);
    s->lock = false;
    s->edited = true;
    if (!native_run(v, s, false, &f, why))
        return false;
    return f.vector < 0 || raises(raise, f.vector, f.has_ec, f.ec);
}

bool vcpu_spins(struct vcpu *v)
{
    struct insn_shape s;
    struct insn_head h;
    bool real = !(v->sregs->cr0 & CR0_PE);

    if (real ? v->vm->probe.insn[PI_INT_HIGH] != HOW_STUCK
             : !v->vm->probe.emulated || cpu_cpl(v->sregs) != 3 || !far_is_64(v->sregs))
        return false;
    insn_head_read(v, &h);
    if (real)
        return !h.icebp && is_lost_int(v, &h);
    return h.locked && insn_shape(&s, 64, h.b, h.n) && is_split_lock(v, &s);
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* How a class is carried out. */
enum how { BY_NOBODY, BY_US, BY_CPU, BY_CPU_FPU };

static const struct {
    enum how how;
    enum assist_kind what;
} classes[] = {
    /* clang-format off */
    [IC_NONE]         = {BY_NOBODY,        0},
    [IC_FWAIT]        = {BY_CPU_FPU, ASSIST_FWAIT},
    [IC_X87]          = {BY_CPU_FPU, ASSIST_X87},
    [IC_MMX]          = {BY_CPU_FPU, ASSIST_MMX},
    [IC_SSE]          = {BY_CPU_FPU, ASSIST_SSE},
    [IC_AVX]          = {BY_CPU_FPU, ASSIST_AVX},
    [IC_AVX512]       = {BY_CPU_FPU, ASSIST_AVX512},
    [IC_BITS]         = {BY_CPU,     ASSIST_BITS},
    [IC_CX16]         = {BY_CPU,     ASSIST_CX16},
    [IC_XSAVE]        = {BY_CPU_FPU, ASSIST_XSAVE},
    [IC_XSAVE_SYSTEM] = {BY_CPU_FPU, ASSIST_XSAVE},
    [IC_XGETBV]       = {BY_US,     ASSIST_XGETBV},
    [IC_RDTSCP]       = {BY_US,     ASSIST_RDTSCP},
    [IC_RDPID]        = {BY_US,     ASSIST_RDTSCP},
    [IC_SMAP]         = {BY_US,     ASSIST_SMAP},
    [IC_CACHE]        = {BY_CPU,     ASSIST_CACHE},
    [IC_SEGMENT]      = {BY_US,     ASSIST_SEGMENT},
    [IC_INVPCID]      = {BY_US,     ASSIST_INVPCID},
    [IC_SYSENTER]     = {BY_US,     ASSIST_SYSENTER},
    [IC_SYSEXIT]      = {BY_US,     ASSIST_SYSENTER},
    [IC_MONITOR]      = {BY_US,     ASSIST_MONITOR},
    [IC_BCD]          = {BY_US,     ASSIST_BCD},
    [IC_BOUND]        = {BY_US,     ASSIST_BOUND},
    [IC_ENTER]        = {BY_US,     ASSIST_ENTER},
    [IC_ARPL]         = {BY_US,     ASSIST_ARPL},
    [IC_UNDEFINED]    = {BY_US,     ASSIST_UNDEFINED},
    [IC_NOP]          = {BY_US,     ASSIST_NOP},
    [IC_FAR]          = {BY_NOBODY,        0}, /* assist_transfer */
    [IC_VMCALL]       = {BY_NOBODY,        0},
    /* clang-format on */
};

static uint64_t xcr0(struct vcpu *v)
{
    struct kvm_xcrs x;

    return kvm_get_xcrs(v->fd, &x) == 0 && x.nr_xcrs ? x.xcrs[0].value : 0;
}

/* The exception that CR0, CR4 and XCR0 give an FPU instruction before it starts, or -1 (SDM 3,
 * tables 2-2 and 14-2). */
static int fpu_forbidden(struct vcpu *v, enum insn_class c)
{
    uint64_t cr0 = v->sregs->cr0, cr4 = v->sregs->cr4;

    switch (c) {
    case IC_FWAIT:
        return (cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS) ? VECTOR_NM : -1;
    case IC_X87:
        return cr0 & (CR0_EM | CR0_TS) ? VECTOR_NM : -1;
    case IC_MMX:
        return cr0 & CR0_EM ? VECTOR_UD : cr0 & CR0_TS ? VECTOR_NM : -1;
    case IC_SSE:
        if ((cr0 & CR0_EM) || !(cr4 & CR4_OSFXSR))
            return VECTOR_UD;
        return cr0 & CR0_TS ? VECTOR_NM : -1;
    case IC_AVX:
    case IC_AVX512: {
        uint64_t need = c == IC_AVX ? XCR0_SSE_AVX : XCR0_AVX512;

        if (!(cr4 & CR4_OSXSAVE) || (xcr0(v) & need) != need)
            return VECTOR_UD;
        return cr0 & CR0_TS ? VECTOR_NM : -1;
    }
    case IC_XSAVE_SYSTEM:
        if (cpu_cpl(v->sregs))
            return VECTOR_GP;
        return !(cr4 & CR4_OSXSAVE) ? VECTOR_UD : cr0 & CR0_TS ? VECTOR_NM : -1;
    default:
        return -1;
    }
}

/* FXSAVE and FXRSTOR are in the same group as XSAVE but need no OSXSAVE. */
static int xsave_forbidden(const struct vcpu *v, const struct insn_shape *s)
{
    bool fx = s->opcode == 0xae && (s->modrm >> 3 & 7) < 2;

    if (!fx && !(v->sregs->cr4 & CR4_OSXSAVE))
        return VECTOR_UD;
    if (fx && (v->sregs->cr0 & CR0_EM))
        return VECTOR_NM;
    return v->sregs->cr0 & CR0_TS ? VECTOR_NM : -1;
}

/* XSAVES and XRSTORS need ring 0. With no supervisor state enabled (IA32_XSS is 0 on hosts that
 * get here) they do what XSAVEC and XRSTOR do, which do not. */
static void demote_xsaves(struct insn_shape *s)
{
    if ((s->modrm >> 3 & 7) == 5) { /* XSAVES, 0F C7 /5 */
        s->modrm = (uint8_t)((s->modrm & 0xc7) | 4 << 3);
    } else {
        s->opcode = 0xae;
        s->modrm = (uint8_t)((s->modrm & 0xc7) | 5 << 3);
    }
    s->edited = true;
}

static bool native(struct vcpu *v, struct insn_shape *s, enum insn_class c,
                   struct assist_event *raise, const char **why)
{
    int vector = c == IC_XSAVE ? xsave_forbidden(v, s) : fpu_forbidden(v, c);
    bool knows_vex =
        cpu_mode_of(v->sregs, v->regs->rflags) != MODE_REAL && !(v->regs->rflags & RFLAGS_VM);
    struct native_fault f;

    if (s->vex != VEX_NO && !knows_vex)
        return raises(raise, VECTOR_UD, false, 0);
    if (vector >= 0)
        return raises(raise, vector, vector == VECTOR_GP, 0);
    if (c == IC_XSAVE_SYSTEM)
        demote_xsaves(s);
    if (!native_run(v, s, classes[c].how == BY_CPU_FPU, &f, why))
        return false;
    if (f.vector >= 0)
        return raises(raise, f.vector, f.has_ec, f.ec);
    return true;
}

/* Classes that a batch may hold: what the processor does and CR0, CR4 and XCR0 allow. The answers
 * hold for a whole batch, since nothing in it changes them. */
struct batch_may {
    struct vcpu *v;
    uint8_t known[IC_VMCALL + 1]; /* 0: not asked yet, 1: no, 2: yes */
};

static bool batch_may(void *arg, enum insn_class c)
{
    struct batch_may *m = arg;

    if (!m->known[c])
        m->known[c] = classes[c].how >= BY_CPU && c != IC_XSAVE && c != IC_XSAVE_SYSTEM &&
                              fpu_forbidden(m->v, c) < 0
                          ? 2
                          : 1;
    return m->known[c] == 2;
}

static bool batch(struct vcpu *v)
{
    struct batch_may may = {.v = v};
    uint8_t class_of[NATIVE_BATCH];
    unsigned n = native_batch(v, batch_may, &may, class_of);

    for (unsigned i = 0; i < n; i++)
        if (class_of[i] != IC_NONE)
            count(v, classes[class_of[i]].what);
    return n > 0;
}

static bool assist_other(struct vcpu *v, struct exit_event *ev, bool singly,
                         struct assist_event *raise, const char **why)
{
    uint64_t flags = v->regs->rflags;
    struct exit_event record = *ev;
    struct insn_shape s;
    enum insn_class c;
    uint8_t b[15];

    if (!insn_shape(&s, cpu_mode_bits((enum cpu_mode)ev->mode), b, vcpu_fetch(v, b)))
        return false;
    c = insn_classify(&s);
    if (is_split_lock(v, &s)) {
        fill_record(v, &record, ASSIST_LOCK, s.len);
        if (!assist_lock(v, &s, raise, why))
            return false;
        finish(v, flags, raise);
        *ev = record;
        count(v, ASSIST_LOCK);
        return true;
    }
    if (classes[c].how == BY_NOBODY)
        return false;
    fill_record(v, &record, classes[c].what, s.len);
    if (!singly && s.bits == 64 && classes[c].how >= BY_CPU && batch(v)) {
        finish(v, flags, raise);
        *ev = record;
        return true;
    }
    if (classes[c].how == BY_US ? !assist_system(v, &s, c, raise) : !native(v, &s, c, raise, why))
        return false;
    finish(v, flags, raise);
    *ev = record;
    count(v, classes[c].what);
    return true;
}

bool vcpu_assist(struct vcpu *v, struct exit_event *ev, bool singly, struct assist_event *raise,
                 const char **why)
{
    *raise = (struct assist_event){.vector = -1};
    *why = NULL;
    if (ev->u.internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
        return false;
    if (assist_transfer(v, ev, raise, why))
        return true;
    return assist_other(v, ev, singly, raise, why);
}

const char *vcpu_paging_refused(struct vcpu *v, uint64_t at)
{
    const struct probe *p = &v->vm->probe;
    bool pae = v->sregs->cr4 & CR4_PAE;
    struct walk_regs r;
    uint8_t b[3];

    if ((pae ? p->paging_pae : p->paging32) || (v->sregs->efer & EFER_LME) ||
        (v->sregs->cr0 & CR0_PG) || !(v->sregs->cr0 & CR0_PE))
        return NULL;
    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, at, b, 3) != 3 || b[0] != 0x0f || b[1] != 0x22 ||
        (b[2] & 0xf8) != 0xc0) /* mov %r32,%cr0 */
        return NULL;
    if (!(*insn_reg(v->regs, b[2] & 7) & CR0_PG))
        return NULL;
    return pae ? "PAE" : "32-bit";
}
