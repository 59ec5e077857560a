/*
 * perf_event_open over the kvm:* trace points. Offsets of fields come from tracefs' format files,
 * as they differ from kernel to kernel.
 */
#include "debug/trace/tracepoints.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Bytes of a vCPU's ring: 4 MiB hold some 40000 events, a tenth of a second of the worst storm. */
#define RING_BYTES (4u << 20)
#define FIELDS     6u

/* Where a field of an event goes. */
enum point_slot { SLOT_NONE, SLOT_NUMBER, SLOT_WRITE, SLOT_RIP, SLOT_V0, SLOT_V1, SLOT_V2 };

struct point {
    enum kernel_event event;
    const char *name; /* in tracefs */
    bool usual;       /* no duplicate of an exit that user space sees anyway, and not a flood */
    struct {
        const char *field;
        enum point_slot slot;
    } field[FIELDS];
};

static const struct point points[] = {
    {KERNEL_EXIT,
     "kvm_exit",
     true,
     {{"exit_reason", SLOT_NUMBER},
      {"guest_rip", SLOT_RIP},
      {"info1", SLOT_V0},
      {"info2", SLOT_V1},
      {"isa", SLOT_V2}}},
    {KERNEL_ENTRY, "kvm_entry", false, {{"rip", SLOT_RIP}}},
    {KERNEL_CPUID,
     "kvm_cpuid",
     true,
     {{"function", SLOT_NUMBER}, {"index", SLOT_V0}, {"rax", SLOT_V1}}},
    {KERNEL_MSR,
     "kvm_msr",
     true,
     {{"ecx", SLOT_NUMBER}, {"write", SLOT_WRITE}, {"data", SLOT_V0}, {"exception", SLOT_V1}}},
    {KERNEL_FAULT,
     "kvm_page_fault",
     true,
     {{"guest_rip", SLOT_RIP}, {"fault_address", SLOT_V0}, {"error_code", SLOT_V1}}},
    {KERNEL_PIO,
     "kvm_pio",
     false,
     {{"port", SLOT_NUMBER}, {"rw", SLOT_WRITE}, {"size", SLOT_V1}, {"val", SLOT_V0}}},
    {KERNEL_MMIO,
     "kvm_mmio",
     false,
     {{"type", SLOT_WRITE}, {"gpa", SLOT_V0}, {"val", SLOT_V1}, {"len", SLOT_V2}}},
    {KERNEL_VIRQ, "kvm_inj_virq", true, {{"vector", SLOT_NUMBER}, {"irq", SLOT_NUMBER}}},
    {KERNEL_EXCEPTION,
     "kvm_inj_exception",
     true,
     {{"exception", SLOT_NUMBER}, {"has_error", SLOT_V0}, {"error_code", SLOT_V1}}},
    {KERNEL_INSN,
     "kvm_emulate_insn",
     false,
     {{"rip", SLOT_RIP}, {"failed", SLOT_V0}, {"len", SLOT_V1}}},
    {KERNEL_APIC, "kvm_apic", true, {{"reg", SLOT_NUMBER}, {"rw", SLOT_WRITE}, {"val", SLOT_V0}}},
    {KERNEL_CR, "kvm_cr", true, {{"cr", SLOT_NUMBER}, {"rw", SLOT_WRITE}, {"val", SLOT_V0}}},
    {KERNEL_HYPERCALL, "kvm_hypercall", true, {{"nr", SLOT_NUMBER}, {"a0", SLOT_V0}}},
};

struct layout {
    int id;
    const struct point *point;
    struct {
        enum point_slot slot;
        unsigned offset, size;
    } field[FIELDS];
};

struct cpu_ring {
    unsigned vcpu;
    struct perf_event_mmap_page *page;
    uint64_t rip; /* of its last kvm_exit, for events that do not tell theirs */
};

struct tracepoints {
    struct layout layout[ARRAY_LEN(points)];
    unsigned layouts;
    int *fd;
    unsigned fds;
    struct cpu_ring ring[MACHINE_CPUS_MAX];
    unsigned rings;
    uint64_t lost, seq;
    struct buf names;
};

static const char *const roots[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

/* ---- tracefs --------------------------------------------------------------------------------- */

static bool read_text(const char *name, const char *file, char *dst, size_t cap)
{
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        char *path = xasprintf("%s/events/kvm/%s/%s", roots[i], name, file);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, dst, cap - 1);

        free(path);
        if (fd >= 0)
            close(fd);
        if (n > 0) {
            dst[n] = 0;
            return true;
        }
    }
    return false;
}

/* "\tfield:unsigned int port;\toffset:12;\tsize:4;": finds the field of that name. */
static bool find_field(const char *format, const char *name, unsigned *offset, unsigned *size)
{
    size_t len = strlen(name);

    for (const char *p = format; (p = strstr(p, "field:")); p++) {
        const char *end = strchr(p, ';'), *word;

        if (!end)
            return false;
        word = end;
        while (word > p && word[-1] != ' ')
            word--;
        if ((size_t)(end - word) == len && !strncmp(word, name, len))
            return sscanf(end, ";\toffset:%u;\tsize:%u;", offset, size) == 2 && *size <= 8 &&
                   *size && *offset < 4096;
    }
    return false;
}

static bool load_layout(const struct point *pt, struct layout *l)
{
    char text[8192];
    char *end;

    *l = (struct layout){.point = pt};
    if (!read_text(pt->name, "id", text, sizeof text))
        return false;
    l->id = (int)strtol(text, &end, 10);
    if (end == text || !read_text(pt->name, "format", text, sizeof text))
        return false;
    for (unsigned i = 0; i < FIELDS && pt->field[i].field; i++)
        if (find_field(text, pt->field[i].field, &l->field[i].offset, &l->field[i].size))
            l->field[i].slot = pt->field[i].slot;
    return true;
}

static bool asked(const struct point *pt, const char *names)
{
    size_t len;

    if (!names || !*names)
        return pt->usual;
    for (const char *p = names; *p; p += len) {
        p += strspn(p, " ");
        len = strcspn(p, " ");
        if ((len == 3 && !strncmp(p, "all", 3)) ||
            (len == strlen(pt->name) && !strncmp(p, pt->name, len)) ||
            (len == strlen(pt->name) - 4 && !strncmp(p, pt->name + 4, len)))
            return true;
    }
    return false;
}

static int choose(struct tracepoints *t, const char *names, struct buf *told, struct err *e)
{
    bool any = false;

    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        if (!asked(&points[i], names))
            continue;
        any = true;
        if (load_layout(&points[i], &t->layout[t->layouts])) {
            buf_addf(&t->names, "%s%s", t->layouts ? " " : "", points[i].name);
            t->layouts++;
        } else {
            buf_addf(told, "this kernel does not have the trace point kvm:%s\n", points[i].name);
        }
    }
    if (!any)
        return err_set(e, EINVAL,
                       "`%.100s` names no trace point: there are exit, entry, cpuid, msr, "
                       "page_fault, pio, mmio, inj_virq, inj_exception, emulate_insn, "
                       "apic, cr and hypercall",
                       names);
    if (!t->layouts)
        buf_clear(told); /* one sentence says it all */
    if (!t->layouts)
        return err_set(e, ENOENT,
                       "the kernel's trace points of KVM cannot be read: tracefs is not mounted or "
                       "not readable (`mount -t tracefs nodev /sys/kernel/tracing` as root, and "
                       "run vmscope as root or give it read access)");
    return 0;
}

/* ---- perf ------------------------------------------------------------------------------------ */

static int open_event(int id, pid_t tid)
{
    struct perf_event_attr a = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof a,
        .config = (uint64_t)id,
        .sample_period = 1,
        .sample_type = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW,
        .use_clockid = 1,
        .clockid = CLOCK_MONOTONIC,
    };

    return (int)syscall(SYS_perf_event_open, &a, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static int cannot(int code, struct err *e)
{
    return err_set(e, code,
                   "the kernel's trace points of KVM cannot be opened: %s; they need root, "
                   "CAP_PERFMON, or the sysctl kernel.perf_event_paranoid at -1",
                   strerror(code));
}

static int open_cpu(struct tracepoints *t, unsigned vcpu, pid_t tid, struct err *e)
{
    struct cpu_ring *r = &t->ring[t->rings];
    int first = -1;

    for (unsigned i = 0; i < t->layouts; i++) {
        int fd = open_event(t->layout[i].id, tid);

        if (fd < 0)
            return cannot(errno, e);
        t->fd[t->fds++] = fd;
        if (first < 0) {
            void *p = mmap(NULL, RING_BYTES + (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                           MAP_SHARED, fd, 0);

            if (p == MAP_FAILED)
                return err_set(e, errno, "there is no memory for the kernel's events: %s",
                               strerror(errno));
            first = fd;
            *r = (struct cpu_ring){.vcpu = vcpu, .page = p};
            t->rings++;
        } else if (ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, first) < 0) {
            return cannot(errno, e);
        }
    }
    return 0;
}

static void ask_tid(void *arg, struct vcpu *v)
{
    (void)v;
    *(pid_t *)arg = (pid_t)syscall(SYS_gettid);
}

struct tracepoints *tracepoints_open(struct vm *vm, const char *names, struct buf *told,
                                     struct err *e)
{
    struct tracepoints *t = xcalloc(1, sizeof *t);
    int rc = choose(t, names, told, e);

    t->fd = xcalloc((size_t)vm->cpus * ARRAY_LEN(points), sizeof *t->fd);
    for (unsigned i = 0; rc == 0 && i < vm->cpus; i++) {
        pid_t tid = 0;

        vcpu_call(vm->cpu[i], ask_tid, &tid);
        rc = open_cpu(t, i, tid, e);
    }
    if (rc < 0) {
        tracepoints_close(t);
        return NULL;
    }
    return t;
}

void tracepoints_close(struct tracepoints *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < t->rings; i++)
        munmap(t->ring[i].page, RING_BYTES + (size_t)sysconf(_SC_PAGESIZE));
    for (unsigned i = 0; i < t->fds; i++)
        close(t->fd[i]);
    buf_fini(&t->names);
    free(t->fd);
    free(t);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void decode(struct tracepoints *t, struct cpu_ring *r, uint64_t at_ns, const uint8_t *raw,
                   size_t len, struct exit_event *ev)
{
    int id = len >= 2 ? (int)le_load(raw, 2) : -1;
    const struct layout *l = NULL;

    for (unsigned i = 0; i < t->layouts; i++)
        if (t->layout[i].id == id)
            l = &t->layout[i];
    *ev = (struct exit_event){
        .seq = t->seq++, .at_ns = at_ns, .reason = EXIT_KERNEL, .vcpu = (uint8_t)r->vcpu};
    if (!l)
        return;
    ev->u.kernel.event = (uint16_t)l->point->event;
    ev->rip = r->rip;
    for (unsigned i = 0; i < FIELDS; i++) {
        uint64_t v;

        if (l->field[i].slot == SLOT_NONE || l->field[i].offset + l->field[i].size > len)
            continue;
        v = le_load(raw + l->field[i].offset, l->field[i].size);
        switch (l->field[i].slot) {
        case SLOT_NUMBER:
            ev->u.kernel.number = (uint32_t)v;
            break;
        case SLOT_WRITE:
            ev->u.kernel.write = l->point->event == KERNEL_MMIO ? v == 2 : v != 0;
            break;
        case SLOT_RIP:
            ev->rip = v;
            break;
        case SLOT_V0:
        case SLOT_V1:
        case SLOT_V2:
            ev->u.kernel.value[l->field[i].slot - SLOT_V0] = v;
            break;
        case SLOT_NONE:
            break;
        }
    }
    if (l->point->event == KERNEL_EXIT)
        r->rip = ev->rip;
}

/* Copies from the ring, which an event may cross the end of. */
static void copy(const uint8_t *data, uint64_t at, void *dst, size_t len)
{
    size_t off = at % RING_BYTES, part = len < RING_BYTES - off ? len : RING_BYTES - off;

    memcpy(dst, data + off, part);
    memcpy((uint8_t *)dst + part, data, len - part);
}

static void drain(struct tracepoints *t, struct cpu_ring *r,
                  void (*fn)(void *arg, struct exit_event *ev), void *arg)
{
    const uint8_t *data = (const uint8_t *)r->page + sysconf(_SC_PAGESIZE);
    uint64_t head = __atomic_load_n(&r->page->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = r->page->data_tail;

    while (tail < head) {
        struct perf_event_header h;
        uint8_t body[1024] = {0};
        size_t len;

        copy(data, tail, &h, sizeof h);
        if (h.size < sizeof h)
            break; /* not a kernel's */
        len = h.size - sizeof h;
        len = len < sizeof body ? len : sizeof body;
        copy(data, tail + sizeof h, body, len);
        if (h.type == PERF_RECORD_LOST && len >= 16) {
            t->lost += le_load(body + 8, 8);
        } else if (h.type == PERF_RECORD_SAMPLE && len >= 12) {
            /* time (8), length of the raw part (4), the raw part */
            size_t raw = (size_t)le_load(body + 8, 4);
            struct exit_event ev;

            decode(t, r, le_load(body, 8), body + 12, raw < len - 12 ? raw : len - 12, &ev);
            fn(arg, &ev);
        }
        tail += h.size;
    }
    __atomic_store_n(&r->page->data_tail, tail, __ATOMIC_RELEASE);
}

void tracepoints_drain(struct tracepoints *t, void (*fn)(void *arg, struct exit_event *ev),
                       void *arg)
{
    for (unsigned i = 0; i < t->rings; i++)
        drain(t, &t->ring[i], fn, arg);
}

uint64_t tracepoints_lost(const struct tracepoints *t)
{
    return t->lost;
}

const char *tracepoints_names(const struct tracepoints *t)
{
    return buf_str(&t->names);
}
