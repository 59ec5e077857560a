/*
 * Where every exception, interrupt and system call arrives (from entry.S, interrupts off), and the
 * report of an exception.
 */
#include "guests/tinyos/tinyos.h"

#define VECTOR_DOUBLE_FAULT 8
#define VECTOR_PAGE_FAULT   14
#define FRAMES_MAX          16

static const char *const names[] = {
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "no coprocessor",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection fault",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
};

static uint64_t read_cr2(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}

static void describe_page_fault(uint64_t error)
{
    printk("  %s of %p by ring %d: %s\n",
           error & 16  ? "fetch"
           : error & 2 ? "write"
                       : "read",
           read_cr2(), error & 4 ? 3ul : 0ul, error & 1 ? "not allowed" : "not mapped");
}

/* Follows saved RBPs while they lie in mapped memory and go up. */
static void backtrace(const struct trap *t)
{
    uint64_t rbp = t->rbp;
    for (unsigned i = 0; i < FRAMES_MAX && memory_is_mapped(rbp, 16, false); i++) {
        const uint64_t *frame = (const uint64_t *)rbp;
        if (!frame[1])
            break;
        printk("  called from %p\n", frame[1]);
        if (frame[0] <= rbp)
            break;
        rbp = frame[0];
    }
}

static void report(const struct trap *t)
{
    const char *name = t->vector < ARRAY_LEN(names) ? names[t->vector] : "unknown exception";
    printk("\n*** %s: vector %d, error %x, in ring %d\n", name, t->vector, t->error, t->cs & 3);
    if (t->vector == VECTOR_PAGE_FAULT)
        describe_page_fault(t->error);
    printk("  rip %p  rflags %p  cs %x ss %x\n", t->rip, t->rflags, t->cs, t->ss);
    printk("  rax %p  rbx %p  rcx %p\n", t->rax, t->rbx, t->rcx);
    printk("  rdx %p  rsi %p  rdi %p\n", t->rdx, t->rsi, t->rdi);
    printk("  rbp %p  rsp %p  r8  %p\n", t->rbp, t->rsp, t->r8);
    printk("  r9  %p  r10 %p  r11 %p\n", t->r9, t->r10, t->r11);
    printk("  r12 %p  r13 %p  r14 %p\n", t->r12, t->r13, t->r14);
    printk("  r15 %p\n", t->r15);
    backtrace(t);
}

static void exception(struct trap *t)
{
    report(t);
    if ((t->cs & 3) == 3 && process_is_running())
        process_kill(t);
    if (t->vector == VECTOR_DOUBLE_FAULT)
        power_exit(TESTDEV_CODE_TRAP);
    printk("back to the prompt\n\n");
    shell_restart();
}

static void interrupt(unsigned irq)
{
    if (pic_is_spurious(irq))
        return;
    switch (irq) {
    case 0:
        timer_interrupt();
        break;
    case 1:
        keyboard_interrupt();
        break;
    case TESTDEV_COM1_IRQ:
        serial_interrupt();
        break;
    default:
        break;
    }
    pic_end_of_interrupt(irq);
}

void trap_dispatch(struct trap *t)
{
    if (t->vector == VECTOR_SYSCALL)
        process_system_call(t);
    else if (t->vector >= VECTOR_IRQ0 && t->vector < VECTOR_IRQ0 + 16)
        interrupt((unsigned)t->vector - VECTOR_IRQ0);
    else
        exception(t);
}
