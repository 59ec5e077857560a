/*
 * The wrappers of kvm.h: one ioctl each. All but KVM_RUN are repeated after EINTR, because a kick
 * meant for a running guest may also land on a thread that is just asking for registers.
 */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int kvm_call(int fd, unsigned long request, unsigned long arg)
{
    int r;

    do
        r = ioctl(fd, request, arg);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static int kvm_callp(int fd, unsigned long request, const void *arg)
{
    return kvm_call(fd, request, (unsigned long)arg);
}

/* For calls whose positive answers mean nothing. */
static int kvm_do(int fd, unsigned long request, const void *arg)
{
    int r = kvm_callp(fd, request, arg);

    return r < 0 ? r : 0;
}

int kvm_open(struct err *e)
{
    int fd, version;

    do
        fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return kvm_explain("", errno, e);
    version = kvm_call(fd, KVM_GET_API_VERSION, 0);
    if (kvm_explain_version(version, e)) {
        close(fd);
        return -ENOTSUP;
    }
    return fd;
}

int kvm_cap(int fd, unsigned cap)
{
    int r = kvm_call(fd, KVM_CHECK_EXTENSION, cap);

    return r < 0 ? 0 : r;
}

int kvm_create_vm(int kvm)
{
    return kvm_call(kvm, KVM_CREATE_VM, 0);
}

int kvm_vcpu_mmap_bytes(int kvm)
{
    return kvm_call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
}

int kvm_supported_cpuid(int kvm, struct cpuid_table *out)
{
    memset(out, 0, sizeof *out);
    out->head.nent = KVM_CPUID_MAX;
    return kvm_do(kvm, KVM_GET_SUPPORTED_CPUID, out);
}

int kvm_set_slot(int vm, uint32_t slot, uint64_t gpa, uint64_t len_bytes, void *hva, uint32_t flags)
{
    struct kvm_userspace_memory_region r = {
        .slot = slot,
        .flags = flags,
        .guest_phys_addr = gpa,
        .memory_size = len_bytes,
        .userspace_addr = (uint64_t)(uintptr_t)hva,
    };

    return kvm_do(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

int kvm_set_tss_addr(int vm, uint64_t gpa)
{
    return kvm_call(vm, KVM_SET_TSS_ADDR, gpa);
}

int kvm_set_identity_map(int vm, uint64_t gpa)
{
    return kvm_do(vm, KVM_SET_IDENTITY_MAP_ADDR, &gpa);
}

int kvm_create_irqchip(int vm)
{
    return kvm_call(vm, KVM_CREATE_IRQCHIP, 0);
}

int kvm_create_pit(int vm)
{
    /* The dummy speaker port keeps port 0x61 inside the kernel's PIT model, as guests that time
     * loops against channel 2 expect. */
    struct kvm_pit_config c = {.flags = KVM_PIT_SPEAKER_DUMMY};

    return kvm_do(vm, KVM_CREATE_PIT2, &c);
}

int kvm_route_lines(int vm)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry[16 + 23];
    } r = {0};

    for (uint32_t gsi = 0; gsi < 24; gsi++) {
        uint32_t chip = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;

        if (gsi < 16)
            r.entry[r.head.nr++] = (struct kvm_irq_routing_entry){gsi, KVM_IRQ_ROUTING_IRQCHIP,
                                                                  .u.irqchip = {chip, gsi % 8}};
        if (gsi != 2)
            r.entry[r.head.nr++] = (struct kvm_irq_routing_entry){
                gsi, KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2}};
    }
    return kvm_do(vm, KVM_SET_GSI_ROUTING, &r);
}

int kvm_irq_line(int vm, unsigned gsi, bool level)
{
    struct kvm_irq_level l = {.irq = gsi, .level = level};

    return kvm_do(vm, KVM_IRQ_LINE, &l);
}

int kvm_enable_cap(int fd, unsigned cap, uint64_t arg0)
{
    struct kvm_enable_cap c = {.cap = cap, .args = {arg0}};

    return kvm_do(fd, KVM_ENABLE_CAP, &c);
}

int kvm_set_msr_filter(int vm, const struct kvm_msr_filter *f)
{
    return kvm_do(vm, KVM_X86_SET_MSR_FILTER, f);
}

int kvm_create_vcpu(int vm, unsigned id)
{
    return kvm_call(vm, KVM_CREATE_VCPU, id);
}

int kvm_get_stats_fd(int fd)
{
    return kvm_call(fd, KVM_GET_STATS_FD, 0);
}

int kvm_set_signal_mask(int vcpu, const uint64_t *mask)
{
    struct {
        struct kvm_signal_mask head;
        uint8_t bits[8];
    } m = {.head.len = 8}; /* the kernel's sigset, not the C library's */

    if (!mask)
        return kvm_call(vcpu, KVM_SET_SIGNAL_MASK, 0);
    memcpy(m.bits, mask, sizeof m.bits);
    return kvm_do(vcpu, KVM_SET_SIGNAL_MASK, &m);
}

int kvm_run(int vcpu)
{
    return ioctl(vcpu, KVM_RUN, 0) < 0 ? -errno : 0;
}

int kvm_get_regs(int vcpu, struct kvm_regs *r)
{
    return kvm_do(vcpu, KVM_GET_REGS, r);
}

int kvm_set_regs(int vcpu, const struct kvm_regs *r)
{
    return kvm_do(vcpu, KVM_SET_REGS, r);
}

int kvm_get_sregs(int vcpu, struct kvm_sregs *r)
{
    return kvm_do(vcpu, KVM_GET_SREGS, r);
}

int kvm_set_sregs(int vcpu, const struct kvm_sregs *r)
{
    return kvm_do(vcpu, KVM_SET_SREGS, r);
}

int kvm_get_events(int vcpu, struct kvm_vcpu_events *r)
{
    return kvm_do(vcpu, KVM_GET_VCPU_EVENTS, r);
}

int kvm_set_events(int vcpu, const struct kvm_vcpu_events *r)
{
    return kvm_do(vcpu, KVM_SET_VCPU_EVENTS, r);
}

int kvm_get_debugregs(int vcpu, struct kvm_debugregs *r)
{
    return kvm_do(vcpu, KVM_GET_DEBUGREGS, r);
}

int kvm_set_debugregs(int vcpu, const struct kvm_debugregs *r)
{
    return kvm_do(vcpu, KVM_SET_DEBUGREGS, r);
}

int kvm_get_xsave(int vcpu, struct kvm_xsave *r)
{
    return kvm_do(vcpu, KVM_GET_XSAVE, r);
}

int kvm_set_xsave(int vcpu, const struct kvm_xsave *r)
{
    return kvm_do(vcpu, KVM_SET_XSAVE, r);
}

int kvm_get_xcrs(int vcpu, struct kvm_xcrs *r)
{
    return kvm_do(vcpu, KVM_GET_XCRS, r);
}

int kvm_set_xcrs(int vcpu, const struct kvm_xcrs *r)
{
    return kvm_do(vcpu, KVM_SET_XCRS, r);
}

int kvm_get_msrs(int vcpu, struct kvm_msr_buf *b)
{
    return kvm_callp(vcpu, KVM_GET_MSRS, b);
}

int kvm_set_msrs(int vcpu, const struct kvm_msr_buf *b)
{
    return kvm_callp(vcpu, KVM_SET_MSRS, b);
}

int kvm_set_cpuid(int vcpu, const struct cpuid_table *c)
{
    return kvm_do(vcpu, KVM_SET_CPUID2, c);
}

int kvm_get_cpuid(int vcpu, struct cpuid_table *out)
{
    static const struct kvm_cpuid_entry2 none;
    int r;

    memset(out, 0, sizeof *out);
    out->head.nent = KVM_CPUID_MAX;
    r = kvm_do(vcpu, KVM_GET_CPUID2, out);
    /* Kernels before 6.10 leave nent as it was: what they did not write is still zero. */
    if (out->head.nent > KVM_CPUID_MAX)
        out->head.nent = KVM_CPUID_MAX;
    while (out->head.nent && !memcmp(&out->entry[out->head.nent - 1], &none, sizeof none))
        out->head.nent--;
    return r;
}

int kvm_set_guest_debug(int vcpu, const struct kvm_guest_debug *d)
{
    return kvm_do(vcpu, KVM_SET_GUEST_DEBUG, d);
}

int kvm_interrupt(int vcpu, unsigned vector)
{
    struct kvm_interrupt i = {.irq = vector};

    return kvm_do(vcpu, KVM_INTERRUPT, &i);
}

int kvm_nmi(int vcpu)
{
    return kvm_call(vcpu, KVM_NMI, 0);
}

int kvm_get_mp_state(int vcpu, uint32_t *state)
{
    struct kvm_mp_state s = {0};
    int r = kvm_do(vcpu, KVM_GET_MP_STATE, &s);

    *state = s.mp_state;
    return r;
}

int kvm_set_mp_state(int vcpu, uint32_t state)
{
    struct kvm_mp_state s = {.mp_state = state};

    return kvm_do(vcpu, KVM_SET_MP_STATE, &s);
}
