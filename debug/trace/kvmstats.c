/*
 * Reading the binary statistics of KVM (Linux Documentation/virt/kvm/api.rst, "KVM_GET_STATS_FD").
 */
#include "debug/trace/kvmstats.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/x.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define RATE_NS      500000000u
#define COUNTERS_MAX 1024u
#define NAME_BYTES   64u
#define BUCKETS_MAX  64u

/* One descriptor of the kernel's. */
struct source {
    int fd;
    uint64_t offset; /* of its value in that file */
    unsigned items;  /* of a histogram; 1 otherwise */
    size_t counter;
};

struct kvmstats {
    int fd[MACHINE_CPUS_MAX + 1];
    unsigned fds;
    struct source *source;
    size_t sources;
    struct kvm_counter *counter;
    uint64_t *before; /* values when the rates were last made */
    size_t counters;
    uint64_t before_ns;
};

static const struct {
    const char *name, *help;
} helps[] = {
    {"exits", "exits of the processor that KVM dealt with, here or in user space"},
    {"io_exits", "exits for IN and OUT"},
    {"mmio_exits", "exits for memory-mapped devices"},
    {"signal_exits", "KVM_RUN ended by a signal"},
    {"irq_window_exits", "exits because the guest can take an interrupt now"},
    {"nmi_window_exits", "exits because the guest can take an NMI now"},
    {"halt_exits", "HLT"},
    {"request_irq_exits", "returns because user space wants to inject an interrupt"},
    {"irq_exits", "exits for an interrupt of the host"},
    {"host_state_reload", "the host's segments and MSRs were put back"},
    {"fpu_reload", "the guest's FPU registers were loaded"},
    {"insn_emulation", "instructions that KVM interpreted"},
    {"insn_emulation_fail", "instructions that KVM could not interpret"},
    {"hypercalls", "VMCALL and VMMCALL"},
    {"irq_injections", "interrupts given to the guest"},
    {"nmi_injections", "NMIs given to the guest"},
    {"req_event", "looks for interrupts and the like before an entry"},
    {"nested_run", "entries of a guest of the guest"},
    {"pf_taken", "page faults of the guest that KVM looked at"},
    {"pf_fixed", "page faults that KVM fixed by mapping memory"},
    {"pf_emulate", "page faults that led to an interpreted instruction"},
    {"pf_spurious", "page faults that had been fixed meanwhile"},
    {"pf_fast", "page faults fixed without the MMU lock"},
    {"pf_mmio_spte_created", "device pages marked so that the next access is recognised"},
    {"pf_guest", "page faults that are the guest's own"},
    {"tlb_flush", "flushes of the guest's TLB"},
    {"invlpg", "INVLPG"},
    {"l1d_flush", "flushes of the L1 data cache before an entry"},
    {"halt_attempted_poll", "halts for which KVM first polled"},
    {"halt_successful_poll", "halts that ended while KVM polled"},
    {"halt_poll_invalid", "polls ended by something that was no wake-up"},
    {"halt_wakeup", "halts that ended by a wake-up"},
    {"halt_poll_success_ns", "time polled with success, ns"},
    {"halt_poll_fail_ns", "time polled in vain, ns"},
    {"halt_wait_ns", "time slept in halts, ns"},
    {"blocking", "1 while it waits in a halt"},
    {"guest_mode", "1 while it runs a guest of its own"},
    {"preemption_reported", "times the host took the processor away and told the guest"},
    {"preemption_other", "times the host took the processor away"},
    {"directed_yield_attempted", "tries to run the vCPU that holds a lock"},
    {"directed_yield_successful", "of these the successful ones"},
    {"notify_window_exits", "exits because the guest kept out events for too long"},
    {"remote_tlb_flush", "flushes of the TLBs of all vCPUs"},
    {"remote_tlb_flush_requests", "wishes for these"},
    {"mmu_shadow_zapped", "shadow page tables thrown away"},
    {"mmu_pte_write", "writes of the guest to its page tables that KVM followed"},
    {"mmu_pde_zapped", "large shadow entries thrown away"},
    {"mmu_flooded", "page tables no longer shadowed because written too often"},
    {"mmu_recycled", "shadow pages recycled for want of memory"},
    {"mmu_cache_miss", "shadow pages that had to be made"},
    {"mmu_unsync", "shadow pages that are out of date for now"},
    {"pages_4k", "4 KiB pages mapped"},
    {"pages_2m", "2 MiB pages mapped"},
    {"pages_1g", "1 GiB pages mapped"},
    {"nx_lpage_splits", "large pages split to forbid execution"},
};

const char *kvmstats_help(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(helps); i++)
        if (!strcmp(helps[i].name, name))
            return helps[i].help;
    return NULL;
}

/* ---- finding out what there is --------------------------------------------------------------- */

static size_t counter_of(struct kvmstats *k, const char *name, bool of_vm, bool grows)
{
    for (size_t i = 0; i < k->counters; i++)
        if (k->counter[i].of_vm == of_vm && !strcmp(k->counter[i].name, name))
            return i;
    k->counter = xrealloc(k->counter, k->counters + 1, sizeof *k->counter);
    k->counter[k->counters] =
        (struct kvm_counter){.of_vm = of_vm, .grows = grows, .help = kvmstats_help(name)};
    snprintf(k->counter[k->counters].name, NAME_BYTES, "%s", name);
    return k->counters++;
}

static bool add_fd(struct kvmstats *k, int fd, bool of_vm)
{
    struct kvm_stats_header h;
    size_t bytes;
    uint8_t *desc;
    bool good;

    if (pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || h.num_desc > COUNTERS_MAX ||
        h.name_size > 256)
        return false;
    bytes = sizeof(struct kvm_stats_desc) + h.name_size;
    desc = xmalloc(h.num_desc * bytes + 1);
    good = pread(fd, desc, h.num_desc * bytes, h.desc_offset) == (ssize_t)(h.num_desc * bytes);
    for (unsigned i = 0; good && i < h.num_desc; i++) {
        struct kvm_stats_desc d;
        char name[NAME_BYTES];

        memcpy(&d, desc + i * bytes, sizeof d);
        snprintf(name, sizeof name, "%.*s", (int)h.name_size,
                 (const char *)desc + i * bytes + sizeof d);
        k->source = xrealloc(k->source, k->sources + 1, sizeof *k->source);
        k->source[k->sources++] = (struct source){
            .fd = fd,
            .offset = (uint64_t)h.data_offset + d.offset,
            .items = d.size < BUCKETS_MAX ? d.size : BUCKETS_MAX,
            .counter = counter_of(k, name, of_vm,
                                  (d.flags & KVM_STATS_TYPE_MASK) == KVM_STATS_TYPE_CUMULATIVE),
        };
    }
    free(desc);
    return good;
}

struct ask {
    int fd;
};

/* On the vCPU's thread. */
static void ask_vcpu(void *arg, struct vcpu *v)
{
    ((struct ask *)arg)->fd = kvm_get_stats_fd(v->fd);
}

struct kvmstats *kvmstats_open(struct vm *vm, char *why, size_t cap)
{
    struct kvmstats *k = xcalloc(1, sizeof *k);
    int fd = kvm_get_stats_fd(vm->fd);

    why[0] = 0;
    if (fd < 0) {
        snprintf(why, cap,
                 "this kernel has no statistics descriptor (KVM_GET_STATS_FD: %s); Linux "
                 "5.14 and newer have",
                 strerror(-fd));
        free(k);
        return NULL;
    }
    k->fd[k->fds++] = fd;
    add_fd(k, fd, true);
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct ask a = {.fd = -1};

        vcpu_call(vm->cpu[i], ask_vcpu, &a);
        if (a.fd < 0)
            continue;
        k->fd[k->fds++] = a.fd;
        add_fd(k, a.fd, false);
    }
    k->before = xcalloc(k->counters + 1, sizeof *k->before);
    return k;
}

void kvmstats_close(struct kvmstats *k)
{
    if (!k)
        return;
    for (unsigned i = 0; i < k->fds; i++)
        close(k->fd[i]);
    free(k->source);
    free(k->counter);
    free(k->before);
    free(k);
}

/* ---- reading --------------------------------------------------------------------------------- */

void kvmstats_read(struct kvmstats *k)
{
    for (size_t i = 0; i < k->counters; i++)
        k->counter[i].value = 0;
    for (size_t i = 0; i < k->sources; i++) {
        uint64_t v[BUCKETS_MAX] = {0};
        const struct source *s = &k->source[i];

        if (pread(s->fd, v, s->items * 8, (off_t)s->offset) != (ssize_t)(s->items * 8))
            continue;
        for (unsigned b = 0; b < s->items; b++)
            k->counter[s->counter].value += v[b];
    }
}

void kvmstats_restart(struct kvmstats *k, uint64_t now_ns)
{
    kvmstats_read(k);
    for (size_t i = 0; i < k->counters; i++)
        k->before[i] = k->counter[i].value;
    k->before_ns = now_ns;
}

bool kvmstats_due(struct kvmstats *k, uint64_t now_ns)
{
    double seconds = (double)(now_ns - k->before_ns) / 1e9;

    if (now_ns - k->before_ns < RATE_NS)
        return false;
    kvmstats_read(k);
    for (size_t i = 0; i < k->counters; i++) {
        struct kvm_counter *c = &k->counter[i];

        if (c->grows)
            c->rate = (double)(c->value - k->before[i]) / seconds;
        k->before[i] = c->value;
    }
    k->before_ns = now_ns;
    return true;
}

size_t kvmstats_count(const struct kvmstats *k)
{
    return k ? k->counters : 0;
}

const struct kvm_counter *kvmstats_at(const struct kvmstats *k, size_t i)
{
    return &k->counter[i];
}

void kvmstats_save(const struct kvmstats *k, struct buf *out)
{
    for (size_t i = 0; i < k->counters; i++)
        buf_addf(out, "%s=%" PRIu64 "\n", k->counter[i].name, k->counter[i].value);
}
