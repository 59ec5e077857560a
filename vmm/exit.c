/*
 * The exit table and the one-line text of a record. Rows are in exits.def. Records may come from
 * a file, so nothing in them is trusted. Any thread.
 */
#include "vmm/exit.h"

#include <stddef.h>
#include <string.h>

#include "vmm/base/x.h"
#include "vmm/regs.h"

/* Names of kernels newer than the headers this may be built with. */
#ifndef KVM_EXIT_LOONGARCH_IOCSR
#define KVM_EXIT_LOONGARCH_IOCSR 38
#endif
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif
#ifndef KVM_EXIT_TDX
#define KVM_EXIT_TDX 40
#endif

/* ---- operands ---------------------------------------------------------------------------- */

static unsigned long long ull(uint64_t v)
{
    return v;
}

/* "1 byte", "4 bytes". */
static void add_size(struct buf *out, unsigned size)
{
    buf_addf(out, " %u byte%s", size, size == 1 ? "" : "s");
}

static void add_value(struct buf *out, uint64_t v, unsigned size)
{
    buf_addf(out, "0x%llx", ull(v));
    if (size == 1 && v >= ' ' && v < 0x7f)
        buf_addf(out, " '%c'", (char)v);
}

static void add_bytes(struct buf *out, const uint8_t *bytes, unsigned len)
{
    for (unsigned i = 0; i < len && i < 15; i++)
        buf_addf(out, " %02x", bytes[i]);
}

static void add_place(struct buf *out, const char *reg_name)
{
    if (reg_name && reg_name[0])
        buf_addf(out, " (%s)", reg_name);
}

static void add_unclaimed(const struct exit_event *ev, struct buf *out)
{
    if (ev->flags & EXIT_F_UNCLAIMED)
        buf_adds(out, ", no device there");
}

static void format_io(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    bool string = (ev->flags & EXIT_F_STRING) || ev->u.io.count > 1;

    buf_addf(out, "%s%s 0x%x", ev->u.io.write ? "out" : "in", string ? "s" : "", ev->u.io.port);
    add_place(out, reg_name);
    add_size(out, ev->size);
    if (ev->u.io.count > 1)
        buf_addf(out, " x %u, first", ev->u.io.count);
    buf_adds(out, " = ");
    add_value(out, ev->u.io.value, ev->size);
    add_unclaimed(ev, out);
}

static void format_mmio(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    buf_addf(out, "%s 0x%llx", ev->u.mmio.write ? "write" : "read", ull(ev->u.mmio.gpa));
    add_place(out, reg_name);
    add_size(out, ev->size);
    buf_adds(out, " = ");
    add_value(out, ev->u.mmio.value, ev->size);
    add_unclaimed(ev, out);
}

const char *exit_msr_name(uint32_t index)
{
    for (int i = 0; i < REG_COUNT; i++)
        if (reg_table[i].kind == 'M' && reg_table[i].msr_index == index)
            return reg_table[i].name + strlen("msr_");
    return index == 0xc0000080 ? "efer" : index == 0x1b ? "apic_base" : NULL;
}

static void format_msr(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    static const struct {
        unsigned bit;
        const char *text;
    } whys[] = {
        {KVM_MSR_EXIT_REASON_INVAL, "value not valid"},
        {KVM_MSR_EXIT_REASON_UNKNOWN, "unknown to KVM"},
        {KVM_MSR_EXIT_REASON_FILTER, "filtered"},
    };

    buf_addf(out, "%s 0x%x", ev->u.msr.write ? "wrmsr" : "rdmsr", ev->u.msr.index);
    add_place(out, reg_name ? reg_name : exit_msr_name(ev->u.msr.index));
    if (ev->u.msr.write || !ev->u.msr.error)
        buf_addf(out, " = 0x%llx", ull(ev->u.msr.value));
    for (size_t i = 0; i < ARRAY_LEN(whys); i++)
        if (ev->u.msr.why & whys[i].bit)
            buf_addf(out, ", %s", whys[i].text);
    if (ev->u.msr.error)
        buf_adds(out, ", answered with #GP");
}

static void format_debug(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    uint64_t dr6 = ev->u.debug.dr6;
    const char *sep = "";

    (void)reg_name;
    if (ev->u.debug.exception == 3) {
        buf_adds(out, "int3");
    } else {
        for (unsigned i = 0; i < 4; i++)
            if (dr6 >> i & 1) {
                buf_addf(out, "%sbreakpoint register %u", sep, i);
                sep = ", ";
            }
        if (dr6 >> 13 & 1) {
            buf_addf(out, "%sdebug register touched", sep);
            sep = ", ";
        }
        if (dr6 >> 14 & 1) {
            buf_addf(out, "%sstep", sep);
            sep = ", ";
        }
        if (!sep[0])
            buf_addf(out, "exception %u, DR6 0x%llx", ev->u.debug.exception, ull(dr6));
    }
    buf_addf(out, " at 0x%llx", ull(ev->u.debug.pc));
}

static void format_internal(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    static const char *const suberrors[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "cannot emulate the instruction",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "two exceptions at once",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "exit while an event was being delivered",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "exit reason that KVM did not expect",
    };
    uint32_t sub = ev->u.internal.suberror;

    (void)reg_name;
    if (ev->flags & EXIT_F_OURS) {
        buf_adds(out, "at a planted breakpoint");
        return;
    }
    if (sub < ARRAY_LEN(suberrors) && suberrors[sub])
        buf_adds(out, suberrors[sub]);
    else
        buf_addf(out, "suberror %u", sub);
    if (sub == KVM_INTERNAL_ERROR_EMULATION && ev->u.internal.insn_len) {
        buf_adds(out, ":");
        add_bytes(out, ev->u.internal.insn, ev->u.internal.insn_len);
    } else if (sub == KVM_INTERNAL_ERROR_EMULATION) {
        buf_adds(out, ": its bytes could not be fetched");
    } else if (ev->u.internal.ndata) {
        buf_addf(out, ", data 0x%llx", ull(ev->u.internal.data0));
    }
}

static void format_hardware(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    (void)reg_name;
    buf_addf(out, "hardware reason 0x%llx", ull(ev->u.fail.hardware_reason));
}

static void format_entry(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    uint64_t why = ev->u.fail.hardware_reason;

    /* VMX sets bit 31 on a failed entry: basic reason 33 is invalid guest state, 34 MSR loading
     * (Intel SDM 3C, appendix C); SVM reports VMEXIT_INVALID, -1. */
    buf_adds(out, why == 0x80000021 || why == UINT64_MAX || why == UINT32_MAX
                      ? "the guest's state is not valid, "
                  : why == 0x80000022 ? "an MSR could not be loaded, "
                                      : "");
    format_hardware(ev, reg_name, out);
}

static void format_error(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    int code = ev->u.fail.errno_;
    const char *text = code > 0 ? strerrordesc_np(code) : NULL;

    (void)reg_name;
    buf_addf(out, "KVM_RUN: %s (errno %d)", text ? text : "unknown error", code);
}

static void add_vector(struct buf *out, unsigned vector)
{
    const char *name = exit_vector_name(vector);

    if (name)
        buf_addf(out, "%s (%u)", name, vector);
    else
        buf_addf(out, "vector %u", vector);
}

static void format_shutdown(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    (void)reg_name;
    buf_adds(out, ev->flags & EXIT_F_OURS ? "end of a step behind a hidden IDT" : "triple fault");
    if (ev->u.shutdown.vector < 0)
        return;
    buf_adds(out, ev->flags & EXIT_F_OURS ? ": " : ", could not deliver ");
    add_vector(out, (unsigned)ev->u.shutdown.vector);
    if (ev->u.shutdown.has_error_code)
        buf_addf(out, " error code 0x%x", ev->u.shutdown.error_code);
}

/* What ISA wires to a line: "timer" for 0; NULL above 15 and where nothing is fixed. */
static const char *exit_line_name(unsigned gsi)
{
    static const char *const names[16] = {"timer",  "keyboard", NULL,    "COM2", "COM1", NULL,
                                          "floppy", NULL,       "RTC",   NULL,   NULL,   NULL,
                                          "mouse",  "FPU",      "IDE 1", "IDE 2"};

    return gsi < ARRAY_LEN(names) ? names[gsi] : NULL;
}

bool exit_has_cpu(const struct exit_event *ev)
{
    return ev->reason != EXIT_DEVICE || ev->u.device.cpu != DEVICE_NO_CPU;
}

static void add_line(struct buf *out, unsigned gsi)
{
    const char *name = exit_line_name(gsi);

    buf_addf(out, "line %u", gsi);
    if (name)
        buf_addf(out, " (%s)", name);
}

static void format_inject(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    (void)reg_name;
    if (ev->u.inject.kind == 1) {
        buf_adds(out, "NMI");
    } else if (ev->u.inject.kind == 2) {
        buf_adds(out, "exception ");
        add_vector(out, ev->u.inject.vector);
    } else {
        buf_addf(out, "interrupt 0x%x", ev->u.inject.vector);
    }
    if (ev->u.inject.line) {
        buf_adds(out, ", ");
        add_line(out, ev->u.inject.line - 1u);
    }
}

static void format_assist(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    buf_adds(out, reg_name ? reg_name : "instruction");
    add_bytes(out, ev->u.assist.insn, ev->u.assist.insn_len);
}

static void format_system(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    static const char *const types[] = {
        [1] = "shutdown", [2] = "reset",   [3] = "crash",
        [4] = "wakeup",   [5] = "suspend", [6] = "SEV termination",
    };
    uint32_t t = ev->u.system.type;

    (void)reg_name;
    if (t < ARRAY_LEN(types) && types[t])
        buf_adds(out, types[t]);
    else
        buf_addf(out, "type %u", t);
    if (ev->u.system.data)
        buf_addf(out, ", data 0x%llx", ull(ev->u.system.data));
}

/* ---- events inside KVM ---------------------------------------------------------------------- */

static const char *const kernel_names[] = {
    [KERNEL_EXIT] = "exit",           [KERNEL_ENTRY] = "entry",
    [KERNEL_CPUID] = "cpuid",         [KERNEL_MSR] = "msr",
    [KERNEL_FAULT] = "fault",         [KERNEL_PIO] = "pio",
    [KERNEL_MMIO] = "mmio",           [KERNEL_VIRQ] = "virq",
    [KERNEL_EXCEPTION] = "exception", [KERNEL_INSN] = "insn",
    [KERNEL_APIC] = "apic",           [KERNEL_CR] = "cr",
    [KERNEL_HYPERCALL] = "hypercall",
};
_Static_assert(ARRAY_LEN(kernel_names) == KERNEL_EVENTS, "a name for each event");

const char *exit_kernel_name(unsigned event)
{
    return event < ARRAY_LEN(kernel_names) ? kernel_names[event] : NULL;
}

/* Basic exit reasons of VT-x: Intel SDM volume 3, appendix C. */
static const char *const vtx_reasons[] = {
    [0] = "exception or NMI",
    [1] = "host interrupt",
    [2] = "triple fault",
    [3] = "INIT signal",
    [4] = "start-up IPI",
    [5] = "I/O SMI",
    [6] = "other SMI",
    [7] = "interrupt window",
    [8] = "NMI window",
    [9] = "task switch",
    [10] = "CPUID",
    [11] = "GETSEC",
    [12] = "HLT",
    [13] = "INVD",
    [14] = "INVLPG",
    [15] = "RDPMC",
    [16] = "RDTSC",
    [17] = "RSM",
    [18] = "VMCALL",
    [19] = "VMCLEAR",
    [20] = "VMLAUNCH",
    [21] = "VMPTRLD",
    [22] = "VMPTRST",
    [23] = "VMREAD",
    [24] = "VMRESUME",
    [25] = "VMWRITE",
    [26] = "VMXOFF",
    [27] = "VMXON",
    [28] = "control register",
    [29] = "debug register",
    [30] = "I/O",
    [31] = "RDMSR",
    [32] = "WRMSR",
    [33] = "entry failed: invalid guest state",
    [34] = "entry failed: MSR loading",
    [36] = "MWAIT",
    [37] = "monitor trap flag",
    [39] = "MONITOR",
    [40] = "PAUSE",
    [41] = "entry failed: machine check",
    [43] = "TPR below threshold",
    [44] = "APIC access",
    [45] = "end of interrupt",
    [46] = "GDTR or IDTR access",
    [47] = "LDTR or TR access",
    [48] = "EPT violation",
    [49] = "EPT misconfiguration",
    [50] = "INVEPT",
    [51] = "RDTSCP",
    [52] = "preemption timer",
    [53] = "INVVPID",
    [54] = "WBINVD",
    [55] = "XSETBV",
    [56] = "APIC write",
    [57] = "RDRAND",
    [58] = "INVPCID",
    [59] = "VMFUNC",
    [60] = "ENCLS",
    [61] = "RDSEED",
    [62] = "page-modification log full",
    [63] = "XSAVES",
    [64] = "XRSTORS",
    [65] = "PCONFIG",
    [66] = "sub-page permission",
    [67] = "UMWAIT",
    [68] = "TPAUSE",
    [69] = "LOADIWKEY",
    [70] = "ENCLV",
    [72] = "ENQCMD PASID",
    [73] = "ENQCMDS PASID",
    [74] = "bus lock",
    [75] = "no event window",
    [76] = "SEAMCALL",
    [77] = "TDCALL",
};

/* Exit codes of SVM: AMD APM volume 2, appendix C. */
static const char *const svm_codes[] = {
    [0x60] = "host interrupt",
    [0x61] = "NMI",
    [0x62] = "SMI",
    [0x63] = "INIT",
    [0x64] = "interrupt window",
    [0x65] = "CR0 write, other bits",
    [0x66] = "SIDT",
    [0x67] = "SGDT",
    [0x68] = "SLDT",
    [0x69] = "STR",
    [0x6a] = "LIDT",
    [0x6b] = "LGDT",
    [0x6c] = "LLDT",
    [0x6d] = "LTR",
    [0x6e] = "RDTSC",
    [0x6f] = "RDPMC",
    [0x70] = "PUSHF",
    [0x71] = "POPF",
    [0x72] = "CPUID",
    [0x73] = "RSM",
    [0x74] = "IRET",
    [0x75] = "INT n",
    [0x76] = "INVD",
    [0x77] = "PAUSE",
    [0x78] = "HLT",
    [0x79] = "INVLPG",
    [0x7a] = "INVLPGA",
    [0x7b] = "I/O",
    [0x7c] = "RDMSR or WRMSR",
    [0x7d] = "task switch",
    [0x7e] = "FERR freeze",
    [0x7f] = "shutdown",
    [0x80] = "VMRUN",
    [0x81] = "VMMCALL",
    [0x82] = "VMLOAD",
    [0x83] = "VMSAVE",
    [0x84] = "STGI",
    [0x85] = "CLGI",
    [0x86] = "SKINIT",
    [0x87] = "RDTSCP",
    [0x88] = "ICEBP",
    [0x89] = "WBINVD",
    [0x8a] = "MONITOR",
    [0x8b] = "MWAIT",
    [0x8c] = "MWAIT, armed",
    [0x8d] = "XSETBV",
    [0x8e] = "RDPRU",
    [0x8f] = "EFER write",
    [0xa2] = "INVPCID",
    [0xa5] = "bus lock",
    [0xa6] = "idle HLT",
};

static const char *svm_reason(uint32_t code)
{
    if (code < 0x20)
        return code < 0x10 ? "control register read" : "control register write";
    if (code < 0x40)
        return code < 0x30 ? "debug register read" : "debug register write";
    if (code < 0x60)
        return exit_vector_name(code - 0x40);
    switch (code) {
    case 0x400:
        return "nested page fault";
    case 0x401:
        return "AVIC: incomplete interrupt";
    case 0x402:
        return "AVIC: no acceleration";
    case 0x403:
        return "VMGEXIT";
    case 0xffffffff:
        return "invalid guest state";
    default:
        return code < ARRAY_LEN(svm_codes) ? svm_codes[code] : NULL;
    }
}

static const char *hardware_reason(unsigned isa, uint32_t reason)
{
    if (isa == 1)
        return (reason & 0xffff) < ARRAY_LEN(vtx_reasons) ? vtx_reasons[reason & 0xffff] : NULL;
    return isa == 2 ? svm_reason(reason) : NULL;
}

void exit_kernel_what(unsigned event, uint32_t number, bool write, unsigned isa, struct buf *out)
{
    const char *name = exit_kernel_name(event), *detail = NULL;

    switch (event) {
    case KERNEL_EXIT:
        detail = hardware_reason(isa, number);
        buf_addf(out, isa == 2 ? "exit 0x%x" : "exit %u", number);
        break;
    case KERNEL_CPUID:
        buf_addf(out, "cpuid 0x%x", number);
        break;
    case KERNEL_MSR:
        detail = exit_msr_name(number);
        buf_addf(out, "%s 0x%x", write ? "wrmsr" : "rdmsr", number);
        break;
    case KERNEL_PIO:
        buf_addf(out, "%s 0x%x", write ? "out" : "in", number);
        break;
    case KERNEL_MMIO:
        buf_addf(out, "mmio %s", write ? "write" : "read");
        break;
    case KERNEL_VIRQ:
        buf_addf(out, "interrupt 0x%x given", number);
        break;
    case KERNEL_EXCEPTION:
        detail = exit_vector_name(number);
        buf_addf(out, "exception %u given", number);
        break;
    case KERNEL_APIC:
        buf_addf(out, "APIC %s 0x%x", write ? "write" : "read", number);
        break;
    case KERNEL_CR:
        buf_addf(out, "mov %scr%u", write ? "to " : "from ", number);
        break;
    case KERNEL_HYPERCALL:
        buf_addf(out, "hypercall %u", number);
        break;
    case KERNEL_FAULT:
        buf_adds(out, "page fault");
        break;
    case KERNEL_INSN:
        buf_adds(out, "instruction interpreted");
        break;
    default:
        buf_addf(out, "%s", name ? name : "event");
        break;
    }
    if (detail)
        buf_addf(out, " (%s)", detail);
}

static void format_kernel(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    const uint64_t *v = ev->u.kernel.value;
    unsigned event = ev->u.kernel.event;

    (void)reg_name;
    exit_kernel_what(event, ev->u.kernel.number, ev->u.kernel.write,
                     event == KERNEL_EXIT && v[2] <= 2 ? (unsigned)v[2] : 0, out);
    switch (event) {
    case KERNEL_EXIT:
        buf_addf(out, ", information 0x%llx 0x%llx", ull(v[0]), ull(v[1]));
        break;
    case KERNEL_CPUID:
        buf_addf(out, ".%llu, EAX = 0x%llx", ull(v[0]), ull(v[1]));
        break;
    case KERNEL_MSR:
        buf_addf(out, " = 0x%llx%s", ull(v[0]), v[1] ? ", refused" : "");
        break;
    case KERNEL_FAULT:
        buf_addf(out, " at 0x%llx, error code 0x%llx", ull(v[0]), ull(v[1]));
        break;
    case KERNEL_MMIO:
        buf_addf(out, " 0x%llx = 0x%llx", ull(v[0]), ull(v[1]));
        break;
    case KERNEL_EXCEPTION:
        if (v[0])
            buf_addf(out, ", error code 0x%llx", ull(v[1]));
        break;
    case KERNEL_INSN:
        if (v[0])
            buf_adds(out, ", in vain");
        break;
    case KERNEL_PIO:
    case KERNEL_APIC:
    case KERNEL_CR:
    case KERNEL_HYPERCALL:
        buf_addf(out, " = 0x%llx", ull(v[0]));
        break;
    default:
        break;
    }
}

/* ---- accesses -------------------------------------------------------------------------------
 */

bool exit_is_access(unsigned reason)
{
    return reason == KVM_EXIT_IO || reason == KVM_EXIT_MMIO || reason == KVM_EXIT_X86_RDMSR ||
           reason == KVM_EXIT_X86_WRMSR;
}

bool exit_access(const struct exit_event *ev, struct exit_access *a)
{
    switch (ev->reason) {
    case KVM_EXIT_IO:
        *a = (struct exit_access){EXIT_PORT, ev->u.io.write != 0, ev->u.io.port, ev->u.io.value};
        return true;
    case KVM_EXIT_MMIO:
        *a =
            (struct exit_access){EXIT_GPA, ev->u.mmio.write != 0, ev->u.mmio.gpa, ev->u.mmio.value};
        return true;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        *a = (struct exit_access){EXIT_MSR, ev->u.msr.write != 0, ev->u.msr.index, ev->u.msr.value};
        return true;
    default:
        return false;
    }
}

/* ---- what devices did ------------------------------------------------------------------------ */

static const char *const device_names[] = {
    [DEVICE_LINE] = "line",     [DEVICE_REQUEST] = "request", [DEVICE_EOI] = "eoi",
    [DEVICE_NMI] = "nmi",       [DEVICE_INIT] = "init",       [DEVICE_SIPI] = "sipi",
    [DEVICE_TIMER_SET] = "set", [DEVICE_TIMER_OFF] = "off",   [DEVICE_TIMER] = "timer",
    [DEVICE_DMA] = "dma",       [DEVICE_RESET] = "reset",     [DEVICE_POWER_OFF] = "power_off",
};
_Static_assert(ARRAY_LEN(device_names) == DEVICE_EVENTS, "a name for each event");

const char *exit_device_name(unsigned event)
{
    return event < ARRAY_LEN(device_names) ? device_names[event] : NULL;
}

void exit_device_what(const struct exit_device *d, const char *dev, struct buf *out)
{
    if (dev && d->event != DEVICE_LINE)
        buf_addf(out, "%s: ", dev);
    switch (d->event) {
    case DEVICE_LINE:
        add_line(out, d->line);
        buf_adds(out, " raised");
        return;
    case DEVICE_REQUEST:
        buf_addf(out, "interrupt 0x%x requested", d->vector);
        break;
    case DEVICE_EOI:
        buf_addf(out, "end of interrupt 0x%x", d->vector);
        break;
    case DEVICE_NMI:
        buf_adds(out, "NMI sent");
        break;
    case DEVICE_INIT:
        buf_adds(out, "INIT sent");
        break;
    case DEVICE_SIPI:
        buf_addf(out, "start-up message sent, page 0x%x", d->vector);
        break;
    case DEVICE_TIMER_SET:
        buf_adds(out, "timer set");
        break;
    case DEVICE_TIMER_OFF:
        buf_adds(out, "timer switched off");
        break;
    case DEVICE_TIMER:
        buf_adds(out, "timer fired");
        break;
    case DEVICE_DMA:
        buf_addf(out, "DMA %s memory", d->write ? "to" : "from");
        break;
    case DEVICE_RESET:
        buf_adds(out, "the machine was reset");
        break;
    case DEVICE_POWER_OFF:
        buf_adds(out, "the guest switched the machine off");
        break;
    default:
        buf_addf(out, "event %u", d->event);
        break;
    }
    if (d->line != EXIT_NO_LINE) {
        buf_adds(out, " of ");
        add_line(out, d->line);
    }
}

static void format_device(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    const struct exit_device *d = &ev->u.device;

    exit_device_what(d, reg_name, out);
    if (d->event == DEVICE_TIMER_SET)
        buf_addf(out, " to fire in %llu.%03u us", ull(d->value / 1000),
                 (unsigned)(d->value % 1000));
    if (d->event == DEVICE_DMA)
        buf_addf(out, ", %llu bytes at 0x%llx", ull(d->len), ull(d->value));
    if (d->cpu != DEVICE_NO_CPU)
        buf_addf(out, ", vCPU %u", d->cpu);
}

static void format_stack(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    const struct exit_stack *s = &ev->u.stack;

    (void)reg_name;
    buf_adds(out, "called from");
    for (unsigned i = 0; i < s->count && i < ARRAY_LEN(s->frame); i++)
        buf_addf(out, "%s 0x%llx", i ? " from" : "", ull(s->frame[i]));
}

/* ---- the table --------------------------------------------------------------------------- */

typedef void format_fn(const struct exit_event *ev, const char *reg_name, struct buf *out);

static const struct exit_kind kinds[] = {
#define E(reason, name, format, help) {reason, #name, #reason, help},
#include "vmm/exits.def"
#undef E
};

static format_fn *const formats[] = {
#define E(reason, name, format, help) format,
#include "vmm/exits.def"
#undef E
};
_Static_assert(sizeof kinds / sizeof kinds[0] == KVM_EXIT_TDX + 1 + EXIT_OUR_END - EXIT_OUR_FIRST,
               "a row for each reason of KVM up to the last we name, and for each of ours");

/* Kernels add reasons; a record of one must still have a name, and names are static text. */
#define N4(t) "kvm_" #t "0", "kvm_" #t "1", "kvm_" #t "2", "kvm_" #t "3", "kvm_" #t "4"
#define N9(t) "kvm_" #t "5", "kvm_" #t "6", "kvm_" #t "7", "kvm_" #t "8", "kvm_" #t "9"
static const char *const new_names[] = {N4(4), N9(4), N4(5), N9(5), N4(6), N9(6),
                                        N4(7), N9(7), N4(8), N9(8), N4(9), N9(9)};
#define NEW_NAMES_FIRST 40u

/* Rows are in order: KVM's by number, then ours. */
static int row_of(unsigned reason)
{
    if (reason <= KVM_EXIT_TDX)
        return (int)reason;
    if (reason >= EXIT_OUR_FIRST && reason < EXIT_OUR_END)
        return KVM_EXIT_TDX + 1 + (int)(reason - EXIT_OUR_FIRST);
    return -1;
}

const struct exit_kind *exit_kind_at(unsigned i)
{
    return i < ARRAY_LEN(kinds) ? &kinds[i] : NULL;
}

const char *exit_kind_name(unsigned reason)
{
    int row = row_of(reason);

    if (row >= 0)
        return kinds[row].name;
    if (reason - NEW_NAMES_FIRST < ARRAY_LEN(new_names))
        return new_names[reason - NEW_NAMES_FIRST];
    return "kvm_new";
}

const char *exit_kind_help(unsigned reason)
{
    int row = row_of(reason);

    return row >= 0 ? kinds[row].help : "a reason that is newer than this program";
}

static bool same_word(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(*a == '_' && *b == '-'))
            return false;
    return *a == *b;
}

int exit_kind_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (same_word(kinds[i].name, name) || !strcmp(kinds[i].kvm_name, name))
            return kinds[i].reason;
    for (unsigned i = KVM_EXIT_TDX + 1 - NEW_NAMES_FIRST; i < ARRAY_LEN(new_names); i++)
        if (same_word(new_names[i], name))
            return (int)(NEW_NAMES_FIRST + i);
    return -1;
}

const char *exit_vector_name(unsigned vector)
{
    static const char *const names[32] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM",
                                          "#DF", NULL,  "#TS", "#NP", "#SS", "#GP", "#PF", NULL,
                                          "#MF", "#AC", "#MC", "#XM", "#VE", "#CP", NULL,  NULL,
                                          NULL,  NULL,  NULL,  NULL,  "#HV", "#VC", "#SX", NULL};

    return vector < ARRAY_LEN(names) ? names[vector] : NULL;
}

void exit_format(const struct exit_event *ev, const char *reg_name, struct buf *out)
{
    int row = row_of(ev->reason);

    if (row >= 0 && formats[row])
        formats[row](ev, reg_name, out);
    else
        buf_adds(out, exit_kind_name(ev->reason));
}
