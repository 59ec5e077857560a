/*
 * The two 8259A interrupt controllers of a PC, cascaded on input 2, with the edge/level control
 * registers of later chipsets. Section names are those of Intel's 8259A data sheet (order number
 * 231468). Called by irq.c and the bus with the machine lock held.
 *
 * One liberty, shared by KVM's and other models: an edge stays latched when its line falls before
 * it was acknowledged (the data sheet wants the line held and gives a default IR7 otherwise), so
 * that a short pulse is never lost.
 */
#include "vmm/devices/pic.h"

#include <inttypes.h>

#include "vmm/base/x.h"
#include "vmm/devices/ioapic.h"
#include "vmm/devices/lapic.h"
#include "vmm/devices/table.h"
#include "vmm/machine.h"

#define MASTER_CMD 0x20
#define SLAVE_CMD  0xa0
#define ELCR_BASE  0x4d0
#define CASCADE    2u
#define CASCADE_IR (1u << CASCADE)

#define ICW1_IC4  1u
#define ICW1_SNGL 2u
#define ICW4_AEOI 2u
#define ICW4_SFNM 16u

struct pic_chip {
    uint8_t lines; /* levels of IR0-7 now */
    uint8_t latch; /* edges not yet acknowledged */
    uint8_t isr, imr, elcr;
    uint8_t base; /* ICW2 */
    uint8_t icw1, icw3, icw4;
    uint8_t step;   /* next ICW that port 1 takes: 2, 3, 4; 0: OCW1 */
    uint8_t ready;  /* initialised since power-on */
    uint8_t lowest; /* IR with the lowest priority */
    uint8_t special_mask, rotate_aeoi, poll, read_isr;
};
struct pic {
    struct pic_chip chip[2];
    uint8_t output; /* INT pin of the master */
    uint64_t taken[16];
    uint64_t spurious;
    int8_t last; /* IRQ of the last acknowledge, -1: spurious */
};

static const char *const ir_bits[] = {"IR0", "IR1", "IR2", "IR3", "IR4", "IR5", "IR6", "IR7", NULL};
static const char *const icw1_bits[] = {"IC4", "SNGL", "ADI", "LTIM", "INIT", NULL};
static const char *const icw4_bits[] = {"8086", "AEOI", "MASTER", "BUF", "SFNM", NULL};
#define CHIP(n)                                                                                    \
    FIELD(struct pic, chip[n].lines, ir_bits, "levels of the inputs"),                             \
        FIELD(struct pic, chip[n].latch, ir_bits, "edges waiting to be acknowledged"),             \
        FIELD(struct pic, chip[n].isr, ir_bits, "in service: acknowledged, no EOI yet"),           \
        FIELD(struct pic, chip[n].imr, ir_bits, "mask (OCW1): a set bit blocks the input"),        \
        FIELD(struct pic, chip[n].elcr, ir_bits, "level-triggered inputs"),                        \
        FIELD(struct pic, chip[n].base, NULL, "vector of IR0 (ICW2)"),                             \
        FIELD(struct pic, chip[n].icw1, icw1_bits, "ICW1"),                                        \
        FIELD(struct pic, chip[n].icw3, NULL, "ICW3: cascade inputs, or the slave's identity"),    \
        FIELD(struct pic, chip[n].icw4, icw4_bits, "ICW4"),                                        \
        FIELD(struct pic, chip[n].step, NULL, "next initialisation word expected, 0: none"),       \
        FIELD(struct pic, chip[n].ready, NULL, "initialised since power-on"),                      \
        FIELD(struct pic, chip[n].lowest, NULL, "input with the lowest priority"),                 \
        FIELD(struct pic, chip[n].special_mask, NULL, "special mask mode (OCW3)"),                 \
        FIELD(struct pic, chip[n].rotate_aeoi, NULL, "rotate on automatic EOI (OCW2)"),            \
        FIELD(struct pic, chip[n].poll, NULL, "the next read is a poll (OCW3)"),                   \
        FIELD(struct pic, chip[n].read_isr, NULL, "the command port reads ISR, else IRR")
static const struct field fields[] = {
    CHIP(0),
    CHIP(1),
    FIELD(struct pic, output, NULL, "INT output towards the processor"),
    FIELD_ARRAY(struct pic, taken, "interrupts acknowledged, per IRQ"),
    FIELD(struct pic, spurious, NULL, "spurious IRQ 7 and 15 given"),
    {0},
};

static uint8_t requests(const struct pic_chip *c)
{
    return (uint8_t)((c->latch & ~c->elcr) | (c->lines & c->elcr));
}

/* Rank of the most urgent input in `set`: 0 is the highest priority, 8 when the set is empty. */
static unsigned rank(const struct pic_chip *c, unsigned set)
{
    unsigned r = 0;

    while (r < 8 && !(set >> ((c->lowest + 1 + r) & 7) & 1))
        r++;
    return r;
}

/* "Interrupt sequence", "Special mask mode", "Special fully nested mode". The input to serve, or
 * -1. */
static int pending(const struct pic_chip *c)
{
    unsigned busy = c->isr, r, irq;
    bool nests;

    if (!c->ready || c->step)
        return -1;
    if (c->special_mask)
        busy &= ~(unsigned)c->imr;
    r = rank(c, requests(c) & ~c->imr);
    irq = (c->lowest + 1 + r) & 7;
    if (r < rank(c, busy))
        return (int)irq;
    /* A slave in service may still bring a more urgent request of its own; on the master ICW3 has
     * the slaves' inputs. */
    nests = c->icw4 & ICW4_SFNM && c->icw3 >> irq & 1;
    return r < 8 && nests && r == rank(c, busy) ? (int)irq : -1;
}

static void update(struct machine *m, struct pic *p)
{
    bool out;

    if (pending(&p->chip[1]) >= 0)
        p->chip[0].latch |= CASCADE_IR;
    out = pending(&p->chip[0]) >= 0;
    if (out == p->output)
        return;
    p->output = out;
    lapic_pic_output(m, out);
    ioapic_line(m, 0, out);
}

void pic_line(struct machine *m, unsigned irq, bool level)
{
    struct pic *p = machine_state(m, &pic_dev);
    struct pic_chip *c;
    uint8_t bit = (uint8_t)(1u << (irq & 7));

    if (!p || irq > 15 || irq == CASCADE)
        return;
    c = &p->chip[irq >> 3];
    if (level && !(c->lines & bit))
        c->latch |= bit;
    c->lines = level ? c->lines | bit : c->lines & (uint8_t)~bit;
    update(m, p);
}

bool pic_output(struct machine *m)
{
    const struct pic *p = machine_state(m, &pic_dev);

    return p && p->output;
}

static bool is_cascade(const struct pic *p, int irq)
{
    return irq == CASCADE && !(p->chip[0].icw1 & ICW1_SNGL);
}

static int spurious_or(const struct pic_chip *c, int irq)
{
    return c->base + (irq < 0 ? 7 : irq);
}

int pic_vector(struct machine *m)
{
    const struct pic *p = machine_state(m, &pic_dev);
    int irq = p ? pending(&p->chip[0]) : -1;

    if (irq < 0)
        return -1;
    if (is_cascade(p, irq))
        return spurious_or(&p->chip[1], pending(&p->chip[1]));
    return p->chip[0].base + irq;
}

static void take(struct pic_chip *c, int irq)
{
    uint8_t bit = (uint8_t)(1u << irq);

    c->latch &= (uint8_t)~bit;
    if (!(c->icw4 & ICW4_AEOI))
        c->isr |= bit;
    else if (c->rotate_aeoi)
        c->lowest = (uint8_t)irq;
}

int pic_inta(struct machine *m)
{
    struct pic *p = machine_state(m, &pic_dev);
    struct pic_chip *c;
    int irq, vector;

    if (!p)
        return -1;
    c = &p->chip[0];
    irq = pending(c);
    if (irq >= 0)
        take(c, irq);
    if (is_cascade(p, irq)) {
        c = &p->chip[1];
        irq = pending(c);
        if (irq >= 0)
            take(c, irq);
    }
    vector = spurious_or(c, irq);
    /* A spurious cycle sets no ISR bit in the chip that gave it, but a spurious IRQ 15 leaves the
     * master's bit for the cascade set: the guest owes the master an EOI. */
    p->last = irq < 0 ? -1 : (int8_t)(irq + (c == &p->chip[1] ? 8 : 0));
    if (irq < 0)
        p->spurious++;
    else
        p->taken[p->last]++;
    update(m, p);
    return vector;
}

int pic_gsi(struct machine *m)
{
    const struct pic *p = machine_state(m, &pic_dev);

    return p ? p->last : -1;
}

/* A record for each line whose service `c` has ended since its ISR was `before`. */
static void tell_ended(struct dev *d, const struct pic_chip *c, uint8_t before)
{
    const struct pic *p = d->state;
    uint8_t ended = before & (uint8_t)~c->isr;

    for (unsigned irq = 0; ended >> irq; irq++) {
        if (ended >> irq & 1 && !(c == &p->chip[0] && is_cascade(p, (int)irq)))
            machine_event(
                d->m, &(struct exit_device){.event = DEVICE_EOI,
                                            .id = (uint8_t)d->id,
                                            .cpu = DEVICE_NO_CPU,
                                            .line = (uint16_t)(irq + (c == &p->chip[1] ? 8 : 0)),
                                            .vector = (uint16_t)(c->base + irq)});
    }
}

/* "Initialization command words". */
static void write_icw1(struct pic_chip *c, uint8_t v)
{
    c->icw1 = v;
    c->latch = 0; /* the edge sense circuit is reset: a new edge is needed */
    c->imr = c->isr = 0;
    c->lowest = 7;
    c->special_mask = c->rotate_aeoi = c->poll = c->read_isr = 0;
    c->icw3 = 0;
    if (!(v & ICW1_IC4))
        c->icw4 = 0;
    c->step = 2;
}

static void next_icw(struct pic_chip *c)
{
    unsigned step = c->step + 1u;

    if (step == 3 && c->icw1 & ICW1_SNGL)
        step = 4;
    if (step == 4 && !(c->icw1 & ICW1_IC4))
        step = 5;
    c->step = step > 4 ? 0 : (uint8_t)step;
    c->ready |= !c->step;
}

static void write_data(struct pic_chip *c, uint8_t v)
{
    switch (c->step) {
    case 0:
        c->imr = v;
        return;
    case 2:
        c->base = v & 0xf8;
        break;
    case 3:
        c->icw3 = v;
        break;
    default:
        c->icw4 = v & 0x1f;
        break;
    }
    next_icw(c);
}

/* "Operation command word 2": end of interrupt and rotation. */
static void write_ocw2(struct pic_chip *c, uint8_t v)
{
    unsigned irq = v & 7;
    unsigned set = c->isr;

    switch (v >> 5) {
    case 0: /* clear, set: rotate in automatic EOI mode */
    case 4:
        c->rotate_aeoi = v >> 7;
        break;
    case 1: /* non-specific EOI, with and without rotation */
    case 5:
        if (c->special_mask)
            set &= ~(unsigned)c->imr;
        if (!set)
            break;
        irq = (c->lowest + 1 + rank(c, set)) & 7;
        c->isr &= (uint8_t) ~(1u << irq);
        if (v >> 7)
            c->lowest = (uint8_t)irq;
        break;
    case 3: /* specific EOI */
        c->isr &= (uint8_t) ~(1u << irq);
        break;
    case 7:
        c->isr &= (uint8_t) ~(1u << irq);
        c->lowest = (uint8_t)irq;
        break;
    case 6: /* set priority */
        c->lowest = (uint8_t)irq;
        break;
    default: /* 2: no operation */
        break;
    }
}

static void write_ocw3(struct pic_chip *c, uint8_t v)
{
    if (v & 0x40)
        c->special_mask = v >> 5 & 1;
    if (v & 2)
        c->read_isr = v & 1;
    if (v & 4)
        c->poll = 1;
}

/* "Poll command": the read acts as an INTA cycle and says which input it served. */
static uint8_t poll_read(struct pic_chip *c)
{
    int irq = pending(c);

    c->poll = 0;
    if (irq < 0)
        return 0;
    take(c, irq);
    return (uint8_t)(0x80 | irq);
}

static uint8_t read_chip(struct pic_chip *c, unsigned a0)
{
    if (c->poll)
        return poll_read(c);
    if (a0)
        return c->imr;
    return c->read_isr ? c->isr : requests(c);
}

static void write_chip(struct pic_chip *c, unsigned a0, uint8_t v)
{
    if (a0)
        write_data(c, v);
    else if (v & 0x10)
        write_icw1(c, v);
    else if (v & 0x08)
        write_ocw3(c, v);
    else
        write_ocw2(c, v);
}

static uint64_t pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    /* Inputs that ISA wires to edge-triggered devices cannot be made level (PIIX "ELCR"). */
    static const uint8_t elcr_mask[2] = {0xf8, 0xde};
    struct pic *p = d->state;
    uint64_t r = 0;

    (void)size;
    if (port >= ELCR_BASE) {
        struct pic_chip *c = &p->chip[port & 1];

        if (write)
            c->elcr = (uint8_t)value & elcr_mask[port & 1];
        r = c->elcr;
    } else {
        struct pic_chip *c = &p->chip[port >= SLAVE_CMD];
        uint8_t before = c->isr;

        if (write)
            write_chip(c, port & 1, (uint8_t)value);
        else
            r = read_chip(c, port & 1);
        if (before & ~c->isr)
            tell_ended(d, c, before);
    }
    update(d->m, p);
    return r;
}

static int init(struct dev *d, struct err *e)
{
    int r = bus_claim_ports(&d->m->bus, d, MASTER_CMD, 2, e);

    if (!r)
        r = bus_claim_ports(&d->m->bus, d, SLAVE_CMD, 2, e);
    if (!r)
        r = bus_claim_ports(&d->m->bus, d, ELCR_BASE, 2, e);
    return r;
}

static void reset(struct dev *d)
{
    struct pic *p = d->state;
    struct pic_chip *c = p->chip;

    /* The lines belong to the devices, which set them at their own reset. */
    *p = (struct pic){
        .chip = {{.lines = c[0].lines, .lowest = 7}, {.lines = c[1].lines, .lowest = 7}}};
    lapic_pic_output(d->m, false);
    ioapic_line(d->m, 0, false);
}

static void describe_chip(const struct pic_chip *c, unsigned first, struct buf *out)
{
    int irq = pending(c);

    buf_addf(out, "8259A %s, IRQ %u-%u: ", first ? "slave" : "master", first, first + 7);
    if (!c->ready) {
        buf_adds(out, "not initialised (needs ICW1 to ICW4), gives no interrupts\n");
        return;
    }
    buf_addf(out, "vectors 0x%02x-0x%02x", c->base, c->base + 7);
    if (c->step)
        buf_addf(out, ", waits for ICW%u", c->step);
    if (c->icw4 & ICW4_AEOI)
        buf_adds(out, ", automatic EOI");
    if (c->special_mask)
        buf_adds(out, ", special mask mode");
    if (c->lowest != 7)
        buf_addf(out, ", rotated: IRQ %u is lowest", first + c->lowest);
    buf_addc(out, '\n');
    for (unsigned i = 0; i < 8; i++) {
        unsigned bit = 1u << i;

        if (!((requests(c) | c->isr | c->lines) & bit))
            continue;
        buf_addf(out, "  IRQ %-2u line %s%s%s%s%s\n", first + i, c->lines & bit ? "high" : "low",
                 c->elcr & bit ? ", level" : ", edge", requests(c) & bit ? ", requested" : "",
                 c->isr & bit ? ", in service" : "", c->imr & bit ? ", masked" : "");
    }
    if (irq >= 0)
        buf_addf(out, "  next: IRQ %u, vector 0x%02x\n", first + (unsigned)irq, c->base + irq);
}

static void describe(const struct dev *d, struct buf *out)
{
    const struct pic *p = d->state;

    describe_chip(&p->chip[0], 0, out);
    describe_chip(&p->chip[1], 8, out);
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    const struct pic *p = d->state;
    unsigned n = off >= SLAVE_CMD;
    static const char *const data[2][5] = {
        {"PIC1 mask/OCW1", NULL, "PIC1 ICW2 (vector base)", "PIC1 ICW3 (cascade)", "PIC1 ICW4"},
        {"PIC2 mask/OCW1", NULL, "PIC2 ICW2 (vector base)", "PIC2 ICW3 (cascade)", "PIC2 ICW4"}};

    switch (off) {
    case MASTER_CMD:
        return write ? "PIC1 command/ICW1" : "PIC1 IRR/ISR";
    case SLAVE_CMD:
        return write ? "PIC2 command/ICW1" : "PIC2 IRR/ISR";
    case MASTER_CMD + 1:
    case SLAVE_CMD + 1:
        return data[n][write && p->chip[n].step <= 4 ? p->chip[n].step : 0];
    case ELCR_BASE:
        return "ELCR IRQ 0-7";
    case ELCR_BASE + 1:
        return "ELCR IRQ 8-15";
    default:
        return NULL;
    }
}

const struct dev_ops pic_dev = {
    .name = "pic",
    .help = "two 8259A interrupt controllers, IRQ 0-15 (ports 0x20, 0xA0, 0x4D0)",
    .state_bytes = sizeof(struct pic),
    .fields = fields,
    .in_kernel = true,
    .port_bytes = 1,
    .init = init,
    .reset = reset,
    .pio = pio,
    .describe = describe,
    .reg_name = reg_name,
};
