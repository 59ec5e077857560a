/*
 * The live machine: opening, resetting, commanding the vCPU threads. Main thread, except the two
 * functions that say otherwise.
 */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/devices/lapic.h"
#include "vmm/vcpu.h"
#include "vmm/x86_boot.h"

#define LINUX_SLOW_CLOCK 20

/* Three pages that VT-x needs for its own TSS and one for its identity map, in the PCI hole where
 * no RAM is (Documentation/virt/kvm/api.rst, KVM_SET_TSS_ADDR). */
#define TSS_GPA      0xfffbd000ull
#define IDENTITY_GPA 0xfffbc000ull

static void hook_console(void *arg, enum console_chan chan, const void *bytes, size_t len)
{
    struct vm *vm = arg;

    vm->cfg.console(vm->cfg.arg, chan, bytes, len);
}

static void hook_kick(void *arg, unsigned cpu)
{
    struct vm *vm = arg;

    if (vm->cpu[cpu])
        vcpu_kick(vm->cpu[cpu]);
}

static void hook_event(void *arg, const struct exit_device *what)
{
    struct vm *vm = arg;
    struct exit_event ev = {
        .at_ns = clock_ns(),
        .reason = EXIT_DEVICE,
        .vcpu = what->cpu == DEVICE_NO_CPU ? 0 : what->cpu,
        .u.device = *what,
    };

    ring_put(&vm->board, &ev);
}

static void hook_dma(void *arg, const struct dev *d, uint64_t gpa, void *dst, const void *src,
                     size_t len)
{
    struct vm *vm = arg;

    vm->cfg.dma(vm->cfg.arg, vcpu_self(), d, gpa, dst, src, len);
}

static void hook_gsi(void *arg, unsigned gsi, bool level)
{
    struct vm *vm = arg;

    if (kvm_irq_line(vm->fd, gsi, level) < 0)
        log_error("KVM did not take GSI %u", gsi);
}

static int make_irqchip(struct vm *vm, struct err *e)
{
    int rc = kvm_create_irqchip(vm->fd);

    if (rc == 0)
        rc = kvm_route_lines(vm->fd);
    if (rc == 0)
        rc = kvm_create_pit(vm->fd);
    if (rc < 0)
        return err_set(e, -rc,
                       "this KVM has no interrupt chips of its own (%s); use --irqchip user",
                       strerror(-rc));
    return 0;
}

static int make_slots(struct vm *vm, struct err *e)
{
    int max = kvm_cap(vm->fd, KVM_CAP_NR_MEMSLOTS);

    return slots_init(&vm->slots, vm->fd, &vm->mem, max > 0 ? (unsigned)max : 32, e);
}

/* With a filter that allows nothing every MSR access comes to us, except the x2APIC's, which KVM
 * does not filter; access.c carries them out by KVM_GET_MSRS and KVM_SET_MSRS. */
static int show_msrs(struct vm *vm, struct err *e)
{
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
    static uint8_t none[8]; /* a denying filter needs a range: one MSR that nobody has */
    int rc;

    filter.ranges[0] = (struct kvm_msr_filter_range){
        .flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
        .nmsrs = 1,
        .base = 0xe9e90000,
        .bitmap = none,
    };
    rc = kvm_set_msr_filter(vm->fd, &filter);
    if (rc < 0)
        return err_set(e, -rc,
                       "--visible all: this KVM does not filter MSRs (%s); Linux 5.10 and newer do",
                       strerror(-rc));
    return 0;
}

static int make_kvm(struct vm *vm, struct err *e)
{
    int rc;

    vm->fd = kvm_create_vm(vm->kvm);
    if (vm->fd < 0)
        return err_set(e, -vm->fd, "KVM made no virtual machine: %s", strerror(-vm->fd));
    /* Only VT-x wants these; a KVM that does not know them does without. */
    rc = kvm_set_identity_map(vm->fd, IDENTITY_GPA);
    if (rc == 0)
        rc = kvm_set_tss_addr(vm->fd, TSS_GPA);
    if (rc < 0)
        log_info("no TSS address: %s", strerror(-rc));
    /* So that a stray RDMSR is a record like any other; it is answered with #GP as KVM would. */
    rc = kvm_enable_cap(vm->fd, KVM_CAP_X86_USER_SPACE_MSR,
                        KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL |
                            (vm->cfg.visible_all ? KVM_MSR_EXIT_REASON_FILTER : 0));
    if (rc < 0)
        log_info("MSRs unknown to KVM are not seen: %s", strerror(-rc));
    if (vm->cfg.visible_all) {
        rc = show_msrs(vm, e);
        if (rc < 0)
            return rc;
    }
    /* The only hypercall that KVM hands on: without this it answers by itself, and nobody sees it.
     */
    rc = kvm_cap(vm->fd, KVM_CAP_EXIT_HYPERCALL);
    if (rc > 0 && rc >> KVM_HC_MAP_GPA_RANGE & 1)
        rc = kvm_enable_cap(vm->fd, KVM_CAP_EXIT_HYPERCALL, 1u << KVM_HC_MAP_GPA_RANGE);
    if (rc < 0)
        log_info("hypercalls are not seen: %s", strerror(-rc));
    /* Or an instruction of ring 3 that KVM cannot emulate on a trapped page becomes #UD there. */
    rc = kvm_enable_cap(vm->fd, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
    if (rc < 0)
        log_info("no exit for instructions of ring 3 that KVM cannot emulate: %s", strerror(-rc));
    /* Or a kick that comes in its way hides it (vcpu.c, show_shutdown). */
    rc = kvm_enable_cap(vm->fd, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
    if (rc < 0)
        log_info("a triple fault that a kick interrupts is not seen: %s", strerror(-rc));
    if (vm->cfg.irqchip_kernel) {
        rc = make_irqchip(vm, e);
        if (rc < 0)
            return rc;
    }
    return make_slots(vm, e);
}

struct entry {
    struct boot_state *boot;
    struct mem *mem;
    unsigned maxphyaddr;
    struct err *e;
    int rc;
};

/* Puts the boot processor at the image's entry, the others to sleep. vCPU thread. */
static void set_entry(void *arg, struct vcpu *v)
{
    struct entry *en = arg;
    struct vcpu_state st = {0};

    en->rc = vcpu_get_state(v, VS_ALL, &st);
    if (en->rc < 0) {
        err_set(en->e, -en->rc, "cannot read the registers of vCPU %u: %s", v->id,
                strerror(-en->rc));
        return;
    }
    x86_reset_state(v->vm->signature, &st.sregs, &st.regs);
    st.sregs.apic_base = LAPIC_BASE | 0x800 | (v->id ? 0 : 0x100); /* enabled; boot processor */
    memset(&st.debug, 0, sizeof st.debug);
    st.debug.dr6 = 0xffff0ff0;
    st.debug.dr7 = 0x400;
    memset(&st.events, 0, sizeof st.events);
    memset(&st.xsave, 0, sizeof st.xsave);
    st.xsave.region[0] = 0x37f; /* FCW after FNINIT; the header says: all in initial state */
    st.xsave.region[6] = 0x1f80;
    if (v->id == 0) {
        en->rc = x86_boot_apply(en->boot, en->mem, en->maxphyaddr, &st.sregs, &st.regs, en->e);
        if (en->rc < 0)
            return;
    }
    en->rc = vcpu_set_state(v, VS_REGS | VS_SREGS | VS_EVENTS | VS_DEBUG | VS_XSAVE, &st);
    if (en->rc < 0)
        err_set(en->e, -en->rc, "KVM refused the entry state of vCPU %u: %s", v->id,
                strerror(-en->rc));
    if (v->vm->m.irqchip_kernel)
        kvm_set_mp_state(v->fd, v->id ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE);
    /* With the kernel's APIC the kernel holds the others back itself. */
    atomic_store(&v->idle, v->id && !v->vm->m.irqchip_kernel ? VCPU_WAIT_SIPI : VCPU_ACTIVE);
    v->irq_pending_ns = 0;
    v->idt_hidden = false;
    v->run->request_interrupt_window = 0;
}

static int enter_image(struct vm *vm, struct err *e)
{
    struct entry en = {.boot = &vm->boot, .mem = &vm->mem, .maxphyaddr = vm->maxphyaddr, .e = e};

    for (unsigned i = 0; i < vm->cpus; i++) {
        vcpu_call(vm->cpu[i], set_entry, &en);
        if (en.rc < 0)
            return en.rc;
    }
    return 0;
}

/* Family, model and stepping (CPUID leaf 1, EAX), which EDX holds after reset. */
static uint32_t signature(const struct cpuid_table *c)
{
    for (unsigned i = 0; i < c->head.nent; i++)
        if (c->entry[i].function == 1)
            return c->entry[i].eax;
    return 0;
}

static int make_cpus(struct vm *vm, struct err *e)
{
    struct cpu_choice choice = {
        .features = vm->cfg.cpu_features,
        .cpus = vm->cpus,
        .x2apic = vm->cfg.irqchip_kernel,
        .tsc_deadline = vm->cfg.irqchip_kernel,
    };
    struct buf notes = {0};
    int rc = 0;

    for (unsigned i = 0; i < vm->cpus && rc == 0; i++) {
        rc = cpuid_build(vm->kvm, &vm->probe, &choice, i, vm->cpuid, i ? NULL : &notes, e);
        if (rc == 0)
            rc = vcpu_start(vm, i, vm->cpuid, e);
    }
    if (rc == 0) {
        struct cpuid_table *got = xcalloc(1, sizeof *got);

        cpuid_build(vm->kvm, &vm->probe, &choice, 0, vm->cpuid, NULL, NULL);
        if (kvm_get_cpuid(vm->cpu[0]->fd, got) == 0) {
            cpuid_check(vm->cpuid, got, &notes);
            memcpy(vm->cpuid, got, sizeof *got);
        }
        free(got);
        vm->maxphyaddr = cpuid_maxphyaddr(vm->cpuid);
        vm->signature = signature(vm->cpuid);
    }
    vm->notes = buf_take(&notes);
    return rc;
}

/* Where KVM emulates ring 0 Linux spends half of its instructions in 250 timer ticks a second,
 * unless they are rarer. */
static void choose_clock(struct vm *vm)
{
    size_t used = strlen(vm->boot.summary);

    vm->m.door.slow = vm->cfg.slow_clock ? vm->cfg.slow_clock : 1;
    if (vm->cfg.slow_clock || !vm->probe.emulated || !vm->boot.is_linux || vm->cfg.irqchip_kernel)
        return;
    vm->m.door.slow = LINUX_SLOW_CLOCK;
    snprintf(vm->boot.summary + used, sizeof vm->boot.summary - used,
             "; its timers run %d times slower", LINUX_SLOW_CLOCK);
}

static int load(struct vm *vm, struct err *e)
{
    int rc = boot_load(&vm->cfg.boot, &vm->mem, &vm->boot, e);

    if (rc == 0)
        choose_clock(vm);
    return rc;
}

static int build(struct vm *vm, struct err *e)
{
    struct machine_hooks hooks = {
        .arg = vm,
        .console = hook_console,
        .kick = hook_kick,
        .dma = vm->cfg.dma ? hook_dma : NULL,
        .gsi = hook_gsi,
    };
    int rc;

    vm->kvm = kvm_open(e);
    if (vm->kvm < 0)
        return vm->kvm;
    rc = probe_cached(vm->kvm, &vm->probe, e);
    if (rc < 0)
        return rc;
    methods_choose(&vm->probe, &vm->methods);
    vm->cfg.boot.emulated = vm->probe.emulated;
    if (!vm->probe.sync_regs)
        return err_set(e, ENOSYS,
                       "this kernel's KVM has no KVM_CAP_SYNC_REGS (Linux 4.17 and "
                       "later do); vmscope reads registers through it");
    if (vm->cfg.slow_clock > 1 && vm->cfg.irqchip_kernel)
        return err_set(e, EINVAL,
                       "--slow-clock has no effect on the timers of --irqchip kernel, which KVM "
                       "keeps; use --irqchip user with it");
    rc = mem_init(&vm->mem, vm->cfg.mem_bytes, e);
    if (rc == 0)
        rc = machine_init(&vm->m, vm->cpus, &vm->mem, vm->cfg.irqchip_kernel, false, &hooks, e);
    if (rc < 0)
        return rc;
    vm->machine_made = true;
    vm->m.hooks.event = hook_event; /* from here on: power-on is no news */
    rc = load(vm, e);
    if (rc == 0)
        rc = make_kvm(vm, e);
    if (rc == 0)
        rc = make_cpus(vm, e);
    if (rc == 0)
        rc = enter_image(vm, e);
    return rc;
}

int vm_open(struct vm **out, const struct vm_config *cfg, struct err *e)
{
    struct vm *vm = xcalloc(1, sizeof *vm);
    int rc;

    *out = NULL;
    vm->cfg = *cfg;
    vm->cpus = vm->cfg.boot.cpus = cfg->cpus;
    vm->kvm = vm->fd = -1;
    vm->mem.memfd = -1;
    vm->slots.vm = -1;
    vm->cpuid = xcalloc(1, sizeof *vm->cpuid);
    atomic_store(&vm->alarm_host_ns, DOOR_NEVER);
    pthread_mutex_init(&vm->ctl, NULL);
    pthread_cond_init(&vm->acked, NULL);
    ring_init(&vm->board, cfg->ring_records);
    rc = build(vm, e);
    if (rc < 0) {
        vm_close(vm);
        return rc;
    }
    *out = vm;
    return 0;
}

void vm_close(struct vm *vm)
{
    if (!vm)
        return;
    if (vm->cpus && vm->cpu[vm->cpus - 1])
        vm_park(vm);
    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->cpu[i])
            vcpu_end(vm->cpu[i]);
    if (vm->machine_made)
        machine_fini(&vm->m);
    ring_fini(&vm->board);
    if (vm->fd >= 0)
        close(vm->fd);
    slots_fini(&vm->slots);
    mem_fini(&vm->mem);
    if (vm->kvm >= 0)
        close(vm->kvm);
    pthread_cond_destroy(&vm->acked);
    pthread_mutex_destroy(&vm->ctl);
    free(vm->notes);
    free(vm->cpuid);
    free(vm);
}

int vm_reset(struct vm *vm, struct err *e)
{
    int rc;

    machine_reset(&vm->m);
    if (fallocate(vm->mem.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  (off_t)vm->mem.ram_bytes) < 0)
        return err_set(e, errno, "cannot clear guest memory: %s", strerror(errno));
    rc = load(vm, e);
    return rc < 0 ? rc : enter_image(vm, e);
}

/* ---- commanding ------------------------------------------------------------------------------ */

void vm_run(struct vm *vm, uint32_t mask)
{
    unsigned count = 0, first = vm->cpus;

    for (unsigned i = vm->cpus; i-- > 0;) {
        if (mask >> i & 1) {
            count++;
            first = i;
        }
    }
    BUG_ON(!count || !vm_all_parked(vm));
    pthread_mutex_lock(&vm->m.lock);
    door_run(&vm->m.door);
    atomic_store(&vm->keeper, first); /* nobody's timer is set while all stand */
    vm_alarm_update(vm);
    pthread_mutex_unlock(&vm->m.lock);

    pthread_mutex_lock(&vm->ctl);
    atomic_store(&vm->running, count);
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct vcpu *v = vm->cpu[i];

        atomic_store(&v->park, 0);
        if (mask >> i & 1) {
            v->parked = false;
            v->go = true;
            atomic_store(&v->wanted, true);
        }
    }
    pthread_mutex_unlock(&vm->ctl);
    /* Not with the lock, which they need to go. Who stopped all goes last: on a host with fewer
     * processors it would come to its next stop before the others begin, again and again. */
    for (unsigned i = 0, n = atomic_load(&vm->stopper); i < vm->cpus; i++) {
        n = (n + 1) % vm->cpus;
        if (mask >> n & 1)
            pthread_cond_signal(&vm->cpu[n]->wake);
    }
}

void vm_park_ask(struct vm *vm)
{
    const struct vcpu *by = vcpu_self();

    if (by)
        atomic_store(&vm->stopper, by->id);
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct vcpu *v = vm->cpu[i];

        if (!atomic_exchange(&v->park, 1))
            vcpu_kick(v);
    }
}

bool vm_all_parked(struct vm *vm)
{
    return atomic_load(&vm->running) == 0;
}

void vm_park(struct vm *vm)
{
    vm_park_ask(vm);
    pthread_mutex_lock(&vm->ctl);
    for (unsigned i = 0; i < vm->cpus; i++)
        while (vm->cpu[i] && !vm->cpu[i]->parked)
            if (!vcpu_wait_a_while(&vm->acked, &vm->ctl))
                vcpu_kick(vm->cpu[i]);
    pthread_mutex_unlock(&vm->ctl);
    pthread_mutex_lock(&vm->m.lock);
    door_pause(&vm->m.door);
    vm_alarm_update(vm);
    pthread_mutex_unlock(&vm->m.lock);
}

void vcpu_call(struct vcpu *v, void (*fn)(void *arg, struct vcpu *v), void *arg)
{
    struct vm *vm = v->vm;

    pthread_mutex_lock(&vm->ctl);
    BUG_ON(!v->parked || v->call);
    v->call = fn;
    v->call_arg = arg;
    atomic_store(&v->wanted, true);
    pthread_cond_signal(&v->wake);
    while (v->call)
        pthread_cond_wait(&vm->acked, &vm->ctl);
    pthread_mutex_unlock(&vm->ctl);
}

size_t vm_input(struct vm *vm, enum door_input in, const void *bytes, size_t len)
{
    size_t taken;

    pthread_mutex_lock(&vm->m.lock);
    taken = door_push(&vm->m.door, in, bytes, len);
    if (!vm_all_parked(vm))
        vm_alarm_update(vm);
    pthread_mutex_unlock(&vm->m.lock);
    return taken;
}
