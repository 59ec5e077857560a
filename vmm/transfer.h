/*
 * Control transfers through descriptor tables, done by vmscope for a KVM that cannot: loading
 * segments from descriptors, interrupt frames, IRET, far returns, SYSCALL and SYSRET. They change
 * the vCPU's shared registers and mark them dirty; nothing runs. vCPU thread.
 * Source: Intel SDM volume 2 (IRET, RET, SYSCALL, SYSRET) and volume 3, "Protection".
 */
#ifndef VMM_TRANSFER_H
#define VMM_TRANSFER_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct insn_head;

#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_SFMASK         0xc0000084u
#define MSR_KERNEL_GS_BASE 0xc0000102u

/* A 64-bit interrupt frame as on the handler's stack. */
struct user_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Fills `s` from the descriptor of `selector` in GDT or LDT; false when it cannot be read or is
 * not present. A null selector gives an unusable segment. */
bool segment_load(struct vcpu *v, uint16_t selector, struct kvm_segment *s);

bool frame_read(struct vcpu *v, uint64_t linear, struct user_frame *f);
/* Makes the frame the present state, as iretq would. */
bool frame_load(struct vcpu *v, const struct user_frame *f);
void syscall_load(struct vcpu *v, uint64_t return_rip);
void sysret_load(struct vcpu *v);
/* SYSENTER and SYSEXIT; false when IA32_SYSENTER_CS is null (#GP then). `to64`: SYSEXIT with
 * REX.W. */
bool sysenter_load(struct vcpu *v);
bool sysexit_load(struct vcpu *v, bool to64);
/* SWAPGS; false when KVM does not let the MSR be written. */
bool swapgs_load(struct vcpu *v);
/* IRET (with `flags`) or RETF of 16- and 32-bit protected mode and of long mode, to the same or an
 * outer ring. False when the stack or a descriptor does not allow it (the processor would raise
 * a fault, which is then left to KVM). */
bool far_return(struct vcpu *v, const struct insn_head *h, bool flags);
/* May the present privilege level use software interrupt `vector`? (gate DPL) */
bool soft_int_allowed(struct vcpu *v, int vector);
/* Queues an exception or interrupt; KVM delivers it with the next entry. */
void queue_event(struct vcpu *v, int vector, bool is_interrupt, bool has_ec, uint32_t ec);

#endif
