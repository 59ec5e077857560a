/*
 * The debugger changes nothing: random programs run freely and then again in every way that the
 * debugger knows, and must end alike, to the last byte of memory and the last flag; and every
 * point must count exactly the executions and accesses that a model run counted.
 *
 *   DIFF_SEED=N      first seed (default: a fixed list)
 *   DIFF_SECONDS=N   go on with further seeds for so long
 *   DIFF_KIND=N      only that kind of program (0 real16, 1 prot32, 2 long ring 0, 3 long ring 3)
 *   DIFF_WAY=NAME    only ways whose name contains this
 *   DIFF_FORCE=N     only that row of `forces`
 *   DIFF_CUT=N       only the first N units of the program
 *   DIFF_KICKS=N     kick the vCPU at random, every N us or so (0: never; default: every other way)
 *   DIFF_DUMP=1      print the program
 *   DIFF_IMAGE=FILE  and write it there: `vmscope --load-addr 0x7000 --mode real|prot|long FILE`
 *   DIFF_LOG=1       print every stop, and each step of the model
 */
#include "tests/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "debug/cmd.h"
#include "debug/session_priv.h"
#include "disasm/disasm.h"
#include "tests/unit/diff_program.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"
#include "vmm/vcpu.h"

#define MEM       (2ull << 20)
#define POINTS    64u
#define STOPS_MAX 20000u
#define RFLAGS_RF 0x10000ull

static struct program prog;
static struct session *s;
static uint64_t rng; /* of the present way; seeded with the program's, so that a run repeats */
static char image[] = "/tmp/vmscope-test-XXXXXX";
static char why[500], said[700]; /* what is wrong; the same with where */
static bool opened_once;

static unsigned below(unsigned n)
{
    return (unsigned)(dp_random(&rng) % n);
}

static __attribute__((format(printf, 1, 2))) bool complain(const char *fmt, ...)
{
    va_list ap;

    if (why[0])
        return false;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- the device that must see the same accesses in the same order ------------------------------
 */

static struct {
    uint64_t hash, count;
} seen;

static uint64_t answer(uint64_t what)
{
    uint64_t mix = seen.hash ^ what;

    seen.count++;
    seen.hash = dp_random(&mix);
    return seen.hash;
}

static uint64_t on_pio(void *arg, uint16_t port, unsigned size, bool write, uint64_t value)
{
    (void)arg;
    return answer(port | size << 16 | (uint64_t)write << 24 | (write ? value << 32 : 0));
}

static uint64_t on_mmio(void *arg, uint64_t off, unsigned size, bool write, uint64_t value)
{
    (void)arg;
    return answer(off | size << 16 | (uint64_t)write << 24 | 1u << 25 | (write ? value << 32 : 0));
}

/* ---- the machine -------------------------------------------------------------------------------
 */

static bool open_program(const char *force)
{
    static const enum boot_mode modes[] = {BOOT_MODE_REAL, BOOT_MODE_PROT, BOOT_MODE_LONG,
                                           BOOT_MODE_LONG};
    static const uint16_t ports[] = {DP_PORT,     DP_PORT + 1, DP_PORT + 2, DP_PORT + 3,
                                     DP_PORT + 4, DP_PORT + 5, DP_PORT + 6, DP_PORT + 7};
    struct device_spec dev = {.name = "probe",
                              .port = ports,
                              .ports = 8,
                              .gpa = DP_MMIO,
                              .len_bytes = 0x1000,
                              .pio = on_pio,
                              .mmio = on_mmio};
    struct session_config cfg = {.mem_bytes = MEM, .ring_records = 4096};
    struct err e = {0};
    int fd;

    memcpy(image, "/tmp/vmscope-test-XXXXXX", sizeof image);
    fd = mkstemp(image);
    if (fd < 0 || write(fd, prog.image, DP_BYTES) != DP_BYTES || close(fd) < 0)
        return complain("cannot write %s", image);
    cfg.boot = (struct boot_config){.kind = BOOT_FLAT,
                                    .image = image,
                                    .has_load_addr = true,
                                    .load_addr = DP_AT,
                                    .has_mode = true,
                                    .mode = modes[prog.kind]};
    if (force && strchr(force, '='))
        setenv("VMSCOPE_FORCE_METHODS", force, 1);
    else
        unsetenv("VMSCOPE_FORCE_METHODS");
    if (session_open(&s, &cfg, &e) < 0) {
        unlink(image);
        return complain("session_open: %.400s", e.msg);
    }
    if (session_device_add(s, &dev, &e) < 0)
        return complain("device: %.400s", e.msg);
    if (force && !strchr(force, '='))
        session_allow_points(s, false, false);
    opened_once = true;
    seen.hash = seen.count = 0;
    return true;
}

static void close_program(void)
{
    session_close(s);
    s = NULL;
    unlink(image);
}

/* ---- kicks --------------------------------------------------------------------------------------
 */

/* Whoever wants something of a vCPU kicks it, at any time: between the halves of an access, in the
 * middle of an interrupt's delivery, before it has entered. None of that may show. On a slow
 * machine this could be faster than any instruction: while kicks find the vCPU where it was they
 * come less and less often. */
static struct storm {
    pthread_t thread;
    _Atomic bool on;
    unsigned every_us; /* 0: none */
} storm;

static void *kick_on(void *arg)
{
    uint64_t state = clock_ns();

    (void)arg;
    prctl(PR_SET_TIMERSLACK, 1ul);
    while (atomic_load(&storm.on)) {
        unsigned stood = atomic_load(&s->vm->cpu[0]->stood);
        uint64_t r = dp_random(&state),
                 ns = r % (2000ull * storm.every_us << (stood < 20 ? stood / 2 : 10));
        struct timespec pause = {.tv_nsec = (long)ns};

        if (r >> 60) /* now and then two in a row */
            nanosleep(&pause, NULL);
        vcpu_kick(s->vm->cpu[0]);
    }
    return NULL;
}

static void storm_begin(unsigned every_us)
{
    storm.every_us = every_us;
    if (!every_us)
        return;
    atomic_store(&storm.on, true);
    if (pthread_create(&storm.thread, NULL, kick_on, NULL) != 0)
        storm.every_us = 0;
}

static void storm_end(void)
{
    if (!storm.every_us)
        return;
    atomic_store(&storm.on, false);
    pthread_join(storm.thread, NULL);
    storm.every_us = 0;
}

/* ---- what a run leaves behind -------------------------------------------------------------------
 */

struct ending {
    struct vcpu_state st;
    uint64_t io_hash, io_count;
    uint8_t ram[MEM];
};
static struct ending *freely, *now;

static bool take_ending(struct ending *x)
{
    const struct vcpu_state *st;

    if (session_last_stop(s)->kind != STOP_DEBUG_EXIT)
        return complain("ended with: %.400s", session_last_stop(s)->text);
    st = session_cpu(s, 0, VS_REGS | VS_SREGS | VS_EVENTS | VS_DEBUG | VS_XSAVE | VS_XCRS);
    if (!st)
        return complain("no state at the end");
    x->st = *st;
    x->io_hash = seen.hash;
    x->io_count = seen.count;
    if (session_mem_read(s, 0, SPACE_PHYS, 0, x->ram, MEM) != (int64_t)MEM)
        return complain("cannot read memory");
    memset(x->ram + DP_FX, 0, DP_FX_BYTES); /* where x87 was last is no one's business */
    if (prog.kind == DP_LONG3) /* below a stack of ring 0 that is empty, frames may have been */
        memset(x->ram + DP_KSTACK - 0x100, 0, 0x100);
    for (unsigned i = 0; i < 0x4000 && prog.kind == DP_LONG3; i += 8)
        x->ram[DP_TABLES + i] &= (uint8_t)~0x60; /* accessed and dirty: such frames count */
    return true;
}

/* Where x87 was last, hosts tell differently; where SYSCALL stays in ring 3, getting out of it
 * leaves CR2 behind. */
static bool same_registers(const struct vcpu_state *a, const struct vcpu_state *b)
{
    struct reg_value x, y;

    for (int id = REG_rflags + 1; id < REG_COUNT; id++) {
        const struct reg_desc *d = &reg_table[id];

        if (d->group == RG_DEBUG || d->group == RG_MSR || id == REG_cr8 || id == REG_fip ||
            id == REG_fdp || (id == REG_cr2 && prog.kind == DP_LONG3) || id == REG_fop ||
            reg_read(a, id, &x) < 0 || reg_read(b, id, &y) < 0)
            continue;
        if (memcmp(x.bytes, y.bytes, x.len))
            return complain("%s is 0x%llx at the end, freely 0x%llx", d->name,
                            (unsigned long long)y.u, (unsigned long long)x.u);
    }
    return true;
}

/* QEMU, as a processor for KVM, drops RF only at the end of a block of instructions, so that it may
 * be seen in the frame of a software interrupt. */
static bool is_pushed_rf(size_t i)
{
    return i >= DP_STACK_TOP - 0x1000 && i < DP_STACK_TOP && i % 4 == 2 &&
           (freely->ram[i] ^ now->ram[i]) == 1;
}

/* Accessed and dirty bits of the tables that the program found, which are set early where
 * breakpoints depend on them. */
#define BOOT_TABLES 0x96000u

static bool is_used_bit(size_t i)
{
    return prog.bits == 64 && i - BOOT_TABLES < 6 * PAGE_BYTES && i % 8 == 0 &&
           !((freely->ram[i] ^ now->ram[i]) & ~0x60);
}

static bool same_ending(void)
{
    const uint64_t *a = (const uint64_t *)&freely->st.regs, *b = (const uint64_t *)&now->st.regs;
    static const char *const name[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi",
                                       "rsp", "rbp", "r8",  "r9",  "r10", "r11",
                                       "r12", "r13", "r14", "r15", "rip", "rflags"};

    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if ((a[i] ^ b[i]) & (i == 17 ? ~RFLAGS_RF : ~0ull))
            return complain("%s is 0x%llx at the end, freely 0x%llx", name[i],
                            (unsigned long long)b[i], (unsigned long long)a[i]);
    for (size_t i = 0; i < MEM; i++)
        if (freely->ram[i] != now->ram[i] && !is_pushed_rf(i) && !is_used_bit(i))
            return complain("memory at 0x%zx is %02x at the end, freely %02x", i, now->ram[i],
                            freely->ram[i]);
    if (!same_registers(&freely->st, &now->st))
        return false;
    /* Which registers were met says nothing while none is on. */
    if ((freely->st.debug.dr6 ^ now->st.debug.dr6) & ~0xfull ||
        freely->st.debug.dr7 != now->st.debug.dr7)
        return complain(
            "dr6, dr7 are 0x%llx, 0x%llx at the end, freely 0x%llx, 0x%llx",
            (unsigned long long)now->st.debug.dr6, (unsigned long long)now->st.debug.dr7,
            (unsigned long long)freely->st.debug.dr6, (unsigned long long)freely->st.debug.dr7);
    if (freely->st.events.exception.injected != now->st.events.exception.injected ||
        freely->st.events.interrupt.injected != now->st.events.interrupt.injected)
        return complain("an event is left over at the end");
    if (freely->io_count != now->io_count || freely->io_hash != now->io_hash)
        return complain("the device saw %llu accesses, freely %llu, or others",
                        (unsigned long long)now->io_count, (unsigned long long)freely->io_count);
    return true;
}

static bool finish_up(void)
{
    return take_ending(now) && same_ending();
}

/* ---- the model: one run by single steps, counted
 * ------------------------------------------------- */

static struct {
    uint32_t times[0x10000]; /* each linear address was about to be executed */
    uint8_t access[0x10000];
    uint8_t last[8];
    uint64_t steps, writes, accesses, changes;
    bool strange;
    uint64_t strange_at, previous;
} model;

static bool known(uint64_t at)
{
    if (at < DP_CODE || at >= DP_HANDLERS)
        return at >= DP_AT && at < DP_DATA;
    for (unsigned i = 0; i < prog.count; i++)
        if (prog.ins[i].at == at)
            return true;
    return false;
}

static bool model_step(void *arg, const struct vcpu *v)
{
    uint64_t at = v->sregs->cs.base + v->regs->rip;
    uint8_t bytes[8];

    (void)arg;
    model.steps++;
    if (getenv("DIFF_LOG"))
        printf("  step %llx rsp %llx\n", (unsigned long long)at, (unsigned long long)v->regs->rsp);
    if (!known(at) && !model.strange && at != prog.last && at != prog.last - 2) {
        model.strange = true;
        model.strange_at = at;
    }
    if (at < 0x10000 && atomic_load(&v->idle) == VCPU_ACTIVE) /* or it comes after an interrupt */
        model.times[at]++;
    if (session_dma(s, DP_WATCHED, bytes, NULL, 8) == 8 && memcmp(bytes, model.last, 8)) {
        model.changes++;
        memcpy(model.last, bytes, 8);
    }
    model.previous = at;
    return model.steps < 500000;
}

static void count_accesses(void)
{
    for (unsigned i = 0; i < prog.count; i++) {
        model.access[prog.ins[i].at] = prog.ins[i].access;
        if (prog.ins[i].access & DP_WRITES)
            model.writes += model.times[prog.ins[i].at];
        if (prog.ins[i].access)
            model.accesses += model.times[prog.ins[i].at];
    }
}

/* ---- points
 * ---------------------------------------------------------------------------------------
 */

static struct {
    int id;
    uint64_t addr, want; /* hits that the model counted; UINT64_MAX: unknown */
    bool is_false, is_watch;
    uint64_t stops;
} point[POINTS];
static unsigned points;

static int add_point(const struct point_spec *spec)
{
    struct err e = {0};
    int id = session_point_add(s, spec, &e);

    if (id < 0) {
        complain("point at 0x%llx: %.300s", (unsigned long long)spec->addr, e.msg);
        return id;
    }
    point[points].id = id;
    point[points].addr = spec->addr;
    point[points].is_watch = spec->kind == POINT_WATCH;
    point[points].stops = 0;
    point[points].want = UINT64_MAX;
    point[points].is_false = spec->condition && !strcmp(spec->condition, "$rip == 0");
    points++;
    return id;
}

static void break_at(uint64_t addr, bool is_false, bool phys)
{
    struct point_spec spec = {.kind = POINT_BREAK,
                              .addr = addr,
                              .vcpu = -1,
                              .space = phys ? SPACE_PHYS : SPACE_LINEAR,
                              .condition = is_false   ? "$rip == 0"
                                           : below(2) ? "$rip != 0"
                                                      : NULL};

    for (unsigned i = 0; i < points; i++)
        if (!point[i].is_watch && point[i].addr == addr)
            return;
    if (points < POINTS && add_point(&spec) > 0)
        point[points - 1].want = model.times[addr];
}

static void breaks(unsigned n, bool is_false)
{
    while (n--) {
        const struct dp_ins *in = &prog.ins[below(prog.count)];
        uint64_t at = in->at;

        if (below(12) == 0)
            at = dp_handler_at(below(DP_GATES));
        break_at(at, is_false, below(8) == 0);
    }
}

static void watch(uint64_t addr, uint64_t len, enum watch_access access, bool is_false)
{
    struct point_spec spec = {.kind = POINT_WATCH,
                              .addr = addr,
                              .len = len,
                              .access = access,
                              .vcpu = -1,
                              .space = below(2) ? SPACE_PHYS : SPACE_LINEAR,
                              .condition = is_false ? "$rip == 0" : NULL};

    if (points == POINTS || add_point(&spec) < 0 || addr != DP_WATCHED || len != 8)
        return;
    point[points - 1].want = access == WATCH_WRITE    ? model.writes
                             : access == WATCH_ACCESS ? model.accesses
                             : access == WATCH_CHANGE ? model.changes
                                                      : UINT64_MAX;
}

static bool counted_right(void)
{
    for (unsigned i = 0; i < points; i++) {
        const struct point *p = session_point(s, point[i].id);
        uint64_t hits = p ? p->hits : 0, false_hits = p ? p->false_hits : 0;

        if (!p)
            return complain("point %d is gone", point[i].id);
        if (point[i].want == UINT64_MAX)
            continue;
        if ((point[i].is_false ? false_hits : hits) != point[i].want ||
            (point[i].is_false ? hits : false_hits))
            return complain("%s 0x%llx (%s) counted %llu and %llu false, the model %llu",
                            point[i].is_watch ? "watchpoint" : "breakpoint",
                            (unsigned long long)point[i].addr, p->method, (unsigned long long)hits,
                            (unsigned long long)false_hits, (unsigned long long)point[i].want);
    }
    return true;
}

static bool stop_is_right(void)
{
    const struct stop_info *si = session_last_stop(s);

    for (unsigned i = 0; i < points; i++) {
        if (point[i].id != si->point_id)
            continue;
        point[i].stops++;
        if (si->kind == STOP_BREAKPOINT && si->cs_base + si->rip != point[i].addr)
            return complain("stopped at 0x%llx for the breakpoint at 0x%llx",
                            (unsigned long long)(si->cs_base + si->rip),
                            (unsigned long long)point[i].addr);
        if (si->kind == STOP_WATCHPOINT && point[i].addr == DP_WATCHED && si->by &&
            !(si->by < 0x10000 && model.access[si->by]))
            return complain("0x%llx is said to have touched 0x%llx: %.300s",
                            (unsigned long long)si->by, (unsigned long long)point[i].addr,
                            si->text);
        return true;
    }
    return complain("stop for an unknown point: %.300s", si->text);
}

/* ---- going on
 * ------------------------------------------------------------------------------------ */

enum { GO_STOPS = 1, GO_STEPS = 2, GO_OVER = 4, GO_TOGGLES = 8 };

static bool wait_end(uint64_t timeout_ns)
{
    if (session_wait(s, timeout_ns, NULL))
        return true;
    if (timeout_ns == TEST_HANG_NS) {
        session_stop(s);
        session_wait(s, TEST_HANG_NS, NULL);
        return complain("still running; stopped at: %.300s", session_last_stop(s)->text);
    }
    return false;
}

static bool resume(unsigned how)
{
    const char *what = "run";
    struct err e = {0};
    int rc;

    if (how & GO_STEPS && below(3) == 0) {
        rc = session_step(s, 0, 1 + below(40), &e);
        what = "step";
    } else if (how & GO_OVER && below(3) == 0) {
        rc = session_step_over(s, 0, 1 + below(3), &e);
        what = "over";
    } else {
        rc = session_run(s, &e);
    }
    if (rc < 0)
        return complain("resuming: %.400s", e.msg);
    if (getenv("DIFF_LOG"))
        printf("  %s\n", what);
    if (how & GO_STOPS && below(4)) {
        if (wait_end(below(3) ? 1000 * below(300) : 0))
            return true;
        session_stop(s);
    }
    return wait_end(TEST_HANG_NS);
}

/* Runs to the end, going on at every stop. */
static bool go_on(unsigned how)
{
    for (unsigned n = 0; n < STOPS_MAX; n++) {
        if (!resume(how))
            return false;
        switch (session_last_stop(s)->kind) {
        case STOP_BREAKPOINT:
        case STOP_WATCHPOINT:
            if (!stop_is_right())
                return false;
            break;
        case STOP_STEP:
        case STOP_TEMPORARY:
        case STOP_USER:
            break;
        case STOP_DEBUG_EXIT:
            return true;
        default:
            return complain("stopped: %.400s", session_last_stop(s)->text);
        }
        if (getenv("DIFF_LOG"))
            printf("  %llx %d %s\n", (unsigned long long)session_last_stop(s)->rip,
                   session_last_stop(s)->kind, session_last_stop(s)->text);
        if (n > 2000)
            how &= ~(unsigned)GO_STOPS;
        if (how & GO_TOGGLES && points && below(20) == 0) {
            unsigned i = below(points);

            point[i].want = UINT64_MAX;
            session_point_enable(s, point[i].id, below(2));
        }
    }
    return complain("more than %u stops; the last: %.300s", STOPS_MAX, session_last_stop(s)->text);
}

static bool each_ignored(void *arg, const struct vcpu *v)
{
    (void)arg;
    (void)v;
    return true;
}

static bool step_all(void)
{
    struct err e = {0};

    while (session_state(s) == SS_STOPPED) {
        if (session_step_each(s, 0, 1000000, each_ignored, NULL, &e) < 0)
            return complain("stepping: %.400s", e.msg);
        if (session_last_stop(s)->point_id >= 0 && !stop_is_right())
            return false;
        if (session_last_stop(s)->kind != STOP_BREAKPOINT &&
            session_last_stop(s)->kind != STOP_WATCHPOINT)
            break;
    }
    return true;
}

/* ---- ways
 * ---------------------------------------------------------------------------------------- */

static bool way_again(void)
{
    return go_on(0);
}

static bool way_stops(void)
{
    return go_on(GO_STOPS);
}

static bool way_steps_and_stops(void)
{
    return go_on(GO_STOPS | GO_STEPS | GO_OVER);
}

static bool way_few_false(void)
{
    breaks(1 + below(3), true);
    return go_on(0);
}

static bool way_many_false(void)
{
    breaks(50, true);
    return go_on(0);
}

static bool way_few_true(void)
{
    breaks(1 + below(4), false);
    return go_on(0);
}

static bool way_many_true(void)
{
    breaks(30, false);
    return go_on(0);
}

static bool way_breaks_mixed(void)
{
    breaks(8, false);
    breaks(30, true);
    return go_on(GO_STOPS);
}

static bool way_breaks_toggled(void)
{
    breaks(20, false);
    return go_on(GO_STEPS | GO_OVER | GO_TOGGLES);
}

static bool way_breaks_stepped(void)
{
    breaks(8, true);
    breaks(8, false);
    return step_all();
}

static bool way_watch_write(void)
{
    watch(DP_WATCHED, 8, WATCH_WRITE, below(2));
    return go_on(0);
}

static bool way_watch_access(void)
{
    watch(DP_WATCHED, 8, WATCH_ACCESS, below(2));
    return go_on(0);
}

static bool way_watch_change(void)
{
    watch(DP_WATCHED, 8, WATCH_CHANGE, false);
    return go_on(0);
}

/* Up to the program's first instruction, where its stack is known. */
static bool set_up(void)
{
    struct err e = {0};

    if (session_until(s, DP_CODE, &e) < 0 || !wait_end(TEST_HANG_NS))
        return complain("until: %.400s", e.msg);
    return session_last_stop(s)->kind == STOP_TEMPORARY ||
           complain("until: %.400s", session_last_stop(s)->text);
}

static bool way_watch_stack(void)
{
    if (!set_up())
        return false;
    watch(DP_STACK_TOP - 0x40 + below(0x30), 1 + below(16), WATCH_WRITE + below(4) % 2 * 2,
          below(2));
    return go_on(below(2) ? GO_STOPS : 0);
}

static bool way_watch_code(void)
{
    watch(DP_CODE + below(0x300), 1 + below(64), WATCH_WRITE, below(2));
    return go_on(0);
}

static bool way_watch_pages(void)
{
    watch(DP_DATA, 0x2000, below(2) ? WATCH_WRITE : WATCH_ACCESS, true);
    watch(DP_WATCHED, 8, (const enum watch_access[]){1, 3, 4}[below(3)], below(2));
    return go_on(0);
}

/* What the processor reads and writes by itself when an event comes: its tables, and stacks. */
static bool way_watch_tables(void)
{
    bool real = prog.kind == DP_REAL;

    if (!set_up())
        return false;
    watch(real ? 0 : DP_IDT, real ? 0x400 : 0x1000, below(2) ? WATCH_ACCESS : WATCH_WRITE, true);
    if (!real && below(2))
        watch(DP_GDT, 0x80, below(2) ? WATCH_ACCESS : WATCH_WRITE, true);
    if (below(2))
        watch(DP_STACK_TOP - 0x100, 0x100, below(2) ? WATCH_ACCESS : WATCH_WRITE, true);
    return go_on(below(2) ? GO_STOPS : 0);
}

static bool way_watch_stepped(void)
{
    watch(DP_WATCHED, 8, (const enum watch_access[]){1, 3, 4}[below(3)], below(2));
    return step_all();
}

static bool way_all(void)
{
    breaks(6, false);
    breaks(20, true);
    watch(DP_WATCHED, 8, (const enum watch_access[]){1, 3, 4}[below(3)], below(2));
    if (prog.bits == 64 && below(2))
        watch(DP_STACK_TOP - 0x100, 0x100, WATCH_WRITE, true);
    if (below(2))
        watch(DP_DATA + below(0x700), 1 + below(80), WATCH_ACCESS, true);
    return go_on(GO_STOPS | (below(2) ? GO_STEPS | GO_OVER : 0));
}

static const struct way {
    const char *name;
    bool (*run)(void);
} ways[] = {
    {"again", way_again},
    {"stops", way_stops},
    {"steps and stops", way_steps_and_stops},
    {"few false breakpoints", way_few_false},
    {"many false breakpoints", way_many_false},
    {"few true breakpoints", way_few_true},
    {"many true breakpoints", way_many_true},
    {"breakpoints mixed", way_breaks_mixed},
    {"breakpoints toggled", way_breaks_toggled},
    {"breakpoints while stepping", way_breaks_stepped},
    {"watch write", way_watch_write},
    {"watch access", way_watch_access},
    {"watch change", way_watch_change},
    {"watch stack", way_watch_stack},
    {"watch code", way_watch_code},
    {"watch pages", way_watch_pages},
    {"watch tables", way_watch_tables},
    {"watch while stepping", way_watch_stepped},
    {"all", way_all},
};

/* Lower rungs of the ladders, and what is left to a user who wants none of the upper ones. */
static const char *const forces[] = {
    NULL,
    "watch-write=read-only-slot,watch-access=no-slot",
    "watch-write=stepping,watch-access=stepping",
    "watch-write=no-slot,break=debug-register",
    "break=icebp",
    "step=exact",
    "no registers, no bytes",
};
#define FORCES         (sizeof forces / sizeof forces[0])
#define FORCE_NO_BYTES 6

/* ---- one program
 * --------------------------------------------------------------------------------- */

static void drop_points(void)
{
    while (points)
        session_point_del(s, point[--points].id);
}

static bool again_from_start(void)
{
    drop_points();
    if (session_reset(s, NULL) < 0)
        return complain("reset failed");
    seen.hash = seen.count = 0;
    return true;
}

/* The free run and the model. */
static bool run_model(void)
{
    struct err e = {0};
    int64_t made;

    if (!go_on(0) || !take_ending(freely))
        return false;
    if (!again_from_start())
        return false;
    memset(&model, 0, sizeof model);
    memcpy(model.last, prog.image + DP_WATCHED - DP_AT, 8);
    made = session_step_each(s, 0, 1000000, model_step, NULL, &e);
    if (made < 0)
        return complain("stepping: %.400s", e.msg);
    count_accesses();
    if (model.strange)
        return complain("a step ended at 0x%llx, where no instruction starts",
                        (unsigned long long)model.strange_at);
    return finish_up();
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

#define KICKS_US 40u

/* The exits before a difference. */
static void show_exits(void)
{
    struct cmd_client c = {.s = s};
    struct out o = {0};

    if (cmd_exec(&c, "info exits last 40", &o) == 0)
        fwrite(o.text.data, 1, o.text.len, stdout);
    out_fini(&o);
    cmd_client_fini(&c);
}

static unsigned kicks_us(const struct way *w, uint64_t seed)
{
    return (unsigned)number("DIFF_KICKS", w && (seed + (uint64_t)(w - ways)) % 2 ? KICKS_US : 0);
}

static bool run_way_once(const struct way *w, uint64_t seed, unsigned force)
{
    bool ok;

    rng = seed * 977 + (uint64_t)(w - ways) * 31 + force;
    why[0] = 0;
    if (!again_from_start())
        return false;
    storm_begin(kicks_us(w, seed));
    ok = w->run();
    storm_end();
    return ok && finish_up() && counted_right();
}

/* Once in some thousand ways a plain step in the rig ends in a page fault that finds no entry, with
 * registers, tables and slots whole and nothing of ours in between. QEMU's walk of nested tables is
 * suspected, not proved. */
static bool lost_by_rig(void)
{
    const struct stop_info *si = session_last_stop(s);

    return getenv("VMSCOPE_IN_RIG") && si->kind == STOP_TRIPLE_FAULT && si->vector == 14 &&
           si->code == 0;
}

static bool run_way(const struct way *w, uint64_t seed, unsigned force)
{
    if (run_way_once(w, seed, force))
        return true;
    if (!lost_by_rig())
        return false;
    printf("%s: once more, as the rig may have done it: %s\n", w->name, why);
    return run_way_once(w, seed, force);
}

static void show(unsigned from, unsigned to)
{
    struct disasm *d = disasm_new();
    struct insn in;

    for (unsigned at = from; at < to; at += in.len) {
        disasm_one(d, prog.bits, at, prog.image + at - DP_AT, 15, &in);
        printf("  %x: %s %s%s\n", at, in.mnemonic, in.operands,
               model.access[at] ? "   ; watched" : "");
    }
    disasm_free(d);
    fflush(stdout);
}

/* Finds the first unit without which the way and the free run agree, and prints it. */
static void narrow(enum dp_kind kind, uint64_t seed, unsigned force, const struct way *w)
{
    unsigned good = 0, bad;
    char kept[sizeof why];

    memcpy(kept, why, sizeof kept);
    bad = prog.units;
    while (bad - good > 1) {
        unsigned mid = (good + bad) / 2;
        bool ok;

        dp_make_reading(&prog, kind, seed, force == FORCE_NO_BYTES);
        dp_cut(&prog, mid);
        why[0] = 0;
        ok = open_program(forces[force]) && run_model() && (!w || run_way(w, seed, force));
        if (!ok)
            printf("  with %u units: %s\n", mid, why);
        drop_points();
        close_program();
        if (ok)
            good = mid;
        else
            bad = mid;
    }
    dp_make_reading(&prog, kind, seed, force == FORCE_NO_BYTES);
    printf("seed 0x%llx, %s, %s%s%s: goes wrong with unit %u of %u:\n", (unsigned long long)seed,
           dp_kind_name[kind], w ? w->name : "model", forces[force] ? ", " : "",
           forces[force] ? forces[force] : "", bad, prog.units);
    show(prog.unit[good], good + 1 < prog.units ? prog.unit[good + 1] : prog.end_of_units);
    memcpy(why, kept, sizeof why);
}

static void write_image(const char *path)
{
    FILE *f = fopen(path, "w");

    if (!f || fwrite(prog.image, DP_BYTES, 1, f) != 1 || fclose(f))
        printf("cannot write %s\n", path);
}

static bool try_program(enum dp_kind kind, uint64_t seed, unsigned force, bool narrowing)
{
    const char *only = getenv("DIFF_WAY");
    const struct way *w = NULL;
    bool ok;

    dp_make_reading(&prog, kind, seed, force == FORCE_NO_BYTES);
    dp_cut(&prog, (unsigned)number("DIFF_CUT", prog.units));
    if (getenv("DIFF_DUMP"))
        show(DP_CODE, prog.at);
    if (getenv("DIFF_IMAGE"))
        write_image(getenv("DIFF_IMAGE"));
    why[0] = 0;
    ok = open_program(forces[force]) && run_model();
    for (size_t i = 0; ok && i < sizeof ways / sizeof ways[0]; i++) {
        w = &ways[i];
        if (!only || strstr(w->name, only))
            ok = run_way(w, seed, force);
    }
    if (s && !ok)
        show_exits();
    drop_points();
    if (s)
        close_program();
    if (ok)
        return true;
    snprintf(said, sizeof said, "seed 0x%llx, %s, %s%s%s%s: %s", (unsigned long long)seed,
             dp_kind_name[kind], w ? w->name : "model", kicks_us(w, seed) ? " under kicks" : "",
             forces[force] ? ", " : "", forces[force] ? forces[force] : "", why);
    if (!opened_once)
        return false;
    printf("%s\n", said);
    fflush(stdout);
    if (narrowing)
        narrow(kind, seed, force, w);
    return false;
}

static void programs(enum dp_kind kind)
{
    uint64_t seconds = number("DIFF_SECONDS", 0), seed = number("DIFF_SEED", 1);
    uint64_t until = clock_ns() + seconds * 1000000000ull / DP_KINDS, only = number("DIFF_KIND", 9);
    unsigned failed = 0, made = 0, least = getenv("DIFF_SEED") ? 1 : 2;
    char first[sizeof said] = "";

    if (only != 9 && only != kind)
        return;
    if (!freely) {
        freely = xcalloc(1, sizeof *freely);
        now = xcalloc(1, sizeof *now);
    }
    if (only == kind)
        until = clock_ns() + seconds * 1000000000ull;
    for (; made < least || clock_ns() < until; seed++, made++) {
        unsigned force = getenv("DIFF_FORCE") ? (unsigned)number("DIFF_FORCE", 0) % FORCES
                                              : (unsigned)(seed % FORCES);

        if (try_program(kind, seed, force, failed < 3))
            continue;
        if (access("/dev/kvm", R_OK | W_OK) < 0)
            SKIP("%.500s", why);
        if (!failed++)
            memcpy(first, said, sizeof first);
    }
    if (failed)
        TEST_FAIL("%u of %u programs; the first: %.600s", failed, made, first);
    if (seconds)
        printf("%u programs\n", made);
}

DP_TESTS(programs)

static const struct test tests[] = {
    {"real16 ends alike", real16},
    {"prot32 ends alike", prot32},
    {"long ring 0 ends alike", long_ring0},
    {"long ring 3 ends alike", long_ring3},
};
TEST_MAIN(tests)
