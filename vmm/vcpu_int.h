/*
 * What the parts of a vCPU (vcpu.c, vcpu_ready.c, vcpu_thread.c) ask of each other. On the vCPU's
 * thread.
 */
#ifndef VMM_VCPU_INT_H
#define VMM_VCPU_INT_H

#include "vmm/vcpu.h"

/* KVM_RUN that executes nothing: completes an access, applies dirty registers, refreshes copies.
 * What kvm_run gives: -EINTR as a rule; 0 or another -errno as of an exit. */
int vcpu_run_nothing(struct vcpu *v);
/* Waits until somebody kicks; at once where a kick was not looked at yet. May end for nothing. */
void vcpu_sleep(struct vcpu *v);

#endif
