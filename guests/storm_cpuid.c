/*
 * storm_cpuid: n CPUID instructions, leaf 0.
 *
 * build   make guests            gives o/guests/storm_cpuid (ELF64, multiboot 1)
 * run     ./vmscope run --append n=20000 o/guests/storm_cpuid
 * expect  status 33; COM1: "storm_cpuid: made 10000 CPUID instructions" (n=10000 unless given);
 *         KVM serves CPUID itself: they show as kvm_cpuid trace events, not as exits to user space
 */
#include "guests/lib/storm.h"

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    unsigned long n = storm_count(10000), made = 0;
    for (; made < n; made++) {
        uint32_t eax = 0, ebx, ecx = 0, edx;
        __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    }
    storm_end("storm_cpuid", made, "CPUID instructions");
}
