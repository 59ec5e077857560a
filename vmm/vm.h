/*
 * The live machine: KVM descriptors, memory slots and vCPU threads around a `struct machine`. It
 * knows no users: what a vCPU does while it "runs" is the body that its owner installs (the
 * debugger's engine), built from the primitives of vcpu.h.
 *
 * Threads: one per vCPU, which makes every ioctl on its own descriptor. The main thread commands:
 * vm_run, vm_park, vcpu_call. These are for the main thread alone.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/boot.h"
#include "vmm/cpuid.h"
#include "vmm/machine.h"
#include "vmm/mem.h"
#include "vmm/method.h"
#include "vmm/probe.h"
#include "vmm/ring.h"
#include "vmm/slots.h"

struct exit_event;
struct vm;
struct vcpu;

struct vm_config {
    uint64_t mem_bytes;
    unsigned cpus;            /* 1 to MACHINE_CPUS_MAX */
    const char *cpu_features; /* as --cpu, or NULL */
    bool irqchip_kernel;
    unsigned slow_clock; /* guest time runs that many times slower than the host's; 0: as fits */
    struct boot_config boot;
    unsigned ring_records; /* per vCPU, and for the devices; a power of two */
    bool visible_all;      /* every MSR access that KVM lets us filter leaves to us */
    /* Everything below is called on vCPU threads. */
    void *arg;
    /* Drives the vCPU until it should park; runs when vm_run chose it. */
    void (*body)(void *arg, struct vcpu *v);
    /* Console output, with the machine lock held. */
    void (*console)(void *arg, enum console_chan chan, const void *bytes, size_t len);
    /* Optional. An access of the guest (io, mmio, rdmsr, wrmsr) before its device, with all of the
     * record but the answer; no lock is held. It may call vcpu_serve and vcpu_answer; true: one of
     * them was called, the device is not asked any more. */
    bool (*access)(void *arg, struct vcpu *v, struct exit_event *ev);
    /* A vCPU has parked. */
    void (*parked)(void *arg, struct vcpu *v);
    /* The guest touched RAM whose page is trapped (slots.h): `len` bytes at `gpa`, all RAM and
     * within the page. Carries the access out on memory: stores `bytes`, or loads them. With the
     * machine lock held where there are several vCPUs. NULL: no more than a copy. */
    void (*trapped)(void *arg, struct vcpu *v, uint64_t gpa, unsigned len, bool write,
                    uint8_t *bytes);
    /* A device reads RAM by itself, to `dst`, or writes it from `src` when dst is NULL: to be
     * carried out on memory, all of which is RAM. With the machine lock held; on the thread of `v`,
     * or with NULL on another. NULL: no more than a copy. */
    void (*dma)(void *arg, struct vcpu *v, const struct dev *d, uint64_t gpa, void *dst,
                const void *src, size_t len);
};

struct vm {
    struct vm_config cfg;
    int kvm, fd;
    struct probe probe;
    struct methods methods;
    struct mem mem;
    struct slots slots;
    struct machine m;
    bool machine_made;
    struct boot_state boot;
    struct cpuid_table *cpuid; /* of vCPU 0, as KVM took it */
    unsigned maxphyaddr;
    uint32_t signature; /* CPUID leaf 1 EAX */
    char *notes;        /* lines about hidden features, for people */
    unsigned cpus;
    struct vcpu *cpu[MACHINE_CPUS_MAX];
    struct exit_ring board; /* records of kind `device`; written with the machine's lock held */

    pthread_mutex_t ctl; /* guards every vcpu's command fields */
    pthread_cond_t acked;
    _Atomic unsigned running; /* vCPUs inside their body */
    /* Host time of the next alarm; the keeper's timer is set to it. DOOR_NEVER: none. */
    _Atomic uint64_t alarm_host_ns;
    _Atomic unsigned keeper;  /* the vCPU whose thread is woken by alarms */
    _Atomic unsigned stopper; /* the one whose thread asked all to park last */
};

/* Opens KVM, probes, builds memory, devices and vCPUs and loads the image; all vCPUs are parked
 * at their entry state. On failure nothing is left and `e` has a sentence. */
int vm_open(struct vm **out, const struct vm_config *cfg, struct err *e);
void vm_close(struct vm *vm);
/* Back to the entry state: memory cleared, image loaded anew, devices and vCPUs reset. Parked
 * machines only. */
int vm_reset(struct vm *vm, struct err *e);

/* Lets the vCPUs in `mask` (bit n) run their body. */
void vm_run(struct vm *vm, uint32_t mask);
/* Asks every vCPU to leave its body and returns when all have. */
void vm_park(struct vm *vm);
/* Asks without waiting; any thread. */
void vm_park_ask(struct vm *vm);
bool vm_all_parked(struct vm *vm);
/* Runs fn(arg, v) on the parked vCPU's thread and waits for it. */
void vcpu_call(struct vcpu *v, void (*fn)(void *arg, struct vcpu *v), void *arg);

/* After alarms may have changed: tells the keeper's timer. Any thread, machine lock held. */
void vm_alarm_update(struct vm *vm);

/* Gives input to a device through the door; any thread. */
size_t vm_input(struct vm *vm, enum door_input in, const void *bytes, size_t len);

#endif
