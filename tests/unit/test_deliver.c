/*
 * Events, gates, returns and task switches as vmscope makes them where KVM cannot: a table of
 * cases, each with what the manuals say comes of it (Intel SDM volume 3, chapters 6, 7 and 20; AMD
 * APM volume 2, chapters 8 and 12). No KVM takes part. Where a KVM runs ring 0 on a processor, the
 * same cases are run by that processor and compared with the same text.
 */
#include "tests/unit/far_world.h"

#include "vmm/probe.h"

#define REFUSED "not done"
#define DOWN    "shutdown"

struct poke {
    uint32_t at;
    uint8_t n;
    uint64_t value;
};

struct row {
    const char *name;
    enum fw_mode mode;
    uint8_t cpl;
    uint8_t size;              /* of the words on the stack that the text shows */
    struct assist_event event; /* unless there is code */
    uint8_t len, code[8];
    uint8_t words; /* on the program's stack, of `size` bytes each, lowest first */
    uint32_t stack[10];
    uint64_t flags; /* these bits of RFLAGS are the other way round */
    struct poke poke[4];
    uint16_t tr;        /* another current task */
    uint16_t idt_limit; /* when it is not the table's */
    bool task;          /* show the marks of a task switch */
    const char *want;
    const char *qemu; /* what QEMU's processor does instead; see far_rows.h */
};

#define EXCEPTION(n)       .event = {.vector = (n)}
#define EXCEPTION_EC(n, e) .event = {.vector = (n), .has_ec = true, .ec = (e)}
#define INTERRUPT(n)       .event = {.vector = (n), .is_interrupt = true}
#define CODE(...)          .len = sizeof((uint8_t[]){__VA_ARGS__}), .code = {__VA_ARGS__}
#define STACK(...)         .words = sizeof((uint32_t[]){__VA_ARGS__}) / 4, .stack = {__VA_ARGS__}
#define GATE(n)            (FW_IDT + (n)*8)
#define GATE64(n)          (FW_IDT + (n)*16)
#define FAR32(sel, off)                                                                            \
    (off) & 0xff, (off) >> 8 & 0xff, (off) >> 16 & 0xff, 0, (sel)&0xff, (sel) >> 8

/* clang-format off */
static const struct row rows[] = {
#include "tests/unit/far_rows.h"
};
/* clang-format on */

/* ---- by hand --------------------------------------------------------------------------------- */

static void poke(const struct row *w, uint8_t *mem)
{
    for (unsigned i = 0; i < 4 && w->poke[i].n; i++)
        fw_put(mem, w->poke[i].at, w->poke[i].n, w->poke[i].value);
}

static void set_up(const struct row *w, uint8_t *mem, struct kvm_sregs *s, struct kvm_regs *r)
{
    unsigned skip = w->words * w->size;

    fw_memory(mem, w->mode);
    memcpy(mem + FW_CODE, w->code, w->len);
    poke(w, mem);
    fw_registers(mem, w->mode, w->cpl, s, r);
    if (w->tr)
        s->tr = fw_segment(mem, w->tr);
    if (w->idt_limit)
        s->idt.limit = w->idt_limit;
    r->rflags ^= w->flags;
    r->rsp -= skip;
    for (unsigned i = 0; i < w->words; i++)
        fw_put(mem, r->rsp + i * w->size, w->size, w->stack[i]);
    poke(w, mem); /* a word of the stack */
}

static void describe(const struct row *w, const uint8_t *mem, const struct kvm_regs *r,
                     const struct kvm_sregs *s, const struct kvm_sregs *was, struct buf *out)
{
    fw_text(mem, r, s, was, w->size, out);
    if (w->task)
        fw_task_text(mem, was->tr.selector, out);
}

/* As the engine does it: the instruction, then what it raises; or the event. */
static bool carry_out(const struct row *w, struct vcpu *v, struct buf *out)
{
    struct exit_event ev = {.reason = KVM_EXIT_INTERNAL_ERROR,
                            .mode = (uint8_t)cpu_mode_of(v->sregs, v->regs->rflags),
                            .rip = v->regs->rip,
                            .u.internal.suberror = KVM_INTERNAL_ERROR_EMULATION};
    struct assist_event event = w->event;
    const char *why = NULL;
    enum delivered done;

    if (w->len && !vcpu_assist(v, &ev, true, &event, &why)) {
        buf_adds(out, REFUSED);
        return false;
    }
    if (event.vector < 0)
        return true;
    done = deliver_event(v, &event);
    if (done == DELIVER_ENTERED)
        return true;
    buf_adds(out, done == DELIVER_SHUTDOWN ? DOWN : REFUSED);
    return false;
}

static struct fw *world(void)
{
    struct fw *w = calloc(1, sizeof *w);
    struct err e = {0};

    if (!w || mem_init(&w->vm.mem, FW_BYTES, &e) < 0)
        abort();
    w->run = calloc(1, 4096);
    w->vm.maxphyaddr = 36;
    w->v.vm = &w->vm;
    w->v.fd = -1;
    w->v.run = w->run;
    w->v.regs = &w->run->s.regs.regs;
    w->v.sregs = &w->run->s.regs.sregs;
    w->v.events = &w->run->s.regs.events;
    return w;
}

static void world_free(struct fw *w)
{
    mem_fini(&w->vm.mem);
    free(w->run);
    free(w);
}

static void by_hand(const struct row *r, struct buf *out)
{
    struct fw *w = world();
    struct kvm_sregs was;

    set_up(r, w->vm.mem.base, w->v.sregs, w->v.regs);
    was = *w->v.sregs;
    if (carry_out(r, &w->v, out))
        describe(r, w->vm.mem.base, w->v.regs, w->v.sregs, &was, out);
    world_free(w);
}

static void as_the_manual_says(void)
{
    char first[500] = "";
    unsigned bad = 0;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out = {0};

        by_hand(&rows[i], &out);
        if (strcmp(buf_str(&out), rows[i].want)) {
            printf("  %s\n    is:   \"%s\"\n    want: \"%s\"\n", rows[i].name, buf_str(&out),
                   rows[i].want);
            if (!bad++)
                snprintf(first, sizeof first, "%s", rows[i].name);
        }
        buf_fini(&out);
    }
    if (bad)
        TEST_FAIL("%u of %zu cases; the first: %s", bad, sizeof rows / sizeof rows[0], first);
}

/* ---- by the processor ------------------------------------------------------------------------ */

struct machine_here {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    uint8_t *mem;
    struct kvm_sregs fresh;
};

static bool machine_open(struct machine_here *m)
{
    static struct cpuid_table cpuid;
    int bytes;

    m->vm = kvm_create_vm(m->kvm);
    bytes = kvm_vcpu_mmap_bytes(m->kvm);
    m->mem = mmap(NULL, FW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m->vm < 0 || bytes < 0 || m->mem == MAP_FAILED ||
        kvm_set_slot(m->vm, 0, 0, FW_BYTES, m->mem, 0) < 0)
        return false;
    m->vcpu = kvm_create_vcpu(m->vm, 0);
    m->run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
    return m->vcpu >= 0 && m->run != MAP_FAILED && kvm_supported_cpuid(m->kvm, &cpuid) == 0 &&
           kvm_set_cpuid(m->vcpu, &cpuid) == 0 && kvm_get_sregs(m->vcpu, &m->fresh) == 0;
}

static void by_processor(const struct row *w, struct machine_here *m, struct buf *out)
{
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP};
    struct kvm_vcpu_events events = {0};
    struct kvm_sregs s = m->fresh, was;
    struct kvm_regs r;

    set_up(w, m->mem, &s, &r);
    was = s;
    if (!w->len && w->event.is_interrupt) {
        events.interrupt.injected = 1;
        events.interrupt.nr = (uint8_t)w->event.vector;
    } else if (!w->len) {
        events.exception.injected = 1;
        events.exception.nr = (uint8_t)w->event.vector;
        events.exception.has_error_code = w->event.has_ec;
        events.exception.error_code = w->event.ec;
    }
    if (kvm_set_events(m->vcpu, &(struct kvm_vcpu_events){0}) || kvm_set_sregs(m->vcpu, &s) ||
        kvm_set_regs(m->vcpu, &r) || kvm_set_guest_debug(m->vcpu, &debug) ||
        kvm_set_events(m->vcpu, &events)) {
        buf_addf(out, "KVM does not take the state");
        return;
    }
    while (kvm_run(m->vcpu) == -EINTR)
        ;
    if (m->run->exit_reason == KVM_EXIT_SHUTDOWN) {
        buf_adds(out, DOWN);
    } else if (m->run->exit_reason != KVM_EXIT_DEBUG) {
        kvm_get_regs(m->vcpu, &r);
        buf_addf(out, "exit %u (%u) at 0x%llx", m->run->exit_reason, m->run->internal.suberror,
                 (unsigned long long)r.rip);
    } else if (kvm_get_regs(m->vcpu, &r) == 0 && kvm_get_sregs(m->vcpu, &s) == 0) {
        describe(w, m->mem, &r, &s, &was, out);
    }
}

static void compare_with_processor(struct machine_here *m)
{
    unsigned bad = 0, odd = 0;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *w = &rows[i];
        struct buf out = {0};

        by_processor(w, m, &out);
        if (w->qemu && !strcmp(buf_str(&out), w->qemu)) {
            odd++;
        } else if (strcmp(buf_str(&out), w->want)) {
            printf("  %s\n    processor: \"%s\"\n    manual:    \"%s\"\n", w->name, buf_str(&out),
                   w->want);
            bad++;
        }
        buf_fini(&out);
    }
    printf("  %zu cases; %u as QEMU, against the manuals\n", sizeof rows / sizeof rows[0], odd);
    if (bad)
        test_fail(__FILE__, __LINE__, "the processor does %u cases otherwise", bad);
}

static void as_the_processor_does(void)
{
    struct machine_here m = {.vm = -1, .vcpu = -1};
    struct err e = {0};
    struct probe p;

    m.kvm = kvm_open(&e);
    if (m.kvm < 0)
        SKIP("%.500s", e.msg);
    if (probe_cached(m.kvm, &p, &e) < 0 || p.emulated) {
        close(m.kvm);
        SKIP("this KVM emulates ring 0: there is no processor to compare with");
    }
    if (!machine_open(&m))
        test_fail(__FILE__, __LINE__, "no VM could be made");
    else
        compare_with_processor(&m);
    close(m.vcpu);
    close(m.vm);
    close(m.kvm);
}

static const struct test tests[] = {
    {"as the manual says", as_the_manual_says},
    {"as the processor does", as_the_processor_does},
};

TEST_MAIN(tests)
