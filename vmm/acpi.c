/*
 * ACPI tables of this board: RSDP, RSDT, XSDT, FADT, FACS, DSDT and MADT (ACPI 6.4, chapter 5). The
 * facts come from the devices' own headers; the one name space object is what tells how to switch
 * off. Called by the loaders.
 */
#include "vmm/acpi.h"

#include <string.h>

#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/devices/ioapic.h"
#include "vmm/devices/lapic.h"
#include "vmm/devices/power.h"
#include "vmm/machine.h"

/* Offsets from ACPI_AT. FACS wants 64 bytes' alignment, the root pointer 16. */
enum { AT_RSDP = 0, AT_RSDT = 0x40, AT_XSDT = 0x80, AT_FACS = 0xc0, AT_DSDT = 0x100 };
enum { AT_FADT = 0x140, AT_MADT = 0x280 };

#define HEADER_BYTES 36u
#define FADT_BYTES   244u
#define FACS_BYTES   64u

/* Fixed feature flags (table 5.10). */
#define WBINVD     (1u << 0)
#define PROC_C1    (1u << 2)
#define NO_PWR     (1u << 4) /* no power button in the fixed registers */
#define NO_SLP     (1u << 5)
#define NO_FIX_RTC (1u << 6)
#define RESET_REG  (1u << 10)

#define BOOT_LEGACY (1u << 0) /* devices on the ISA bus … */
#define BOOT_8042   (1u << 1) /* … and a keyboard controller */

#define IN_PORTS 1u /* address space of a generic address */

#define MADT_PC       1u /* there are 8259s besides */
#define MADT_CPU      0u
#define MADT_IOAPIC   1u
#define MADT_OVERRIDE 2u
#define MADT_NMI      4u
#define ACTIVE_HIGH   1u
#define LEVEL         (3u << 2)

struct table {
    uint8_t *at;
    unsigned len;
};

static uint8_t sum(const uint8_t *p, unsigned n)
{
    uint8_t s = 0;

    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

static void put(struct table *t, unsigned bytes, uint64_t value)
{
    le_store(t->at + t->len, bytes, value);
    t->len += bytes;
}

/* The head that all tables but RSDP and FACS have (5.2.6). */
static struct table begin(uint8_t *base, unsigned off, const char signature[4], uint8_t revision)
{
    struct table t = {.at = base + off};

    memcpy(t.at, signature, 4);
    t.at[8] = revision;
    memcpy(t.at + 10, "VMSCOPBOARD   ", 14);
    le_store(t.at + 24, 4, 1);
    memcpy(t.at + 28, "VMSC", 4);
    le_store(t.at + 32, 4, 1);
    t.len = HEADER_BYTES;
    return t;
}

static void end(struct table *t)
{
    le_store(t->at + 4, 4, t->len);
    t->at[9] = (uint8_t)-sum(t->at, t->len);
}

static void make_rsdp(uint8_t *base)
{
    uint8_t *p = base + AT_RSDP;

    memcpy(p, "RSD PTR ", 8);
    memcpy(p + 9, "VMSCOP", 6);
    p[15] = 2;
    le_store(p + 16, 4, ACPI_AT + AT_RSDT);
    le_store(p + 20, 4, ACPI_RSDP_BYTES);
    le_store(p + 24, 8, ACPI_AT + AT_XSDT);
    p[8] = (uint8_t)-sum(p, 20);
    p[32] = (uint8_t)-sum(p, ACPI_RSDP_BYTES);
}

static void make_roots(uint8_t *base)
{
    struct table r = begin(base, AT_RSDT, "RSDT", 1), x = begin(base, AT_XSDT, "XSDT", 1);
    static const unsigned tables[] = {AT_FADT, AT_MADT};

    for (unsigned i = 0; i < ARRAY_LEN(tables); i++) {
        put(&r, 4, ACPI_AT + tables[i]);
        put(&x, 8, ACPI_AT + tables[i]);
    }
    end(&r);
    end(&x);
}

static void put_address(uint8_t *p, uint16_t port, unsigned bytes, unsigned access)
{
    p[0] = IN_PORTS;
    p[1] = (uint8_t)(bytes * 8);
    p[3] = (uint8_t)access;
    le_store(p + 4, 8, port);
}

/* Offsets of table 5.9. */
static void make_fadt(uint8_t *base)
{
    struct table t = begin(base, AT_FADT, "FACP", 3);

    le_store(t.at + 36, 4, ACPI_AT + AT_FACS);
    le_store(t.at + 40, 4, ACPI_AT + AT_DSDT);
    t.at[45] = 1; /* a desktop */
    t.at[46] = POWER_SCI;
    le_store(t.at + 56, 4, POWER_PM1_EVENT);
    le_store(t.at + 64, 4, POWER_PM1_CONTROL);
    le_store(t.at + 76, 4, POWER_PM_TIMER);
    t.at[88] = 4;
    t.at[89] = 2;
    t.at[91] = 4;
    le_store(t.at + 96, 2, 0xfff); /* no C2 … */
    le_store(t.at + 98, 2, 0xfff); /* … and no C3 */
    t.at[108] = 0x32;              /* the century's byte in the clock's memory */
    le_store(t.at + 109, 2, BOOT_LEGACY | BOOT_8042);
    le_store(t.at + 112, 4, WBINVD | PROC_C1 | NO_PWR | NO_SLP | NO_FIX_RTC | RESET_REG);
    put_address(t.at + 116, POWER_RESET, 1, 1);
    t.at[128] = POWER_RESET_VALUE;
    le_store(t.at + 140, 8, ACPI_AT + AT_DSDT);
    put_address(t.at + 148, POWER_PM1_EVENT, 4, 2);
    put_address(t.at + 172, POWER_PM1_CONTROL, 2, 2);
    put_address(t.at + 208, POWER_PM_TIMER, 4, 3);
    t.len = FADT_BYTES;
    end(&t);
}

static void make_facs(uint8_t *base)
{
    memcpy(base + AT_FACS, "FACS", 4);
    le_store(base + AT_FACS + 4, 4, FACS_BYTES);
}

/* Name (\_S5, Package () {type, type, 0, 0}) (ACPI 6.4, 20.2). */
static void make_dsdt(uint8_t *base)
{
    static const uint8_t s5[] = {
        0x08, '_', 'S', '5', '_', 0x12, 8, 4, 0x0a, POWER_OFF_TYPE, 0x0a, POWER_OFF_TYPE, 0, 0};
    struct table t = begin(base, AT_DSDT, "DSDT", 2);

    memcpy(t.at + t.len, s5, sizeof s5);
    t.len += sizeof s5;
    end(&t);
}

static void put_override(struct table *t, unsigned irq, unsigned pin, unsigned flags)
{
    put(t, 1, MADT_OVERRIDE);
    put(t, 1, 10);
    put(t, 1, 0); /* ISA */
    put(t, 1, irq);
    put(t, 4, pin);
    put(t, 2, flags);
}

static void make_madt(uint8_t *base, unsigned cpus)
{
    struct table t = begin(base, AT_MADT, "APIC", 3);

    put(&t, 4, LAPIC_BASE);
    put(&t, 4, MADT_PC);
    for (unsigned i = 0; i < cpus; i++) {
        put(&t, 1, MADT_CPU);
        put(&t, 1, 8);
        put(&t, 1, i); /* processor's and local APIC's number */
        put(&t, 1, i);
        put(&t, 4, 1); /* enabled */
    }
    put(&t, 1, MADT_IOAPIC);
    put(&t, 1, 12);
    put(&t, 2, 0); /* its id, as the chip has it after reset */
    put(&t, 4, IOAPIC_BASE);
    put(&t, 4, 0); /* its first pin's number */
    put_override(&t, 0, 2, 0);
    put_override(&t, POWER_SCI, POWER_SCI, ACTIVE_HIGH | LEVEL);
    put(&t, 1, MADT_NMI);
    put(&t, 1, 6);
    put(&t, 1, 0xff); /* every processor */
    put(&t, 2, 0);
    put(&t, 1, 1); /* LINT1 */
    end(&t);
}

uint64_t acpi_place(struct boot_claims *c, struct mem *m, unsigned cpus)
{
    uint8_t *base;

    if (!cpus || boot_claim(c, m, NULL, ACPI_AT, ACPI_BYTES, NULL, "ACPI tables") < 0)
        return 0;
    base = mem_ptr(m, ACPI_AT, ACPI_BYTES);
    BUG_ON(!base || cpus > MACHINE_CPUS_MAX);
    memset(base, 0, ACPI_BYTES);
    make_rsdp(base);
    make_roots(base);
    make_fadt(base);
    make_facs(base);
    make_dsdt(base);
    make_madt(base, cpus);
    return ACPI_AT + AT_RSDP;
}
