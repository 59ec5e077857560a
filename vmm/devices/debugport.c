/*
 * Ports of people who debug: POST codes at 0x80 (where firmware reports progress), a console at
 * 0xE9 (Bochs' invention: a byte written is a byte printed, and reading gives 0xE9 back so that a
 * guest can find out), and the exit port 0xF4 (as QEMU's isa-debug-exit).
 */
#include <string.h>

#include "vmm/base/x.h"
#include "vmm/devices/table.h"
#include "vmm/machine.h"

#define PORT_POST    0x80
#define PORT_CONSOLE 0xe9
#define PORT_EXIT    0xf4
#define POST_HISTORY 16

struct debugport {
    uint8_t post;
    uint8_t history[POST_HISTORY];
    uint64_t posts;
    uint64_t console_bytes;
    uint32_t exit_value;
};

static const struct field fields[] = {
    FIELD(struct debugport, post, NULL, "last POST code written to port 0x80"),
    FIELD_ARRAY(struct debugport, history, "the POST codes before it, newest first"),
    FIELD(struct debugport, posts, NULL, "POST codes written"),
    FIELD(struct debugport, console_bytes, NULL, "bytes written to port 0xE9"),
    FIELD(struct debugport, exit_value, NULL, "last value written to port 0xF4"),
    {0},
};

static int init(struct dev *d, struct err *e)
{
    int r = bus_claim_ports(&d->m->bus, d, PORT_POST, 1, e);

    if (!r)
        r = bus_claim_ports(&d->m->bus, d, PORT_CONSOLE, 1, e);
    if (!r)
        r = bus_claim_ports(&d->m->bus, d, PORT_EXIT, 4, e);
    return r;
}

static void reset(struct dev *d)
{
    memset(d->state, 0, sizeof(struct debugport));
}

static uint64_t write_port(struct dev *d, uint16_t port, uint32_t value)
{
    struct debugport *s = d->state;
    uint8_t byte = (uint8_t)value;

    switch (port) {
    case PORT_POST:
        memmove(s->history + 1, s->history, POST_HISTORY - 1);
        s->history[0] = s->post;
        s->post = byte;
        s->posts++;
        break;
    case PORT_CONSOLE:
        s->console_bytes++;
        machine_console(d->m, CONSOLE_DEBUG, &byte, 1);
        break;
    case PORT_EXIT:
        s->exit_value = value;
        machine_wish(d->m, WISH_DEBUG_EXIT, value);
        break;
    default:
        break;
    }
    return 0;
}

static uint64_t pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    const struct debugport *s = d->state;

    (void)size;
    if (write)
        return write_port(d, port, (uint32_t)value);
    if (port == PORT_POST)
        return s->post;
    return port == PORT_CONSOLE ? 0xe9 : 0;
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    (void)d;
    (void)write;
    switch (off) {
    case PORT_POST:
        return "POST code";
    case PORT_CONSOLE:
        return "debug console";
    case PORT_EXIT:
        return "debug exit";
    default:
        return NULL;
    }
}

const struct dev_ops debugport_dev = {
    .name = "debugport",
    .help = "POST codes (0x80), debug console (0xE9), debug exit (0xF4)",
    .state_bytes = sizeof(struct debugport),
    .fields = fields,
    .init = init,
    .reset = reset,
    .pio = pio,
    .reg_name = reg_name,
};
