/*
 * What the guest sees of CPUID: the host's supported leaves, features switched by --cpu, features
 * hidden because the probe found that this KVM cannot run them, APIC ids and topology.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/buf.h"
#include "vmm/base/err.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"

struct cpu_feature {
    const char *name; /* "cx16" as Linux's /proc/cpuinfo spells it */
    uint32_t leaf, subleaf;
    char reg; /* 'a' 'b' 'c' 'd' */
    uint8_t bit;
    const char *help;
};
/* Ended by a row without name. */
extern const struct cpu_feature cpu_feature_table[];

/* The feature called `name` (case ignored), or NULL. */
const struct cpu_feature *cpu_feature_find(const char *name, size_t len);

/* `features`: items [+-]NAME separated by commas, + by default, the last mention of a name wins.
 * Besides the table's names there is "kvm": the hypervisor leaves 0x40000000…, hidden otherwise
 * so that no guest issues hypercalls. Without a mention the guest gets what KVM supports, less
 * what the probe saw failing in ring 0. x87, SSE and SSE2 stay visible even then: long mode
 * implies them. */
struct cpu_choice {
    const char *features; /* "-cx16,+xsave", or NULL */
    unsigned cpus;
    bool x2apic, tsc_deadline; /* offered only with the kernel's interrupt chips */
};

/* Fills `out` with the leaves of vCPU `id` (its APIC id): one package of `cpus` cores, the same in
 * leaves 1, 4, 0xb and their AMD forms. `p` may be NULL: nothing is hidden by itself. An unknown or
 * impossible feature name is a sentence that lists near matches. `notes` (may be NULL) gets one
 * line for each feature that was hidden by the probe. */
int cpuid_build(int kvm, const struct probe *p, const struct cpu_choice *choice, unsigned id,
                struct cpuid_table *out, struct buf *notes, struct err *e);
/* Features asked to be off that this KVM shows all the same (it forces them in): compares what
 * KVM_GET_CPUID2 reads back. One line each. */
void cpuid_check(const struct cpuid_table *asked, const struct cpuid_table *got, struct buf *notes);
/* Names, separated by blanks, of the features that stand or fall with an instruction of the probe:
 * hidden where it fails. "" when there are none. Static text. */
const char *cpuid_features_of(enum probe_insn insn);
/* Names, separated by blanks, of the features that this KVM shows to guests whatever is asked for.
 * Makes a VM for it. 0 or -errno. */
int cpuid_forced(int kvm, struct buf *names);
/* Width of physical addresses in `c` (leaf 0x80000008), 36 when absent. */
unsigned cpuid_maxphyaddr(const struct cpuid_table *c);
/* The entry of a leaf, or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *c, uint32_t leaf, uint32_t subleaf);
/* The part of cpuid_build that asks no KVM: `out` holds what KVM supports and is changed. */
int cpuid_adjust(const struct probe *p, const struct cpu_choice *choice, unsigned id,
                 struct cpuid_table *out, struct buf *notes, struct err *e);
bool cpuid_has(const struct cpuid_table *c, const struct cpu_feature *f);

#endif
