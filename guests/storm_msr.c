/*
 * storm_msr: n RDMSR instructions of an MSR that no processor has (0xe9e9, or msr=0x… on the
 * command line). Whoever serves it may give a value or #GP: the guest takes either and counts.
 *
 * build   make guests            gives o/guests/storm_msr (ELF64, multiboot 1)
 * run     ./vmscope run --append n=20000 o/guests/storm_msr
 * expect  status 33; COM1: "storm_msr: N answered, M refused with #GP" and "storm_msr: made 10000
 *         RDMSR instructions" (n=10000 unless given); exactly n MSR exits where the VMM asks for
 *         them (KVM_CAP_X86_USER_SPACE_MSR)
 */
#include "guests/lib/storm.h"
#include "guests/lib/trap.h"

#define RDMSR_BYTES 2

static unsigned long refused;

static void on_gp(struct trap *t)
{
    refused++;
    t->rip += RDMSR_BYTES;
}

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    uint32_t msr = (uint32_t)cmdline_number("msr", TESTDEV_NO_MSR);
    unsigned long n = storm_count(10000), made = 0;
    trap_init();
    trap_handle(TRAP_GP, on_gp, 0);
    for (; made < n; made++)
        (void)rdmsr(msr);
    printk("storm_msr: %d answered, %d refused with #GP\n", made - refused, refused);
    storm_end("storm_msr", made, "RDMSR instructions");
}
