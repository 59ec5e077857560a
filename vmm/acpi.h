/*
 * The tables by which a system finds the processors and interrupt controllers of this machine: what
 * a PC's firmware would have left behind. ACPI's root pointer lies where all look for it, in the
 * area from 0xE0000 on, and loaders whose protocol has a field for it pass it on.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stdint.h>

#include "vmm/boot.h"

#define ACPI_AT    0xe0000ull
#define ACPI_BYTES 0x1000u
/* The root pointer of ACPI 2.0 and later, at ACPI_AT. */
#define ACPI_RSDP_BYTES 36u

/* Writes the tables for `cpus` processors (1 to MACHINE_CPUS_MAX, their local APICs numbered from
 * 0) and claims their place. Returns the address of the root pointer, or 0 when there are no
 * tables: the image itself lies there, or the machine has no memory there. Main thread, no vCPU
 * runs. */
uint64_t acpi_place(struct boot_claims *c, struct mem *m, unsigned cpus);

#endif
