/*
 * tinyos, a small kernel to look into: everything its files tell each other, file by file, in the
 * order in which main.c starts them.
 *
 *   boot.S        from the loader's 32-bit entry to long mode in the higher half
 *   console.c     printk; serial.c COM1 with interrupts; vga.c text screen; keyboard.c PS/2
 *   cpu.c         GDT, TSS, IDT, SYSCALL registers;  entry.S SYSCALL, to ring 3 and back
 *   trap.c        exceptions and interrupts;  timer.c PIC, PIT, ticks, sleep
 *   multiboot.c   what the loader told us;  memory.c page tables
 *   process.c     one process in ring 3 and its system calls;  hello_user.c the program it runs
 *   shell.c       the prompt and its commands
 */
#ifndef TINYOS_H
#define TINYOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guests/lib/bytes.h"
#include "guests/lib/cpu.h"
#include "guests/lib/trap_frame.h"
#include "vmm/testdev_abi.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Where things are. The first GiB of physical memory appears at KERNEL_BASE. */
#define KERNEL_BASE    0xffffffff80000000ul
#define KERNEL_SIZE    0x40000000ul
#define USER_CODE      0x400000ul /* as linked by tinyos.ld */
#define USER_STACK_TOP 0x800000ul

static inline void *phys_to_virt(uint64_t phys)
{
    return (void *)(phys + KERNEL_BASE);
}

static inline uint64_t virt_to_phys(const void *virt)
{
    return (uint64_t)virt - KERNEL_BASE;
}

/* --- instructions that C has no words for: more than guests/lib/cpu.h has --- */

static inline void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a = leaf;
    *c = 0;
    __asm__ volatile("cpuid" : "+a"(*a), "=b"(*b), "+c"(*c), "=d"(*d));
}

/* Interrupts off; returns the flags for irq_restore. */
static inline uint64_t irq_save(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
    return flags;
}

static inline void irq_restore(uint64_t flags)
{
    if (flags & 0x200)
        __asm__ volatile("sti" : : : "memory");
}

/* To be called with interrupts off: sleeps until one has been served. STI takes effect after the
 * HLT, so none can slip in between a caller's test and the sleep. */
static inline void cpu_wait(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* --- console.c --- */

/* %s %d (unsigned long) %x (unsigned long, as 0x…) %p (the same, 16 digits) %c %%, with a width
 * and - as in C. Goes to COM1 and, when there is one, to the screen. */
void printk(const char *fmt, ...);
void console_write(const char *bytes, size_t len);
/* The next character typed on COM1 or the keyboard; sleeps until there is one. */
char console_getc(void);
/* -1 when nothing has been typed. */
int console_poll(void);
/* For interrupt handlers: a character was typed. Dropped when 64 are waiting. */
void console_typed(char c);

bool str_equal(const char *a, const char *b);
/* Decimal, or hex after 0x; false when it is no number. */
bool str_number(const char *s, uint64_t *out);

/* --- serial.c, vga.c, keyboard.c --- */

void serial_init(void);
void serial_listen(void); /* after timer_init, which sets up the 8259 */
void serial_write(const char *bytes, size_t len);
/* Waits until all is sent, without interrupts. */
void serial_flush(void);
void serial_interrupt(void);

void vga_init(void);
void vga_write(const char *bytes, size_t len);

void keyboard_interrupt(void);

/* --- cpu.c, entry.S --- */

#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA   0x23
#define SEL_USER_CODE   0x2b
#define SEL_TSS         0x30

#define MSR_EFER 0xc0000080

void cpu_init(void);

/* Goes to ring 3 and comes back when the process ends: the code given to user_leave. Meanwhile
 * entries from ring 3 use the rest of the caller's stack. */
uint64_t user_enter(uint64_t rip, uint64_t rsp, uint64_t arg);
void user_leave(uint64_t code) __attribute__((noreturn));
/* The stack on entry from ring 3, by interrupt (TSS) and by SYSCALL; called by user_enter. */
void cpu_set_kernel_stack(uint64_t rsp);
extern uint64_t syscall_rsp;

/* --- trap.c, timer.c --- */

#define VECTOR_IRQ0    0x20
#define VECTOR_SYSCALL 0x80
#define TIMER_HZ       100

void timer_init(void);
void timer_interrupt(void);
uint64_t timer_ticks(void);
void timer_sleep_ms(uint64_t ms);
void pic_end_of_interrupt(unsigned irq);
/* True for the 8259's "nobody any more" on its last line. */
bool pic_is_spurious(unsigned irq);

/* --- multiboot.c --- */

struct memory_range {
    uint64_t base, len;
    uint32_t type; /* 1 usable, 2 reserved, 3 ACPI tables, 4 ACPI NVS, 5 defective */
};

struct module {
    uint32_t start, end; /* physical */
    const char *string;
};

struct boot_info {
    const char *loader, *cmdline;
    unsigned ranges, modules;
    struct memory_range range[32];
    struct module module[8];
};

extern struct boot_info boot_info;

/* False when we were not started by multiboot 2. */
bool multiboot_init(uint32_t magic, uint32_t info_phys);
/* Copies the value of NAME=… from the command line; false when it is not there. */
bool boot_option(const char *name, char *value, size_t size);

/* --- memory.c --- */

void memory_init(void);
/* Maps a 4 KiB page for ring 3. */
void memory_map_user(uint64_t virt, uint64_t phys, bool writable);
/* True when all of [virt, virt + len) is mapped, for ring 3 if `user`. */
bool memory_is_mapped(uint64_t virt, uint64_t len, bool user);

/* --- process.c --- */

/* Runs the program to its end; its exit code, or 128 + vector when an exception killed it. */
uint64_t process_run(uint64_t arg);
/* True while the process runs: its exceptions then end it and not the kernel. */
bool process_is_running(void);
void process_kill(const struct trap *t) __attribute__((noreturn));
void process_system_call(struct trap *t);

/* --- shell.c --- */

/* Never returns; called again after an exception in a command. */
void shell_run(void) __attribute__((noreturn));
/* Called by trap.c after the report: a fresh stack, back to the prompt. */
void shell_restart(void) __attribute__((noreturn));
void power_exit(uint8_t code) __attribute__((noreturn));

#endif
