/*
 * KVM's own counters of the machine and its vCPUs (KVM_GET_STATS_FD, Linux 5.14 and newer): exits
 * that the kernel dealt with, page faults, emulated instructions. Kernels differ in what they
 * count, so counters are known by their names alone. Reading needs no privileges and stops nobody.
 */
#ifndef DEBUG_KVMSTATS_H
#define DEBUG_KVMSTATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"

struct vm;
struct kvmstats;

struct kvm_counter {
    char name[64];
    bool of_vm; /* else: the sum over all vCPUs */
    bool grows; /* counts events, so that it has a rate */
    uint64_t value;
    double rate;      /* a second, over the last half second or more of running */
    const char *help; /* or NULL */
};

/* NULL with a sentence in `why` when this kernel has none. Main thread, vCPUs parked. */
struct kvmstats *kvmstats_open(struct vm *vm, char *why, size_t cap);
void kvmstats_close(struct kvmstats *k); /* takes NULL */
/* Reads all counters now. One thread at a time, as all below. */
void kvmstats_read(struct kvmstats *k);
/* Reads them and makes the rates when half a second has passed since the last time; true then. */
bool kvmstats_due(struct kvmstats *k, uint64_t now_ns);
/* Rates begin here: the machine did not run before. */
void kvmstats_restart(struct kvmstats *k, uint64_t now_ns);
size_t kvmstats_count(const struct kvmstats *k);
const struct kvm_counter *kvmstats_at(const struct kvmstats *k, size_t i);
/* "name=value" lines, for a trace file. */
void kvmstats_save(const struct kvmstats *k, struct buf *out);
/* What a counter counts, in a line; NULL when unknown. */
const char *kvmstats_help(const char *name);

#endif
