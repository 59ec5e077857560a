/*
 * The MC146818A real-time clock with 128 bytes of battery-backed memory at ports 0x70 and 0x71.
 * Section names are those of Motorola's MC146818A data sheet; addresses above 0x0D are those that
 * PC firmware agreed on. Called by the bus and by the door's alarm with the machine lock held.
 *
 * The clock is a function of guest time: seconds `base_s` since 1970 at guest time `base_ns`. The
 * flags of register C are worked out when somebody looks; an alarm at the door is armed only for
 * interrupts that are enabled.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "vmm/base/x.h"
#include "vmm/devices/table.h"
#include "vmm/devices/ticks.h"
#include "vmm/machine.h"

#define PORT_INDEX 0x70
#define PORT_DATA  0x71
#define RTC_GSI    8
#define CRYSTAL_HZ 32768u
#define UIP_NS     2228000u /* 244 us of warning and 1984 us of update, at 32.768 kHz */
#define DAY_S      86400

enum {
    SECONDS,
    SECONDS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    HOURS,
    HOURS_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR
};
enum { REG_A = 10, REG_B, REG_C, REG_D, SHUTDOWN = 15, CENTURY = 0x32, CMOS_BYTES = 128 };

#define A_UIP  0x80
#define B_SET  0x80
#define B_PIE  0x40
#define B_AIE  0x20
#define B_UIE  0x10
#define B_DM   0x04
#define B_24H  0x02
#define C_IRQF 0x80
#define C_PF   0x40
#define C_AF   0x20
#define C_UF   0x10

struct rtc {
    uint8_t index;
    uint8_t nmi_off; /* bit 7 of port 0x70 */
    uint8_t cmos[CMOS_BYTES];
    int64_t base_s;
    uint64_t base_ns;
    uint64_t seen_ns;  /* flags of register C are right up to here */
    uint8_t day_shift; /* weekday as set by the guest, less the calendar's, modulo 7 */
    struct alarm alarm;
};

static const struct field fields[] = {
    FIELD(struct rtc, index, NULL, "register that port 0x71 shows"),
    FIELD(struct rtc, nmi_off, NULL, "NMI mask, bit 7 of port 0x70"),
    FIELD_ARRAY(struct rtc, cmos, "registers and battery-backed memory"),
    FIELD(struct rtc, base_s, NULL, "seconds since 1970 at base_ns"),
    FIELD(struct rtc, base_ns, NULL, "guest time at which that second began"),
    FIELD(struct rtc, seen_ns, NULL, "guest time up to which register C is right"),
    FIELD(struct rtc, day_shift, NULL, "weekday set by the guest, less the calendar's"),
    FIELD(struct rtc, alarm.at_ns, NULL, "guest time of the next interrupt"),
    {0},
};

static uint64_t now_ns(const struct dev *d)
{
    return door_now(&d->m->door);
}

/* Divider 11x holds the chain in reset ("Divider control"). */
static bool divider_held(const struct rtc *r)
{
    return (r->cmos[REG_A] & 0x60) == 0x60;
}

static bool ticking(const struct rtc *r)
{
    return !(r->cmos[REG_B] & B_SET) && !divider_held(r);
}

/* Whole seconds since base_ns; base_ns can lie ahead after the divider was released. */
static int64_t second_at(const struct rtc *r, uint64_t ns)
{
    return ns < r->base_ns ? r->base_s - 1 : r->base_s + (int64_t)((ns - r->base_ns) / NS_PER_S);
}

static uint64_t second_starts(const struct rtc *r, int64_t s)
{
    return r->base_ns + (uint64_t)(s - r->base_s) * NS_PER_S;
}

static uint8_t encode(const struct rtc *r, int v)
{
    return (uint8_t)(r->cmos[REG_B] & B_DM ? v : v / 10 % 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v)
{
    return r->cmos[REG_B] & B_DM ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, int hour)
{
    if (r->cmos[REG_B] & B_24H)
        return encode(r, hour);
    return (uint8_t)(encode(r, (hour + 11) % 12 + 1) | (hour >= 12 ? 0x80 : 0));
}

static int decode_hour(const struct rtc *r, uint8_t v)
{
    if (r->cmos[REG_B] & B_24H)
        return decode(r, v);
    return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* Fills the ten clock bytes and the century for second `s`. */
static void show(struct rtc *r, int64_t s)
{
    time_t t = (time_t)s;
    struct tm tm = {0};

    if (!gmtime_r(&t, &tm))
        return;
    r->cmos[SECONDS] = encode(r, tm.tm_sec);
    r->cmos[MINUTES] = encode(r, tm.tm_min);
    r->cmos[HOURS] = encode_hour(r, tm.tm_hour);
    r->cmos[WEEKDAY] = encode(r, (tm.tm_wday + r->day_shift) % 7 + 1);
    r->cmos[DAY] = encode(r, tm.tm_mday);
    r->cmos[MONTH] = encode(r, tm.tm_mon + 1);
    r->cmos[YEAR] = encode(r, (tm.tm_year + 1900) % 100);
    r->cmos[CENTURY] = encode(r, (tm.tm_year + 1900) / 100 % 100);
}

/* Takes the clock bytes as the time at `ns`, keeping the phase of the second. Bytes out of range
 * carry into the next field, as timegm does it. */
static void take(struct rtc *r, uint64_t ns)
{
    struct tm tm = {.tm_sec = decode(r, r->cmos[SECONDS]),
                    .tm_min = decode(r, r->cmos[MINUTES]),
                    .tm_hour = decode_hour(r, r->cmos[HOURS]),
                    .tm_mday = decode(r, r->cmos[DAY]),
                    .tm_mon = decode(r, r->cmos[MONTH]) - 1,
                    .tm_year = decode(r, r->cmos[CENTURY]) * 100 + decode(r, r->cmos[YEAR]) - 1900};
    int weekday = decode(r, r->cmos[WEEKDAY]);
    int64_t s = (int64_t)timegm(&tm);

    if (ns >= r->base_ns)
        r->base_ns = ns - (ns - r->base_ns) % NS_PER_S;
    else
        s++; /* base_ns is ahead: that second has not begun */
    r->base_s = s;
    r->day_shift = (uint8_t)((weekday + 6 - tm.tm_wday + 7) % 7);
}

/* "Alarm": a byte of 0xC0 or more matches always. Returns 0 for a match, else how many seconds
 * until the field that differs changes. */
static int alarm_differs(const struct rtc *r, int64_t s)
{
    int day = (int)((s % DAY_S + DAY_S) % DAY_S);
    const uint8_t *c = r->cmos;

    if (c[HOURS_ALARM] < 0xc0 && decode_hour(r, c[HOURS_ALARM]) != day / 3600)
        return 3600 - day % 3600;
    if (c[MINUTES_ALARM] < 0xc0 && decode(r, c[MINUTES_ALARM]) != day / 60 % 60)
        return 60 - day % 60;
    return c[SECONDS_ALARM] < 0xc0 && decode(r, c[SECONDS_ALARM]) != day % 60;
}

/* The first second after `from` and up to `to` that matches; -1 when none does within a day. */
static int64_t next_match(const struct rtc *r, int64_t from, int64_t to)
{
    int64_t s = from + 1;

    if (to > from + DAY_S)
        to = from + DAY_S;
    while (s <= to) {
        int skip = alarm_differs(r, s);

        if (!skip)
            return s;
        s += skip;
    }
    return -1;
}

/* "Periodic interrupt rate": crystal ticks between two, 0 for none. */
static uint32_t rate_ticks(const struct rtc *r)
{
    unsigned rs = r->cmos[REG_A] & 15;

    if (!rs || divider_held(r))
        return 0;
    return rs < 3 ? 64u << rs : 1u << (rs - 1);
}

static uint64_t periods_at(const struct rtc *r, uint64_t ns)
{
    return ns < r->base_ns ? 0 : ticks_at(ns - r->base_ns, CRYSTAL_HZ) / rate_ticks(r);
}

/* Sets the flags for what happened since the last look, and the interrupt line. */
static void run(struct dev *d)
{
    struct rtc *r = d->state;
    uint64_t now = now_ns(d);
    uint8_t *c = &r->cmos[REG_C];

    if (rate_ticks(r) && periods_at(r, now) != periods_at(r, r->seen_ns))
        *c |= C_PF;
    if (ticking(r)) {
        int64_t from = second_at(r, r->seen_ns), to = second_at(r, now);

        if (to > from)
            *c |= C_UF;
        if (next_match(r, from, to) >= 0)
            *c |= C_AF;
    }
    r->seen_ns = now;
    *c &= (uint8_t)~C_IRQF;
    if (*c & r->cmos[REG_B] & (C_PF | C_AF | C_UF))
        *c |= C_IRQF;
    irq_set(d->m, RTC_GSI, *c & C_IRQF);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The next event that is enabled and not flagged already. */
static void arm(struct dev *d)
{
    struct rtc *r = d->state;
    uint8_t want = r->cmos[REG_B] & (uint8_t)~r->cmos[REG_C];
    uint64_t at = DOOR_NEVER;
    int64_t s;

    if (want & B_PIE && rate_ticks(r))
        at = sooner(at, r->base_ns +
                            ticks_ns((periods_at(r, r->seen_ns) + 1) * rate_ticks(r), CRYSTAL_HZ));
    if (ticking(r)) {
        s = second_at(r, r->seen_ns);
        if (want & B_UIE)
            at = sooner(at, second_starts(r, s + 1));
        if (want & B_AIE && (s = next_match(r, s, s + DAY_S)) >= 0)
            at = sooner(at, second_starts(r, s));
    }
    door_alarm(&d->m->door, &r->alarm, at);
}

static void on_alarm(void *arg)
{
    run(arg);
    arm(arg);
}

static bool is_clock(unsigned i)
{
    return i == SECONDS || i == MINUTES || i == HOURS || (i >= WEEKDAY && i <= YEAR) ||
           i == CENTURY;
}

static uint8_t read_a(const struct rtc *r)
{
    bool uip = ticking(r) && second_starts(r, second_at(r, r->seen_ns) + 1) - r->seen_ns <= UIP_NS;

    return (uint8_t)(r->cmos[REG_A] | (uip ? A_UIP : 0));
}

static uint8_t read_data(struct dev *d)
{
    struct rtc *r = d->state;
    unsigned i = r->index;
    uint8_t v;

    if (is_clock(i) && ticking(r))
        show(r, second_at(r, r->seen_ns));
    v = i == REG_A ? read_a(r) : r->cmos[i];
    if (i == REG_C) {
        r->cmos[REG_C] = 0;
        run(d); /* the line falls */
    }
    return v;
}

/* Releasing the divider: "the first update cycle begins one-half second later". */
static void write_a(struct rtc *r, uint8_t v, uint64_t now)
{
    bool held = divider_held(r);

    if (!held)
        show(r, second_at(r, now));
    r->cmos[REG_A] = v & 0x7f;
    if (held && !divider_held(r)) {
        r->base_ns = now;
        take(r, now);
        r->base_s++;
        r->base_ns = now + NS_PER_S / 2;
    }
}

static void write_b(struct rtc *r, uint8_t v, uint64_t now)
{
    uint8_t old = r->cmos[REG_B];

    /* While the clock runs its bytes are made from the time, so a change of format shows at
     * once; under SET they are the guest's. */
    if (v & B_SET) {
        if (!(old & B_SET))
            show(r, second_at(r, now));
        v &= (uint8_t)~B_UIE; /* "SET": setting it clears UIE */
    }
    r->cmos[REG_B] = v;
    if (old & B_SET && !(v & B_SET) && !divider_held(r))
        take(r, now);
}

static void write_data(struct dev *d, uint8_t v)
{
    struct rtc *r = d->state;
    unsigned i = r->index;

    switch (i) {
    case REG_A:
        write_a(r, v, r->seen_ns);
        break;
    case REG_B:
        write_b(r, v, r->seen_ns);
        break;
    case REG_C:
    case REG_D: /* read-only */
        break;
    default:
        if (is_clock(i) && ticking(r)) {
            show(r, second_at(r, r->seen_ns));
            r->cmos[i] = v;
            take(r, r->seen_ns);
        }
        r->cmos[i] = v;
        break;
    }
}

static uint64_t pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    struct rtc *r = d->state;
    uint64_t v = 0xff; /* port 0x70 is write-only */

    (void)size;
    run(d);
    if (port == PORT_DATA && write) {
        write_data(d, (uint8_t)value);
        run(d);
    } else if (port == PORT_DATA) {
        v = read_data(d);
    } else if (write) {
        r->index = value & 0x7f;
        r->nmi_off = value >> 7 & 1;
        return 0;
    }
    arm(d);
    return v;
}

static void set16(struct rtc *r, unsigned at, uint64_t v)
{
    r->cmos[at] = (uint8_t)v;
    r->cmos[at + 1] = (uint8_t)(v >> 8);
}

/* What PC firmware would have found at power-on. */
static void fill_cmos(const struct dev *d, struct rtc *r)
{
    const struct mem *mem = d->m->mem;
    uint64_t low = mem ? mem_low_end(mem) : 0, high = mem ? mem->ram_bytes - low : 0, kib, sum = 0;

    r->cmos[REG_A] = 0x26; /* 32.768 kHz, 1024 Hz periodic rate */
    r->cmos[REG_B] = B_24H;
    r->cmos[REG_D] = 0x80; /* the battery is good */
    r->cmos[0x14] = 0x02;  /* equipment: a coprocessor */
    set16(r, 0x15, 640);
    kib = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;
    set16(r, 0x17, kib > 0xffff ? 0xffff : kib);
    set16(r, 0x30, kib > 0xffff ? 0xffff : kib);
    kib = low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0; /* 64 KiB blocks above 16 MiB */
    set16(r, 0x34, kib > 0xffff ? 0xffff : kib);
    set16(r, 0x5b, high >> 16); /* and above 4 GiB */
    r->cmos[0x5d] = (uint8_t)(high >> 32);
    r->cmos[0x38] = 0x10; /* SeaBIOS' boot order: disk, CD, floppy */
    r->cmos[0x3d] = 0x32;
    r->cmos[0x5f] = (uint8_t)(d->m->cpus - 1); /* where SeaBIOS looks for more processors */
    for (unsigned i = 0x10; i < 0x2e; i++)
        sum += r->cmos[i];
    r->cmos[0x2e] = (uint8_t)(sum >> 8);
    r->cmos[0x2f] = (uint8_t)sum;
}

static int init(struct dev *d, struct err *e)
{
    struct rtc *r = d->state;

    r->alarm = (struct alarm){.at_ns = DOOR_NEVER, .fn = on_alarm, .arg = d, .dev = (uint8_t)d->id};
    fill_cmos(d, r);
    return bus_claim_ports(&d->m->bus, d, PORT_INDEX, 2, e);
}

static void fini(struct dev *d)
{
    door_alarm_off(&d->m->door, &((struct rtc *)d->state)->alarm);
}

/* "RESET": the interrupt enables and flags go, time and memory stay. The clock follows the wall
 * clock anew. */
static void reset(struct dev *d)
{
    struct rtc *r = d->state;
    uint64_t now = now_ns(d);

    fini(d);
    r->index = r->nmi_off = r->day_shift = 0;
    r->cmos[REG_B] &= B_DM | B_24H;
    r->cmos[REG_C] = 0;
    r->base_s = door_wall(&d->m->door);
    r->base_ns = now - now % NS_PER_S;
    r->seen_ns = now;
    irq_set(d->m, RTC_GSI, false);
}

static void describe(const struct dev *d, struct buf *out)
{
    const struct rtc *r = d->state;
    time_t t = (time_t)second_at(r, now_ns(d));
    struct tm tm = {0};
    char text[40] = "?";
    uint8_t b = r->cmos[REG_B];

    if (gmtime_r(&t, &tm) && !strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm))
        text[0] = 0;
    buf_addf(out, "%s%s, %s, %s hours\n", text, ticking(r) ? "" : " (stopped by the guest)",
             b & B_DM ? "binary" : "BCD", b & B_24H ? "24" : "12");
    buf_addf(out, "interrupts on IRQ 8:%s%s%s", b & B_PIE ? " periodic" : "",
             b & B_AIE ? " alarm" : "", b & B_UIE ? " update" : "");
    if (!(b & (B_PIE | B_AIE | B_UIE)))
        buf_adds(out, " none enabled");
    if (rate_ticks(r))
        buf_addf(out, "; periodic rate %u Hz", CRYSTAL_HZ / rate_ticks(r));
    buf_addc(out, '\n');
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    static const char *const name[] = {
        "CMOS seconds",    "CMOS seconds alarm", "CMOS minutes",    "CMOS minutes alarm",
        "CMOS hours",      "CMOS hours alarm",   "CMOS weekday",    "CMOS day",
        "CMOS month",      "CMOS year",          "CMOS register A", "CMOS register B",
        "CMOS register C", "CMOS register D",    "CMOS diagnostic", "CMOS shutdown"};
    const struct rtc *r = d->state;

    (void)write;
    if (off == PORT_INDEX)
        return "CMOS index";
    if (off != PORT_DATA)
        return NULL;
    if (r->index < ARRAY_LEN(name))
        return name[r->index];
    return r->index == CENTURY ? "CMOS century" : "CMOS memory";
}

const struct dev_ops rtc_dev = {
    .name = "rtc",
    .help = "MC146818 real-time clock and CMOS memory (ports 0x70-0x71, IRQ 8)",
    .state_bytes = sizeof(struct rtc),
    .fields = fields,
    .port_bytes = 1,
    .init = init,
    .fini = fini,
    .reset = reset,
    .pio = pio,
    .describe = describe,
    .reg_name = reg_name,
};
