/*
 * State of the local APICs, shared by lapic.c (what they do) and lapic_text.c (how they are
 * shown). Machine lock.
 */
#ifndef VMM_DEVICES_LAPIC_INT_H
#define VMM_DEVICES_LAPIC_INT_H

#include "vmm/machine.h"

#define SVR_ENABLED 0x100u
#define LVT_MASKED  0x10000u
#define LVT_LEVEL   0x8000u
#define LVT_REMOTE  0x4000u
#define LVT_PERIOD  0x20000u

enum { D_FIXED, D_LOWEST, D_SMI, D_RESERVED, D_NMI, D_INIT, D_SIPI, D_EXTINT };
enum { LVT_TIMER, LVT_THERMAL, LVT_PMC, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

/* Offsets of registers (table 11-1). */
enum {
    R_ID = 0x020,
    R_VERSION = 0x030,
    R_TPR = 0x080,
    R_APR = 0x090,
    R_PPR = 0x0a0,
    R_EOI = 0x0b0,
    R_RRD = 0x0c0,
    R_LDR = 0x0d0,
    R_DFR = 0x0e0,
    R_SVR = 0x0f0,
    R_ISR = 0x100,
    R_TMR = 0x180,
    R_IRR = 0x200,
    R_ESR = 0x280,
    R_CMCI = 0x2f0,
    R_ICR = 0x300,
    R_ICR2 = 0x310,
    R_LVT = 0x320,
    R_INITIAL = 0x380,
    R_CURRENT = 0x390,
    R_DIVIDE = 0x3e0,
};

struct lapic_cpu {
    struct dev *dev;
    uint32_t index;
    uint32_t tpr, ldr, dfr, svr, esr, esr_next, icr, icr2, divide, initial;
    uint32_t lvt[LVTS];
    uint32_t isr[8], tmr[8], irr[8];
    uint64_t zero_ns; /* guest time at which the count reaches 0; DOOR_NEVER: stopped */
    uint64_t fired_ns;
    uint64_t fired, missed;
    uint8_t extint; /* an ExtINT message waits for its INTA */
    struct alarm alarm;
};
struct lapic {
    struct lapic_cpu cpu[MACHINE_CPUS_MAX];
    uint8_t pic_level;
    uint8_t last_lowest; /* vCPU that took the last lowest-priority message */
};

extern const struct field lapic_fields[];
void lapic_describe(const struct dev *d, struct buf *out);
const char *lapic_reg_name(const struct dev *d, uint64_t off, bool write);

/* Software-enabled by its spurious-interrupt register (SDM 3, "Local APIC State"). */
bool lapic_enabled(const struct lapic_cpu *c);
/* Highest vector of a set of 256 bits, -1 when it is empty. */
int lapic_highest(const uint32_t *set);
/* Processor priority, and the vector above it that is next (-1: none). */
uint32_t lapic_ppr(const struct lapic_cpu *c);
int lapic_deliverable(const struct lapic_cpu *c);
/* Length of one count of the timer, and the count now. */
uint64_t lapic_tick_ns(const struct lapic_cpu *c);
uint32_t lapic_timer_count(const struct lapic_cpu *c);

#endif
