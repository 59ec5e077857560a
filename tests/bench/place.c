/*
 * Sessions over the guests, and bare KVMs that begin in the same state: registers and memory are
 * taken from a session that stands at the entry, so that both sides run the same bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "vmm/base/le.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define PTE_US 4u

char image_path[64], trace_path[80];

static void write_image(const struct guest *g)
{
    int fd = need(open(image_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), image_path);

    if (write(fd, g->code, g->len) != (ssize_t)g->len || close(fd))
        need(-1, image_path);
}

/* Every entry on the way to the low pages lets ring 3 pass. */
static void open_pages(struct session *s)
{
    struct walk w;

    need(session_walk(s, 0, GUEST_AT, &w), "the page walk");
    for (unsigned i = 0; i < w.steps; i++) {
        uint8_t raw[8];

        le_store(raw, 8, w.step[i].entry | PTE_US);
        session_mem_write(s, 0, SPACE_PHYS, w.step[i].entry_gpa, raw, w.step[i].entry_size);
    }
}

static void set_start(void *arg, struct vcpu *v)
{
    const struct guest *g = arg;
    struct vcpu_state st = {0};
    struct kvm_sregs *sr = &st.sregs;

    need(vcpu_get_state(v, VS_REGS | VS_SREGS, &st), "reading registers");
    st.regs.rcx = g->rounds;
    if (g->ring == IN_RING3) {
        sr->cs.dpl = sr->ss.dpl = sr->ds.dpl = sr->es.dpl = 3;
        sr->cs.selector |= 3;
        sr->ss.selector |= 3;
        sr->ds.selector |= 3;
        sr->es.selector |= 3;
    }
    need(vcpu_set_state(v, VS_REGS | VS_SREGS, &st), "setting registers");
}

static struct session *open_with(const struct guest *g, uint64_t mem_bytes, unsigned cpus)
{
    struct session_config cfg = {.mem_bytes = mem_bytes, .cpus = cpus};
    struct session *s;
    struct err e = {0};

    write_image(g);
    cfg.boot.kind = BOOT_FLAT;
    cfg.boot.image = image_path;
    cfg.boot.has_mode = true;
    cfg.boot.mode = g->ring == IN_REAL ? BOOT_MODE_REAL : BOOT_MODE_LONG;
    if (session_open(&s, &cfg, &e))
        die("%s", e.msg);
    if (g->ring == IN_RING3)
        open_pages(s);
    vcpu_call(session_vm(s)->cpu[0], set_start, (void *)g);
    return s;
}

struct session *bench_open_sized(const struct guest *g, uint64_t mem_bytes)
{
    return open_with(g, mem_bytes, 1);
}

static void start_like(void *arg, struct vcpu *v)
{
    need(vcpu_set_state(v, VS_REGS | VS_SREGS, arg), "setting registers");
    atomic_store(&v->idle, VCPU_ACTIVE);
}

struct session *bench_open_cpus(const struct guest *g, unsigned cpus)
{
    struct session *s = open_with(g, SESSION_RAM, cpus);
    struct vm *vm = session_vm(s);
    struct vcpu_state st = {0};

    vcpu_copy_state(vm->cpu[0], VS_REGS | VS_SREGS, &st);
    for (unsigned i = 1; i < cpus; i++)
        vcpu_call(vm->cpu[i], start_like, &st);
    return s;
}

struct session *bench_open(const struct guest *g)
{
    return bench_open_sized(g, SESSION_RAM);
}

clockid_t bench_clock(struct session *s)
{
    clockid_t c;

    if (pthread_getcpuclockid(session_vm(s)->cpu[0]->thread, &c))
        die("the vCPU's thread has no clock");
    return c;
}

struct rate bench_run(struct session *s, uint64_t done)
{
    struct err e = {0};
    struct rate r;
    struct lap l;

    lap_begin(&l, bench_clock(s));
    if (session_run(s, &e))
        die("%s", e.msg);
    if (!session_wait(s, 60000000000u, NULL))
        die("the guest did not end within a minute");
    r = lap_end(&l, done);
    if (session_last_stop(s)->kind != STOP_DEBUG_EXIT)
        die("the guest did not come to its end: %s", session_last_stop(s)->text);
    return r;
}

int bench_point(struct session *s, const struct point_spec *spec)
{
    struct err e = {0};
    int id = session_point_add(s, spec, &e);

    if (id < 0)
        die("%s", e.msg);
    return id;
}

/* ---- bare --------------------------------------------------------------------------------------
 */

static void slot(struct bare *b, unsigned n, uint64_t from, uint64_t to, unsigned flags)
{
    struct kvm_userspace_memory_region r = {.slot = n,
                                            .flags = flags,
                                            .guest_phys_addr = from,
                                            .memory_size = to - from,
                                            .userspace_addr = (uintptr_t)b->ram + from};

    need(ioctl(b->vm, KVM_SET_USER_MEMORY_REGION, &r), "KVM_SET_USER_MEMORY_REGION");
}

static void bare_make(struct bare *b)
{
    static struct cpuid_table cpuid;

    b->kvm = need(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    b->vm = need(ioctl(b->kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    need(ioctl(b->vm, KVM_SET_TSS_ADDR, 0xfffbd000u), "KVM_SET_TSS_ADDR");
    b->ram_bytes = SESSION_RAM;
    b->ram = mmap(NULL, b->ram_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->ram == MAP_FAILED)
        need(-1, "mmap");
    slot(b, 0, 0, b->ram_bytes, 0);
    b->cpu = need(ioctl(b->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    b->run_bytes = (size_t)need(ioctl(b->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    b->run = mmap(NULL, b->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, b->cpu, 0);
    if (b->run == MAP_FAILED)
        need(-1, "mmap of the vCPU");
    need(kvm_supported_cpuid(b->kvm, &cpuid), "KVM_GET_SUPPORTED_CPUID");
    need(kvm_set_cpuid(b->cpu, &cpuid), "KVM_SET_CPUID2");
}

static void copy_start(void *arg, struct vcpu *v)
{
    struct bare *b = arg;
    struct vcpu_state st = {0};

    need(vcpu_get_state(v, VS_REGS | VS_SREGS, &st), "reading registers");
    need(ioctl(b->cpu, KVM_SET_SREGS, &st.sregs), "KVM_SET_SREGS");
    need(ioctl(b->cpu, KVM_SET_REGS, &st.regs), "KVM_SET_REGS");
}

void bare_open(struct bare *b, const struct guest *g)
{
    struct session *s = bench_open(g);

    bare_make(b);
    mem_read(session_mem(s), 0, b->ram, b->ram_bytes);
    vcpu_call(session_vm(s)->cpu[0], copy_start, b);
    session_close(s);
}

void bare_close(struct bare *b)
{
    munmap(b->run, b->run_bytes);
    munmap(b->ram, b->ram_bytes);
    close(b->cpu);
    close(b->vm);
    close(b->kvm);
}

void bare_enter(struct bare *b)
{
    need(ioctl(b->cpu, KVM_RUN, 0), "KVM_RUN");
}

void bare_debug(struct bare *b, uint32_t control)
{
    struct kvm_guest_debug d = {.control = control ? control | KVM_GUESTDBG_ENABLE : 0};

    need(ioctl(b->cpu, KVM_SET_GUEST_DEBUG, &d), "KVM_SET_GUEST_DEBUG");
}

void bare_trap_page(struct bare *b, uint64_t gpa, bool absent)
{
    slot(b, 0, 0, 0, 0);
    slot(b, 0, 0, gpa, 0);
    if (!absent)
        slot(b, 1, gpa, gpa + PAGE_BYTES, KVM_MEM_READONLY);
    slot(b, 2, gpa + PAGE_BYTES, b->ram_bytes, 0);
}
