/*
 * cli_hlt: halts with interrupts off, for ever.
 *
 * build   make guests            gives o/guests/cli_hlt (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/cli_hlt
 * expect  status 0, for nothing can wake it any more (an NMI would: it halts again);
 *         COM1: "cli_hlt: good night"; one HLT exit with user-space interrupt chips
 */
#include "guests/lib/guest.h"

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    print("cli_hlt: good night\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}
