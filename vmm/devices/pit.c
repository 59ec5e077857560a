/*
 * The 8254 programmable interval timer and port 0x61, which gates its channel 2 and shows its
 * output. Section names are those of Intel's 8254 data sheet (order number 231164). Called by the
 * bus and by the door's alarm with the machine lock held.
 *
 * A channel is a function of guest time: it stores the tick at which its counter was loaded, and
 * count and output are computed from the ticks gone by, so nothing drifts. One alarm, for the next
 * rising edge of channel 0's output, drives IRQ 0; when the host comes late, edges that fell
 * together give one interrupt and are counted in `missed`.
 */
#include <inttypes.h>

#include "vmm/base/x.h"
#include "vmm/devices/table.h"
#include "vmm/devices/ticks.h"
#include "vmm/machine.h"

#define PIT_HZ      1193182u
#define PORT_CH0    0x40
#define PORT_CTRL   0x43
#define PORT_61     0x61
#define REFRESH     18u    /* ticks between memory refreshes, as firmware sets channel 1 */
#define EDGE_MIN_NS 10000u /* IRQ 0 comes at most this often; edges in between are missed */
#define P61_GATE2   1u
#define NEVER       INT64_MAX

struct pit_channel {
    uint8_t control; /* last control word: access, mode, BCD */
    uint8_t mode;    /* 0-5 */
    uint8_t access;  /* 1 low byte, 2 high byte, 3 low then high */
    uint8_t bcd;
    uint8_t gate;
    uint8_t loaded;               /* a count was written after the control word */
    uint8_t triggered;            /* modes 1 and 5: the gate rose after that */
    uint8_t idle_out;             /* OUT while not loaded */
    uint8_t write_high, low_byte; /* access 3: the low byte is here, the high one comes next */
    uint8_t read_high;
    uint8_t latched; /* bytes of the latched count still to read */
    uint8_t status, status_latched;
    uint16_t latch;
    uint16_t frozen;     /* what an unloaded counter reads */
    uint32_t count;      /* 1 to 65536, in use */
    uint32_t next_count; /* waits for the end of the cycle or the trigger; 0: none */
    int64_t start;       /* tick of loading */
    int64_t held;        /* ticks done when the gate stopped the count; -1: it runs */
    int64_t switch_at;   /* when next_count takes over (modes 2, 3) */
};
struct pit {
    struct pit_channel ch[3];
    uint8_t port61;
    int64_t seen; /* channel 0: edges up to this tick were given */
    uint64_t edge_ns;
    uint64_t edges, missed;
    struct alarm alarm;
};

static const char *const p61_bits[] = {"GATE2", "SPEAKER", NULL};
#define CHANNEL(n)                                                                                 \
    FIELD(struct pit, ch[n].control, NULL, "control word"),                                        \
        FIELD(struct pit, ch[n].mode, NULL, "mode 0 to 5"),                                        \
        FIELD(struct pit, ch[n].access, NULL, "1 low byte, 2 high byte, 3 low then high"),         \
        FIELD(struct pit, ch[n].bcd, NULL, "counts in BCD"),                                       \
        FIELD(struct pit, ch[n].gate, NULL, "gate input"),                                         \
        FIELD(struct pit, ch[n].loaded, NULL, "has a count"),                                      \
        FIELD(struct pit, ch[n].triggered, NULL, "modes 1, 5: the gate has risen"),                \
        FIELD(struct pit, ch[n].idle_out, NULL, "output until it is loaded"),                      \
        FIELD(struct pit, ch[n].write_high, NULL, "the next write is the high byte"),              \
        FIELD(struct pit, ch[n].low_byte, NULL, "low byte that waits for it"),                     \
        FIELD(struct pit, ch[n].read_high, NULL, "the next read is the high byte"),                \
        FIELD(struct pit, ch[n].latched, NULL, "bytes of the latched count to read"),              \
        FIELD(struct pit, ch[n].latch, NULL, "latched count"),                                     \
        FIELD(struct pit, ch[n].status_latched, NULL, "a latched status waits"),                   \
        FIELD(struct pit, ch[n].status, NULL, "latched status"),                                   \
        FIELD(struct pit, ch[n].frozen, NULL, "count of a stopped counter"),                       \
        FIELD(struct pit, ch[n].count, NULL, "count in use, 1 to 65536"),                          \
        FIELD(struct pit, ch[n].next_count, NULL, "count for the next cycle, 0: none"),            \
        FIELD(struct pit, ch[n].start, NULL, "tick at which it was loaded"),                       \
        FIELD(struct pit, ch[n].held, NULL, "ticks done when the gate stopped it"),                \
        FIELD(struct pit, ch[n].switch_at, NULL, "tick at which next_count takes over")
static const struct field fields[] = {
    CHANNEL(0),
    CHANNEL(1),
    CHANNEL(2),
    FIELD(struct pit, port61, p61_bits, "port 0x61 as written"),
    FIELD(struct pit, seen, NULL, "tick up to which IRQ 0 was given"),
    FIELD(struct pit, edge_ns, NULL, "guest time of the last IRQ 0"),
    FIELD(struct pit, edges, NULL, "rising edges given as IRQ 0"),
    FIELD(struct pit, missed, NULL, "edges that the host was too late for"),
    FIELD(struct pit, alarm.at_ns, NULL, "guest time of the next alarm"),
    {0},
};

static int64_t now_tick(const struct dev *d)
{
    return (int64_t)ticks_at(door_now(&d->m->door), PIT_HZ);
}

static uint32_t high_part(uint32_t n)
{
    return (n + 1) / 2;
}

static bool is_periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Ticks since the counter was loaded; -1 before the clock pulse that loads it. */
static int64_t elapsed(const struct pit_channel *c, int64_t now)
{
    if (c->held >= 0)
        return c->held;
    return now < c->start ? -1 : now - c->start;
}

/* "Mode definitions", state of the OUT pin. */
static bool out_level(const struct pit_channel *c, int64_t now)
{
    int64_t e = elapsed(c, now), n = c->count;

    if (!c->loaded)
        return c->idle_out;
    switch (c->mode) {
    case 0:
        return e >= n;
    case 1:
        return !c->triggered || e < 0 || e >= n;
    case 2:
        return !c->gate || e < 0 || e % n != n - 1;
    case 3:
        return !c->gate || e < 0 || e % n < high_part(c->count);
    case 4:
        return e != n;
    default:
        return !c->triggered || e != n;
    }
}

static uint16_t to_bcd(uint32_t v)
{
    return (uint16_t)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

/* What the counting element holds. Mode 3 counts down by two, from an even number. */
static uint16_t counting(const struct pit_channel *c, int64_t now)
{
    int64_t e = elapsed(c, now), n = c->count, wrap = c->bcd ? 10000 : 65536, v;

    if (!c->loaded || ((c->mode == 1 || c->mode == 5) && !c->triggered))
        return c->frozen;
    if (e < 0)
        e = 0;
    if (c->mode == 2) {
        v = n - e % n;
    } else if (c->mode == 3) {
        int64_t high = high_part(c->count), phase = e % n;

        v = (n & ~1ll) - 2 * (phase < high ? phase : phase - high);
    } else {
        v = (n - e) % wrap;
    }
    v = (v % wrap + wrap) % wrap;
    return c->bcd ? to_bcd((uint32_t)v) : (uint16_t)v;
}

/* A periodic channel's new count takes over at its time ("Mode 2", "Mode 3": writing a new
 * count). In mode 3 that may be in the middle, where the low half begins. */
static bool switch_count(struct pit_channel *c, int64_t now)
{
    bool half;

    if (!c->next_count || !c->loaded || !is_periodic(c) || c->switch_at > now)
        return false;
    half = c->mode == 3 && (c->switch_at - c->start) % c->count != 0;
    c->count = c->next_count;
    c->next_count = 0;
    c->start = c->switch_at - (half ? high_part(c->count) : 0);
    return true;
}

/* Rising edges of OUT in (from, to], both within one loading of the counter. */
static int64_t rises(const struct pit_channel *c, int64_t from, int64_t to)
{
    int64_t n = c->count, at;

    if (!c->loaded || c->held >= 0 || to < c->start)
        return 0;
    if (from < c->start)
        from = c->start;
    if (is_periodic(c))
        return (to - c->start) / n - (from - c->start) / n;
    if (c->mode != 0 && c->mode != 4)
        return 0;
    at = c->start + n + (c->mode == 4);
    return from < at && at <= to;
}

static int64_t next_rise(const struct pit_channel *c, int64_t now)
{
    int64_t n = c->count, at;

    if (!c->loaded || c->held >= 0)
        return NEVER;
    if (is_periodic(c)) {
        at = now < c->start ? c->start + n : c->start + ((now - c->start) / n + 1) * n;
        return c->next_count && c->switch_at < at ? c->switch_at : at;
    }
    at = c->start + n + (c->mode == 4);
    return (c->mode == 0 || c->mode == 4) && at > now ? at : NEVER;
}

static void arm(struct dev *d)
{
    struct pit *p = d->state;
    int64_t at = next_rise(&p->ch[0], p->seen);
    uint64_t ns = at == NEVER ? DOOR_NEVER : ticks_ns((uint64_t)at, PIT_HZ);

    if (p->edges && ns < p->edge_ns + EDGE_MIN_NS)
        ns = p->edge_ns + EDGE_MIN_NS;
    door_alarm(&d->m->door, &p->alarm, ns);
}

/* Brings every channel up to now and gives channel 0's edges. */
static void run(struct dev *d)
{
    struct pit *p = d->state;
    int64_t now = now_tick(d), n = 0;

    if (p->ch[0].next_count && p->ch[0].switch_at <= now) {
        n = rises(&p->ch[0], p->seen, p->ch[0].switch_at);
        p->seen = p->ch[0].switch_at;
    }
    for (unsigned i = 0; i < 3; i++)
        switch_count(&p->ch[i], now);
    n += rises(&p->ch[0], p->seen, now);
    p->seen = now;
    if (n) {
        p->edges++;
        p->missed += (uint64_t)n - 1;
        p->edge_ns = door_now(&d->m->door);
        irq_set(d->m, 0, false);
        irq_set(d->m, 0, true);
    }
}

static void on_alarm(void *arg)
{
    run(arg);
    arm(arg);
}

/* Every access: first what time did, then the change, then the pin and the next alarm. */
static void settle(struct dev *d)
{
    struct pit *p = d->state;

    irq_set(d->m, 0, out_level(&p->ch[0], p->seen));
    arm(d);
}

static uint32_t from_written(const struct pit_channel *c, unsigned v)
{
    uint32_t n = v;

    if (c->bcd) {
        n = (v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
        n = n % 10000 ? n % 10000 : 10000;
    }
    if (!n)
        n = 65536;
    /* A count of 1 is not allowed in the periodic modes ("Minimum count"). */
    return n == 1 && is_periodic(c) ? 2 : n;
}

static void load(struct pit_channel *c, uint32_t n, int64_t now)
{
    c->frozen = counting(c, now);
    c->count = n;
    c->next_count = 0;
    c->start = now + 1;
    c->held = c->gate ? -1 : 0;
    c->loaded = 1;
}

static void count_written(struct pit_channel *c, unsigned v, int64_t now)
{
    uint32_t n = from_written(c, v);
    int64_t e = elapsed(c, now), high = high_part(c->count);

    if (c->mode == 1 || c->mode == 5) {
        c->next_count = n;
        c->count = c->loaded ? c->count : n;
        c->loaded = 1;
        return;
    }
    if (!c->loaded || !is_periodic(c) || e < 0 || c->held >= 0) {
        load(c, n, now);
        return;
    }
    c->next_count = n;
    c->switch_at = c->start + e / c->count * c->count;
    c->switch_at += c->mode == 3 && e % c->count < high ? high : c->count;
}

static void write_count(struct pit_channel *c, uint8_t v, int64_t now)
{
    if (c->access == 1) {
        count_written(c, v, now);
    } else if (c->access == 2) {
        count_written(c, (unsigned)v << 8, now);
    } else if (!c->write_high) {
        c->low_byte = v;
        c->write_high = 1;
        if (c->mode == 0) { /* the first byte stops the count, OUT goes low */
            c->frozen = counting(c, now);
            c->loaded = 0;
        }
    } else {
        c->write_high = 0;
        count_written(c, (unsigned)v << 8 | c->low_byte, now);
    }
}

static void latch_count(struct pit_channel *c, int64_t now)
{
    if (c->latched)
        return; /* "Counter latch command": a second one before the read is ignored */
    c->latch = counting(c, now);
    c->latched = c->access == 3 ? 2 : 1;
}

/* "Read-back command", status byte. */
static void latch_status(struct pit_channel *c, int64_t now)
{
    bool null = !c->loaded || c->next_count || (c->held < 0 && now < c->start);

    if (c->status_latched)
        return;
    c->status =
        (uint8_t)(out_level(c, now) << 7 | null << 6 | c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = 1;
}

static void read_back(struct pit *p, uint8_t v, int64_t now)
{
    for (unsigned i = 0; i < 3; i++) {
        if (!(v >> (i + 1) & 1))
            continue;
        if (!(v & 0x20))
            latch_count(&p->ch[i], now);
        if (!(v & 0x10))
            latch_status(&p->ch[i], now);
    }
}

static void write_control(struct pit *p, uint8_t v, int64_t now)
{
    unsigned mode = v >> 1 & 7;
    struct pit_channel *c;

    if (v >> 6 == 3) {
        read_back(p, v, now);
        return;
    }
    c = &p->ch[v >> 6];
    if (!(v & 0x30)) {
        latch_count(c, now);
        return;
    }
    c->frozen = counting(c, now);
    c->control = v;
    c->access = v >> 4 & 3;
    c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode);
    c->bcd = v & 1;
    c->loaded = c->triggered = c->write_high = c->read_high = c->latched = c->status_latched = 0;
    c->next_count = 0;
    c->held = -1;
    c->idle_out = c->mode != 0;
}

static uint8_t read_count(struct pit_channel *c, int64_t now)
{
    uint16_t v = counting(c, now);
    bool high = c->access == 2;

    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    if (c->latched) {
        v = c->latch;
        if (c->access == 3)
            high = c->latched == 1;
        c->latched--;
    } else if (c->access == 3) {
        high = c->read_high;
        c->read_high ^= 1;
    }
    return (uint8_t)(high ? v >> 8 : v);
}

/* "Gate": in modes 0 and 4 a level, in 1 and 5 a trigger, in 2 and 3 both. */
static void set_gate(struct pit_channel *c, bool gate, int64_t now)
{
    int64_t e = elapsed(c, now);

    if (gate == c->gate)
        return;
    c->gate = gate;
    if (!c->loaded)
        return;
    if (c->mode == 1 || c->mode == 5) {
        if (!gate)
            return;
        if (c->next_count)
            c->count = c->next_count;
        c->next_count = 0;
        c->start = now + 1;
        c->triggered = 1;
    } else if (!gate) {
        c->held = e < 0 ? 0 : e;
    } else if (is_periodic(c)) {
        load(c, c->next_count ? c->next_count : c->count, now);
    } else {
        c->start = now - c->held;
        c->held = -1;
    }
}

static uint8_t read_61(const struct pit *p, int64_t now)
{
    const struct pit_channel *c = &p->ch[1];
    uint32_t period = c->loaded && is_periodic(c) ? c->count : REFRESH;

    return (uint8_t)(p->port61 | (now / period & 1) << 4 | out_level(&p->ch[2], now) << 5);
}

static uint64_t pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    struct pit *p = d->state;
    uint8_t v = (uint8_t)value;
    int64_t now;

    (void)size;
    run(d);
    now = p->seen;
    if (!write) {
        if (port == PORT_61)
            return read_61(p, now);
        return port == PORT_CTRL ? 0xff : read_count(&p->ch[(port - PORT_CH0) % 3], now);
    }
    if (port == PORT_61) {
        p->port61 = v & 0x0f;
        set_gate(&p->ch[2], v & P61_GATE2, now);
    } else if (port == PORT_CTRL) {
        write_control(p, v, now);
    } else {
        write_count(&p->ch[(port - PORT_CH0) % 3], v, now);
    }
    settle(d);
    return 0;
}

static int init(struct dev *d, struct err *e)
{
    struct pit *p = d->state;
    int r = bus_claim_ports(&d->m->bus, d, PORT_CH0, 4, e);

    p->alarm = (struct alarm){.at_ns = DOOR_NEVER, .fn = on_alarm, .arg = d, .dev = (uint8_t)d->id};
    return r ? r : bus_claim_ports(&d->m->bus, d, PORT_61, 1, e);
}

static void fini(struct dev *d)
{
    door_alarm_off(&d->m->door, &((struct pit *)d->state)->alarm);
}

static void reset(struct dev *d)
{
    struct pit *p = d->state;
    struct alarm alarm;

    fini(d);
    alarm = p->alarm;
    *p = (struct pit){.alarm = alarm, .seen = now_tick(d)};
    for (unsigned i = 0; i < 3; i++)
        p->ch[i] = (struct pit_channel){
            .mode = 2, .access = 3, .gate = i != 2, .idle_out = 1, .count = 65536, .held = -1};
    irq_set(d->m, 0, true);
}

static void describe_rate(const struct dev *d, const struct pit_channel *c, struct buf *out)
{
    uint64_t mhz = 1000ull * PIT_HZ / c->count; /* millihertz */

    if (is_periodic(c))
        buf_addf(out, ", %" PRIu64 ".%03" PRIu64 " Hz", mhz / 1000, mhz % 1000);
    else
        buf_addf(out, ", %" PRIu64 " us", ticks_ns(c->count, PIT_HZ) / 1000);
    buf_addf(out, c->bcd ? ", now %x" : ", now %u", counting(c, now_tick(d)));
}

static void describe(const struct dev *d, struct buf *out)
{
    static const char *const modes[] = {"interrupt on terminal count",
                                        "one-shot",
                                        "rate generator",
                                        "square wave",
                                        "software strobe",
                                        "hardware strobe"};
    const struct pit *p = d->state;
    uint64_t now = door_now(&d->m->door);

    for (unsigned i = 0; i < 3; i++) {
        const struct pit_channel *c = &p->ch[i];

        buf_addf(out, "channel %u: ", i);
        if (!c->control) {
            buf_adds(out, "not programmed\n");
            continue;
        }
        buf_addf(out, "mode %u (%s)", c->mode, modes[c->mode]);
        if (c->loaded) {
            buf_addf(out, ", count %u", c->count);
            describe_rate(d, c, out);
        } else {
            buf_adds(out, ", waits for its count");
        }
        buf_addf(out, "%s, gate %s, OUT %s\n", c->bcd ? ", BCD" : "", c->gate ? "open" : "closed",
                 out_level(c, now_tick(d)) ? "high" : "low");
    }
    buf_addf(out, "IRQ 0: %" PRIu64 " given, %" PRIu64 " missed", p->edges, p->missed);
    if (p->alarm.at_ns != DOOR_NEVER)
        buf_addf(out, ", next in %" PRIu64 " us",
                 p->alarm.at_ns > now ? (p->alarm.at_ns - now) / 1000 : 0);
    buf_addc(out, '\n');
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    static const char *const name[] = {"PIT channel 0", "PIT channel 1", "PIT channel 2",
                                       "PIT control"};

    (void)d;
    (void)write;
    if (off == PORT_61)
        return "system control B (speaker, PIT gate 2)";
    return off - PORT_CH0 < 4 ? name[off - PORT_CH0] : NULL;
}

const struct dev_ops pit_dev = {
    .name = "pit",
    .help = "8254 interval timer (ports 0x40-0x43) and speaker port 0x61, IRQ 0",
    .state_bytes = sizeof(struct pit),
    .fields = fields,
    .in_kernel = true,
    .port_bytes = 1,
    .init = init,
    .fini = fini,
    .reset = reset,
    .pio = pio,
    .describe = describe,
    .reg_name = reg_name,
};
