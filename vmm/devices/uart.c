/*
 * Two 16550A UARTs: COM1 at 0x3F8, IRQ 4 and COM2 at 0x2F8, IRQ 3. Section names are those of
 * National's PC16550D data sheet. Called by the bus, by the door when input arrives and by its
 * alarm, with the machine lock held.
 *
 * A byte that the guest sends is out at once, so the transmitter always reads empty. A byte for
 * the guest waits at the door until the receiver has room and the guest looks (reads LSR or IIR,
 * or has the receive interrupt on): nothing overruns, and what is typed ahead survives a driver
 * that resets its FIFOs while it starts. The modem lines show a peer that is always ready.
 */
#include <inttypes.h>
#include <string.h>

#include "vmm/base/x.h"
#include "vmm/devices/table.h"
#include "vmm/machine.h"

#define FIFO_BYTES 16u
#define CLOCK_HZ   1843200u

#define IER_RDA    1u
#define IER_THRE   2u
#define IER_RLS    4u
#define IER_MSR    8u
#define FCR_ENABLE 1u
#define FCR_RXRST  2u
#define LCR_BREAK  0x40u
#define LCR_DLAB   0x80u
#define MCR_DTR    1u
#define MCR_RTS    2u
#define MCR_OUT1   4u
#define MCR_OUT2   8u
#define MCR_LOOP   16u
#define LSR_DR     1u
#define LSR_OE     2u
#define LSR_BI     16u
#define LSR_TX     0x60u /* THRE and TEMT: always empty */
#define LSR_ERRORS 0x1eu
#define MSR_TERI   4u
#define MSR_CTS    0x10u
#define MSR_DSR    0x20u
#define MSR_RI     0x40u
#define MSR_DCD    0x80u

enum { R_DATA, R_IER, R_IIR, R_LCR, R_MCR, R_LSR, R_MSR, R_SCR };

struct uart {
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
    uint8_t last; /* what RBR reads when nothing new came */
    uint16_t divisor;
    uint8_t thre_pending; /* THR became empty since the guest last knew */
    uint8_t timeout;      /* bytes have waited in the FIFO for four character times */
    uint8_t fifo[FIFO_BYTES];
    uint8_t head, count;
    uint64_t sent, received;
    struct alarm alarm;
};

static const char *const ier_bits[] = {"RDA", "THRE", "RLS", "MODEM", NULL};
static const char *const fcr_bits[] = {"ENABLE", "",         "",         "DMA", "",
                                       "",       "TRIGGER0", "TRIGGER1", NULL};
static const char *const lcr_bits[] = {"WLS0",  "WLS1",  "STOP2", "PARITY", "EVEN",
                                       "STICK", "BREAK", "DLAB",  NULL};
static const char *const mcr_bits[] = {"DTR", "RTS", "OUT1", "OUT2", "LOOP", NULL};
static const char *const lsr_bits[] = {"DR",   "OE",   "PE",       "FE", "BI",
                                       "THRE", "TEMT", "FIFO_ERR", NULL};
static const char *const msr_bits[] = {"DCTS", "DDSR", "TERI", "DDCD", "CTS",
                                       "DSR",  "RI",   "DCD",  NULL};
static const struct field fields[] = {
    FIELD(struct uart, ier, ier_bits, "interrupts enabled"),
    FIELD(struct uart, fcr, fcr_bits, "FIFO control"),
    FIELD(struct uart, lcr, lcr_bits, "line control"),
    FIELD(struct uart, mcr, mcr_bits, "modem control; OUT2 connects the interrupt"),
    FIELD(struct uart, lsr, lsr_bits, "line status; the transmitter bits always read set"),
    FIELD(struct uart, msr, msr_bits, "modem status"),
    FIELD(struct uart, scr, NULL, "scratch"),
    FIELD(struct uart, last, NULL, "last byte read"),
    FIELD(struct uart, divisor, NULL, "baud rate is 115200 divided by this"),
    FIELD(struct uart, thre_pending, NULL, "transmitter-empty interrupt waits"),
    FIELD(struct uart, timeout, NULL, "character time-out interrupt waits"),
    FIELD_ARRAY(struct uart, fifo, "receive FIFO, a ring"),
    FIELD(struct uart, head, NULL, "its oldest byte"),
    FIELD(struct uart, count, NULL, "bytes in it"),
    FIELD(struct uart, sent, NULL, "bytes transmitted"),
    FIELD(struct uart, received, NULL, "bytes received"),
    FIELD(struct uart, alarm.at_ns, NULL, "guest time of the character time-out"),
    {0},
};

struct wiring {
    uint16_t port;
    unsigned gsi;
    enum door_input in;
    enum console_chan out;
};

static const struct wiring *wiring(const struct dev *d)
{
    static const struct wiring com[] = {{0x3f8, 4, DOOR_COM1, CONSOLE_COM1},
                                        {0x2f8, 3, DOOR_COM2, CONSOLE_COM2}};

    return &com[d->ops == &com2_dev];
}

static bool fifo_on(const struct uart *u)
{
    return u->fcr & FCR_ENABLE;
}

static unsigned trigger(const struct uart *u)
{
    static const uint8_t level[] = {1, 4, 8, 14};

    return fifo_on(u) ? level[u->fcr >> 6] : 1;
}

/* "Interrupt identification register", table of priorities. */
static uint8_t iir(const struct uart *u)
{
    uint8_t on = fifo_on(u) ? 0xc0 : 0;

    if (u->ier & IER_RLS && u->lsr & LSR_ERRORS)
        return on | 6;
    if (u->ier & IER_RDA && u->count >= trigger(u))
        return on | 4;
    if (u->ier & IER_RDA && u->timeout)
        return on | 12;
    if (u->ier & IER_THRE && u->thre_pending)
        return on | 2;
    if (u->ier & IER_MSR && u->msr & 0x0f)
        return on;
    return on | 1;
}

/* On a PC the OUT2 pin connects INTR to the bus; loopback forces the pin inactive. */
static void update(struct dev *d)
{
    const struct uart *u = d->state;
    bool connected = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

    irq_set(d->m, wiring(d)->gsi, connected && !(iir(u) & 1));
}

static uint64_t char_ns(const struct uart *u)
{
    uint64_t bits = 7u + (u->lcr & 3) + (u->lcr >> 2 & 1) + (u->lcr >> 3 & 1);
    uint64_t div = u->divisor ? u->divisor : 1;

    return bits * div * 16 * 1000000000u / CLOCK_HZ;
}

/* "FIFO interrupt mode operation": the time-out restarts with each byte in or out. */
static void arm_timeout(struct dev *d)
{
    struct uart *u = d->state;
    uint64_t at = DOOR_NEVER;

    u->timeout = 0;
    if (fifo_on(u) && u->ier & IER_RDA && u->count && u->count < trigger(u))
        at = door_now(&d->m->door) + 4 * char_ns(u);
    door_alarm(&d->m->door, &u->alarm, at);
}

static void on_timeout(void *arg)
{
    struct dev *d = arg;
    struct uart *u = d->state;

    u->timeout = u->count != 0;
    update(d);
}

static void push(struct uart *u, uint8_t byte)
{
    unsigned room = fifo_on(u) ? FIFO_BYTES : 1;

    if (u->count >= room) {
        u->lsr |= LSR_OE;
        if (fifo_on(u))
            return; /* the FIFO keeps what it has, the shift register is overwritten */
        u->count = 0;
    }
    u->fifo[(u->head + u->count++) % FIFO_BYTES] = byte;
    u->lsr |= LSR_DR;
}

static void fill(struct dev *d)
{
    struct uart *u = d->state;
    unsigned room = fifo_on(u) ? FIFO_BYTES : 1;
    uint8_t byte[FIFO_BYTES];
    size_t n;

    if (u->mcr & MCR_LOOP || u->count >= room)
        return;
    n = door_pull(&d->m->door, wiring(d)->in, byte, room - u->count);
    for (size_t i = 0; i < n; i++)
        push(u, byte[i]);
    u->received += n;
    if (n)
        arm_timeout(d);
}

static void on_input(void *arg)
{
    struct dev *d = arg;
    const struct uart *u = d->state;

    if (u->ier & IER_RDA)
        fill(d);
    update(d);
}

static void clear_rx(struct dev *d)
{
    struct uart *u = d->state;

    u->head = u->count = 0;
    u->lsr &= (uint8_t)~LSR_DR;
    arm_timeout(d);
}

/* "Modem control register", bit 4: the outputs come back as inputs. */
static void set_modem(struct uart *u)
{
    uint8_t lines = MSR_CTS | MSR_DSR | MSR_DCD, changed;

    if (u->mcr & MCR_LOOP)
        lines = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                          (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
    changed = (u->msr ^ lines) & 0xf0;
    if (changed & MSR_RI && lines & MSR_RI)
        changed &= (uint8_t)~MSR_RI; /* only the trailing edge of RI counts */
    u->msr = (uint8_t)(lines | (u->msr & 0x0f) | changed >> 4);
}

static void transmit(struct dev *d, uint8_t byte)
{
    struct uart *u = d->state;

    u->thre_pending = 0;
    update(d); /* the line falls with the write and rises when THR is empty again: an edge */
    u->sent++;
    if (u->mcr & MCR_LOOP) {
        push(u, byte);
        arm_timeout(d);
    } else {
        machine_console(d->m, wiring(d)->out, &byte, 1);
    }
    u->thre_pending = 1;
}

static uint8_t read_data(struct dev *d)
{
    struct uart *u = d->state;

    if (!u->count)
        return u->last;
    u->last = u->fifo[u->head];
    u->head = (u->head + 1) % FIFO_BYTES;
    if (!--u->count)
        u->lsr &= (uint8_t)~LSR_DR;
    u->timeout = 0;
    if (u->ier & IER_RDA) {
        /* Below the trigger the interrupt ends; more input raises it anew. */
        update(d);
        fill(d);
    }
    arm_timeout(d);
    return u->last;
}

static uint8_t read_reg(struct dev *d, unsigned reg)
{
    struct uart *u = d->state;
    uint8_t v;

    switch (reg) {
    case R_DATA:
        return u->lcr & LCR_DLAB ? (uint8_t)u->divisor : read_data(d);
    case R_IER:
        return u->lcr & LCR_DLAB ? (uint8_t)(u->divisor >> 8) : u->ier;
    case R_IIR:
        fill(d);
        v = iir(u);
        if ((v & 0x0f) == 2)
            u->thre_pending = 0;
        return v;
    case R_LCR:
        return u->lcr;
    case R_MCR:
        return u->mcr;
    case R_LSR:
        fill(d);
        v = u->lsr | LSR_TX;
        u->lsr &= (uint8_t)~LSR_ERRORS;
        return v;
    case R_MSR:
        v = u->msr;
        u->msr &= 0xf0;
        return v;
    default:
        return u->scr;
    }
}

static void write_ier(struct dev *d, uint8_t v)
{
    struct uart *u = d->state;

    /* Enabling the transmitter interrupt while THR is empty raises it. */
    if (v & IER_THRE && !(u->ier & IER_THRE))
        u->thre_pending = 1;
    u->ier = v & 0x0f;
    if (u->ier & IER_RDA)
        fill(d);
    arm_timeout(d);
}

static void write_fcr(struct dev *d, uint8_t v)
{
    struct uart *u = d->state;
    bool toggled = (u->fcr ^ v) & FCR_ENABLE;

    u->fcr = v & FCR_ENABLE ? v & 0xc9 : 0; /* the other bits count only with bit 0 */
    if (toggled || (v & FCR_ENABLE && v & FCR_RXRST))
        clear_rx(d);
    arm_timeout(d);
}

static void write_lcr(struct dev *d, uint8_t v)
{
    struct uart *u = d->state;

    if (v & ~u->lcr & LCR_BREAK && u->mcr & MCR_LOOP) {
        push(u, 0);
        u->lsr |= LSR_BI;
    }
    u->lcr = v;
}

static void write_reg(struct dev *d, unsigned reg, uint8_t v)
{
    struct uart *u = d->state;

    switch (reg) {
    case R_DATA:
        if (u->lcr & LCR_DLAB)
            u->divisor = (uint16_t)((u->divisor & 0xff00) | v);
        else
            transmit(d, v);
        break;
    case R_IER:
        if (u->lcr & LCR_DLAB)
            u->divisor = (uint16_t)((u->divisor & 0xff) | v << 8);
        else
            write_ier(d, v);
        break;
    case R_IIR:
        write_fcr(d, v);
        break;
    case R_LCR:
        write_lcr(d, v);
        break;
    case R_MCR:
        u->mcr = v & 0x1f;
        set_modem(u);
        if (u->ier & IER_RDA)
            fill(d);
        break;
    case R_SCR:
        u->scr = v;
        break;
    default: /* LSR and MSR: writing is for factory tests */
        break;
    }
}

static uint64_t pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    unsigned reg = port & 7;
    uint64_t r = 0;

    (void)size;
    if (write)
        write_reg(d, reg, (uint8_t)value);
    else
        r = read_reg(d, reg);
    update(d);
    return r;
}

static int init(struct dev *d, struct err *e)
{
    struct uart *u = d->state;

    u->alarm =
        (struct alarm){.at_ns = DOOR_NEVER, .fn = on_timeout, .arg = d, .dev = (uint8_t)d->id};
    door_listen(&d->m->door, wiring(d)->in, on_input, d);
    return bus_claim_ports(&d->m->bus, d, wiring(d)->port, 8, e);
}

static void fini(struct dev *d)
{
    door_alarm_off(&d->m->door, &((struct uart *)d->state)->alarm);
    door_listen(&d->m->door, wiring(d)->in, NULL, NULL);
}

static void reset(struct dev *d)
{
    struct uart *u = d->state;
    struct alarm alarm;

    door_alarm_off(&d->m->door, &u->alarm);
    alarm = u->alarm;
    *u = (struct uart){.msr = MSR_CTS | MSR_DSR | MSR_DCD, .divisor = 12, .alarm = alarm};
    update(d);
}

static void describe(const struct dev *d, struct buf *out)
{
    const struct uart *u = d->state;
    unsigned parity = u->lcr >> 3 & 7;

    buf_addf(out, "%u baud, %u%c%u, FIFO %s", 115200u / (u->divisor ? u->divisor : 1u),
             5u + (u->lcr & 3), parity & 1 ? "OEMS"[parity >> 1] : 'N', 1u + (u->lcr >> 2 & 1),
             fifo_on(u) ? "on" : "off");
    if (fifo_on(u))
        buf_addf(out, " (interrupt at %u)", trigger(u));
    buf_addf(out, ", interrupt %s%s, %zu bytes of input wait outside\n",
             u->mcr & MCR_OUT2 ? "connected" : "not connected (MCR OUT2 is 0)",
             u->mcr & MCR_LOOP ? ", loopback" : "", door_waiting(&d->m->door, wiring(d)->in));
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    static const char *const name[2][2][8] = {{{"COM1 RBR", "COM1 IER", "COM1 IIR", "COM1 LCR",
                                                "COM1 MCR", "COM1 LSR", "COM1 MSR", "COM1 SCR"},
                                               {"COM1 THR", "COM1 IER", "COM1 FCR", "COM1 LCR",
                                                "COM1 MCR", "COM1 LSR", "COM1 MSR", "COM1 SCR"}},
                                              {{"COM2 RBR", "COM2 IER", "COM2 IIR", "COM2 LCR",
                                                "COM2 MCR", "COM2 LSR", "COM2 MSR", "COM2 SCR"},
                                               {"COM2 THR", "COM2 IER", "COM2 FCR", "COM2 LCR",
                                                "COM2 MCR", "COM2 LSR", "COM2 MSR", "COM2 SCR"}}};
    static const char *const divisor[2][2] = {{"COM1 divisor low", "COM1 divisor high"},
                                              {"COM2 divisor low", "COM2 divisor high"}};
    const struct uart *u = d->state;
    unsigned com2 = d->ops == &com2_dev;

    if (off - wiring(d)->port > 7)
        return NULL;
    if (u->lcr & LCR_DLAB && (off & 7) <= R_IER)
        return divisor[com2][off & 7];
    return name[com2][write][off & 7];
}

#define UART_OPS                                                                                   \
    .state_bytes = sizeof(struct uart), .fields = fields, .port_bytes = 1, .init = init,           \
    .fini = fini, .reset = reset, .pio = pio, .describe = describe, .reg_name = reg_name

const struct dev_ops com1_dev = {
    .name = "com1", .help = "16550A serial port COM1 (port 0x3F8, IRQ 4)", UART_OPS};
const struct dev_ops com2_dev = {
    .name = "com2", .help = "16550A serial port COM2 (port 0x2F8, IRQ 3)", UART_OPS};
