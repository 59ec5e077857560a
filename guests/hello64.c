/*
 * hello64: a plain ELF64 that begins in long mode; no boot protocol, no mode switch of its own.
 *
 * build   make guests            gives o/guests/hello64 (ELF64)
 * run     ./vmscope run o/guests/hello64
 * expect  status 33; COM1: "hello64: long mode, …"; port 0xE9: "hello64: debug console"
 */
#include "guests/lib/guest.h"

#define MSR_EFER 0xc0000080
#define EFER_LMA (1u << 10)

void guest_main(uintptr_t mbi)
{
    uint64_t cr0, cr3;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    GUEST_ASSERT(cr0 & 1u << 31);
    GUEST_ASSERT(rdmsr(MSR_EFER) & EFER_LMA);
    GUEST_ASSERT(mbi == 0);
    printk("hello64: long mode, page tables at %x\n", cr3);
    debug_print("hello64: debug console\n");
    GUEST_PASS();
}
