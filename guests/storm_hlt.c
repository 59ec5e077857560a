/*
 * storm_hlt: n halts, each ended by the PIT at 1000 Hz.
 *
 * build   make guests            gives o/guests/storm_hlt (ELF64, multiboot 1)
 * run     ./vmscope run --append n=500 o/guests/storm_hlt
 * expect  status 33; COM1: "storm_hlt: made 100 halts" (n=100 unless given); exactly n HLT exits
 *         with user-space interrupt chips (none with the kernel's: they wait inside KVM)
 */
#include "guests/lib/storm.h"
#include "guests/lib/trap.h"

static void on_timer(struct trap *t)
{
    t->rflags &= ~0x200ull; /* one for each halt: a slow host has the next tick ready by now */
    pic_eoi(0);
}

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    unsigned long n = storm_count(100), made = 0;
    trap_init();
    trap_handle(PIC_VECTOR, on_timer, 0);
    pic_init(1u << 0);
    pit_init(1000);
    for (; made < n; made++)
        wait_interrupt();
    storm_end("storm_hlt", made, "halts");
}
