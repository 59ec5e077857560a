/*
 * storm_mmio: n four-byte accesses, reads and writes in turn, to a page where no device answers.
 *
 * build   make guests            gives o/guests/storm_mmio (ELF64, multiboot 1)
 * run     ./vmscope run --append n=20000 o/guests/storm_mmio
 * expect  status 33; COM1: "storm_mmio: made 10000 accesses at 0xfe000000" (n=10000 unless given);
 *         exactly n MMIO exits at 0xfe000000, the first a read, half (rounded up) of them reads
 */
#include "guests/lib/storm.h"

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    volatile uint32_t *reg = (volatile uint32_t *)TESTDEV_NO_DEVICE;
    unsigned long n = storm_count(10000), made = 0;
    for (; made < n; made++) {
        if (made & 1)
            *reg = (uint32_t)made;
        else
            (void)*reg;
    }
    storm_end("storm_mmio", made, "accesses at 0xfe000000");
}
