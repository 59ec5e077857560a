/*
 * The local APICs as people see them: field table, description, names of registers. Called by
 * `info device lapic`, panels and traces with the machine lock held.
 */
#include "vmm/devices/lapic_int.h"

#include <inttypes.h>

#include "vmm/base/x.h"

static const char *const svr_bits[] = {"", "", "", "", "", "", "", "", "ENABLED", NULL};
static const char *const esr_bits[] = {"SEND_CHECKSUM", "RECV_CHECKSUM", "SEND_ACCEPT",
                                       "RECV_ACCEPT",   "REDIRECTABLE",  "SEND_VECTOR",
                                       "RECV_VECTOR",   "REGISTER",      NULL};
#define ROW(n, member, count_, bits_, help_)                                                       \
    {                                                                                              \
        .name = "cpu[" #n "]." #member, .offset = offsetof(struct lapic, cpu[n].member),           \
        .size = sizeof(((struct lapic *)0)->cpu[n].member) / (count_), .count = count_,            \
        .bits = bits_, .help = help_, .min_cpus = n + 1                                            \
    }
#define CPU(n)                                                                                     \
    ROW(n, tpr, 1, NULL, "task priority"), ROW(n, ldr, 1, NULL, "logical destination"),            \
        ROW(n, dfr, 1, NULL, "destination format: 0xffffffff flat, 0x0fffffff cluster"),           \
        ROW(n, svr, 1, svr_bits, "spurious vector and software enable"),                           \
        ROW(n, esr, 1, esr_bits, "error status as last latched"),                                  \
        ROW(n, esr_next, 1, esr_bits, "errors since then"),                                        \
        ROW(n, icr, 1, NULL, "interrupt command, low half"),                                       \
        ROW(n, icr2, 1, NULL, "interrupt command, high half: destination"),                        \
        ROW(n, lvt, LVTS, NULL, "timer, thermal, PMC, LINT0, LINT1, error"),                       \
        ROW(n, isr, 8, NULL, "vectors in service"),                                                \
        ROW(n, tmr, 8, NULL, "vectors that came level-triggered"),                                 \
        ROW(n, irr, 8, NULL, "vectors requested"), ROW(n, divide, 1, NULL, "timer divider"),       \
        ROW(n, initial, 1, NULL, "timer initial count"),                                           \
        ROW(n, zero_ns, 1, NULL, "guest time at which the timer reaches zero"),                    \
        ROW(n, fired_ns, 1, NULL, "guest time of its last interrupt"),                             \
        ROW(n, fired, 1, NULL, "timer interrupts given"),                                          \
        ROW(n, missed, 1, NULL, "timer interrupts that the host was too late for"),                \
        ROW(n, alarm.at_ns, 1, NULL, "guest time of the timer's alarm"),                           \
        ROW(n, extint, 1, NULL, "an ExtINT message waits")
const struct field lapic_fields[] = {
    CPU(0),
    CPU(1),
    CPU(2),
    CPU(3),
    CPU(4),
    CPU(5),
    CPU(6),
    CPU(7),
    CPU(8),
    CPU(9),
    CPU(10),
    CPU(11),
    CPU(12),
    CPU(13),
    CPU(14),
    CPU(15),
    FIELD(struct lapic, pic_level, NULL, "output of the 8259s, on LINT0 of vCPU 0"),
    FIELD(struct lapic, last_lowest, NULL, "vCPU that took the last lowest-priority message"),
    {0},
};

static void describe_set(const char *what, const uint32_t *set, struct buf *out)
{
    if (lapic_highest(set) < 0)
        return;
    buf_addf(out, "  %s:", what);
    for (unsigned v = 0; v < 256; v++)
        if (set[v / 32] >> (v & 31) & 1)
            buf_addf(out, " 0x%02x", v);
    buf_addc(out, '\n');
}

static void describe_timer(const struct lapic_cpu *c, struct buf *out)
{
    uint32_t lvt = c->lvt[LVT_TIMER];
    uint64_t period = c->initial * lapic_tick_ns(c);

    buf_addf(out, "  timer: %s, vector 0x%02x%s, divide by %u",
             lvt & LVT_PERIOD ? "periodic" : "one-shot", lvt & 0xff,
             lvt & LVT_MASKED ? ", masked" : "", (unsigned)lapic_tick_ns(c));
    if (c->zero_ns == DOOR_NEVER)
        buf_adds(out, ", stopped");
    else
        buf_addf(out, ", count %u of %u (%" PRIu64 " ns a turn)", lapic_timer_count(c), c->initial,
                 period);
    buf_addf(out, "; %" PRIu64 " given, %" PRIu64 " missed\n", c->fired, c->missed);
}

void lapic_describe(const struct dev *d, struct buf *out)
{
    static const char *const lvt_name[LVTS] = {"timer", "thermal", "PMC",
                                               "LINT0", "LINT1",   "error"};
    static const char *const mode_name[] = {
        "fixed", "lowest priority", "SMI", "reserved", "NMI", "INIT", "SIPI", "ExtINT"};
    const struct lapic *s = d->state;

    for (unsigned i = 0; i < d->m->cpus; i++) {
        const struct lapic_cpu *c = &s->cpu[i];
        int next = lapic_deliverable(c);

        buf_addf(out, "vCPU %u: APIC ID %u, %s, TPR 0x%02x, PPR 0x%02x, spurious vector 0x%02x\n",
                 i, i, lapic_enabled(c) ? "enabled" : "software-disabled (SVR bit 8 is 0)", c->tpr,
                 lapic_ppr(c), c->svr & 0xff);
        describe_set("requested (IRR)", c->irr, out);
        describe_set("in service (ISR)", c->isr, out);
        if (next >= 0)
            buf_addf(out, "  next: vector 0x%02x\n", (unsigned)next);
        else if (lapic_highest(c->irr) >= 0)
            buf_adds(out, "  requests wait: their class is not above PPR\n");
        describe_timer(c, out);
        for (unsigned k = LVT_THERMAL; k < LVTS; k++)
            if (!(c->lvt[k] & LVT_MASKED))
                buf_addf(out, "  %s: %s, vector 0x%02x\n", lvt_name[k],
                         mode_name[c->lvt[k] >> 8 & 7], c->lvt[k] & 0xff);
    }
}

const char *lapic_reg_name(const struct dev *d, uint64_t off, bool write)
{
    static const struct {
        uint16_t reg;
        const char *name;
    } names[] = {
        {R_ID, "LAPIC ID"},
        {R_VERSION, "LAPIC version"},
        {R_TPR, "LAPIC TPR"},
        {R_APR, "LAPIC APR"},
        {R_PPR, "LAPIC PPR"},
        {R_EOI, "LAPIC EOI"},
        {R_RRD, "LAPIC remote read"},
        {R_LDR, "LAPIC LDR"},
        {R_DFR, "LAPIC DFR"},
        {R_SVR, "LAPIC SVR"},
        {R_ESR, "LAPIC ESR"},
        {R_CMCI, "LAPIC LVT CMCI"},
        {R_ICR, "LAPIC ICR low"},
        {R_ICR2, "LAPIC ICR high"},
        {R_LVT, "LAPIC LVT timer"},
        {R_LVT + 0x10, "LAPIC LVT thermal"},
        {R_LVT + 0x20, "LAPIC LVT PMC"},
        {R_LVT + 0x30, "LAPIC LVT LINT0"},
        {R_LVT + 0x40, "LAPIC LVT LINT1"},
        {R_LVT + 0x50, "LAPIC LVT error"},
        {R_INITIAL, "LAPIC timer initial count"},
        {R_CURRENT, "LAPIC timer current count"},
        {R_DIVIDE, "LAPIC timer divide"},
    };

    (void)d;
    (void)write;
    if (off - R_ISR < 0x80)
        return "LAPIC ISR";
    if (off - R_TMR < 0x80)
        return "LAPIC TMR";
    if (off - R_IRR < 0x80)
        return "LAPIC IRR";
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].reg == (off & ~3ull))
            return names[i].name;
    return NULL;
}
