/*
 * storm_pio: n one-byte writes to the POST port 0x80, as fast as they go.
 *
 * build   make guests            gives o/guests/storm_pio (ELF64, multiboot 1)
 * run     ./vmscope run --append n=20000 o/guests/storm_pio
 * expect  status 33; COM1: "storm_pio: made 10000 writes to port 0x80" (n=10000 unless given);
 *         exactly n PIO exits at port 0x80
 */
#include "guests/lib/storm.h"

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    unsigned long n = storm_count(10000), made = 0;
    for (; made < n; made++)
        outb(TESTDEV_POST, (uint8_t)made);
    storm_end("storm_pio", made, "writes to port 0x80");
}
