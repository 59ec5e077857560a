/*
 * Accesses that leave the guest: what they ask for, the device's or the trapped page's turn, and
 * answers in their stead. The vCPU's thread; vcpu.c calls this for each exit.
 */
#include "vmm/access.h"

#include <pthread.h>
#include <string.h>

#include "vmm/base/le.h"
#include "vmm/devices/lapic.h"
#include "vmm/vcpu.h"

/* What an access asks for; the answer comes with vcpu_serve or vcpu_answer. */
static void note_io(struct vcpu *v, struct exit_event *ev)
{
    const struct kvm_run *run = v->run;
    bool write = run->io.direction == KVM_EXIT_IO_OUT;

    ev->size = run->io.size;
    ev->u.io.port = run->io.port;
    ev->u.io.write = write;
    ev->u.io.count = run->io.count;
    if (run->io.count > 1)
        ev->flags |= EXIT_F_STRING;
    if (!write)
        return;
    ev->u.io.value = le_load((const uint8_t *)run + run->io.data_offset, run->io.size);
    if (v->vm->probe.out_exit_past)
        ev->flags |= EXIT_F_PAST;
}

static uint64_t mmio_value(const struct kvm_run *run, unsigned size)
{
    uint64_t all = le_load(run->mmio.data, sizeof run->mmio.data);

    return size < 8 ? all & ((1ull << 8 * size) - 1) : all;
}

static void note_mmio(struct vcpu *v, struct exit_event *ev)
{
    const struct kvm_run *run = v->run;

    ev->size = (uint8_t)(run->mmio.len > 8 ? 8 : run->mmio.len);
    ev->u.mmio.gpa = run->mmio.phys_addr;
    ev->u.mmio.write = run->mmio.is_write;
    if (mem_ptr(&v->vm->mem, run->mmio.phys_addr, ev->size))
        ev->flags |= EXIT_F_RAM;
    if (!run->mmio.is_write)
        return;
    ev->u.mmio.value = mmio_value(run, ev->size);
    ev->flags |= EXIT_F_PAST;
}

static void note_msr(struct vcpu *v, struct exit_event *ev)
{
    const struct kvm_run *run = v->run;

    ev->size = 8;
    ev->u.msr.index = run->msr.index;
    ev->u.msr.write = ev->reason == KVM_EXIT_X86_WRMSR;
    ev->u.msr.why = (uint16_t)run->msr.reason;
    ev->u.msr.value = run->msr.data;
}

static void serve_io(struct vcpu *v, struct exit_event *ev)
{
    struct kvm_run *run = v->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    bool write = run->io.direction == KVM_EXIT_IO_OUT;
    unsigned size = run->io.size;

    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        uint64_t value = write ? le_load(data, size) : 0;

        if (!bus_pio(&v->vm->m, run->io.port, size, write, &value))
            ev->flags |= EXIT_F_UNCLAIMED;
        if (!write)
            le_store(data, size, value);
        if (!i)
            ev->u.io.value = value;
    }
}

/* A trapped page: KVM takes it for a device's, and the access is made here. */
static void serve_ram(struct vcpu *v, struct exit_event *ev)
{
    struct kvm_run *run = v->run;
    struct vm *vm = v->vm;
    uint64_t gpa = run->mmio.phys_addr;
    bool write = run->mmio.is_write;

    v->ram_stored |= write;
    if (vm->cfg.trapped)
        vm->cfg.trapped(vm->cfg.arg, v, gpa, ev->size, write, run->mmio.data);
    else if (write)
        mem_write(&vm->mem, gpa, run->mmio.data, ev->size);
    else
        mem_read(&vm->mem, gpa, run->mmio.data, ev->size);
    ev->u.mmio.value = mmio_value(run, ev->size);
}

static void serve_mmio(struct vcpu *v, struct exit_event *ev)
{
    struct kvm_run *run = v->run;

    if (!bus_mmio(&v->vm->m, v->id, run->mmio.phys_addr, ev->size, run->mmio.is_write,
                  &ev->u.mmio.value))
        ev->flags |= EXIT_F_UNCLAIMED;
    if (!run->mmio.is_write)
        le_store(run->mmio.data, ev->size, ev->u.mmio.value);
}

void access_note(struct vcpu *v, struct exit_event *ev)
{
    if (ev->reason == KVM_EXIT_IO)
        note_io(v, ev);
    else if (ev->reason == KVM_EXIT_MMIO)
        note_mmio(v, ev);
    else
        note_msr(v, ev);
}

/* An access that only the filter of --visible all kept from KVM: KVM carries it out after all. */
static bool msr_by_kvm(struct vcpu *v, struct exit_event *ev)
{
    struct kvm_run *run = v->run;
    bool write = ev->reason == KVM_EXIT_X86_WRMSR;
    struct kvm_msr_buf one = {.head.nmsrs = 1};

    if (run->msr.reason != KVM_MSR_EXIT_REASON_FILTER)
        return false;
    one.entry[0].index = run->msr.index;
    one.entry[0].data = run->msr.data;
    if ((write ? kvm_set_msrs(v->fd, &one) : kvm_get_msrs(v->fd, &one)) != 1)
        return false;
    ev->u.msr.value = run->msr.data = one.entry[0].data;
    return true;
}

void vcpu_serve(struct vcpu *v, struct exit_event *ev)
{
    struct machine *m = &v->vm->m;

    if (ev->reason != KVM_EXIT_IO && ev->reason != KVM_EXIT_MMIO) {
        /* Nobody here implements MSRs that KVM does not know: the guest gets #GP, as on a
         * processor without them (SDM, RDMSR). */
        v->run->msr.error = msr_by_kvm(v, ev) ? 0 : 1;
        ev->u.msr.error = v->run->msr.error;
        return;
    }
    if (ev->flags & EXIT_F_RAM) { /* no device, alarm or interrupt can be concerned */
        bool several = v->vm->cpus > 1;

        if (several)
            pthread_mutex_lock(&m->lock);
        serve_ram(v, ev);
        if (several)
            pthread_mutex_unlock(&m->lock);
        return;
    }
    pthread_mutex_lock(&m->lock);
    if (ev->reason == KVM_EXIT_IO)
        serve_io(v, ev);
    else
        serve_mmio(v, ev);
    v->wish = m->wish;
    v->wish_value = m->wish_value;
    m->wish = WISH_NONE; /* told by one vCPU */
    vm_alarm_update(v->vm);
    if (!m->irqchip_kernel)
        v->run->cr8 = lapic_cr8(m, v->id);
    pthread_mutex_unlock(&m->lock);
}

/* Answers a port read: `bytes` fill the elements in turn, a single element all of them. */
static void answer_io(struct kvm_run *run, const uint8_t *bytes, size_t len)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    size_t size = run->io.size, all = size * run->io.count;

    for (size_t i = 0; i < all; i++)
        data[i] = len <= size ? (i % size < len ? bytes[i % size] : 0) : i < len ? bytes[i] : 0;
}

void vcpu_answer(struct vcpu *v, struct exit_event *ev, const void *bytes, size_t len)
{
    struct kvm_run *run = v->run;
    uint8_t word[8] = {0};

    memcpy(word, bytes, len < sizeof word ? len : sizeof word);
    ev->flags &= (uint16_t)~EXIT_F_UNCLAIMED;
    switch (ev->reason) {
    case KVM_EXIT_IO:
        if (run->io.direction == KVM_EXIT_IO_OUT)
            break;
        answer_io(run, bytes, len);
        ev->u.io.value = le_load(word, ev->size);
        break;
    case KVM_EXIT_MMIO:
        if (run->mmio.is_write)
            break;
        memcpy(run->mmio.data, word, sizeof word);
        ev->u.mmio.value = le_load(word, ev->size);
        break;
    default:
        run->msr.error = 0;
        ev->u.msr.error = 0;
        if (ev->reason == KVM_EXIT_X86_RDMSR)
            ev->u.msr.value = run->msr.data = le_load(word, 8);
        break;
    }
}
