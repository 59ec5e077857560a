/*
 * vmm/acpi.c: the tables are found as systems look for them, add up, and tell of the board's chips.
 */
#include "tests/test.h"

#include <stdlib.h>

#include "vmm/acpi.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/devices/ioapic.h"
#include "vmm/devices/lapic.h"
#include "vmm/devices/power.h"
#include "vmm/machine.h"

static struct mem ram;
static struct boot_claims claims;

static uint64_t place(uint64_t bytes, unsigned cpus)
{
    struct err e;

    mem_fini(&ram);
    claims = (struct boot_claims){0};
    if (mem_init(&ram, bytes, &e) < 0)
        abort();
    return acpi_place(&claims, &ram, cpus);
}

static uint64_t at(uint64_t gpa, unsigned size)
{
    uint8_t raw[8] = {0};

    if (mem_read(&ram, gpa, raw, size) != size)
        test_fail(__FILE__, __LINE__, "nothing at 0x%llx", (unsigned long long)gpa);
    return le_load(raw, size);
}

static uint8_t sum(uint64_t gpa, uint64_t len)
{
    uint8_t s = 0;

    while (len--)
        s = (uint8_t)(s + at(gpa++, 1));
    return s;
}

/* The table's address from either root; both must name the same one. */
static uint64_t find(const char *signature)
{
    uint64_t rsdt = at(ACPI_AT + 16, 4), xsdt = at(ACPI_AT + 24, 8), found = 0;

    if (sum(rsdt, at(rsdt + 4, 4)) || sum(xsdt, at(xsdt + 4, 4)))
        test_fail(__FILE__, __LINE__, "%s", "a root does not add up");
    for (uint64_t i = 0; 36 + 8 * i < at(xsdt + 4, 4); i++) {
        uint64_t t = at(xsdt + 36 + 8 * i, 8);

        if (at(rsdt + 36 + 4 * i, 4) != t || sum(t, at(t + 4, 4)))
            test_fail(__FILE__, __LINE__, "table %u does not add up", (unsigned)i);
        if (!memcmp(mem_ptr(&ram, t, 4), signature, 4))
            found = t;
    }
    return found;
}

static void root(void)
{
    CHECK_EQ(place(4u << 20, 1), ACPI_AT);
    CHECK_EQ(ACPI_AT % 16, 0);
    CHECK(!memcmp(mem_ptr(&ram, ACPI_AT, 8), "RSD PTR ", 8));
    CHECK_EQ(sum(ACPI_AT, 20), 0);
    CHECK_EQ(at(ACPI_AT + 20, 4), ACPI_RSDP_BYTES);
    CHECK_EQ(sum(ACPI_AT, ACPI_RSDP_BYTES), 0);
    CHECK_EQ(claims.count, 1);
}

static void power(void)
{
    uint64_t fadt, dsdt;

    place(4u << 20, 1);
    fadt = find("FACP");
    CHECK_EQ(at(fadt + 46, 2), POWER_SCI);
    CHECK_EQ(at(fadt + 64, 4), POWER_PM1_CONTROL);
    CHECK_EQ(at(fadt + 172 + 4, 8), POWER_PM1_CONTROL);
    CHECK_EQ(at(fadt + 76, 4), POWER_PM_TIMER);
    CHECK_EQ(at(fadt + 116 + 4, 8), POWER_RESET);
    CHECK_EQ(at(at(fadt + 36, 4) + 4, 4), 64); /* FACS */
    CHECK_EQ(at(fadt + 36, 4) % 64, 0);
    dsdt = at(fadt + 140, 8);
    CHECK_EQ(dsdt, at(fadt + 40, 4));
    CHECK_EQ(sum(dsdt, at(dsdt + 4, 4)), 0);
    CHECK_EQ(at(dsdt + 36 + 5, 1), 0x12);                     /* the package, and it ends … */
    CHECK_EQ(6 + at(dsdt + 36 + 6, 1), at(dsdt + 4, 4) - 36); /* … where the table does */
}

/* Walks the controllers and counts each kind. */
static void controllers(void)
{
    static const unsigned cpus[] = {1, 4, MACHINE_CPUS_MAX};

    for (unsigned i = 0; i < ARRAY_LEN(cpus); i++) {
        unsigned kinds[5] = {0};
        uint64_t madt, p, end;

        CHECK_EQ(place(4u << 20, cpus[i]), ACPI_AT);
        madt = find("APIC");
        end = madt + at(madt + 4, 4);
        CHECK(end <= ACPI_AT + ACPI_BYTES);
        CHECK_EQ(at(madt + 36, 4), LAPIC_BASE);
        for (p = madt + 44; p < end; p += at(p + 1, 1)) {
            unsigned kind = (unsigned)at(p, 1);

            if (!at(p + 1, 1) || kind >= ARRAY_LEN(kinds)) {
                test_fail(__FILE__, __LINE__, "entry of kind %u and no length", kind);
                return;
            }
            if (kind == 0)
                CHECK_EQ(at(p + 3, 1), kinds[0]); /* APICs are numbered from 0 */
            if (kind == 1)
                CHECK_EQ(at(p + 4, 4), IOAPIC_BASE);
            if (kind == 2 && at(p + 3, 1) == 0)
                CHECK_EQ(at(p + 4, 4), 2); /* the timer's pin */
            kinds[kind]++;
        }
        CHECK_EQ(p, end);
        CHECK_EQ(kinds[0], cpus[i]);
        CHECK_EQ(kinds[1], 1);
        CHECK_EQ(kinds[2], 2);
        CHECK_EQ(kinds[4], 1);
    }
}

static void no_place(void)
{
    struct err e = {0};

    CHECK_EQ(place(4u << 20, 0), 0); /* nobody asked */
    CHECK_EQ(claims.count, 0);
    CHECK_EQ(at(ACPI_AT, 8), 0);
    CHECK_EQ(boot_claim(&claims, &ram, NULL, 0xe0800, 16, &e, "image"), 0);
    CHECK_EQ(acpi_place(&claims, &ram, 1), 0); /* the image is there */
    CHECK_EQ(at(ACPI_AT, 8), 0);
    mem_fini(&ram);
}

static const struct test tests[] = {
    {"root", root},
    {"power", power},
    {"controllers", controllers},
    {"no place", no_place},
};
TEST_MAIN(tests)
