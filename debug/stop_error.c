/*
 * What KVM could not do, in sentences. See stop_error.h; called by stop.c.
 */
#include "debug/stop_error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "debug/session_priv.h"
#include "disasm/disasm.h"
#include "vmm/assist.h"
#include "vmm/insn_shape.h"

/* "`mov eax, ebx` (89 d8)", or what there is of it. */
static void add_insn(struct session *s, const struct exit_event *ev, const uint8_t *bytes,
                     unsigned n, struct insn *in, struct buf *out)
{
    unsigned shown;

    *in = (struct insn){0};
    disasm_one(session_disasm(s), cpu_mode_bits((enum cpu_mode)ev->mode), ev->cs_base + ev->rip,
               bytes, n, in);
    if (in->effects & INSN_BAD)
        buf_adds(out, "an instruction that the disassembler does not know (");
    else
        buf_addf(out, "`%s%s%s` (", in->mnemonic, in->operands[0] ? " " : "", in->operands);
    shown = in->effects & INSN_BAD ? 8 : in->len;
    for (unsigned i = 0; i < shown && i < n; i++)
        buf_addf(out, "%s%02x", i ? " " : "", bytes[i]);
    buf_addc(out, ')');
    if (in->effects & INSN_BAD)
        in->len = 0; /* nobody knows where the next one begins */
}

/* The CPU feature by which a guest decides to use an instruction, as --cpu and Linux know it: of
 * its class, or where a class has several, by its name. NULL where there is none. */
static const char *feature_of(const struct exit_event *ev, const struct insn *in)
{
    static const char *const features[] = {
        [IC_CX16] = "cx16",       [IC_XSAVE] = "xsave",  [IC_XSAVE_SYSTEM] = "xsaves",
        [IC_XGETBV] = "xsave",    [IC_AVX] = "avx",      [IC_AVX512] = "avx512f",
        [IC_RDTSCP] = "rdtscp",   [IC_RDPID] = "rdpid",  [IC_SMAP] = "smap",
        [IC_INVPCID] = "invpcid", [IC_SYSENTER] = "sep", [IC_SYSEXIT] = "sep",
        [IC_MONITOR] = "monitor", [IC_X87] = "fpu",      [IC_MMX] = "mmx",
    };
    static const struct {
        const char *mnemonic, *feature;
    } named[] = {
        {"popcnt", "popcnt"},
        {"crc32", "sse4_2"},
        {"movbe", "movbe"},
        {"rdrand", "rdrand"},
        {"rdseed", "rdseed"},
        {"adcx", "adx"},
        {"adox", "adx"},
        {"andn", "bmi1"},
        {"bextr", "bmi1"},
        {"blsi", "bmi1"},
        {"blsmsk", "bmi1"},
        {"blsr", "bmi1"},
        {"tzcnt", "bmi1"},
        {"bzhi", "bmi2"},
        {"mulx", "bmi2"},
        {"pdep", "bmi2"},
        {"pext", "bmi2"},
        {"rorx", "bmi2"},
        {"sarx", "bmi2"},
        {"shlx", "bmi2"},
        {"shrx", "bmi2"},
        {"clwb", "clwb"},
        {"clzero", "clzero"},
        {"movdiri", "movdiri"},
        {"ldmxcsr", "sse"},
        {"stmxcsr", "sse"},
        {"aesenc", "aes"},
        {"aesdec", "aes"},
        {"pshufb", "ssse3"},
        {"lzcnt", "abm"},
        {"movdir64b", "movdir64b"},
    };
    struct insn_shape shape;
    enum insn_class c;

    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        if (!strcmp(in->mnemonic, named[i].mnemonic))
            return named[i].feature;
    if (!insn_shape(&shape, cpu_mode_bits((enum cpu_mode)ev->mode), in->bytes, in->len))
        return NULL;
    c = insn_classify(&shape);
    return (size_t)c < sizeof features / sizeof features[0] ? features[c] : NULL;
}

static void add_way_out(const char *feature, struct buf *out)
{
    if (feature)
        buf_addf(out,
                 "; `--cpu -%s` hides it from a guest that asks CPUID first, unless `vmscope "
                 "doctor` calls that forced (Linux also: clearcpuid=%s)",
                 feature, feature);
    else
        buf_adds(out, "; a host with hardware virtualization may run it");
}

static void add_behind(const struct exit_event *ev, const struct insn *in, struct buf *out)
{
    if (in->len && !(in->effects & INSN_BRANCH))
        buf_addf(out, "; `print $rip = 0x%llx` goes on behind it",
                 (unsigned long long)(ev->rip + in->len));
}

/* KVM's suberrors, as linux/kvm.h numbers them, and where to look. */
static const char *suberror(uint32_t n)
{
    switch (n) {
    case KVM_INTERNAL_ERROR_SIMUL_EX:
        return "one exception came while it delivered another";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        return "it could not deliver an event";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        return "the processor left the guest for a reason that it did not expect";
    default:
        return "it does not say why";
    }
}

/* An event's delivery: IDT, GDT, TSS and stack are read and written by the processor itself. */
static void describe_delivery(const struct exit_event *ev, const char *at, struct buf *out)
{
    uint32_t sub = ev->u.internal.suberror, vector = (uint32_t)ev->u.internal.data0 & 0xff;
    bool is_event = sub == KVM_INTERNAL_ERROR_DELIVERY_EV || sub == KVM_INTERNAL_ERROR_SIMUL_EX;

    buf_addf(out, "KVM gave up at %s: %s (suberror %u", at, suberror(sub), sub);
    if (is_event && ev->u.internal.ndata && vector < 32)
        buf_addf(out, ", vector %u %s", vector, exit_vector_name(vector));
    else if (is_event && ev->u.internal.ndata)
        buf_addf(out, ", vector %u", vector);
    else if (ev->u.internal.ndata)
        buf_addf(out, ", data 0x%llx", (unsigned long long)ev->u.internal.data0);
    buf_adds(out, "), ");
}

static void describe_other_suberror(struct session *s, const struct exit_event *ev, const char *at,
                                    struct buf *out)
{
    uint32_t sub = ev->u.internal.suberror;
    struct insn in;

    describe_delivery(ev, at, out);
    if (ev->u.internal.insn_len) {
        buf_adds(out, "before ");
        add_insn(s, ev, ev->u.internal.insn, ev->u.internal.insn_len, &in, out);
        buf_addf(out, " in %s; ", cpu_mode_name((enum cpu_mode)ev->mode));
    }
    if (sub == KVM_INTERNAL_ERROR_DELIVERY_EV || sub == KVM_INTERNAL_ERROR_SIMUL_EX)
        buf_adds(out, "see whether `info idt`, `info gdt` and the handler's stack ($rsp, or the "
                      "TSS's) lie in memory that exists and can be written");
    else
        buf_adds(out, "the host's kernel log (`dmesg`) may say more; `reset` starts again");
}

static void describe_refused(struct session *s, const struct stop_info *si,
                             const struct exit_event *ev, const char *at, struct buf *out)
{
    const char *why = s->engine.why_refused[si->vcpu];
    const uint8_t *bytes = ev->u.internal.insn;
    unsigned n = ev->u.internal.insn_len;
    struct insn in;

    if (why == assist_why_v86) {
        buf_addf(out, "At %s ", at);
        add_insn(s, ev, bytes, n, &in, out);
        buf_adds(out, " leads to virtual-8086 mode, which this host's KVM does not have (it drops "
                      "RFLAGS.VM); run this guest on a machine with hardware virtualization");
        return;
    }
    buf_adds(out, "this host's KVM cannot run ");
    add_insn(s, ev, bytes, n, &in, out);
    buf_addf(out, " at %s in %s: its emulator lacks the instruction (suberror 1)", at,
             cpu_mode_name((enum cpu_mode)ev->mode));
    if (!session_assist_on(s))
        buf_adds(out, ", and --assist off keeps vmscope from carrying it out; without that it may "
                      "go on");
    else if (why)
        buf_addf(out, ", and vmscope could not carry it out either: %s", why);
    else
        buf_adds(out, ", and so does vmscope's assist");
    add_way_out(feature_of(ev, &in), out);
    add_behind(ev, &in, out);
}

static void describe_internal(struct session *s, const struct stop_info *si,
                              const struct exit_event *ev, const char *at, struct buf *out)
{
    if (ev->u.internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
        describe_other_suberror(s, ev, at, out);
    else if (ev->u.internal.insn_len)
        describe_refused(s, si, ev, at, out);
    else
        buf_addf(out,
                 "the guest jumped to %s, where there is no memory to execute; `info exits last` "
                 "and `backtrace` may show from where",
                 at);
}

/* Does the instruction hold a lock on memory that crosses a cache line? Hosts that watch for that
 * trap ring 3 there, and an emulating KVM tries again and again. */
static bool is_split_lock(struct session *s, const struct stop_info *si,
                          const struct exit_event *ev, const struct insn *in)
{
    const struct vcpu_state *st = session_cpu(s, si->vcpu, VS_REGS | VS_SREGS);
    struct insn_shape shape;
    bool xchg;

    if (!st || !insn_shape(&shape, cpu_mode_bits((enum cpu_mode)ev->mode), in->bytes, in->len) ||
        !insn_has_memory(&shape))
        return false;
    xchg = shape.map == 0 && (shape.opcode & 0xfe) == 0x86;
    return (shape.lock || xchg) && (insn_linear(&shape, &st->regs, &st->sregs) & 63) > 56;
}

static void describe_stuck(struct session *s, const struct stop_info *si,
                           const struct exit_event *ev, const char *at, struct buf *out)
{
    struct insn here = {0}, in = {0};
    bool known = session_insn(s, si->vcpu, si->cs_base + si->rip, &here);
    bool call = known && (!strcmp(here.mnemonic, "vmcall") || !strcmp(here.mnemonic, "vmmcall"));

    buf_addf(out, "The guest is stuck at %s: this host's KVM neither runs ", at);
    if (known)
        add_insn(s, ev, here.bytes, here.len, &in, out);
    else
        buf_adds(out, "what is there (unreadable)");
    buf_adds(out, " nor refuses it, it spins in the kernel");
    if (known && in.len == 2 && here.bytes[0] == 0xcd && here.bytes[1] >= 0x80)
        buf_adds(out,
                 "; of real mode's vectors it finds those below 80h alone, and --assist off keeps "
                 "vmscope from carrying the others out");
    else if (call)
        buf_adds(out,
                 "; keep the guest from making hypercalls (without `--cpu +kvm`; Linux: `nopv`)");
    else if (known && is_split_lock(s, si, ev, &here))
        buf_adds(out, "; its locked operand crosses a cache line, align it, or boot the host with "
                      "split_lock_detect=off (without --assist off vmscope carries out most such)");
    else
        add_way_out(known ? feature_of(ev, &in) : NULL, out);
    add_behind(ev, &in, out);
}

/* What KVM_RUN's errors mean (KVM's api.rst and what its code returns). */
static const char *run_error(int code)
{
    switch (code) {
    case EFAULT:
        return "KVM cannot get at the host memory behind the guest's; the host may have run out "
               "of it, a smaller -m may help";
    case ENOMEM:
        return "the host's kernel is out of memory; a smaller -m may help";
    case EIO:
        return "KVM found an error of its own and has given the machine up; the host's kernel log "
               "(`dmesg`) says more";
    case EHWPOISON:
        return "the guest touched memory of the host that is broken; the host's kernel log "
               "(`dmesg`) says which";
    default:
        return "the host's kernel log (`dmesg`) may say more";
    }
}

/* The instruction where the vCPU stands, as memory has it now. */
static void add_insn_here(struct session *s, const struct stop_info *si, struct buf *out)
{
    struct insn in = {0};

    if (!session_insn(s, si->vcpu, si->cs_base + si->rip, &in)) {
        buf_adds(out, "what cannot be read");
        return;
    }
    buf_addf(out, "`%s%s%s` (", in.mnemonic, in.operands[0] ? " " : "", in.operands);
    for (unsigned i = 0; i < in.len; i++)
        buf_addf(out, "%s%02x", i ? " " : "", in.bytes[i]);
    buf_addc(out, ')');
}

static void describe_entry(struct session *s, const struct stop_info *si,
                           const struct exit_event *ev, const char *at, struct buf *out)
{
    struct buf why = {0};

    exit_format(ev, NULL, &why);
    buf_addf(out, "the processor refused to enter the guest at %s, before ", at);
    add_insn_here(s, si, out);
    buf_addf(out,
             " (%s): some register holds a value that it does not accept; look at what was written "
             "last, `info registers` shows segments, control registers and flags",
             buf_str(&why));
    buf_fini(&why);
}

static bool has_error_code(int vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

void stop_error_triple(struct session *s, const struct stop_info *si, const char *at,
                       const char *name, struct buf *out)
{
    buf_addf(out, "Triple fault at %s: the processor could not deliver vector %d (%s", at,
             si->vector, name);
    if (has_error_code(si->vector))
        buf_addf(out, ", error code 0x%x", si->code);
    buf_adds(out, "), nor the double fault after it; ");
    if (s->vm->probe.shutdown_keeps_state) {
        buf_adds(out, "it stands at ");
        add_insn_here(s, si, out);
        buf_adds(out, "; ");
    } else {
        buf_adds(out, "KVM has reset the registers, `info exits last` shows what came before; ");
    }
    buf_addf(
        out,
        "see whether the gate (`info idt %d`), its code segment (`info gdt`) and the handler's "
        "stack ($rsp, or `info tss`) are there",
        si->vector);
}

static void describe_host(struct session *s, const struct stop_info *si,
                          const struct exit_event *ev, const char *at, struct buf *out)
{
    const char *name = exit_kind_name(ev->reason);
    int code = ev->u.fail.errno_;

    if (ev->reason == KVM_EXIT_FAIL_ENTRY)
        describe_entry(s, si, ev, at, out);
    else if (ev->reason == EXIT_ERROR)
        buf_addf(out, "KVM_RUN failed at %s with %s: %s", at, strerror(code), run_error(code));
    else if (ev->reason == KVM_EXIT_UNKNOWN)
        buf_addf(out,
                 "the processor left the guest at %s for a reason that this host's KVM does not "
                 "know (hardware reason 0x%llx); a newer kernel may know it",
                 at, (unsigned long long)ev->u.fail.hardware_reason);
    else
        buf_addf(out,
                 "KVM left the guest at %s with exit %u (%s), which vmscope has no answer to; "
                 "something that the guest or --cpu switched on asks for it",
                 at, ev->reason, name ? name : "newer than this vmscope");
}

void stop_error_describe(struct session *s, const struct stop_info *si, const struct exit_event *ev,
                         const char *at, struct buf *out)
{
    switch (si->kind) {
    case STOP_INTERNAL_ERROR:
        describe_internal(s, si, ev, at, out);
        break;
    case STOP_STUCK:
        describe_stuck(s, si, ev, at, out);
        break;
    default:
        describe_host(s, si, ev, at, out);
        break;
    }
}
