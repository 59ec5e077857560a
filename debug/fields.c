/*
 * Exit record fields for the expression evaluator. Pure functions of the record.
 */
#include "debug/fields.h"

#include <string.h>

#include "vmm/regs.h"

static bool get_kind(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->reason;
    return true;
}

static bool get_port(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->u.io.port;
    return ev->reason == KVM_EXIT_IO;
}

static bool get_count(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->u.io.count;
    return ev->reason == KVM_EXIT_IO;
}

static bool get_gpa(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->u.mmio.gpa;
    return ev->reason == KVM_EXIT_MMIO;
}

static bool get_msr(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->u.msr.index;
    return ev->reason == KVM_EXIT_X86_RDMSR || ev->reason == KVM_EXIT_X86_WRMSR;
}

static bool get_value(const struct exit_event *ev, uint64_t *v)
{
    struct exit_access a;

    if (!exit_access(ev, &a))
        return false;
    *v = a.value;
    return true;
}

static bool get_write(const struct exit_event *ev, uint64_t *v)
{
    struct exit_access a;

    if (!exit_access(ev, &a))
        return false;
    *v = a.write;
    return true;
}

static bool get_vector(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->reason == EXIT_INJECT   ? ev->u.inject.vector
         : ev->reason == EXIT_DEVICE ? ev->u.device.vector
                                     : (uint64_t)ev->u.shutdown.vector;
    return ev->reason == EXIT_INJECT || ev->reason == KVM_EXIT_SHUTDOWN ||
           (ev->reason == EXIT_DEVICE && ev->u.device.vector != EXIT_NO_VECTOR);
}

static bool get_line(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->reason == EXIT_INJECT ? ev->u.inject.line - 1u : ev->u.device.line;
    return (ev->reason == EXIT_INJECT && ev->u.inject.line) ||
           (ev->reason == EXIT_DEVICE && ev->u.device.line != EXIT_NO_LINE);
}

/* Words of devices' events lie above those of the kernel's, so that neither is taken for one of
 * the other. */
static bool get_event(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->reason == EXIT_KERNEL ? ev->u.kernel.event : KERNEL_EVENTS + ev->u.device.event;
    return ev->reason == EXIT_KERNEL || ev->reason == EXIT_DEVICE;
}

static bool get_number(const struct exit_event *ev, uint64_t *v)
{
    *v = ev->u.kernel.number;
    return ev->reason == EXIT_KERNEL;
}

#define PLAIN(name, expr)                                                                          \
    static bool get_##name(const struct exit_event *ev, uint64_t *v)                               \
    {                                                                                              \
        *v = expr;                                                                                 \
        return true;                                                                               \
    }
PLAIN(size, ev->size)
PLAIN(vcpu, ev->vcpu)
PLAIN(cpl, ev->cpl)
PLAIN(mode, ev->mode)
PLAIN(rip, ev->cs_base + ev->rip)
PLAIN(cr3, ev->cr3)
PLAIN(seq, ev->seq)
PLAIN(guest_ns, ev->guest_ns)
PLAIN(host_ns, ev->host_ns)
PLAIN(at_ns, ev->at_ns)
PLAIN(stepped, ev->flags &EXIT_F_STEPPED ? 1 : 0)
PLAIN(unclaimed, ev->flags &EXIT_F_UNCLAIMED ? 1 : 0)

const struct field_word field_table[] = {
    {"kind", "kind of exit: io, mmio, hlt, …", get_kind},
    {"port", "I/O port", get_port},
    {"size", "bytes of one access", get_size},
    {"count", "elements of a string access", get_count},
    {"value", "what was written or answered", get_value},
    {"write", "1 for out, stores and wrmsr", get_write},
    {"gpa", "physical address of an MMIO access", get_gpa},
    {"msr", "MSR index", get_msr},
    {"vector", "interrupt given, asked for or ended, or exception of a triple fault", get_vector},
    {"line", "interrupt line (GSI) of a device record or of an interrupt given", get_line},
    {"event", "of a kernel record: k_exit, k_cpuid, …; of a device's: d_line, d_eoi, d_timer, …",
     get_event},
    {"number", "of a kernel record: exit reason, CPUID leaf, MSR, vector", get_number},
    {"rip", "linear address of the instruction", get_rip},
    {"cr3", "page table root", get_cr3},
    {"cpl", "privilege level", get_cpl},
    {"mode", "processor mode: real, v86, prot16, prot32, compat16, compat32 or long64", get_mode},
    {"vcpu", "vCPU number", get_vcpu},
    {"seq", "number of the record on its vCPU", get_seq},
    {"guest_ns", "time inside the guest before this exit", get_guest_ns},
    {"host_ns", "time in the handler", get_host_ns},
    {"at_ns", "when, on the host's monotonic clock", get_at_ns},
    {"stepped", "1 when a single step was being made", get_stepped},
    {"unclaimed", "1 when no device answered", get_unclaimed},
    {NULL, NULL, NULL},
};

int field_by_name(const char *name)
{
    for (int i = 0; field_table[i].name; i++)
        if (!strcmp(field_table[i].name, name))
            return i;
    return -1;
}

bool field_constant(const char *name, uint64_t *value)
{
    static const struct {
        const char *name;
        uint64_t value;
    } words[] = {{"in", 0}, {"out", 1}, {"read", 0}, {"true", 1}, {"false", 0}};
    int reason = exit_kind_by_name(name);

    if (reason >= 0) {
        *value = (uint64_t)reason;
        return true;
    }
    for (unsigned i = 0; exit_kernel_name(i); i++) {
        if (!strncmp(name, "k_", 2) && !strcmp(exit_kernel_name(i), name + 2)) {
            *value = i;
            return true;
        }
    }
    for (unsigned i = 0; exit_device_name(i); i++) {
        if (!strncmp(name, "d_", 2) && !strcmp(exit_device_name(i), name + 2)) {
            *value = KERNEL_EVENTS + i;
            return true;
        }
    }
    for (unsigned i = 0; i < CPU_MODES; i++) {
        if (!strcmp(name, cpu_mode_name((enum cpu_mode)i))) {
            *value = i;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!strcmp(words[i].name, name)) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}
