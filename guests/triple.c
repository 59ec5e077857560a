/*
 * triple: a deliberate triple fault. The IDT is empty, then comes an undefined instruction: #UD
 * cannot be delivered, neither can the double fault, the processor shuts down.
 *
 * build   make guests            gives o/guests/triple (ELF64, multiboot 1)
 * run     ./vmscope run o/guests/triple
 * expect  status 6 (triple fault); COM1: "triple: now"; the last RIP is `the_end`
 */
#include "guests/lib/guest.h"

void guest_main(uintptr_t mbi)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) empty = {0, 0};
    (void)mbi;
    print("triple: now\n");
    __asm__ volatile("lidt %0\n"
                     ".globl the_end\n"
                     "the_end: ud2"
                     :
                     : "m"(empty));
}
