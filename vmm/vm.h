/*
 * The live machine: KVM descriptors, memory slots and vCPU threads around a `struct machine`.
 * Knows no users and takes no decisions: what to do after each exit is asked of a policy that the
 * debugger installs.
 *
 * Threads: one per vCPU runs its loop and makes all ioctls on its descriptor. The main thread
 * talks to it through vcpu_call (a message, a kick, a wait) and vm_run/vm_park.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/boot.h"
#include "vmm/cpuid.h"
#include "vmm/exit.h"
#include "vmm/kvm.h"
#include "vmm/machine.h"
#include "vmm/mem.h"
#include "vmm/probe.h"
#include "vmm/regs.h"

struct vm;
struct vcpu;

struct vm_config {
    uint64_t mem_bytes;
    unsigned cpus;
    const char *cpu_features;
    bool irqchip_kernel;
    struct boot_config boot;
    unsigned ring_records; /* a power of two */
};

/* What happens next, answered by the policy after each exit. */
enum vcpu_next {
    VCPU_GO,   /* enter the guest again */
    VCPU_PARK, /* stop: the policy has said why to its owner */
};

/* The debugger's part of the loop. Called on the vCPU's thread without the machine lock. */
struct vcpu_policy {
    void *arg;
    /* Before KVM_RUN when `v->policy_entry` is set: arm steps, lift breakpoints. */
    enum vcpu_next (*enter)(void *arg, struct vcpu *v);
    /* After every return, once devices were served. `ev` may be changed (flags). */
    enum vcpu_next (*left)(void *arg, struct vcpu *v, struct exit_event *ev);
};

#endif
