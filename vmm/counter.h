/*
 * Single counters out of KVM's binary statistics (KVM_GET_STATS_FD, Linux 5.14 and newer;
 * Documentation/virt/kvm/api.rst), for who must know one at once. All of them with their names and
 * rates are debug/trace/kvmstats.h's. Any thread; nothing is allocated and nobody is stopped.
 */
#ifndef VMM_COUNTER_H
#define VMM_COUNTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Position of the 64-bit counter `name` in statistics descriptor `fd`, or -1: this kernel has no
 * such counter. */
off_t counter_find(int fd, const char *name);
/* Its value now. False when either is negative or the read failed. */
bool counter_read(int fd, off_t at, uint64_t *value);

/* What KVM itself does for one vCPU: exits of the processor, and instructions that it interpreted.
 * Both go on counting where the vCPU does not get on. All zero: not asked for yet. */
struct kvm_work {
    bool asked;
    int fd; /* negative: this kernel does not count */
    off_t exits, insns;
};

/* Their sum now. Asks for the descriptor the first time, which is the vCPU's own thread's to do.
 * False when this kernel counts neither. */
bool kvm_work_read(struct kvm_work *w, int vcpu_fd, uint64_t *sum);
void kvm_work_close(struct kvm_work *w);

#endif
