/*
 * nowhere: jumps to an address where there is no memory. It is mapped by the page tables, so this
 * is no page fault: the fetch itself finds nothing.
 *
 * build   make guests            gives o/guests/nowhere (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/nowhere
 * expect  status 10 (KVM cannot go on: internal error, the fetch failed); COM1: "nowhere: jumping
 *         to 0xfe000000"; RIP 0xfe000000, the return address on the stack leads to guest_main
 */
#include "guests/lib/guest.h"

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    void (*nowhere)(void) = (void (*)(void))TESTDEV_NO_DEVICE;
    printk("nowhere: jumping to %x\n", (unsigned long)nowhere);
    nowhere();
    print("nowhere: came back\n");
    GUEST_DONE(TESTDEV_CODE_ASSERT);
}
