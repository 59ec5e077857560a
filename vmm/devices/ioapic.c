/*
 * The I/O APIC: Intel 82093AA data sheet (order number 290566), 24 pins at 0xFEC00000. Called by
 * irq.c, the local APICs and the bus with the machine lock held.
 *
 * Lines here mean "asserted", so the polarity bit is kept but changes nothing. Messages reach the
 * local APICs at once, so delivery status always reads idle.
 */
#include "vmm/devices/ioapic.h"

#include <inttypes.h>

#include "vmm/base/x.h"
#include "vmm/devices/lapic.h"
#include "vmm/devices/table.h"
#include "vmm/machine.h"

#define PINS    24u
#define VERSION 0x00170011u /* 24 entries, version 0x11: EOI comes from the local APICs */

#define RTE_LOGICAL    (1ull << 11)
#define RTE_REMOTE_IRR (1ull << 14)
#define RTE_LEVEL      (1ull << 15)
#define RTE_MASKED     (1ull << 16)
#define RTE_WRITABLE   (0xff0000000001ffffull & ~(1ull << 12) & ~RTE_REMOTE_IRR)

struct ioapic {
    uint32_t select;
    uint32_t id;
    uint32_t lines; /* bit per pin */
    uint64_t entry[PINS];
    uint64_t sent[PINS];
};

static const struct field fields[] = {
    FIELD(struct ioapic, select, NULL, "IOREGSEL: register that the window shows"),
    FIELD(struct ioapic, id, NULL, "identification, bits 27:24"),
    FIELD(struct ioapic, lines, NULL, "asserted inputs, one bit per pin"),
    FIELD_ARRAY(struct ioapic, entry, "redirection table"),
    FIELD_ARRAY(struct ioapic, sent, "messages sent, per pin"),
    {0},
};

static unsigned delivery(uint64_t e)
{
    return e >> 8 & 7;
}

static bool send(struct machine *m, struct ioapic *s, unsigned pin)
{
    uint64_t e = s->entry[pin];
    unsigned mode = delivery(e);
    /* NMI, INIT and ExtINT are edges whatever the trigger bit says (3.2.4, delivery mode). */
    bool level = e & RTE_LEVEL && mode < 2;

    if (!lapic_message(m, (uint8_t)(e >> 56), e & RTE_LOGICAL, mode, (uint8_t)e, level))
        return false;
    s->sent[pin]++;
    if (level)
        s->entry[pin] |= RTE_REMOTE_IRR;
    return true;
}

/* A level-triggered pin asks for service until its EOI. */
static void offer_level(struct machine *m, struct ioapic *s, unsigned pin)
{
    uint64_t e = s->entry[pin];

    if (s->lines >> pin & 1 && e & RTE_LEVEL && !(e & (RTE_MASKED | RTE_REMOTE_IRR)))
        send(m, s, pin);
}

void ioapic_line(struct machine *m, unsigned pin, bool level)
{
    struct ioapic *s = machine_state(m, &ioapic_dev);
    bool rose;

    if (!s || pin >= PINS)
        return;
    rose = level && !(s->lines >> pin & 1);
    s->lines = level ? s->lines | 1u << pin : s->lines & ~(1u << pin);
    if (s->entry[pin] & RTE_LEVEL)
        offer_level(m, s, pin);
    else if (rose && !(s->entry[pin] & RTE_MASKED))
        send(m, s, pin); /* an edge on a masked pin is lost (3.2.4, interrupt mask) */
}

void ioapic_eoi(struct machine *m, uint8_t vector)
{
    struct ioapic *s = machine_state(m, &ioapic_dev);

    for (unsigned pin = 0; s && pin < PINS; pin++) {
        uint64_t e = s->entry[pin];

        if (!(e & RTE_REMOTE_IRR) || (uint8_t)e != vector)
            continue;
        s->entry[pin] = e & ~RTE_REMOTE_IRR;
        offer_level(m, s, pin);
    }
}

int ioapic_gsi(struct machine *m, uint8_t vector)
{
    const struct ioapic *s = machine_state(m, &ioapic_dev);

    for (unsigned pin = 0; s && pin < PINS; pin++)
        if ((uint8_t)s->entry[pin] == vector && !(s->entry[pin] & RTE_MASKED))
            return pin == 2 ? 0 : (int)pin; /* the timer's line comes in at pin 2 (irq.c) */
    return -1;
}

void ioapic_retry(struct machine *m)
{
    struct ioapic *s = machine_state(m, &ioapic_dev);

    for (unsigned pin = 0; s && pin < PINS; pin++)
        offer_level(m, s, pin);
}

static uint32_t read_reg(const struct ioapic *s)
{
    unsigned i = s->select - 0x10;

    if (s->select == 0 || s->select == 2)
        return s->id; /* the arbitration id follows the id */
    if (s->select == 1)
        return VERSION;
    if (i / 2 < PINS)
        return (uint32_t)(s->entry[i / 2] >> (i & 1) * 32);
    return 0;
}

static void write_reg(struct machine *m, struct ioapic *s, uint32_t v)
{
    unsigned i = s->select - 0x10, shift = (i & 1) * 32;
    uint64_t half = 0xffffffffull << shift, *e;

    if (s->select == 0)
        s->id = v & 0x0f000000;
    if (i / 2 >= PINS)
        return;
    e = &s->entry[i / 2];
    half &= RTE_WRITABLE;
    *e = (*e & ~half) | ((uint64_t)v << shift & half);
    /* Making a pin edge-triggered clears its remote IRR: system software relies on this to undo
     * a lost EOI. */
    if (!(*e & RTE_LEVEL))
        *e &= ~RTE_REMOTE_IRR;
    offer_level(m, s, i / 2);
}

static uint64_t mmio(struct dev *d, unsigned vcpu, uint64_t off, unsigned size, bool write,
                     uint64_t value)
{
    struct ioapic *s = d->state;

    (void)vcpu;
    if (off == 0) {
        if (write)
            s->select = value & 0xff;
        return s->select;
    }
    if (off != 0x10)
        return 0;
    if (write && size >= 4) /* the window is 32 bits wide (3.1.2) */
        write_reg(d->m, s, (uint32_t)value);
    return write ? 0 : read_reg(s);
}

static int init(struct dev *d, struct err *e)
{
    return bus_claim_range(&d->m->bus, d, IOAPIC_BASE, 0x1000, e);
}

static void reset(struct dev *d)
{
    struct ioapic *s = d->state;
    uint32_t lines = s->lines;

    *s = (struct ioapic){.lines = lines};
    for (unsigned i = 0; i < PINS; i++)
        s->entry[i] = RTE_MASKED;
}

static void describe(const struct dev *d, struct buf *out)
{
    static const char *const mode[] = {"fixed", "lowest priority", "SMI",   "reserved", "NMI",
                                       "INIT",  "reserved",        "ExtINT"};
    const struct ioapic *s = d->state;

    for (unsigned i = 0; i < PINS; i++) {
        uint64_t e = s->entry[i];

        if (e == RTE_MASKED && !(s->lines >> i & 1))
            continue;
        buf_addf(out, "pin %-2u %s vector 0x%02x, %s, %s, to %s 0x%02x%s%s\n", i,
                 e & RTE_MASKED ? "masked," : "open,  ", (unsigned)(e & 0xff), mode[delivery(e)],
                 e & RTE_LEVEL ? "level" : "edge", e & RTE_LOGICAL ? "logical" : "APIC",
                 (unsigned)(e >> 56), s->lines >> i & 1 ? ", line asserted" : "",
                 e & RTE_REMOTE_IRR ? ", waits for EOI" : "");
    }
    buf_adds(out, "pins not shown are masked and idle\n");
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    static const char *const id[] = {"IOAPIC ID", "IOAPIC version", "IOAPIC arbitration"};
    const struct ioapic *s = d->state;

    (void)write;
    if (off == 0)
        return "IOAPIC register select";
    if (off != 0x10)
        return NULL;
    if (s->select < 3)
        return id[s->select];
    if (s->select - 0x10 < 2 * PINS)
        return s->select & 1 ? "IOAPIC redirection, high half" : "IOAPIC redirection, low half";
    return "IOAPIC window";
}

const struct dev_ops ioapic_dev = {
    .name = "ioapic",
    .help = "82093AA I/O APIC, 24 pins (memory 0xFEC00000)",
    .state_bytes = sizeof(struct ioapic),
    .fields = fields,
    .in_kernel = true,
    .init = init,
    .reset = reset,
    .mmio = mmio,
    .describe = describe,
    .reg_name = reg_name,
};
