/*
 * The local APICs of all vCPUs, xAPIC mode, at 0xFEE00000 (each vCPU sees its own there). Source:
 * Intel SDM volume 3A, chapter 11 "Advanced Programmable Interrupt Controller"; section numbers
 * in comments are of that chapter. Called by the bus, irq.c, the IOAPIC and the vCPU loop with the
 * machine lock held.
 *
 * The timer's input is a bus of exactly 1 GHz in guest time, so an undivided count is a number of
 * nanoseconds. Guests measure it against the PIT, as they must on most hardware.
 *
 * Two settings after reset are those that firmware leaves, because most guests here start without
 * any: the boot processor's LINT0 is ExtINT (virtual wire from the 8259s) and LINT1 is NMI.
 */
#include "vmm/devices/lapic.h"

#include "vmm/devices/ioapic.h"
#include "vmm/devices/lapic_int.h"
#include "vmm/devices/table.h"
#include "vmm/machine.h"

#define VERSION         0x00050014u /* integrated APIC, six LVT entries */
#define ESR_SEND_VECTOR 0x20u
#define ESR_RECV_VECTOR 0x40u
#define ESR_REGISTER    0x80u
#define FIRE_MIN_NS     10000u /* the timer interrupts at most this often; the rest is missed */

static struct lapic_cpu *cpu_of(struct machine *m, unsigned cpu)
{
    struct lapic *s = machine_state(m, &lapic_dev);

    return s && cpu < m->cpus ? &s->cpu[cpu] : NULL;
}

bool lapic_enabled(const struct lapic_cpu *c)
{
    return c->svr & SVR_ENABLED;
}

int lapic_highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    return -1;
}

static void put(uint32_t *set, unsigned vector, bool on)
{
    uint32_t bit = 1u << (vector & 31);

    set[vector / 32] = on ? set[vector / 32] | bit : set[vector / 32] & ~bit;
}

/* 11.8.3.1: the higher class of the task and of what is in service. */
uint32_t lapic_ppr(const struct lapic_cpu *c)
{
    int isrv = lapic_highest(c->isr);

    if (isrv < 0 || (c->tpr >> 4) >= (uint32_t)isrv >> 4)
        return c->tpr;
    return (uint32_t)isrv & 0xf0;
}

int lapic_deliverable(const struct lapic_cpu *c)
{
    int v = lapic_highest(c->irr);

    return v >= 0 && (uint32_t)v >> 4 > lapic_ppr(c) >> 4 ? v : -1;
}

static void wake(const struct lapic_cpu *c)
{
    if (lapic_deliverable(c) >= 0)
        machine_attention(c->dev->m, c->index, CPU_ATTN_INTR);
}

static bool accept_fixed(struct lapic_cpu *c, uint8_t vector, bool level);

/* A record of what happened to an interrupt of this vCPU. */
static void tell(const struct lapic_cpu *c, enum device_event event, unsigned vector)
{
    int gsi = event == DEVICE_REQUEST || event == DEVICE_EOI
                  ? ioapic_gsi(c->dev->m, (uint8_t)vector)
                  : -1;

    machine_event(c->dev->m, &(struct exit_device){.event = (uint16_t)event,
                                                   .id = (uint8_t)c->dev->id,
                                                   .cpu = (uint8_t)c->index,
                                                   .line = gsi < 0 ? EXIT_NO_LINE : (uint16_t)gsi,
                                                   .vector = (uint16_t)vector});
}

/* 11.5.3: errors wait in esr_next until the guest writes ESR. */
static void error(struct lapic_cpu *c, uint32_t bit)
{
    uint32_t lvt = c->lvt[LVT_ERROR];

    c->esr_next |= bit;
    /* An illegal vector in this very entry must not raise itself again. */
    if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
        accept_fixed(c, (uint8_t)lvt, false);
}

static bool accept_fixed(struct lapic_cpu *c, uint8_t vector, bool level)
{
    if (!lapic_enabled(c))
        return false;
    if (vector < 16) {
        error(c, ESR_RECV_VECTOR);
        return false;
    }
    put(c->irr, vector, true);
    put(c->tmr, vector, level);
    tell(c, DEVICE_REQUEST, vector);
    wake(c);
    return true;
}

static void give_init(struct machine *m, unsigned cpu)
{
    /* A start-up message that came before INIT is forgotten by it. */
    m->cpu[cpu].sipi_vector = -1;
    atomic_fetch_and(&m->cpu[cpu].attention, ~CPU_ATTN_SIPI);
    machine_attention(m, cpu, CPU_ATTN_INIT);
}

static bool deliver(struct lapic_cpu *c, unsigned mode, uint8_t vector, bool level)
{
    struct machine *m = c->dev->m;

    switch (mode) {
    case D_FIXED:
    case D_LOWEST:
        return accept_fixed(c, vector, level);
    case D_NMI:
        tell(c, DEVICE_NMI, 2);
        machine_attention(m, c->index, CPU_ATTN_NMI);
        return true;
    case D_INIT:
        tell(c, DEVICE_INIT, EXIT_NO_VECTOR);
        give_init(m, c->index);
        return true;
    case D_SIPI:
        tell(c, DEVICE_SIPI, vector);
        m->cpu[c->index].sipi_vector = vector;
        machine_attention(m, c->index, CPU_ATTN_SIPI);
        return true;
    case D_EXTINT:
        c->extint = 1;
        machine_attention(m, c->index, CPU_ATTN_INTR);
        return true;
    default: /* SMI: this board has no system management mode */
        return false;
    }
}

/* 11.6.2: physical, logical flat and logical cluster destinations. */
static bool matches(const struct lapic_cpu *c, uint8_t dest, bool logical)
{
    uint8_t ldr = (uint8_t)(c->ldr >> 24);

    if (dest == 0xff)
        return true;
    if (!logical)
        return dest == c->index;
    if (c->dfr >> 28 == 0xf)
        return ldr & dest;
    return c->dfr >> 28 == 0 && ldr >> 4 == dest >> 4 && ldr & dest & 0xf;
}

/* 11.6.2.4: the lowest processor priority among the set; a tie goes round. */
static int lowest_of(struct machine *m, struct lapic *s, uint32_t set)
{
    int best = -1;

    for (unsigned k = 1; k <= m->cpus; k++) {
        unsigned i = (s->last_lowest + k) % m->cpus;

        if (!(set >> i & 1) || !lapic_enabled(&s->cpu[i]))
            continue;
        if (best < 0 || lapic_ppr(&s->cpu[i]) >> 4 < lapic_ppr(&s->cpu[best]) >> 4)
            best = (int)i;
    }
    if (best >= 0)
        s->last_lowest = (uint8_t)best;
    return best;
}

static bool deliver_set(struct machine *m, struct lapic *s, uint32_t set, unsigned mode,
                        uint8_t vector, bool level)
{
    bool taken = false;
    int one;

    if (mode == D_LOWEST) {
        one = lowest_of(m, s, set);
        return one >= 0 && deliver(&s->cpu[one], mode, vector, level);
    }
    for (unsigned i = 0; i < m->cpus; i++)
        if (set >> i & 1)
            taken |= deliver(&s->cpu[i], mode, vector, level);
    return taken;
}

static uint32_t destinations(struct machine *m, const struct lapic *s, uint8_t dest, bool logical)
{
    uint32_t set = 0;

    for (unsigned i = 0; i < m->cpus; i++)
        set |= (uint32_t)matches(&s->cpu[i], dest, logical) << i;
    return set;
}

bool lapic_message(struct machine *m, uint8_t dest, bool dest_mode_logical, unsigned delivery,
                   uint8_t vector, bool level_triggered)
{
    struct lapic *s = machine_state(m, &lapic_dev);

    return s && deliver_set(m, s, destinations(m, s, dest, dest_mode_logical), delivery, vector,
                            level_triggered);
}

/* 11.6.1: a write to the low half of the interrupt command register sends. */
static void send_ipi(struct machine *m, struct lapic *s, struct lapic_cpu *c)
{
    unsigned mode = c->icr >> 8 & 7, shorthand = c->icr >> 18 & 3;
    uint32_t self = 1u << c->index, all = (1u << m->cpus) - 1, set;
    uint8_t vector = (uint8_t)c->icr;

    switch (shorthand) {
    case 0:
        set = destinations(m, s, (uint8_t)(c->icr2 >> 24), c->icr >> 11 & 1);
        break;
    case 1:
        set = self;
        break;
    default:
        set = shorthand == 2 ? all : all & ~self;
        break;
    }
    if (mode <= D_LOWEST && vector < 16) {
        error(c, ESR_SEND_VECTOR);
        return;
    }
    /* INIT with level 0 and trigger level is the de-assert that only synchronises arbitration in
     * old processors. A shorthand that includes oneself does not exist for INIT and SIPI. */
    if (mode == D_INIT && !(c->icr & 0x4000) && c->icr & 0x8000)
        return;
    if ((mode == D_INIT || mode == D_SIPI) && (shorthand == 1 || shorthand == 2))
        set &= ~self;
    if (mode == D_RESERVED || mode == D_EXTINT)
        return;
    /* A message that nobody takes is no error since the Pentium 4 (11.5.3). */
    deliver_set(m, s, set, mode, vector, false);
}

/* 11.5.4: divider 1, 2, 4 … 128 from bits 3, 1 and 0. */
uint64_t lapic_tick_ns(const struct lapic_cpu *c)
{
    unsigned code = (c->divide & 3) | (c->divide >> 1 & 4);

    return 1ull << ((code + 1) & 7);
}

static void timer_arm(struct lapic_cpu *c)
{
    uint64_t at = c->lvt[LVT_TIMER] & LVT_MASKED ? DOOR_NEVER : c->zero_ns;

    if (c->fired && at < c->fired_ns + FIRE_MIN_NS)
        at = c->fired_ns + FIRE_MIN_NS;
    door_alarm(&c->dev->m->door, &c->alarm, at);
}

/* Brings the timer up to now: gives one interrupt for all the times it reached zero. */
static void timer_run(struct lapic_cpu *c)
{
    uint64_t now = door_now(&c->dev->m->door), period = c->initial * lapic_tick_ns(c), turns = 1;

    if (c->zero_ns > now)
        return;
    if (c->lvt[LVT_TIMER] & LVT_PERIOD && period) {
        turns += (now - c->zero_ns) / period;
        c->zero_ns += turns * period;
    } else {
        c->zero_ns = DOOR_NEVER;
    }
    if (c->lvt[LVT_TIMER] & LVT_MASKED)
        return;
    c->fired++;
    c->missed += turns - 1;
    c->fired_ns = now;
    accept_fixed(c, (uint8_t)c->lvt[LVT_TIMER], false);
}

static void on_alarm(void *arg)
{
    timer_run(arg);
    timer_arm(arg);
}

uint32_t lapic_timer_count(const struct lapic_cpu *c)
{
    uint64_t now = door_now(&c->dev->m->door), tick = lapic_tick_ns(c);

    if (c->zero_ns == DOOR_NEVER || c->zero_ns <= now)
        return 0;
    return (uint32_t)((c->zero_ns - now + tick - 1) / tick);
}

static void timer_start(struct lapic_cpu *c, uint32_t count)
{
    c->zero_ns = count ? door_now(&c->dev->m->door) + count * lapic_tick_ns(c) : DOOR_NEVER;
    timer_arm(c);
}

/* Level of the 8259s on LINT0 of vCPU 0 (11.5.1, delivery modes of LINT0). */
static void lint0_level(struct lapic_cpu *c, bool level, bool rose)
{
    uint32_t lvt = c->lvt[LVT_LINT0];
    unsigned mode = lvt >> 8 & 7;

    if (!lapic_enabled(c) || (mode == D_EXTINT && !(lvt & LVT_MASKED))) {
        if (level)
            machine_attention(c->dev->m, c->index, CPU_ATTN_INTR);
        return;
    }
    if (lvt & LVT_MASKED || !level)
        return;
    if (mode == D_FIXED && lvt & LVT_LEVEL) {
        if (!(lvt & LVT_REMOTE) && accept_fixed(c, (uint8_t)lvt, true))
            c->lvt[LVT_LINT0] |= LVT_REMOTE;
    } else if (rose && (mode == D_FIXED || mode == D_NMI || mode == D_INIT)) {
        deliver(c, mode, (uint8_t)lvt, false);
    }
}

void lapic_pic_output(struct machine *m, bool level)
{
    struct lapic *s = machine_state(m, &lapic_dev);
    bool rose;

    if (!s)
        return;
    rose = level && !s->pic_level;
    s->pic_level = level;
    lint0_level(&s->cpu[0], level, rose);
}

/* After a change that may have opened LINT0, or lowered the priority. */
static void look_again(struct machine *m, struct lapic_cpu *c)
{
    const struct lapic *s = machine_state(m, &lapic_dev);

    wake(c);
    if (c->index == 0)
        lint0_level(c, s->pic_level, false);
}

/* 11.8.5: ends the most urgent service; a level-triggered one is told to the IOAPIC. */
static void write_eoi(struct machine *m, struct lapic_cpu *c)
{
    int v = lapic_highest(c->isr);

    if (v < 0)
        return;
    put(c->isr, (unsigned)v, false);
    tell(c, DEVICE_EOI, (unsigned)v);
    if (c->tmr[v / 32] >> (v & 31) & 1) {
        if (c->lvt[LVT_LINT0] & LVT_REMOTE && (int)(c->lvt[LVT_LINT0] & 0xff) == v)
            c->lvt[LVT_LINT0] &= ~LVT_REMOTE;
        ioapic_eoi(m, (uint8_t)v);
    }
    look_again(m, c);
}

/* 11.4.7.2: software disable masks every local vector, and they stay so. */
static void write_svr(struct machine *m, struct lapic_cpu *c, uint32_t v)
{
    bool was = lapic_enabled(c);

    c->svr = v & 0x3ff;
    if (!lapic_enabled(c)) {
        for (unsigned i = 0; i < LVTS; i++)
            if (was)
                c->lvt[i] |= LVT_MASKED;
        timer_arm(c);
    }
    look_again(m, c);
    if (lapic_enabled(c) && !was)
        ioapic_retry(m);
}

static void write_lvt(struct machine *m, struct lapic_cpu *c, unsigned i, uint32_t v)
{
    static const uint32_t writable[LVTS] = {0x300ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

    c->lvt[i] = (v & writable[i]) | (c->lvt[i] & LVT_REMOTE);
    if (!lapic_enabled(c))
        c->lvt[i] |= LVT_MASKED;
    if (!(c->lvt[i] & LVT_LEVEL))
        c->lvt[i] &= ~LVT_REMOTE;
    if (i == LVT_TIMER)
        timer_arm(c);
    if (i == LVT_LINT0)
        look_again(m, c);
}

static void write_divide(struct lapic_cpu *c, uint32_t v)
{
    uint32_t left = lapic_timer_count(c);

    c->divide = v & 0xb;
    timer_start(c, left);
}

static void write_reg(struct machine *m, struct lapic *s, struct lapic_cpu *c, uint32_t reg,
                      uint32_t v)
{
    switch (reg) {
    case R_TPR:
        c->tpr = v & 0xff;
        look_again(m, c);
        break;
    case R_EOI:
        write_eoi(m, c);
        break;
    case R_LDR:
        c->ldr = v & 0xff000000;
        break;
    case R_DFR:
        c->dfr = v | 0x0fffffff;
        break;
    case R_SVR:
        write_svr(m, c, v);
        break;
    case R_ESR:
        c->esr = c->esr_next;
        c->esr_next = 0;
        break;
    case R_ICR:
        c->icr = v & 0xccfff; /* delivery status (bit 12) always reads idle */
        send_ipi(m, s, c);
        break;
    case R_ICR2:
        c->icr2 = v & 0xff000000;
        break;
    case R_INITIAL:
        c->initial = v;
        timer_start(c, v);
        break;
    case R_DIVIDE:
        write_divide(c, v);
        break;
    default:
        if (reg - R_LVT < LVTS * 0x10)
            write_lvt(m, c, (reg - R_LVT) / 0x10, v);
        else if (reg != R_ID) /* fixed here, as on current processors */
            error(c, ESR_REGISTER);
        break;
    }
}

static uint32_t read_reg(struct lapic_cpu *c, uint32_t reg)
{
    if (reg - R_ISR < 0x80)
        return c->isr[(reg - R_ISR) / 0x10];
    if (reg - R_TMR < 0x80)
        return c->tmr[(reg - R_TMR) / 0x10];
    if (reg - R_IRR < 0x80)
        return c->irr[(reg - R_IRR) / 0x10];
    if (reg - R_LVT < LVTS * 0x10)
        /* cppcheck-suppress arrayIndexOutOfBoundsCond ; the comparisons above are unsigned */
        return c->lvt[(reg - R_LVT) / 0x10];
    switch (reg) {
    case R_ID:
        return c->index << 24;
    case R_VERSION:
        return VERSION;
    case R_TPR:
        return c->tpr;
    case R_APR:
    case R_PPR:
        return lapic_ppr(c);
    case R_LDR:
        return c->ldr;
    case R_DFR:
        return c->dfr;
    case R_SVR:
        return c->svr;
    case R_ESR:
        return c->esr;
    case R_ICR:
        return c->icr;
    case R_ICR2:
        return c->icr2;
    case R_INITIAL:
        return c->initial;
    case R_CURRENT:
        return lapic_timer_count(c);
    case R_DIVIDE:
        return c->divide;
    case R_EOI:
    case R_RRD:
        return 0;
    default:
        error(c, ESR_REGISTER);
        return 0;
    }
}

/* 11.4.1: registers are 32 bits wide and 16 bytes apart. Narrow reads give their part, anything
 * else is undefined there and nothing here. */
static uint64_t mmio(struct dev *d, unsigned vcpu, uint64_t off, unsigned size, bool write,
                     uint64_t value)
{
    struct lapic *s = d->state;
    struct lapic_cpu *c;

    if (vcpu >= d->m->cpus || off >= 0x400 || (off & 0xf) >= 4)
        return 0;
    c = &s->cpu[vcpu];
    timer_run(c);
    if (write) {
        if (size >= 4 && !(off & 3))
            write_reg(d->m, s, c, (uint32_t)off, (uint32_t)value);
        return 0;
    }
    return read_reg(c, (uint32_t)off & 0xff0) >> (off & 3) * 8;
}

int lapic_pending(struct machine *m, unsigned cpu)
{
    const struct lapic_cpu *c = cpu_of(m, cpu);

    return c ? lapic_deliverable(c) : -1;
}

int lapic_ack(struct machine *m, unsigned cpu)
{
    struct lapic_cpu *c = cpu_of(m, cpu);
    int v = c ? lapic_deliverable(c) : -1;

    if (v < 0)
        return -1;
    put(c->irr, (unsigned)v, false);
    put(c->isr, (unsigned)v, true);
    return v;
}

bool lapic_accepts_extint(struct machine *m, unsigned cpu)
{
    const struct lapic_cpu *c = cpu_of(m, cpu);
    uint32_t lvt;

    if (!c)
        return false;
    lvt = c->lvt[LVT_LINT0];
    if (c->extint)
        return true;
    if (cpu)
        return false; /* the 8259s are wired to the boot processor */
    return !lapic_enabled(c) || (!(lvt & LVT_MASKED) && (lvt >> 8 & 7) == D_EXTINT);
}

void lapic_extint_done(struct machine *m, unsigned cpu)
{
    struct lapic_cpu *c = cpu_of(m, cpu);

    if (c)
        c->extint = 0;
}

void lapic_set_cr8(struct machine *m, unsigned cpu, uint8_t cr8)
{
    struct lapic_cpu *c = cpu_of(m, cpu);

    if (!c || c->tpr >> 4 == (cr8 & 0xf))
        return;
    c->tpr = (cr8 & 0xfu) << 4;
    look_again(m, c);
}

uint8_t lapic_cr8(struct machine *m, unsigned cpu)
{
    const struct lapic_cpu *c = cpu_of(m, cpu);

    return c ? (uint8_t)(c->tpr >> 4) : 0;
}

/* 11.4.7.1 and 11.4.7.3: after power-on, reset and INIT. */
void lapic_init_cpu(struct machine *m, unsigned cpu)
{
    struct lapic_cpu *c = cpu_of(m, cpu), fresh;

    if (!c)
        return;
    door_alarm_off(&m->door, &c->alarm);
    fresh = (struct lapic_cpu){.dev = c->dev,
                               .index = c->index,
                               .alarm = c->alarm,
                               .dfr = UINT32_MAX,
                               .svr = 0xff,
                               .zero_ns = DOOR_NEVER};
    for (unsigned i = 0; i < LVTS; i++)
        fresh.lvt[i] = LVT_MASKED;
    if (!cpu) {
        fresh.lvt[LVT_LINT0] = D_EXTINT << 8;
        fresh.lvt[LVT_LINT1] = D_NMI << 8;
    }
    *c = fresh;
    look_again(m, c);
}

static int init(struct dev *d, struct err *e)
{
    struct lapic *s = d->state;

    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
        struct lapic_cpu *c = &s->cpu[i];

        c->dev = d;
        c->index = i;
        c->zero_ns = DOOR_NEVER;
        c->alarm = (struct alarm){.at_ns = DOOR_NEVER,
                                  .fn = on_alarm,
                                  .arg = c,
                                  .dev = (uint8_t)d->id,
                                  .cpu = (uint8_t)(i + 1)};
    }
    return bus_claim_range(&d->m->bus, d, LAPIC_BASE, 0x1000, e);
}

static void fini(struct dev *d)
{
    struct lapic *s = d->state;

    for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
        door_alarm_off(&d->m->door, &s->cpu[i].alarm);
}

static void reset(struct dev *d)
{
    struct lapic *s = d->state;

    s->last_lowest = (uint8_t)(d->m->cpus - 1);
    s->pic_level = 0;
    for (unsigned i = 0; i < d->m->cpus; i++)
        lapic_init_cpu(d->m, i);
}

const struct dev_ops lapic_dev = {
    .name = "lapic",
    .help = "local APICs of all vCPUs (memory 0xFEE00000), timer bus 1 GHz",
    .state_bytes = sizeof(struct lapic),
    .fields = lapic_fields,
    .in_kernel = true,
    .init = init,
    .fini = fini,
    .reset = reset,
    .mmio = mmio,
    .describe = lapic_describe,
    .reg_name = lapic_reg_name,
};
