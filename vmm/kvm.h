/*
 * Every ioctl on /dev/kvm, wrapped and named; the only file of vmscope that calls ioctl on KVM.
 * Plain wrappers return a descriptor or 0, or -errno, and do not log. Source: Linux
 * Documentation/virt/kvm/api.rst and include/uapi/linux/kvm.h.
 * All calls but kvm_run are repeated after EINTR.
 * vCPU calls belong on the thread that runs the vCPU: from another one they wait for KVM_RUN.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

#define KVM_CPUID_MAX 256
#define KVM_MSRS_MAX  64

struct cpuid_table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entry[KVM_CPUID_MAX];
};
struct kvm_msr_buf {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[KVM_MSRS_MAX];
};

/* Opens /dev/kvm and checks the API version. On failure one paragraph in `e` says which of these
 * it is (no device, no permission, busy, wrong version) and what to type. */
int kvm_open(struct err *e);
/* The paragraph behind kvm_open, also for a failed kvm_create_vm (EBUSY comes only there): finds
 * out why KVM answers `code` (a positive errno) from /proc, /sys and /dev below `root` ("" for this
 * machine; tests pass a directory). Returns -code. Any thread; touches no device. */
int kvm_explain(const char *root, int code, struct err *e);
/* The sentence for a KVM_GET_API_VERSION other than 12; 0 when `version` is right. */
int kvm_explain_version(int version, struct err *e);
/* Value of a capability on a system or VM descriptor; 0 when absent. */
int kvm_cap(int fd, unsigned cap);
int kvm_create_vm(int kvm);
int kvm_vcpu_mmap_bytes(int kvm);
int kvm_supported_cpuid(int kvm, struct cpuid_table *out);

/* A slot: `len_bytes` 0 deletes it. flags: KVM_MEM_READONLY, KVM_MEM_LOG_DIRTY_PAGES. */
int kvm_set_slot(int vm, uint32_t slot, uint64_t gpa, uint64_t len_bytes, void *hva,
                 uint32_t flags);
int kvm_set_tss_addr(int vm, uint64_t gpa);
int kvm_set_identity_map(int vm, uint64_t gpa);
int kvm_create_irqchip(int vm);
int kvm_create_pit(int vm);
/* Routes the lines as a PC board does: 0 to 15 to the 8259s and to the I/O APIC's pins of the same
 * number, but line 0, the timer's, to its pin 2; lines 16 to 23 to the I/O APIC alone. */
int kvm_route_lines(int vm);
int kvm_irq_line(int vm, unsigned gsi, bool level);
int kvm_enable_cap(int fd, unsigned cap, uint64_t arg0);
int kvm_set_msr_filter(int vm, const struct kvm_msr_filter *f);
int kvm_create_vcpu(int vm, unsigned id);
int kvm_get_stats_fd(int fd);

/* Signals blocked while the vCPU is inside KVM_RUN (instead of the thread's own mask): 8 bytes, bit
 * n-1 for signal n. NULL: the thread's own mask again. */
int kvm_set_signal_mask(int vcpu, const uint64_t *mask);
/* KVM_RUN: 0 or -errno (-EINTR after a kick). */
int kvm_run(int vcpu);
int kvm_get_regs(int vcpu, struct kvm_regs *r);
int kvm_set_regs(int vcpu, const struct kvm_regs *r);
int kvm_get_sregs(int vcpu, struct kvm_sregs *r);
int kvm_set_sregs(int vcpu, const struct kvm_sregs *r);
int kvm_get_events(int vcpu, struct kvm_vcpu_events *r);
int kvm_set_events(int vcpu, const struct kvm_vcpu_events *r);
int kvm_get_debugregs(int vcpu, struct kvm_debugregs *r);
int kvm_set_debugregs(int vcpu, const struct kvm_debugregs *r);
int kvm_get_xsave(int vcpu, struct kvm_xsave *r);
int kvm_set_xsave(int vcpu, const struct kvm_xsave *r);
int kvm_get_xcrs(int vcpu, struct kvm_xcrs *r);
int kvm_set_xcrs(int vcpu, const struct kvm_xcrs *r);
/* Number of MSRs handled from the front of the list, or -errno. */
int kvm_get_msrs(int vcpu, struct kvm_msr_buf *b);
int kvm_set_msrs(int vcpu, const struct kvm_msr_buf *b);
int kvm_set_cpuid(int vcpu, const struct cpuid_table *c);
int kvm_get_cpuid(int vcpu, struct cpuid_table *out);
int kvm_set_guest_debug(int vcpu, const struct kvm_guest_debug *d);
int kvm_interrupt(int vcpu, unsigned vector);
int kvm_nmi(int vcpu);
int kvm_get_mp_state(int vcpu, uint32_t *state);
int kvm_set_mp_state(int vcpu, uint32_t state);

#endif
