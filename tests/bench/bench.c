/*
 * What watching costs: the session against a bare KVM_RUN loop over the same guest bytes, in pairs
 * that alternate, so that a busy host slows both. Prints the ratio (1.00 is free) as median and
 * spread, and the time to the first guest byte. Figures, not tests: it fails only when it cannot
 * measure.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "debug/session.h"
#include "debug/trace_file.h"
#include "debug/trace_stat.h"
#include "debug/tracer.h"
#include "vmm/base/clock.h"

#define PAIRS    9
#define OUTS     100000
#define STEPS    100000
#define GUEST_AT 0x7c00u

#define REPORT_RECORDS 3000000u

/* mov $OUTS,%ecx; 1: out %al,$0x80; dec %ecx; jnz 1b; out %al,$0xf4; 2: hlt; jmp 2b */
static const uint8_t storm[] = {0x66,       0xb9, OUTS & 255, OUTS >> 8 & 255,
                                OUTS >> 16, 0,    0xe6,       0x80,
                                0x66,       0x49, 0x75,       0xfa,
                                0xe6,       0xf4, 0xf4,       0xeb,
                                0xfd};
/* 1: inc %ax; add %ax,%bx; mov %bx,(0x7000); mov (0x7000),%dx; jmp 1b */
static const uint8_t stroll[] = {0x40, 0x01, 0xc3, 0x89, 0x1e, 0x00, 0x70,
                                 0x8b, 0x16, 0x00, 0x70, 0xeb, 0xf3};
/* mov $0x3f8,%dx; mov $'A',%al; out %al,(%dx); out %al,$0xf4; 1: hlt; jmp 1b */
static const uint8_t hello[] = {0xba, 0xf8, 0x03, 0xb0, 'A', 0xee, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};

static __attribute__((noreturn)) void die(const char *what)
{
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- the bare loop ------------------------------------------------------------------------- */

struct bare {
    int kvm, vm, cpu;
    size_t run_bytes;
    struct kvm_run *run;
    uint8_t *ram;
};

static int need(int r, const char *what)
{
    if (r < 0)
        die(what);
    return r;
}

static void bare_open(struct bare *b, const uint8_t *code, size_t len)
{
    struct kvm_userspace_memory_region slot = {.memory_size = 1 << 20};
    struct kvm_sregs sr;
    struct kvm_regs r = {.rip = GUEST_AT, .rflags = 2, .rsp = GUEST_AT};

    b->kvm = need(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    b->vm = need(ioctl(b->kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    b->ram =
        mmap(NULL, slot.memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->ram == MAP_FAILED)
        die("mmap");
    memcpy(b->ram + GUEST_AT, code, len);
    slot.userspace_addr = (uintptr_t)b->ram;
    need(ioctl(b->vm, KVM_SET_TSS_ADDR, 0xfffbd000u), "KVM_SET_TSS_ADDR");
    need(ioctl(b->vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    b->cpu = need(ioctl(b->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    b->run_bytes = (size_t)need(ioctl(b->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    b->run = mmap(NULL, b->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, b->cpu, 0);
    if (b->run == MAP_FAILED)
        die("mmap of the vCPU");
    need(ioctl(b->cpu, KVM_GET_SREGS, &sr), "KVM_GET_SREGS");
    sr.cs.base = 0;
    sr.cs.selector = 0;
    need(ioctl(b->cpu, KVM_SET_SREGS, &sr), "KVM_SET_SREGS");
    need(ioctl(b->cpu, KVM_SET_REGS, &r), "KVM_SET_REGS");
}

static void bare_close(struct bare *b)
{
    munmap(b->run, b->run_bytes);
    munmap(b->ram, 1 << 20);
    close(b->cpu);
    close(b->vm);
    close(b->kvm);
}

static double bare_storm(void)
{
    struct bare b;
    uint64_t t0, t1;

    bare_open(&b, storm, sizeof storm);
    t0 = clock_ns();
    do
        need(ioctl(b.cpu, KVM_RUN, 0), "KVM_RUN");
    while (b.run->exit_reason == KVM_EXIT_IO && b.run->io.port != 0xf4);
    t1 = clock_ns();
    bare_close(&b);
    return OUTS / ((double)(t1 - t0) / 1e9);
}

/* Registers come with each exit (KVM_CAP_SYNC_REGS), the cheapest way there is. */
static double bare_steps(void)
{
    struct kvm_guest_debug dbg = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
    struct bare b;
    uint64_t t0, t1;
    volatile uint64_t sum = 0;

    bare_open(&b, stroll, sizeof stroll);
    need(ioctl(b.cpu, KVM_SET_GUEST_DEBUG, &dbg), "KVM_SET_GUEST_DEBUG");
    b.run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    t0 = clock_ns();
    for (int i = 0; i < STEPS; i++) {
        need(ioctl(b.cpu, KVM_RUN, 0), "KVM_RUN");
        if (b.run->exit_reason != KVM_EXIT_DEBUG) {
            fprintf(stderr, "bench: step %d ended in exit %u\n", i, b.run->exit_reason);
            exit(1);
        }
        sum += b.run->s.regs.regs.rax;
    }
    t1 = clock_ns();
    bare_close(&b);
    return STEPS / ((double)(t1 - t0) / 1e9);
}

/* ---- the session --------------------------------------------------------------------------- */

static char image_path[64];

static void write_image(const uint8_t *code, size_t len)
{
    int fd = need(open(image_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), image_path);

    if (write(fd, code, len) != (ssize_t)len || close(fd))
        die(image_path);
}

static struct session *open_image(const uint8_t *code, size_t len)
{
    struct session_config cfg = {.mem_bytes = 1 << 20};
    struct session *s;
    struct err e = {0};

    write_image(code, len);
    cfg.boot.kind = BOOT_FLAT;
    cfg.boot.image = image_path;
    if (session_open(&s, &cfg, &e)) {
        fprintf(stderr, "bench: %s\n", e.msg);
        exit(1);
    }
    return s;
}

static void must(int r, const struct err *e)
{
    if (r >= 0)
        return;
    fprintf(stderr, "bench: %s\n", e->msg);
    exit(1);
}

static char trace_path[80];

static double storm_of(const char *trace)
{
    struct session *s = open_image(storm, sizeof storm);
    struct err e = {0};
    uint64_t t0, t1;

    if (trace)
        must(tracer_file(session_tracer(s), trace, &e), &e);
    t0 = clock_ns();
    must(session_run(s, &e), &e);
    if (!session_wait(s, 60000000000u, NULL)) {
        fprintf(stderr, "bench: the storm did not end within 60 s\n");
        exit(1);
    }
    t1 = clock_ns();
    if (session_exit_count(s) < OUTS) {
        fprintf(stderr, "bench: %llu exits recorded, %d made\n",
                (unsigned long long)session_exit_count(s), OUTS);
        exit(1);
    }
    session_close(s);
    return OUTS / ((double)(t1 - t0) / 1e9);
}

static double session_storm(void)
{
    return storm_of(NULL);
}

static double session_storm_file(void)
{
    return storm_of(trace_path);
}

/* Reading and counting a recording, records a second of processor time. */
static void report_speed(void)
{
    struct trace_names *names = names_new();
    struct trace_writer *w;
    struct trace_reader *r;
    static struct exit_event batch[256];
    static struct trace_stats stats;
    struct err e = {0};
    struct timespec a, b;
    double best = 0;
    size_t n;

    must(trace_create(&w, trace_path, 1, "guest=bench\n", names, &e), &e);
    for (uint32_t i = 0; i < REPORT_RECORDS; i++) {
        struct exit_event ev = {.seq = i,
                                .at_ns = 1000000 + i * 7000ull + i % 13,
                                .guest_ns = 6000 + i * 7 % 400,
                                .host_ns = 300 + i * 11 % 90,
                                .rip = 0x100000 + i % 5 * 4,
                                .reason = KVM_EXIT_IO,
                                .size = 1};

        ev.u.io.port = i & 1 ? 0x3f8 : 0x3fd;
        ev.u.io.write = i & 1;
        ev.u.io.count = 1;
        ev.u.io.value = i & 0xff;
        trace_put(w, &ev);
    }
    must(trace_finish(w, &e), &e);
    for (int pass = 0; pass < 5; pass++) {
        double s;

        stat_init(&stats);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
        must(trace_open(&r, trace_path, &e), &e);
        while ((n = trace_read(r, batch, 256)))
            for (size_t i = 0; i < n; i++)
                stat_add(&stats, &batch[i], true);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
        if (stats.records != REPORT_RECORDS) {
            fprintf(stderr, "bench: %llu records counted\n", (unsigned long long)stats.records);
            exit(1);
        }
        s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
        if (REPORT_RECORDS / s > best)
            best = REPORT_RECORDS / s;
        trace_close(r);
        stat_fini(&stats);
    }
    names_free(names);
    printf("%-28s %.1f million records/s of a core (best of 5)  target 10  %s\n", "report counts",
           best / 1e6, best >= 10e6 ? "met" : "BELOW TARGET");
}

static bool add_rax(void *arg, const struct vcpu_state *st)
{
    *(uint64_t *)arg += st->regs.rax;
    return true;
}

static double session_steps(void)
{
    struct session *s = open_image(stroll, sizeof stroll);
    struct err e = {0};
    uint64_t sum = 0, t0 = clock_ns(), t1;
    int64_t n = session_step_each(s, 0, STEPS, add_rax, &sum, &e);

    t1 = clock_ns();
    must(n < 0 ? -1 : 0, &e);
    if (n != STEPS) {
        fprintf(stderr, "bench: %lld steps made, %d asked\n", (long long)n, STEPS);
        exit(1);
    }
    session_close(s);
    return STEPS / ((double)(t1 - t0) / 1e9);
}

static void first_byte(void *arg, unsigned event, const void *data)
{
    uint64_t *at = arg;

    (void)event;
    (void)data;
    if (!*at)
        *at = clock_ns();
}

static double session_first_byte(void)
{
    uint64_t t0 = clock_ns(), at = 0;
    struct session *s = open_image(hello, sizeof hello);
    struct err e = {0};

    session_subscribe(s, EV_CONSOLE, first_byte, &at);
    must(session_run(s, &e), &e);
    session_wait(s, 10000000000u, NULL);
    session_close(s);
    if (!at) {
        fprintf(stderr, "bench: the guest printed nothing\n");
        exit(1);
    }
    return (double)(at - t0) / 1e6;
}

/* ---- figures ------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, PAIRS, sizeof *v, by_value);
    return v[PAIRS / 2];
}

static void compare(const char *what, const char *unit, double (*bare)(void), double (*ours)(void),
                    double target)
{
    double a[PAIRS], b[PAIRS], ratio[PAIRS], mid;

    for (int i = 0; i < PAIRS; i++) {
        /* Alternate who goes first. */
        if (i & 1)
            b[i] = ours();
        a[i] = bare();
        if (!(i & 1))
            b[i] = ours();
        ratio[i] = b[i] / a[i];
    }
    mid = median(ratio);
    printf("%-28s bare %7.0f  session %7.0f %-8s ratio %.2f (%.2f to %.2f)  target %.2f  %s\n",
           what, median(a), median(b), unit, mid, ratio[0], ratio[PAIRS - 1], target,
           mid >= target ? "met" : "BELOW TARGET");
    fflush(stdout);
}

int main(void)
{
    const char *dir = getenv("TMPDIR");
    double ms[PAIRS], mid;

    snprintf(image_path, sizeof image_path, "%.40s/vmscope-bench.%d", dir ? dir : "/tmp", getpid());
    snprintf(trace_path, sizeof trace_path, "%s.vtr", image_path);
    if (access("/dev/kvm", R_OK | W_OK)) {
        printf("nothing to measure: /dev/kvm cannot be used here (%s)\n", strerror(errno));
        return 0;
    }
    session_first_byte(); /* what a host probe costs is paid here */
    compare("PIO exits, traced", "exits/s", bare_storm, session_storm, 0.85);
    compare("PIO exits, to a trace file", "exits/s", bare_storm, session_storm_file, 0.80);
    report_speed();
    unlink(trace_path);
    compare("steps with registers", "steps/s", bare_steps, session_steps, 0.80);
    for (int i = 0; i < PAIRS; i++)
        ms[i] = session_first_byte();
    mid = median(ms);
    printf("%-28s %.1f ms (%.1f to %.1f)  target 20 ms  %s\n", "first guest byte after start", mid,
           ms[0], ms[PAIRS - 1], mid < 20 ? "met" : "ABOVE TARGET");
    unlink(image_path);
    return 0;
}
