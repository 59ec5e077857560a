/*
 * cli_hlt: halts with interrupts off, for ever.
 *
 * build   make guests            gives o/guests/cli_hlt (ELF64, multiboot 1)
 * run     ./vmscope run --timeout 2 o/guests/cli_hlt
 * expect  status 4 (time-out); COM1: "cli_hlt: good night"; one HLT exit with user-space
 *         interrupt chips, after which nothing can wake the processor (an NMI would: it halts
 * again)
 */
#include "guests/lib/guest.h"

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    print("cli_hlt: good night\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}
