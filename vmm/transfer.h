/*
 * Transfers between rings without gates, done by vmscope for a KVM that cannot: SYSCALL and SYSRET,
 * SYSENTER and SYSEXIT, SWAPGS, and interrupt frames of long mode taken back. They change the
 * vCPU's shared registers and mark them dirty; nothing runs. (Gates, returns and tasks: far.h.)
 * vCPU thread. Source: Intel SDM volume 2, by name.
 */
#ifndef VMM_TRANSFER_H
#define VMM_TRANSFER_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct vcpu;

#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_SFMASK         0xc0000084u
#define MSR_KERNEL_GS_BASE 0xc0000102u

/* A 64-bit interrupt frame as on the handler's stack. */
struct user_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

/* False when part of it is not mapped to RAM. */
bool frame_read(struct vcpu *v, uint64_t linear, struct user_frame *f);
/* Makes the frame the present state, as iretq would. */
bool frame_load(struct vcpu *v, const struct user_frame *f);
/* SYSCALL and SYSRETQ in 64-bit mode, by STAR, LSTAR and SFMASK; EFER.SCE is not asked. */
void syscall_load(struct vcpu *v, uint64_t return_rip);
void sysret_load(struct vcpu *v);
/* SYSENTER and SYSEXIT; false when IA32_SYSENTER_CS is null (#GP then). `to64`: SYSEXIT with
 * REX.W. */
bool sysenter_load(struct vcpu *v);
bool sysexit_load(struct vcpu *v, bool to64);
/* SWAPGS; false when KVM does not let the MSR be written. */
bool swapgs_load(struct vcpu *v);

#endif
