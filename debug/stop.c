/*
 * Sentences for stops. Main thread, machine parked.
 */
#include "debug/stop.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "debug/session_priv.h"
#include "debug/stop_error.h"
#include "debug/symbols/sym.h"
#include "disasm/disasm.h"

const char *stop_kind_name(enum stop_kind k)
{
    static const char *const names[STOP_KINDS] = {
        [STOP_NONE] = "none",
        [STOP_ENTRY] = "entry",
        [STOP_STEP] = "step",
        [STOP_BREAKPOINT] = "breakpoint",
        [STOP_WATCHPOINT] = "watchpoint",
        [STOP_CATCH] = "catchpoint",
        [STOP_TEMPORARY] = "arrived",
        [STOP_USER] = "interrupted",
        [STOP_HALTED] = "halted",
        [STOP_POWER_OFF] = "powered off",
        [STOP_DEBUG_EXIT] = "debug exit",
        [STOP_RESET] = "reset",
        [STOP_TRIPLE_FAULT] = "triple fault",
        [STOP_INTERNAL_ERROR] = "internal error",
        [STOP_STUCK] = "stuck",
        [STOP_HOOK] = "hook",
        [STOP_HOST_ERROR] = "host error",
    };

    return k < STOP_KINDS ? names[k] : "unknown";
}

/* Cut at the end rather than refused: a long symbol must not hide the story. */
static void say(struct stop_info *si, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct stop_info *si, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(si->text, sizeof si->text, fmt, ap);
    va_end(ap);
}

static const char *exception_name(int vector)
{
    static const char *const names[32] = {
        "#DE divide error",
        "#DB debug",
        "NMI",
        "#BP breakpoint",
        "#OF overflow",
        "#BR bound range",
        "#UD invalid opcode",
        "#NM no FPU",
        "#DF double fault",
        "coprocessor overrun",
        "#TS invalid TSS",
        "#NP segment not present",
        "#SS stack fault",
        "#GP general protection",
        "#PF page fault",
        "15",
        "#MF x87",
        "#AC alignment check",
        "#MC machine check",
        "#XM SIMD",
        "#VE virtualization",
        "#CP control protection",
    };

    return vector >= 0 && vector < 32 && names[vector] ? names[vector] : "an interrupt";
}

static void place_text(struct session *s, uint64_t addr, char *dst, size_t cap)
{
    char sym[96];

    if (symbols_format(session_symbols(s), addr, sym, sizeof sym))
        snprintf(dst, cap, "0x%llx <%s>", (unsigned long long)addr, sym);
    else
        snprintf(dst, cap, "0x%llx", (unsigned long long)addr);
}

/* With several vCPUs: also on which of them. */
static void where(struct session *s, const struct stop_info *si, char *dst, size_t cap)
{
    size_t len;

    place_text(s, si->cs_base + si->rip, dst, cap);
    len = strlen(dst);
    if (session_cpus(s) > 1)
        snprintf(dst + len, cap - len, " on vCPU %u", si->vcpu);
}

static void say_error(struct session *s, struct stop_info *si, const struct exit_event *ev,
                      const char *at)
{
    struct buf text = {0};

    stop_error_describe(s, si, ev, at, &text);
    say(si, "%s", buf_str(&text));
    buf_fini(&text);
}

static void say_triple(struct session *s, struct stop_info *si, const char *at)
{
    struct buf text = {0};

    stop_error_triple(s, si, at, exception_name(si->vector), &text);
    say(si, "%s", buf_str(&text));
    buf_fini(&text);
}

static const char *access_name(unsigned access)
{
    return access == WATCH_READ ? "read" : access == WATCH_WRITE ? "written" : "read and written";
}

static void describe_watch(struct session *s, struct stop_info *si, const struct point *p,
                           const char *at, const char *detail)
{
    char by[140] = "", cell[140];

    place_text(s, si->addr, cell, sizeof cell);
    if (si->device)
        snprintf(by, sizeof by, "device %.100s (DMA)", si->device);
    else if (si->by)
        place_text(s, si->by, by, sizeof by);
    say(si, "%s %d%s%.80s: %s at %s%s%s, old value 0x%0*llx, new value 0x%0*llx; now at %s%s%.150s",
        !p || p->spec.access != WATCH_READ
            ? p && p->spec.access == WATCH_ACCESS ? "Access watchpoint" : "Watchpoint"
            : "Read watchpoint",
        si->point_id, p && p->spec.location ? " " : "",
        p && p->spec.location ? p->spec.location : "", access_name(si->access), cell,
        *by ? " by " : "", by, (int)(2 * si->value_len), (unsigned long long)si->old_value,
        (int)(2 * si->value_len), (unsigned long long)si->new_value, at, *detail ? ": " : "",
        detail);
}

/* Points that were hit at the same moment, by the same instruction or exit. */
static void say_others(struct session *s, struct stop_info *si)
{
    const struct points *p = &s->engine.points;
    size_t len = strlen(si->text);

    si->others = 0;
    for (unsigned i = 0; i < p->count && len < sizeof si->text; i++) {
        const struct bp *b = p->bp[i];
        const struct point_spec *spec = &b->pub.spec;

        if (spec->hidden || b->pub.id == si->point_id ||
            !(atomic_load(&b->stopped) >> si->vcpu & 1))
            continue;
        if (!si->others) {
            len += (size_t)snprintf(si->text + len, sizeof si->text - len, "; at once ");
            si->others = len < sizeof si->text ? (unsigned)len : 0;
        }
        if (len >= sizeof si->text)
            break;
        len += (size_t)snprintf(si->text + len, sizeof si->text - len, "%s%s %d%s%.60s%s",
                                len > si->others ? ", " : "",
                                spec->kind == POINT_BREAK   ? "breakpoint"
                                : spec->kind == POINT_WATCH ? "watchpoint"
                                                            : "catchpoint",
                                b->pub.id, spec->location ? " (" : "",
                                spec->location ? spec->location : "", spec->location ? ")" : "");
    }
}

/* Instructions that a loop may wait with. */
static bool is_idle(const struct insn *in)
{
    return !strcmp(in->mnemonic, "pause") || !strcmp(in->mnemonic, "nop") ||
           (in->effects & INSN_HLT);
}

#define IDLE_MAX 4 /* instructions of such a loop */

/* Does the guest stand in a loop that does nothing, so that only an interrupt gets it out? */
static bool waits_in_loop(struct session *s, const struct stop_info *si)
{
    uint64_t here = si->cs_base + si->rip, at = here;
    struct insn in;
    unsigned i = 0;
    bool there;

    while ((there = session_insn(s, si->vcpu, at, &in)) && is_idle(&in) && i++ < IDLE_MAX)
        at += in.len;
    if (!there || i > IDLE_MAX || !(in.effects & INSN_JMP) || !in.has_target || in.target > here)
        return false;
    for (at = in.target, i = 0; at < here; at += in.len)
        if (!session_insn(s, si->vcpu, at, &in) || !is_idle(&in) || i++ >= IDLE_MAX)
            return false;
    return at == here;
}

/* How far a row of steps had come. */
static void say_steps(const struct session *s, struct stop_info *si)
{
    const struct cpu_job *job = &s->engine.job[si->vcpu];
    size_t len = strlen(si->text);

    if (job->kind == JOB_STEP && job->to == STEP_TO_COUNT && job->made && job->steps)
        snprintf(si->text + len, sizeof si->text - len, ", after %llu of %llu steps",
                 (unsigned long long)job->made, (unsigned long long)(job->made + job->steps));
    else if (job->kind == JOB_STEP && job->to != STEP_TO_COUNT && job->made)
        snprintf(si->text + len, sizeof si->text - len, ", after %llu steps",
                 (unsigned long long)job->made);
}

static void say_interrupted(struct session *s, struct stop_info *si, const char *at)
{
    const struct vcpu_state *st = session_cpu(s, si->vcpu, VS_REGS);

    if (!waits_in_loop(s, si))
        say(si, "Interrupted at %s", at);
    else if (st && (st->regs.rflags & 0x200))
        say(si, "Interrupted at %s, where the guest waits for interrupts in a loop", at);
    else
        say(si,
            "Interrupted at %s, where the guest waits in a loop with interrupts off: nothing but "
            "an "
            "NMI gets it out",
            at);
    say_steps(s, si);
}

void stop_describe(struct session *s, struct stop_info *si, const struct exit_event *ev)
{
    char at[128], detail[sizeof si->text];
    const struct point *p = session_point(s, si->point_id);

    where(s, si, at, sizeof at);
    snprintf(detail, sizeof detail, "%s", si->text);
    switch (si->kind) {
    case STOP_ENTRY:
        say(si, "Stopped before the first instruction at %s", at);
        break;
    case STOP_STEP:
        if (*detail)
            say(si, "%.400s", detail);
        else if (si->vector >= 0)
            say(si, "Entered the handler of vector %d (%s) at %s", si->vector,
                exception_name(si->vector), at);
        else
            say(si, "Stepped to %s", at);
        break;
    case STOP_BREAKPOINT:
        say(si, "%s %d, %s%s%.200s", p && p->spec.temporary ? "Temporary breakpoint" : "Breakpoint",
            si->point_id, at, *detail ? ": " : "", detail);
        break;
    case STOP_WATCHPOINT:
        describe_watch(s, si, p, at, detail);
        break;
    case STOP_CATCH:
        say(si, "Catchpoint %d (%s), %s%s%.200s", si->point_id,
            p && p->spec.location ? p->spec.location : "exit", at, *detail ? ": " : "", detail);
        break;
    case STOP_TEMPORARY:
        say(si, "Arrived at %s", at);
        break;
    case STOP_USER:
        say_interrupted(s, si, at);
        break;
    case STOP_HALTED:
        say(si, "The guest halted with interrupts off at %s: nothing can wake it", at);
        break;
    case STOP_POWER_OFF:
        say(si, "The guest powered off");
        break;
    case STOP_DEBUG_EXIT:
        say(si, "The guest wrote %u to the debug-exit port 0xf4 (exit status %u)", si->code,
            (si->code << 1 | 1) & 0xff);
        break;
    case STOP_RESET:
        say(si, "The guest asked for a reset at %s", at);
        break;
    case STOP_TRIPLE_FAULT:
        say_triple(s, si, at);
        break;
    case STOP_INTERNAL_ERROR:
    case STOP_STUCK:
    case STOP_HOST_ERROR:
        if (*detail)
            say(si, "At %s %.350s", at, detail);
        else if (ev)
            say_error(s, si, ev, at);
        break;
    case STOP_HOOK:
        say(si, "A hook stopped the guest at %s%s%s", at, *detail ? ": " : "", detail);
        break;
    case STOP_NONE:
    case STOP_KINDS:
        break;
    }
    if (si->point_id >= 0)
        say_others(s, si);
}
