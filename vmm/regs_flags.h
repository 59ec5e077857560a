/*
 * Flag tables of the register table: name, lowest bit, width and meaning of each field. Included
 * by regs.c alone. Sources: Intel SDM 1 3.4.3 (RFLAGS), 3A 2.5 (CR0, CR4), 2.2.1 (EFER), 10.4.4
 * (APIC base), 13.3 of volume 1 (XCR0), 3B 17.2 (DR6, DR7); AMD APM 2 3.1 for AMD's EFER bits.
 */
#ifndef VMM_REGS_FLAGS_H
#define VMM_REGS_FLAGS_H

#include "vmm/regs.h"

/* clang-format off */
static const struct reg_flag flags_rflags[] = {
    {"CF",    0, 1, "carry"},
    {"PF",    2, 1, "parity of the low byte is even"},
    {"AF",    4, 1, "carry out of bit 3"},
    {"ZF",    6, 1, "result was zero"},
    {"SF",    7, 1, "result was negative"},
    {"TF",    8, 1, "trap after each instruction"},
    {"IF",    9, 1, "interrupts are taken"},
    {"DF",   10, 1, "string instructions go down"},
    {"OF",   11, 1, "signed overflow"},
    {"IOPL", 12, 2, "privilege level that may use ports and cli/sti"},
    {"NT",   14, 1, "nested task"},
    {"RF",   16, 1, "ignore instruction breakpoints once"},
    {"VM",   17, 1, "virtual-8086 mode"},
    {"AC",   18, 1, "alignment checks; with SMAP: user pages may be touched"},
    {"VIF",  19, 1, "virtual interrupt flag"},
    {"VIP",  20, 1, "virtual interrupt pending"},
    {"ID",   21, 1, "CPUID exists"},
    {0},
};

static const struct reg_flag flags_cr0[] = {
    {"PE",  0, 1, "protected mode"},
    {"MP",  1, 1, "wait also obeys TS"},
    {"EM",  2, 1, "no x87: its instructions fault"},
    {"TS",  3, 1, "task switched: x87 and SSE fault once"},
    {"ET",  4, 1, "387 (always set)"},
    {"NE",  5, 1, "x87 errors are exceptions"},
    {"WP", 16, 1, "the kernel also obeys read-only pages"},
    {"AM", 18, 1, "RFLAGS.AC checks alignment"},
    {"NW", 29, 1, "not write-through"},
    {"CD", 30, 1, "caches off"},
    {"PG", 31, 1, "paging"},
    {0},
};

static const struct reg_flag flags_cr4[] = {
    {"VME",         0, 1, "virtual-8086 extensions"},
    {"PVI",         1, 1, "virtual interrupt flag in protected mode"},
    {"TSD",         2, 1, "rdtsc is for the kernel"},
    {"DE",          3, 1, "debugging extensions: I/O breakpoints, no DR4 and DR5"},
    {"PSE",         4, 1, "4 MiB pages in 32-bit paging"},
    {"PAE",         5, 1, "64-bit page table entries"},
    {"MCE",         6, 1, "machine check exceptions"},
    {"PGE",         7, 1, "global pages"},
    {"PCE",         8, 1, "rdpmc for everybody"},
    {"OSFXSR",      9, 1, "SSE is enabled"},
    {"OSXMMEXCPT", 10, 1, "SSE errors are #XM"},
    {"UMIP",       11, 1, "sgdt, sidt, sldt, smsw, str are for the kernel"},
    {"LA57",       12, 1, "5-level paging"},
    {"VMXE",       13, 1, "VMX"},
    {"SMXE",       14, 1, "SMX"},
    {"FSGSBASE",   16, 1, "rdfsbase and friends"},
    {"PCIDE",      17, 1, "process-context identifiers"},
    {"OSXSAVE",    18, 1, "xsave and XCR0 are enabled"},
    {"KL",         19, 1, "key locker"},
    {"SMEP",       20, 1, "the kernel may not execute user pages"},
    {"SMAP",       21, 1, "the kernel may not touch user pages"},
    {"PKE",        22, 1, "protection keys for user pages"},
    {"CET",        23, 1, "control-flow enforcement"},
    {"PKS",        24, 1, "protection keys for kernel pages"},
    {"UINTR",      25, 1, "user interrupts"},
    {"LASS",       27, 1, "linear address space separation"},
    {"LAM_SUP",    28, 1, "kernel pointers carry tags"},
    {"FRED",       32, 1, "flexible return and event delivery"},
    {0},
};

static const struct reg_flag flags_efer[] = {
    {"SCE",      0, 1, "syscall and sysret"},
    {"LME",      8, 1, "long mode wanted"},
    {"LMA",     10, 1, "long mode active: LME and CR0.PG"},
    {"NXE",     11, 1, "no-execute pages"},
    {"SVME",    12, 1, "AMD SVM"},
    {"LMSLE",   13, 1, "AMD: segment limits in long mode"},
    {"FFXSR",   14, 1, "AMD: fast fxsave"},
    {"TCE",     15, 1, "AMD: invlpg keeps upper-level entries"},
    {"MCOMMIT", 17, 1, "AMD: mcommit"},
    {"INTWB",   18, 1, "AMD: interruptible wbinvd"},
    {"UAIE",    20, 1, "AMD: upper address bits are ignored"},
    {"AIBRSE",  21, 1, "AMD: automatic IBRS"},
    {0},
};

static const struct reg_flag flags_apic_base[] = {
    {"BSP",   8, 1, "boot processor"},
    {"EXTD", 10, 1, "x2APIC mode"},
    {"EN",   11, 1, "local APIC enabled"},
    {"BASE", 12, 40, "page of its registers"},
    {0},
};

static const struct reg_flag flags_xcr0[] = {
    {"X87",        0, 1, "x87 (always set)"},
    {"SSE",        1, 1, "xmm registers and mxcsr"},
    {"AVX",        2, 1, "upper halves of ymm"},
    {"BNDREGS",    3, 1, "MPX bounds"},
    {"BNDCSR",     4, 1, "MPX configuration"},
    {"OPMASK",     5, 1, "AVX-512 masks"},
    {"ZMM_HI256",  6, 1, "AVX-512 upper halves of zmm0-15"},
    {"HI16_ZMM",   7, 1, "AVX-512 zmm16-31"},
    {"PKRU",       9, 1, "protection key rights"},
    {"TILECFG",   17, 1, "AMX configuration"},
    {"TILEDATA",  18, 1, "AMX tiles"},
    {0},
};

static const struct reg_flag flags_dr6[] = {
    {"B0",   0, 1, "breakpoint 0 was hit"},
    {"B1",   1, 1, "breakpoint 1 was hit"},
    {"B2",   2, 1, "breakpoint 2 was hit"},
    {"B3",   3, 1, "breakpoint 3 was hit"},
    {"BLD", 11, 1, "clear after a bus lock (set: none)"},
    {"BD",  13, 1, "a debug register was about to be touched"},
    {"BS",  14, 1, "single step"},
    {"BT",  15, 1, "task switch"},
    {"RTM", 16, 1, "clear inside a transaction (set: outside)"},
    {0},
};

static const struct reg_flag flags_dr7[] = {
    {"L0",    0, 1, "breakpoint 0, this task"},
    {"G0",    1, 1, "breakpoint 0, all tasks"},
    {"L1",    2, 1, "breakpoint 1, this task"},
    {"G1",    3, 1, "breakpoint 1, all tasks"},
    {"L2",    4, 1, "breakpoint 2, this task"},
    {"G2",    5, 1, "breakpoint 2, all tasks"},
    {"L3",    6, 1, "breakpoint 3, this task"},
    {"G3",    7, 1, "breakpoint 3, all tasks"},
    {"LE",    8, 1, "exact, this task (ignored)"},
    {"GE",    9, 1, "exact, all tasks (ignored)"},
    {"RTM",  11, 1, "breakpoints inside transactions"},
    {"GD",   13, 1, "touching a debug register traps"},
    {"RW0",  16, 2, "0 execute, 1 write, 2 port, 3 read or write"},
    {"LEN0", 18, 2, "0: 1 byte, 1: 2, 2: 8, 3: 4"},
    {"RW1",  20, 2, "0 execute, 1 write, 2 port, 3 read or write"},
    {"LEN1", 22, 2, "0: 1 byte, 1: 2, 2: 8, 3: 4"},
    {"RW2",  24, 2, "0 execute, 1 write, 2 port, 3 read or write"},
    {"LEN2", 26, 2, "0: 1 byte, 1: 2, 2: 8, 3: 4"},
    {"RW3",  28, 2, "0 execute, 1 write, 2 port, 3 read or write"},
    {"LEN3", 30, 2, "0: 1 byte, 1: 2, 2: 8, 3: 4"},
    {0},
};

/* The layout of VMX's access rights (Intel SDM 3C 24.4.1): bytes 5 and 6 of the descriptor with
 * the four limit bits between them cleared. VMX's bit 16, "unusable", is P clear here. */
static const struct reg_flag flags_segment[] = {
    {"TYPE",  0, 4, "code 8 (conforming 4, readable 2) or data (down 4, writable 2); accessed 1"},
    {"S",     4, 1, "code or data (clear: system)"},
    {"DPL",   5, 2, "privilege level"},
    {"P",     7, 1, "present and usable"},
    {"AVL",  12, 1, "for the operating system"},
    {"L",    13, 1, "64-bit code"},
    {"DB",   14, 1, "32-bit default size"},
    {"G",    15, 1, "limit counts pages"},
    {0},
};
/* clang-format on */

#endif
