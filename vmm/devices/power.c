/*
 * Reset, address line 20 and power: the chipset's reset control register 0xCF9 (Intel ICH
 * "RST_CNT"), system control port A 0x92 (PS/2: fast A20 and fast reset), ACPI's PM1 registers and
 * its timer (ACPI 6.4, 4.8), and the PM1 control ports of other emulators, which hobby kernels
 * write to switch them off. No ACPI event ever happens: the status register stays 0.
 */
#include "vmm/devices/power.h"

#include "vmm/devices/table.h"
#include "vmm/devices/ticks.h"
#include "vmm/machine.h"

#define PORT_SYSCTL 0x92
#define PORT_RST    POWER_RESET
#define RST_CPU     4u /* 0 -> 1 resets */
#define SYSCTL_RST  1u
#define SYSCTL_A20  2u
#define SCI_EN      1u      /* ACPI mode, from power-on */
#define SLP_EN      0x2000u /* write-only */

struct power {
    uint8_t rst_cnt;
    uint8_t sysctl_a;
    uint16_t pm1_enable, pm1_control;
};

static const struct off_port {
    uint16_t port, value;
} off_ports[] = {
    {POWER_PM1_CONTROL, SLP_EN | POWER_OFF_TYPE << 10 | SCI_EN}, /* as ACPI's users write it */
    {POWER_PM1_CONTROL, SLP_EN | POWER_OFF_TYPE << 10},
    {0xb004, 0x2000}, /* Bochs and older QEMU */
    {0x4004, 0x3400}, /* VirtualBox: SLP_TYP 5 */
};
#define OFF_PORTS (sizeof off_ports / sizeof off_ports[0])

static const char *const rst_bits[] = {"", "SYS_RST", "RST_CPU", "FULL_RST", NULL};
static const char *const sysctl_bits[] = {"FAST_RESET", "A20", NULL};
static const struct field fields[] = {
    FIELD(struct power, rst_cnt, rst_bits, "reset control register, port 0xCF9"),
    FIELD(struct power, sysctl_a, sysctl_bits, "system control port A, port 0x92"),
    FIELD(struct power, pm1_enable, NULL, "PM1 enable register, port 0x602"),
    FIELD(struct power, pm1_control, NULL, "PM1 control register, port 0x604"),
    {0},
};

static int init(struct dev *d, struct err *e)
{
    int r = bus_claim_ports(&d->m->bus, d, PORT_SYSCTL, 1, e);

    if (!r)
        r = bus_claim_ports(&d->m->bus, d, PORT_RST, 1, e);
    if (!r)
        r = bus_claim_ports(&d->m->bus, d, POWER_PM1_EVENT, 4, e);
    if (!r)
        r = bus_claim_ports(&d->m->bus, d, POWER_PM_TIMER, 4, e);
    for (unsigned i = 1; !r && i < OFF_PORTS; i++) /* the first two rows share a port */
        r = bus_claim_ports(&d->m->bus, d, off_ports[i].port, 2, e);
    return r;
}

static void reset(struct dev *d)
{
    *(struct power *)d->state = (struct power){.pm1_control = SCI_EN};
}

/* Bytes of a register that lies at `base`, from `port` on. */
static uint64_t bytes_of(uint64_t value, uint16_t base, uint16_t port)
{
    return value >> 8 * (port - base);
}

static uint64_t read_port(struct dev *d, uint16_t port)
{
    const struct power *s = d->state;

    if (port >= POWER_PM_TIMER && port < POWER_PM_TIMER + 4)
        return bytes_of(ticks_at(door_now(&d->m->door), POWER_PM_TIMER_HZ) & 0xffffff,
                        POWER_PM_TIMER, port);
    if (port >= POWER_PM1_CONTROL && port < POWER_PM1_CONTROL + 2)
        return bytes_of(s->pm1_control, POWER_PM1_CONTROL, port);
    if (port >= POWER_PM1_EVENT && port < POWER_PM1_EVENT + 4)
        return bytes_of((uint64_t)s->pm1_enable << 16, POWER_PM1_EVENT, port);

    if (port == PORT_RST)
        return s->rst_cnt;
    if (port == PORT_SYSCTL)
        return (s->sysctl_a & ~SYSCTL_A20) | (d->m->a20 ? SYSCTL_A20 : 0);
    return 0;
}

static uint64_t pio(struct dev *d, uint16_t port, unsigned size, bool write, uint64_t value)
{
    struct power *s = d->state;

    if (!write)
        return read_port(d, port);
    if (port == PORT_RST) {
        if (value & RST_CPU && !(s->rst_cnt & RST_CPU))
            machine_wish(d->m, WISH_RESET, (uint32_t)value);
        s->rst_cnt = value & 0x0e;
    } else if (port == PORT_SYSCTL) {
        if (value & SYSCTL_RST && !(s->sysctl_a & SYSCTL_RST))
            machine_wish(d->m, WISH_RESET, (uint32_t)value);
        s->sysctl_a = (uint8_t)value;
        d->m->a20 = value & SYSCTL_A20;
    } else if (port == POWER_PM1_EVENT && size == 4) {
        s->pm1_enable = (uint16_t)(value >> 16);
    } else if (port == POWER_PM1_EVENT + 2) {
        s->pm1_enable = (uint16_t)value;
    } else if (port == POWER_PM1_CONTROL && size >= 2) {
        s->pm1_control = (uint16_t)((value & ~(uint64_t)SLP_EN) | SCI_EN);
    }
    for (unsigned i = 0; i < OFF_PORTS; i++)
        if (port == off_ports[i].port && size == 2 && value == off_ports[i].value)
            machine_wish(d->m, WISH_POWER_OFF, (uint32_t)value);
    return 0;
}

static const char *reg_name(const struct dev *d, uint64_t off, bool write)
{
    (void)d;
    (void)write;
    if (off == PORT_RST)
        return "reset control";
    if (off == PORT_SYSCTL)
        return "system control A (A20, reset)";
    if (off - POWER_PM1_EVENT < 4)
        return off - POWER_PM1_EVENT < 2 ? "PM1 status" : "PM1 enable";
    if (off - POWER_PM_TIMER < 4)
        return "PM timer";
    for (unsigned i = 0; i < OFF_PORTS; i++)
        if (off - off_ports[i].port < 2)
            return "power control";
    return NULL;
}

const struct dev_ops power_dev = {
    .name = "power",
    .help =
        "reset control (0xCF9, 0x92), fast A20 (0x92), power off (0x604, 0xB004, 0x4004), ACPI's "
        "timer (0x608)",
    .state_bytes = sizeof(struct power),
    .fields = fields,
    .init = init,
    .reset = reset,
    .pio = pio,
    .reg_name = reg_name,
};
