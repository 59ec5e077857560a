/*
 * Catchpoints other than by address. See catch.h.
 */
#include "debug/points/catch.h"

#include <stdio.h>
#include <string.h>

#include "debug/engine/engine.h"
#include "vmm/base/le.h"

static bool is_of(const struct bp *b, enum catch_what what)
{
    return b->pub.spec.catch_what == what;
}

/* The record's filter comes first and is no hit that was refused: it says which exits are meant. */
static bool meant(struct engine *g, struct vcpu *v, const struct bp *b, const struct exit_event *ev)
{
    uint64_t value;

    return !b->filter || engine_eval(g, v, b->filter, ev, &value, NULL) < 0 || value;
}

static bool kind_meant(const struct point_spec *spec, unsigned reason)
{
    return spec->catch_reason == reason ||
           (spec->catch_reason < reason && reason <= spec->catch_reason_last);
}

/* What the frame on the handler's stack tells of the instruction that faulted. */
static void tell_exception(struct vcpu *v, int vector, char *dst, size_t cap)
{
    bool real = !(v->sregs->cr0 & 1), has_code;
    unsigned slot = real ? 2 : v->sregs->efer & 0x400 ? 8 : 4;
    char code[40] = "", address[40] = "";
    uint8_t raw[16] = {0};
    struct walk_regs r;

    *dst = 0;
    has_code = !real && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17);
    vcpu_walk_regs(v, &r);
    if (walk_read(&v->vm->mem, &r, v->sregs->ss.base + v->regs->rsp, raw, slot * 2) != slot * 2)
        return;
    if (has_code)
        snprintf(code, sizeof code, ", error code 0x%llx", (unsigned long long)le_load(raw, slot));
    if (vector == 14)
        snprintf(address, sizeof address, ", address 0x%llx", (unsigned long long)v->sregs->cr2);
    snprintf(dst, cap, "vector %d (%s)%s%s, raised at 0x%llx", vector,
             exit_vector_name((unsigned)vector), code, address,
             (unsigned long long)le_load(raw + (has_code ? slot : 0), slot));
}

/* `detail` (NULL: what the record says) is told by the stop too, unless that has a text of its own.
 */
static bool hit_told(struct engine *g, struct vcpu *v, struct bp *b, struct exit_event *ev,
                     const char *detail)
{
    struct stop_info *si = engine_point_hit(g, v, b, ev, detail);
    struct buf line = {0};

    if (!si || si->point_id != b->pub.id || si->text[0])
        return si != NULL;
    if (!detail && ev)
        engine_exit_text(g, ev, &line);
    snprintf(si->text, sizeof si->text, "%.400s", detail ? detail : buf_str(&line));
    buf_fini(&line);
    return true;
}

void catch_exits(struct engine *g, struct vcpu *v, struct exit_event *ev)
{
    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];

        if (is_of(b, CATCH_EXIT) && kind_meant(&b->pub.spec, ev->reason) &&
            !(ev->flags & EXIT_F_RAM) && meant(g, v, b, ev) && hit_told(g, v, b, ev, NULL))
            ev->flags |= EXIT_F_STOPPED;
    }
}

bool catch_exceptions(struct engine *g, struct vcpu *v, uint32_t vectors)
{
    bool stops = false;

    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];
        int want = b->pub.spec.catch_vector;
        uint32_t match = want < 0 ? vectors : vectors & 1u << want;
        struct exit_event ev;
        char detail[200];

        if (!is_of(b, CATCH_EXCEPTION) || !match)
            continue;
        vcpu_inject_event(v, (uint32_t)__builtin_ctz(match), &ev);
        ev.u.inject.kind = 2;
        tell_exception(v, __builtin_ctz(match), detail, sizeof detail);
        if (!hit_told(g, v, b, &ev, detail))
            continue;
        stops = true;
        g->report[v->id].info.vector = __builtin_ctz(match);
    }
    return stops;
}

/* Is the next instruction CPUID? Prefixes change nothing about it. */
static bool at_cpuid(struct vcpu *v)
{
    uint8_t b[15];
    unsigned n = vcpu_fetch(v, b), i = 0;

    while (i < n && (b[i] == 0x66 || b[i] == 0x67 || b[i] == 0x2e || b[i] == 0x3e || b[i] == 0x26 ||
                     b[i] == 0x36 || (b[i] & 0xfe) == 0x64 || (b[i] & 0xfe) == 0xf2 ||
                     (v->sregs->cs.l && (b[i] & 0xf0) == 0x40)))
        i++;
    return i + 1 < n && b[i] == 0x0f && b[i + 1] == 0xa2;
}

void catch_look(const struct engine *g, struct vcpu *v, struct catch_before *before)
{
    before->mode = cpu_mode_of(v->sregs, v->regs->rflags);
    before->cpl = cpu_cpl(v->sregs);
    before->cr3 = v->sregs->cr3;
    before->rip = v->sregs->cs.base + v->regs->rip;
    before->is_cpuid = g->points.catch_cpuids && at_cpuid(v);
    before->leaf = (uint32_t)v->regs->rax;
    before->subleaf = (uint32_t)v->regs->rcx;
}

/* The instruction was made, and no fault took its place. */
static bool was_cpuid(const struct catch_before *before, const struct vcpu *v)
{
    uint64_t len = v->sregs->cs.base + v->regs->rip - before->rip;

    return before->is_cpuid && len >= 2 && len <= 15;
}

static void tell_change(const struct bp *b, const struct vcpu *v, const struct catch_before *before,
                        const struct catch_before *now, char *dst, size_t cap)
{
    if (is_of(b, CATCH_MODE))
        snprintf(dst, cap, "from %s, ring %u, to %s, ring %u", cpu_mode_name(before->mode),
                 before->cpl, cpu_mode_name(now->mode), now->cpl);
    else if (is_of(b, CATCH_CR3))
        snprintf(dst, cap, "CR3 from 0x%llx to 0x%llx", (unsigned long long)before->cr3,
                 (unsigned long long)now->cr3);
    else
        snprintf(dst, cap,
                 "CPUID leaf 0x%x, subleaf 0x%x at 0x%llx answered eax 0x%x, ebx 0x%x, ecx 0x%x, "
                 "edx 0x%x",
                 before->leaf, before->subleaf, (unsigned long long)before->rip,
                 (uint32_t)v->regs->rax, (uint32_t)v->regs->rbx, (uint32_t)v->regs->rcx,
                 (uint32_t)v->regs->rdx);
}

bool catch_changes(struct engine *g, struct vcpu *v, const struct catch_before *before)
{
    struct catch_before now;
    bool stops = false;

    catch_look(g, v, &now);
    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];
        const struct point_spec *spec = &b->pub.spec;
        struct exit_event ev;
        char detail[200];

        if (!(is_of(b, CATCH_MODE) && (now.mode != before->mode || now.cpl != before->cpl)) &&
            !(is_of(b, CATCH_CR3) && now.cr3 != before->cr3) &&
            !(is_of(b, CATCH_CPUID) && was_cpuid(before, v) &&
              (!spec->catch_has_leaf || spec->catch_leaf == before->leaf)))
            continue;
        vcpu_event_here(v, KVM_EXIT_DEBUG, &ev);
        if (!meant(g, v, b, &ev))
            continue;
        tell_change(b, v, before, &now, detail, sizeof detail);
        stops |= hit_told(g, v, b, &ev, detail);
    }
    return stops;
}

int catch_of(struct engine *g, struct vcpu *v, enum catch_what what, struct exit_event *ev)
{
    int first = -1;

    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];

        if (is_of(b, what) && meant(g, v, b, ev) && hit_told(g, v, b, ev, NULL) && first < 0)
            first = b->pub.id;
    }
    return first;
}

/* Where the channel is after a byte of an escape sequence (ECMA-48, and xterm's title strings). */
enum { ESC_NONE, ESC_BEGUN, ESC_ONE_MORE, ESC_CSI, ESC_STRING, ESC_STRING_END };

static uint8_t escape_next(uint8_t state, char byte)
{
    switch (state) {
    case ESC_BEGUN:
        return byte == '['                  ? ESC_CSI
               : strchr("]P_^X", byte)      ? ESC_STRING
               : byte >= ' ' && byte <= '/' ? ESC_ONE_MORE
                                            : ESC_NONE;
    case ESC_CSI:
        return byte >= 0x40 && byte <= 0x7e ? ESC_NONE : ESC_CSI;
    case ESC_STRING:
        return byte == 7 ? ESC_NONE : byte == 0x1b ? ESC_STRING_END : ESC_STRING;
    default:
        return ESC_NONE;
    }
}

static void tail_add(struct console_tail *t, char byte)
{
    if (t->len == CONSOLE_MATCH_MAX)
        memmove(t->bytes, t->bytes + 1, --t->len);
    t->bytes[t->len++] = byte;
}

static bool tail_is(const struct console_tail *t, const char *text, size_t n)
{
    return n && n <= t->len && !memcmp(t->bytes + t->len - n, text, n);
}

/* One byte more: true when it belongs to the text that is seen. */
static bool console_add(struct console_match *m, enum console_chan chan, char byte)
{
    uint8_t *state = &m->escape[chan];

    tail_add(&m->raw[chan], byte);
    if (byte == 0x1b && *state != ESC_STRING) {
        *state = ESC_BEGUN;
        return false;
    }
    if (*state != ESC_NONE) {
        *state = escape_next(*state, byte);
        return false;
    }
    tail_add(&m->plain[chan], byte);
    return true;
}

void catch_console(struct engine *g, enum console_chan chan, const void *bytes, size_t len)
{
    struct console_match *m = &g->console;
    const struct vcpu *v = vcpu_self();
    unsigned by = v ? v->id : 0; /* an alarm or input on the main thread */

    for (size_t i = 0; i < len; i++) {
        bool seen = console_add(m, chan, ((const char *)bytes)[i]);

        for (unsigned k = 0; k < g->points.catches; k++) {
            struct bp *b = g->points.catch_bp[k];
            const char *text = b->pub.spec.catch_text;
            bool raw;

            if (!is_of(b, CATCH_CONSOLE))
                continue;
            raw = strchr(text, 0x1b); /* who looks for an escape sequence finds it */
            if ((!raw && !seen) ||
                !tail_is(raw ? &m->raw[chan] : &m->plain[chan], text, strlen(text)))
                continue;
            atomic_fetch_add(&b->text_seen[by], 1);
            atomic_fetch_or(&m->due, 1u << by);
        }
    }
}

void catch_texts(struct engine *g, struct vcpu *v)
{
    atomic_fetch_and(&g->console.due, ~(1u << v->id));
    for (unsigned i = 0; i < g->points.catches; i++) {
        struct bp *b = g->points.catch_bp[i];
        unsigned seen = is_of(b, CATCH_CONSOLE) ? atomic_exchange(&b->text_seen[v->id], 0) : 0;

        while (seen--)
            hit_told(g, v, b, NULL, b->pub.spec.catch_text);
    }
}
