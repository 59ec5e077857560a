/*
 * Ports, registers and MSRs by name. Facts from the chips' data sheets (8250, 8254, 8259A, 8042,
 * MC146818, 82093AA), the Intel SDM (volume 3, local APIC; volume 4, MSRs) and the AMD APM.
 */
#include "debug/trace/known.h"

#include <inttypes.h>

#include "vmm/base/x.h"

#define END                                                                                        \
    {                                                                                              \
        0, 0, NULL                                                                                 \
    }

static const struct known_bit uart_lsr[] = {{1, 1, "a byte has arrived"},
                                            {1, 0, "nothing has arrived"},
                                            {2, 2, "overrun"},
                                            {0x20, 0x20, "ready to send"},
                                            {0x20, 0, "still sending"},
                                            {0x40, 0x40, "sender idle"},
                                            END};
static const struct known_bit kbd_status[] = {{1, 1, "output buffer full: a byte waits at 0x60"},
                                              {1, 0, "output buffer empty"},
                                              {2, 2, "input buffer full: not ready for a command"},
                                              {2, 0, "ready for a command"},
                                              {0x20, 0x20, "the byte is the mouse's"},
                                              END};
static const struct known_bit kbd_command[] = {{0xff, 0x20, "read the command byte"},
                                               {0xff, 0x60, "write the command byte"},
                                               {0xff, 0xa7, "disable the mouse port"},
                                               {0xff, 0xa8, "enable the mouse port"},
                                               {0xff, 0xaa, "self-test"},
                                               {0xff, 0xab, "test the keyboard port"},
                                               {0xff, 0xad, "disable the keyboard"},
                                               {0xff, 0xae, "enable the keyboard"},
                                               {0xff, 0xd1, "write the output port (A20, reset)"},
                                               {0xff, 0xd4, "next byte goes to the mouse"},
                                               {0xff, 0xfe, "reset the processor"},
                                               END};
static const struct known_bit pic_command[] = {
    {0xf8, 0x20, "end of interrupt"},
    {0xf8, 0x60, "end of one named interrupt"},
    {0x10, 0x10, "ICW1: initialisation begins"},
    {0x1b, 0x0a, "next read gives requests (IRR)"},
    {0x1b, 0x0b, "next read gives interrupts in service"},
    END};
static const struct known_bit pit_command[] = {
    {0xc0, 0x00, "channel 0 (IRQ 0)"},   {0xc0, 0x40, "channel 1"},
    {0xc0, 0x80, "channel 2 (speaker)"}, {0xc0, 0xc0, "read-back"},
    {0x30, 0x00, "latch the count"},     {0x0e, 0x00, "mode 0: one shot"},
    {0x0e, 0x04, "mode 2: rate"},        {0x0e, 0x06, "mode 3: square wave"},
    {0x0e, 0x08, "mode 4: strobe"},      END};
static const struct known_bit ata_status[] = {{0x80, 0x80, "busy"},         {0x40, 0x40, "ready"},
                                              {0x08, 0x08, "data request"}, {0x01, 0x01, "error"},
                                              {0xff, 0xff, "no drive"},     END};
static const struct known_bit sys_b[] = {{1, 1, "channel 2 gate on"},
                                         {2, 2, "speaker on"},
                                         {0x10, 0x10, "refresh toggle"},
                                         {0x20, 0x20, "channel 2 output high"},
                                         END};
static const struct known_bit apic_base[] = {{0x100, 0x100, "boot processor"},
                                             {0x400, 0x400, "x2APIC"},
                                             {0x800, 0x800, "enabled"},
                                             {0x800, 0, "disabled"},
                                             END};
static const struct known_bit efer[] = {{1, 1, "SYSCALL"},
                                        {0x100, 0x100, "long mode wanted"},
                                        {0x400, 0x400, "long mode active"},
                                        {0x800, 0x800, "no-execute"},
                                        {0x1000, 0x1000, "SVM"},
                                        END};

/* clang-format off */
#define P(d, first, last, name, help, storm, bits) {EXIT_PORT, KNOWN_##d, first, last, name, help, storm, bits}
#define M(d, first, last, name, help, storm, bits) {EXIT_GPA, KNOWN_##d, first, last, name, help, storm, bits}
#define R(d, first, last, name, help, storm, bits) {EXIT_MSR, KNOWN_##d, first, last, name, help, storm, bits}
static const struct known table[] = {
P(ANY, 0x00, 0x0f, "DMA controller 1", "Addresses and counts of 8-bit DMA channels 0 to 3.", NULL, NULL),
P(WRITE, 0x20, 0x20, "PIC 1 command", "Commands of the first interrupt controller; 0x20 ends the interrupt being served, so that the next may come.",
  "each interrupt costs an exit for its end: a lower timer rate, or the local APIC's EOI, which newer processors take without an exit", pic_command),
P(READ, 0x20, 0x20, "PIC 1 IRR/ISR", "Interrupts that wait or are served, as the last command chose.", NULL, NULL),
P(ANY, 0x21, 0x21, "PIC 1 mask", "A set bit holds that interrupt back. After ICW1 the next three writes are ICW2 (vector), ICW3 and ICW4.",
  "a kernel that masks and unmasks around every interrupt pays two exits each: leave the line unmasked, or use the APIC", NULL),
P(ANY, 0x40, 0x40, "PIT channel 0", "The count of the timer behind IRQ 0, low byte then high; it falls at 1193182 Hz.",
  "the guest reads the timer to measure time: two or three exits a reading; the TSC (RDTSC) does not exit", NULL),
P(ANY, 0x41, 0x41, "PIT channel 1", "Once the memory refresh; unused today.", NULL, NULL),
P(ANY, 0x42, 0x42, "PIT channel 2", "The speaker's count, and with port 0x61 a stopwatch for calibration.",
  "a calibration loop against channel 2: it ends by itself; a TSC frequency from CPUID leaf 0x15 or 0x40000010 saves it", NULL),
P(WRITE, 0x43, 0x43, "PIT command", "Chooses channel, access and mode, or latches a count.",
  "the guest latches the timer again and again to measure time: the TSC does not exit", pit_command),
P(READ, 0x60, 0x60, "i8042 data", "A scan code, a mouse byte or the answer to a command.", "the guest polls the keyboard: IRQ 1 would tell it when there is something to read", NULL),
P(WRITE, 0x60, 0x60, "i8042 data", "A byte to the keyboard, or the operand of the last command.", NULL, NULL),
P(READ, 0x61, 0x61, "system control B", "Speaker gate and the output of PIT channel 2; bit 4 toggles with every refresh, 15 us.",
  "the guest waits by watching the refresh bit or channel 2's output: the PIT is polled; the TSC or an interrupt would not exit", sys_b),
P(WRITE, 0x61, 0x61, "system control B", "Gate of PIT channel 2 and the speaker.", NULL, sys_b),
P(READ, 0x64, 0x64, "i8042 status", "Whether the keyboard controller has a byte (bit 0) or takes one (bit 1).",
  "the guest polls the keyboard controller: IRQ 1 (and 12) would tell it, and a wait needs a bound", kbd_status),
P(WRITE, 0x64, 0x64, "i8042 command", "A command to the keyboard controller.", NULL, kbd_command),
P(WRITE, 0x70, 0x70, "CMOS index", "Chooses the clock's register for port 0x71; bit 7 masks NMIs.",
  "the guest waits for the clock's update to end: read it once, then keep time by the TSC", NULL),
P(ANY, 0x71, 0x71, "CMOS data", "Time, date, alarm or a byte of battery-backed memory.", "see port 0x70: the clock is polled", NULL),
P(WRITE, 0x80, 0x80, "POST code", "A byte for a diagnostic display; kernels write it as a delay of about a microsecond.",
  "writes to 0x80 are used as delays (Linux: io_delay=none on its command line); here each costs far more than the microsecond it stands for", NULL),
P(ANY, 0x81, 0x8f, "DMA pages", "Upper address bits of DMA channels.", NULL, NULL),
P(ANY, 0x92, 0x92, "fast A20 and reset", "Bit 1 opens address line 20, bit 0 resets the processor.", NULL, NULL),
P(WRITE, 0xa0, 0xa0, "PIC 2 command", "As port 0x20, for IRQ 8 to 15; both controllers want an end of interrupt.", "see port 0x20", pic_command),
P(ANY, 0xa1, 0xa1, "PIC 2 mask", "As port 0x21, for IRQ 8 to 15.", NULL, NULL),
P(ANY, 0xb2, 0xb3, "APM and SMI command", "Asks the firmware for system management.", NULL, NULL),
P(ANY, 0xc0, 0xdf, "DMA controller 2", "16-bit DMA channels 4 to 7.", NULL, NULL),
P(WRITE, 0xe9, 0xe9, "debug console", "Bochs' and QEMU's console for kernels: a byte written is printed.",
  "text comes one byte an exit: rep outsb sends a string in one exit on most hosts", NULL),
P(WRITE, 0xf4, 0xf4, "debug exit", "Ends the guest with status (value << 1) | 1.", NULL, NULL),
P(READ, 0x1f0, 0x1f0, "IDE data", "Two bytes of a sector: 256 reads a sector.", "a disk is read by programmed I/O: rep insw needs one exit for many words, DMA none", NULL),
P(READ, 0x1f7, 0x1f7, "IDE status", "Busy, ready, data request and error of the drive.", "the guest polls the disk: IRQ 14 would tell it", ata_status),
P(ANY, 0x1f1, 0x1f7, "IDE registers", "Sector, cylinder, head and command of the first IDE channel.", NULL, NULL),
P(ANY, 0x170, 0x177, "IDE registers", "The second IDE channel.", NULL, NULL),
P(ANY, 0x1ce, 0x1cf, "VBE extensions", "Index and data of Bochs' display registers.", NULL, NULL),
P(ANY, 0x278, 0x27f, "parallel port", "LPT2.", NULL, NULL),
P(READ, 0x2fd, 0x2fd, "COM2 line status", "Whether a byte has arrived and whether one can be sent.", "the guest polls the serial port: one exit for the byte and one or more for the wait; the FIFO takes 16 bytes for one look", uart_lsr),
P(ANY, 0x2f8, 0x2ff, "COM2", "The second serial port.", "one byte an exit: fill the FIFO (16 bytes) for each look at the status, or use virtio-console", NULL),
P(ANY, 0x378, 0x37f, "parallel port", "LPT1.", NULL, NULL),
P(ANY, 0x3b4, 0x3b5, "CRT controller (mono)", "Index and data of the display's timing and cursor.", NULL, NULL),
P(ANY, 0x3c0, 0x3cf, "VGA registers", "Attributes, sequencer, palette and graphics controller.", NULL, NULL),
P(ANY, 0x3d4, 0x3d5, "CRT controller", "Index and data of timing, start address and cursor: moving the cursor takes four writes.", "the cursor is moved for every character: move it once a line", NULL),
P(READ, 0x3da, 0x3da, "VGA status", "Retrace of the display; reading resets the attribute controller's flip-flop.", "the guest waits for the display's retrace by polling", NULL),
P(ANY, 0x3f0, 0x3f5, "floppy controller", "Commands, status and data of diskettes.", NULL, NULL),
P(ANY, 0x3f6, 0x3f6, "IDE control", "Second status register, reset and interrupt enable.", NULL, ata_status),
P(WRITE, 0x3f8, 0x3f8, "COM1 data", "A byte to send; with the divisor latch open, the low byte of the speed.", "one byte an exit: fill the FIFO (16 bytes) for each look at the status, or use virtio-console", NULL),
P(READ, 0x3f8, 0x3f8, "COM1 data", "The byte that arrived first.", NULL, NULL),
P(ANY, 0x3f9, 0x3f9, "COM1 interrupt enable", "What raises IRQ 4; with the divisor latch open, the high byte of the speed.", NULL, NULL),
P(ANY, 0x3fa, 0x3fa, "COM1 FIFO and interrupt cause", "Read: why IRQ 4 came; write: FIFO control.", "a serial interrupt that is acknowledged without removing its cause comes again at once", NULL),
P(ANY, 0x3fb, 0x3fb, "COM1 line control", "Bits, parity and, in bit 7, the divisor latch.", NULL, NULL),
P(ANY, 0x3fc, 0x3fc, "COM1 modem control", "DTR, RTS and, in bit 3, the gate of IRQ 4.", NULL, NULL),
P(READ, 0x3fd, 0x3fd, "COM1 line status", "Whether a byte has arrived and whether one can be sent.", "the guest polls the serial port: one exit for the byte and one or more for the wait; the FIFO takes 16 bytes for one look", uart_lsr),
P(ANY, 0x3fe, 0x3ff, "COM1 modem status, scratch", "Lines of the modem; a byte of memory by which kernels recognise the chip.", NULL, NULL),
P(ANY, 0x4d0, 0x4d1, "PIC edge and level", "Which interrupts are level-triggered.", NULL, NULL),
P(ANY, 0x510, 0x511, "fw_cfg", "QEMU's channel from host to firmware: selector and data, a byte a read.", "configuration is read one byte an exit: fw_cfg's DMA reads all at once", NULL),
P(ANY, 0x604, 0x605, "ACPI PM1a control", "Sleep states: SLP_EN with type 0 powers QEMU's Q35 off.", NULL, NULL),
P(READ, 0x608, 0x60b, "ACPI PM timer", "A counter of 3579545 Hz.", "the guest keeps time by the ACPI timer: every reading exits; a stable TSC or kvm-clock does not", NULL),
P(WRITE, 0xb004, 0xb005, "power off", "Bochs' and old QEMU's power switch.", NULL, NULL),
P(ANY, 0xcf8, 0xcf8, "PCI address", "Bus, device, function and register for the next access to 0xCFC.", "the bus is being searched, two exits a register: normal for a moment after the start", NULL),
P(WRITE, 0xcf9, 0xcf9, "reset control", "Bits 1 and 2 reset the machine.", NULL, NULL),
P(ANY, 0xcfc, 0xcff, "PCI data", "The register that 0xCF8 chose.", "the bus is being searched, two exits a register: normal for a moment after the start", NULL),
P(ANY, 0x5658, 0x5658, "VMware backdoor", "A call to VMware's hypervisor; elsewhere it reads as all ones.", NULL, NULL),

M(ANY, 0xa0000, 0xbffff, "VGA memory", "Text and graphics of the display; where it is emulated each access exits.", "text is drawn one cell an exit: keep a copy and write whole rows", NULL),
M(ANY, 0xfec00000, 0xfec00fff, "IOAPIC", "Index at 0, data at 0x10: where each interrupt line goes.", "interrupts are masked and unmasked one by one", NULL),
M(ANY, 0xfed00000, 0xfed003ff, "HPET", "Timers of about 10 MHz or more; its counter is at 0xf0.", "the guest keeps time by the HPET: every reading exits; a stable TSC or kvm-clock does not", NULL),
M(ANY, 0xfed40000, 0xfed44fff, "TPM", "Trusted platform module.", NULL, NULL),
M(ANY, 0xfee00000, 0xfee00fff, "local APIC", "The processor's own interrupt controller, a register every 16 bytes.", NULL, NULL),
M(READ, 0xfee00020, 0xfee00023, "local APIC ID", "Which processor this is.", "the processor's number is read on a hot path: keep it in a per-CPU variable, RDTSCP or RDPID", NULL),
M(ANY, 0xfee00080, 0xfee00083, "local APIC task priority", "Holds back interrupts of a class up to this.", "the priority is changed on a hot path: CR8 in 64-bit mode needs no exit with a TPR shadow", NULL),
M(WRITE, 0xfee000b0, 0xfee000b3, "local APIC end of interrupt", "Any write ends the interrupt being served.", "each interrupt costs an exit for its end: fewer interrupts, x2APIC, or KVM's paravirtual EOI", NULL),
M(WRITE, 0xfee00300, 0xfee00313, "local APIC interrupt command", "Sends an interrupt, NMI, INIT or SIPI to other processors (write the target at 0x310 first).", "processors interrupt each other all the time: batch what they ask for (TLB shoot-downs), or look for two that wake each other", NULL),
M(ANY, 0xfee00380, 0xfee00383, "local APIC timer, initial count", "Starts the timer.", "the timer is set anew at every tick: periodic mode needs one exit less", NULL),
M(READ, 0xfee00390, 0xfee00393, "local APIC timer, current count", "What is left of the timer.", "the APIC timer is polled as a clock: every reading exits; the TSC does not", NULL),
M(ANY, 0xfffc0000, 0xffffffff, "firmware", "The flash or ROM at the end of 4 GiB.", NULL, NULL),

R(ANY, 0x10, 0x10, "IA32_TIME_STAMP_COUNTER", "The TSC; RDTSC reads it without RDMSR.", NULL, NULL),
R(ANY, 0x1b, 0x1b, "IA32_APIC_BASE", "Where the local APIC is and whether it is on.", NULL, apic_base),
R(ANY, 0x34, 0x34, "MSR_SMI_COUNT", "System management interrupts so far.", NULL, NULL),
R(ANY, 0x3a, 0x3a, "IA32_FEATURE_CONTROL", "Locks and enables VMX.", NULL, NULL),
R(ANY, 0x48, 0x48, "IA32_SPEC_CTRL", "Speculation limits (IBRS, STIBP, SSBD).", "speculation limits are switched at every entry of the kernel: newer processors keep them on", NULL),
R(ANY, 0x49, 0x49, "IA32_PRED_CMD", "Forgets branch predictions (IBPB).", "a barrier at every switch of processes", NULL),
R(ANY, 0x79, 0x79, "IA32_BIOS_UPDT_TRIG", "Loads microcode.", NULL, NULL),
R(ANY, 0x8b, 0x8b, "IA32_BIOS_SIGN_ID", "Version of the microcode.", NULL, NULL),
R(ANY, 0xc1, 0xc8, "IA32_PMCn", "Performance counters.", "performance counters are read by RDMSR: RDPMC can be allowed", NULL),
R(ANY, 0xce, 0xce, "MSR_PLATFORM_INFO", "Ratios of the processor's clock.", NULL, NULL),
R(ANY, 0xfe, 0xfe, "IA32_MTRRCAP", "How many memory type ranges there are.", NULL, NULL),
R(ANY, 0x10a, 0x10a, "IA32_ARCH_CAPABILITIES", "Which speculation flaws the processor is free of.", NULL, NULL),
R(ANY, 0x174, 0x176, "IA32_SYSENTER_CS, ESP, EIP", "Where SYSENTER goes.", NULL, NULL),
R(ANY, 0x179, 0x17b, "IA32_MCG_CAP, STATUS, CTL", "Machine checks.", NULL, NULL),
R(ANY, 0x186, 0x18d, "IA32_PERFEVTSELn", "What the performance counters count.", NULL, NULL),
R(ANY, 0x198, 0x199, "IA32_PERF_STATUS, CTL", "Clock and voltage of the processor.", NULL, NULL),
R(ANY, 0x19a, 0x19c, "thermal MSRs", "Clock modulation and temperature.", NULL, NULL),
R(ANY, 0x1a0, 0x1a0, "IA32_MISC_ENABLE", "Assorted switches: fast strings, SpeedStep, the limit of CPUID.", NULL, NULL),
R(ANY, 0x1d9, 0x1d9, "IA32_DEBUGCTL", "Last branch records and stepping by branches.", NULL, NULL),
R(ANY, 0x200, 0x21f, "IA32_MTRR_PHYSn", "Memory types of physical ranges.", NULL, NULL),
R(ANY, 0x250, 0x26f, "IA32_MTRR_FIXn", "Memory types of the first megabyte.", NULL, NULL),
R(ANY, 0x277, 0x277, "IA32_PAT", "Memory types that page table bits choose.", NULL, NULL),
R(ANY, 0x2ff, 0x2ff, "IA32_MTRR_DEF_TYPE", "Memory type where no range says one.", NULL, NULL),
R(ANY, 0x309, 0x30b, "IA32_FIXED_CTRn", "Fixed performance counters.", NULL, NULL),
R(ANY, 0x345, 0x345, "IA32_PERF_CAPABILITIES", "Formats of performance monitoring.", NULL, NULL),
R(ANY, 0x38d, 0x390, "performance counter control", "Switches all performance counters.", NULL, NULL),
R(ANY, 0x400, 0x47f, "IA32_MCi", "Banks of machine check registers.", NULL, NULL),
R(ANY, 0x480, 0x493, "IA32_VMX_*", "What VMX can do.", NULL, NULL),
R(ANY, 0x606, 0x64f, "RAPL", "Units and counts of energy.", NULL, NULL),
R(ANY, 0x6e0, 0x6e0, "IA32_TSC_DEADLINE", "The TSC value at which the local APIC's timer fires.", "the timer is set at every tick, one exit each: fewer timers, or a lower tick rate (Linux: nohz)", NULL),
R(ANY, 0x800, 0x83f, "x2APIC registers", "The local APIC by MSR; 0x80b is the end of interrupt, 0x830 sends interrupts.", "as the local APIC: end of interrupt, interrupts between processors, or the timer", NULL),
R(ANY, 0xda0, 0xda0, "IA32_XSS", "States that XSAVES keeps for the kernel.", NULL, NULL),
R(ANY, 0x40000000, 0x400001ff, "Hyper-V registers", "Paravirtual registers of Hyper-V: time, interrupts, hypercalls.", NULL, NULL),
R(ANY, 0x4b564d00, 0x4b564dff, "KVM registers", "Paravirtual registers of KVM: clock, steal time, asynchronous faults, EOI.", NULL, NULL),
R(ANY, 0xc0000080, 0xc0000080, "IA32_EFER", "Long mode, no-execute, SYSCALL.", NULL, efer),
R(ANY, 0xc0000081, 0xc0000084, "STAR, LSTAR, CSTAR, SFMASK", "Where SYSCALL goes and what it clears.", NULL, NULL),
R(ANY, 0xc0000100, 0xc0000102, "FS.base, GS.base, KernelGSbase", "Bases of segments; WRFSBASE and SWAPGS do not exit.", "segment bases are written by WRMSR at every switch: FSGSBASE (CPUID leaf 7) allows WRFSBASE", NULL),
R(ANY, 0xc0000103, 0xc0000103, "TSC_AUX", "What RDTSCP and RDPID give.", NULL, NULL),
R(ANY, 0xc0010000, 0xc0010007, "AMD performance counters", "Selection and counts.", NULL, NULL),
R(ANY, 0xc0010010, 0xc001001f, "AMD system configuration", "SYSCFG, HWCR, memory ranges.", NULL, NULL),
R(ANY, 0xc0010058, 0xc0010058, "AMD MMIO configuration base", "Where PCI configuration space is mapped.", NULL, NULL),
R(ANY, 0xc0010114, 0xc0010117, "AMD VM_CR, VM_HSAVE_PA", "Switches and state of SVM.", NULL, NULL),
};
/* clang-format on */

/* What KVM served itself, as the access that it was. */
static bool kernel_access(const struct exit_event *ev, struct exit_access *a)
{
    uint64_t number = ev->u.kernel.number, value = ev->u.kernel.value[0];
    bool write = ev->u.kernel.write;

    switch (ev->u.kernel.event) {
    case KERNEL_PIO:
        *a = (struct exit_access){EXIT_PORT, write, number, value};
        return true;
    case KERNEL_MSR:
        *a = (struct exit_access){EXIT_MSR, write, number, value};
        return true;
    case KERNEL_APIC:
        *a = (struct exit_access){EXIT_GPA, write, 0xfee00000 + (number & 0xfff), value};
        return true;
    case KERNEL_MMIO:
        *a = (struct exit_access){EXIT_GPA, write, value, ev->u.kernel.value[1]};
        return true;
    default:
        return false;
    }
}

bool known_access(const struct exit_event *ev, struct exit_access *a)
{
    return ev->reason == EXIT_KERNEL ? kernel_access(ev, a) : exit_access(ev, a);
}

const struct known *known_of(const struct exit_event *ev)
{
    const struct known *best = NULL;
    struct exit_access a;

    if (!known_access(ev, &a))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct known *k = &table[i];

        if (k->space != a.space || a.at < k->first || a.at > k->last ||
            (k->dir != KNOWN_ANY && (k->dir == KNOWN_WRITE) != a.write))
            continue;
        if (!best || k->last - k->first < best->last - best->first)
            best = k;
    }
    return best;
}

void known_value(const struct known *k, uint64_t value, struct buf *out)
{
    const char *sep = "";

    for (const struct known_bit *b = k->bits; b && b->text; b++) {
        if ((value & b->mask) != b->value)
            continue;
        buf_addf(out, "%s%s", sep, b->text);
        sep = ", ";
    }
}
