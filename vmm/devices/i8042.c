/*
 * The 8042 keyboard controller at ports 0x60 and 0x64, IRQ 1, with no mouse on its second
 * connector. Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary
 * Device Controller". The keyboard itself is keyboard.c. Called by the bus and by the door with
 * the machine lock held.
 *
 * The command byte starts as firmware leaves it: interrupt on, translation to set 1.
 */
#include "vmm/base/x.h"
#include "vmm/devices/keyboard.h"
#include "vmm/devices/table.h"
#include "vmm/machine.h"

#define PORT_DATA 0x60
#define PORT_CMD  0x64
#define KBD_GSI   1
#define AUX_GSI   12

#define ST_OBF       0x01u
#define ST_SYS       0x04u
#define ST_CMD       0x08u
#define ST_INH       0x10u
#define ST_AUX       0x20u
#define ST_TMO       0x40u
#define CB_KBD_IRQ   0x01u
#define CB_AUX_IRQ   0x02u
#define CB_KBD_OFF   0x10u
#define CB_AUX_OFF   0x20u
#define CB_TRANSLATE 0x40u
#define P2_RESET     0x01u
#define P2_A20       0x02u

struct i8042 {
    uint8_t status;  /* as port 0x64 reads */
    uint8_t data;    /* output buffer */
    uint8_t command; /* takes the next byte at port 0x60; 0: the keyboard does */
    uint8_t ram[32]; /* byte 0 is the command byte */
    uint8_t port2;   /* output port, without the A20 bit */
    uint8_t aux_wait, aux_byte, aux_flags; /* an answer about the absent mouse waits */
    uint8_t break_next;                    /* translation: an F0 went before */
    uint64_t wrong;                        /* commands that this controller does not know */
    struct keyboard kbd;
};

static const char *const status_bits[] = {"OBF", "IBF",     "SYS",    "CMD", "UNLOCKED",
                                          "AUX", "TIMEOUT", "PARITY", NULL};
static const struct field fields[] = {
    FIELD(struct i8042, status, status_bits, "status, port 0x64"),
    FIELD(struct i8042, data, NULL, "output buffer, port 0x60"),
    FIELD(struct i8042, command, NULL, "controller command that takes the next data byte"),
    FIELD_ARRAY(struct i8042, ram, "controller memory; byte 0 is the command byte"),
    FIELD(struct i8042, port2, NULL, "output port without A20"),
    FIELD(struct i8042, aux_wait, NULL, "an answer about the mouse waits"),
    FIELD(struct i8042, aux_byte, NULL, "that answer"),
    FIELD(struct i8042, aux_flags, NULL, "its status bits"),
    FIELD(struct i8042, break_next, NULL, "translation: F0 was seen"),
    FIELD(struct i8042, wrong, NULL, "unknown controller commands"),
    FIELD(struct i8042, kbd.scanning, NULL, "the keyboard sends keys"),
    FIELD(struct i8042, kbd.set, NULL, "scan code set of the keyboard"),
    FIELD(struct i8042, kbd.leds, NULL, "LEDs: scroll, num, caps"),
    FIELD(struct i8042, kbd.typematic, NULL, "typematic rate and delay"),
    FIELD(struct i8042, kbd.command, NULL, "keyboard command that waits for its byte"),
    FIELD(struct i8042, kbd.last, NULL, "last byte that the keyboard sent"),
    FIELD(struct i8042, kbd.prefix, NULL, "E0 seen in the input"),
    FIELD_ARRAY(struct i8042, kbd.out, "bytes that the keyboard wants to send"),
    FIELD(struct i8042, kbd.head, NULL, "the oldest of them"),
    FIELD(struct i8042, kbd.count, NULL, "their number"),
    {0},
};

static void update_irq(struct dev *d)
{
    const struct i8042 *s = d->state;
    bool full = s->status & ST_OBF, aux = s->status & ST_AUX;

    irq_set(d->m, KBD_GSI, full && !aux && s->ram[0] & CB_KBD_IRQ);
    irq_set(d->m, AUX_GSI, full && aux && s->ram[0] & CB_AUX_IRQ);
}

static void put(struct i8042 *s, uint8_t byte, unsigned flags)
{
    s->data = byte;
    s->status = (uint8_t)((s->status & ~(ST_AUX | ST_TMO)) | ST_OBF | flags);
}

/* One byte from the keyboard, through translation; false when there is none for now. */
static bool take_key(struct dev *d, uint8_t *byte)
{
    struct i8042 *s = d->state;

    while (keyboard_next(&s->kbd, &d->m->door, byte)) {
        if (!(s->ram[0] & CB_TRANSLATE))
            return true;
        if (*byte == 0xf0) { /* becomes bit 7 of the code that follows */
            s->break_next = 1;
            continue;
        }
        *byte = keyboard_to_set1(*byte) | (s->break_next ? 0x80 : 0);
        s->break_next = 0;
        return true;
    }
    return false;
}

/* Moves the next byte into the output buffer when it is free. */
static void refill(struct dev *d)
{
    struct i8042 *s = d->state;
    uint8_t byte;

    if (!(s->status & ST_OBF)) {
        if (s->aux_wait) {
            s->aux_wait = 0;
            put(s, s->aux_byte, ST_AUX | s->aux_flags);
        } else if (!(s->ram[0] & CB_KBD_OFF) && take_key(d, &byte)) {
            put(s, byte, 0);
        }
    }
    update_irq(d);
}

static void answer_aux(struct i8042 *s, uint8_t byte, unsigned flags)
{
    s->aux_wait = 1;
    s->aux_byte = byte;
    s->aux_flags = (uint8_t)flags;
}

static void write_port2(struct dev *d, uint8_t v)
{
    struct i8042 *s = d->state;

    s->port2 = v & (uint8_t)~P2_A20;
    d->m->a20 = v & P2_A20;
    if (!(v & P2_RESET))
        machine_wish(d->m, WISH_RESET, 0);
}

static uint8_t read_port2(const struct dev *d)
{
    const struct i8042 *s = d->state;
    bool full = s->status & ST_OBF, aux = s->status & ST_AUX;

    return (uint8_t)((s->port2 & 0xcd) | (d->m->a20 ? P2_A20 : 0) | (full && !aux) << 4 |
                     (full && aux) << 5);
}

static void set_command_byte(struct i8042 *s, uint8_t v)
{
    s->ram[0] = v;
    s->status = (uint8_t)((s->status & ~ST_SYS) | (v & ST_SYS));
}

static void controller_command(struct dev *d, uint8_t v)
{
    struct i8042 *s = d->state;

    s->command = 0;
    s->status |= ST_CMD;
    if (v >= 0x20 && v <= 0x3f) {
        put(s, s->ram[v - 0x20], 0);
        return;
    }
    if ((v >= 0x60 && v <= 0x7f) || (v >= 0xd1 && v <= 0xd4)) {
        s->command = v;
        return;
    }
    if (v >= 0xf0) { /* pulses the output lines whose bit is 0; line 0 is the reset */
        if (!(v & P2_RESET))
            machine_wish(d->m, WISH_RESET, v);
        return;
    }
    switch (v) {
    case 0xa4: /* is a password installed: no */
        put(s, 0xf1, 0);
        break;
    case 0xa7:
        s->ram[0] |= CB_AUX_OFF;
        break;
    case 0xa8:
        s->ram[0] &= (uint8_t)~CB_AUX_OFF;
        break;
    case 0xa9: /* the second connector's lines are good, though nothing is plugged in */
    case 0xab:
        put(s, 0, 0);
        break;
    case 0xaa:
        s->status |= ST_SYS;
        put(s, 0x55, 0);
        break;
    case 0xad:
        s->ram[0] |= CB_KBD_OFF;
        break;
    case 0xae:
        s->ram[0] &= (uint8_t)~CB_KBD_OFF;
        break;
    case 0xc0: /* input port: keyboard not locked, manufacturing jumper open */
        put(s, 0xa0, 0);
        break;
    case 0xd0:
        put(s, read_port2(d), 0);
        break;
    case 0xdd: /* some chips' short forms for A20 */
    case 0xdf:
        d->m->a20 = v == 0xdf;
        break;
    case 0xe0: /* test inputs: both clocks and data lines idle */
        put(s, 0, 0);
        break;
    default:
        s->wrong++;
        break;
    }
}

static void write_data(struct dev *d, uint8_t v)
{
    struct i8042 *s = d->state;
    uint8_t command = s->command;

    s->command = 0;
    s->status &= (uint8_t)~ST_CMD;
    switch (command) {
    case 0:
        s->ram[0] &= (uint8_t)~CB_KBD_OFF; /* sending to the keyboard opens its clock line */
        keyboard_write(&s->kbd, v);
        break;
    case 0x60:
        set_command_byte(s, v);
        break;
    case 0xd1:
        write_port2(d, v);
        break;
    case 0xd2:
        put(s, v, 0);
        break;
    case 0xd3:
        put(s, v, ST_AUX);
        break;
    case 0xd4: /* nobody answers there: a time-out, with the resend code as data */
        answer_aux(s, 0xfe, ST_TMO);
        break;
    default:
        s->ram[command & 31] = v;
        break;
    }
}

static uint8_t read_data(struct dev *d)
{
    struct i8042 *s = d->state;
    uint8_t v = s->data;

    s->status &= (uint8_t) ~(ST_OBF | ST_AUX | ST_TMO);
    update_irq(d); /* the line falls before the next byte raises it: an edge for each */
    return v;
}

static uint64_t pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    struct i8042 *s = d->state;
    uint64_t r = 0;

    (void)size;
    if (port == PORT_CMD && !write)
        return s->status;
    if (port == PORT_CMD)
        controller_command(d, (uint8_t)value);
    else if (write)
        write_data(d, (uint8_t)value);
    else
        r = read_data(d);
    refill(d);
    return r;
}

static void on_input(void *arg)
{
    refill(arg);
}

static int init(struct dev *d, struct err *e)
{
    int r = bus_claim_ports(&d->m->bus, d, PORT_DATA, 1, e);

    door_listen(&d->m->door, DOOR_KEYBOARD, on_input, d);
    return r ? r : bus_claim_ports(&d->m->bus, d, PORT_CMD, 1, e);
}

static void fini(struct dev *d)
{
    door_listen(&d->m->door, DOOR_KEYBOARD, NULL, NULL);
}

static void reset(struct dev *d)
{
    struct i8042 *s = d->state;

    *s = (struct i8042){.status = ST_SYS | ST_INH, .port2 = 0xcd};
    s->ram[0] = CB_TRANSLATE | CB_AUX_OFF | ST_SYS | CB_KBD_IRQ;
    keyboard_defaults(&s->kbd);
    s->kbd.scanning = 1;
    refill(d);
}

static void describe(const struct dev *d, struct buf *out)
{
    const struct i8042 *s = d->state;
    uint8_t c = s->ram[0];

    buf_addf(out, "keyboard %s, %s, sends set %u%s; interrupt %s; A20 %s; no mouse\n",
             c & CB_KBD_OFF ? "disabled (command byte bit 4)" : "enabled",
             s->kbd.scanning ? "scanning" : "not scanning (command F4 starts it)", s->kbd.set,
             c & CB_TRANSLATE ? ", translated to set 1" : "", c & CB_KBD_IRQ ? "on" : "off",
             d->m->a20 ? "on" : "off");
    if (s->status & ST_OBF)
        buf_addf(out, "byte 0x%02x waits in port 0x60 to be read\n", s->data);
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    (void)d;
    if (off == PORT_CMD)
        return write ? "i8042 command" : "i8042 status";
    return off == PORT_DATA ? "i8042 data" : NULL;
}

const struct dev_ops i8042_dev = {
    .name = "i8042",
    .help = "keyboard controller and PS/2 keyboard (ports 0x60, 0x64, IRQ 1)",
    .state_bytes = sizeof(struct i8042),
    .fields = fields,
    .port_bytes = 1,
    .init = init,
    .fini = fini,
    .reset = reset,
    .pio = pio,
    .describe = describe,
    .reg_name = reg_name,
};
