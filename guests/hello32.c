/*
 * hello32: 32-bit protected mode without paging, started by multiboot 1.
 *
 * build   make guests            gives o/guests/hello32 (ELF32)
 * run     ./vmscope run --append 'some words' o/guests/hello32
 * expect  status 33; COM1: "hello32: 32-bit protected mode, …"; port 0xE9: "hello32: debug console"
 */
#include "guests/lib/guest.h"

void guest_main(uintptr_t mbi)
{
    uint32_t cr0;
    uint16_t cs;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    GUEST_ASSERT(cr0 & 1);           /* protected */
    GUEST_ASSERT(!(cr0 & 1u << 31)); /* not paged */
    GUEST_ASSERT((cs & 3) == 0);
    GUEST_ASSERT(guest_multiboot_magic == 0x2badb002);
    printk("hello32: 32-bit protected mode, multiboot information at %x\n", mbi);
    debug_print("hello32: debug console\n");
    GUEST_PASS();
}
