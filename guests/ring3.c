/*
 * ring3: a process in ring 3 of long mode. It makes system calls by INT 0x80 and by SYSCALL and
 * prints through them; then it reads kernel memory, and the kernel reports the fault.
 *
 * build   make guests            gives o/guests/ring3 (ELF64, multiboot 1; the user program is
 *                                linked at 0x40000000, its symbols are in the same file)
 * run     ./vmscope run o/guests/ring3
 * expect  status 33; COM1: "ring3: hello by INT 0x80", "ring3: hello by SYSCALL", "ring3: fault
 *         from ring 3: vector 14, error 0x5, address 0x100000, rip 0x40000…", "ring3: 5 calls by
 *         INT 0x80, 6 by SYSCALL"
 */
#include "guests/ring3.h"

#include "guests/lib/guest.h"
#include "guests/lib/trap.h"

#define PTE_P 1ul
#define PTE_W 2ul
#define PTE_U 4ul

#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_SFMASK         0xc0000084
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define EFER_SCE           1ul
#define SYSCALL_VECTOR     0x80
#define SEL_TSS            0x30

extern uint64_t boot_pml4[512];
extern char user_start[], user_end[], user_load[]; /* image.ld: link and load address */
extern void syscall_entry(void);
void enter_user(uint64_t rip, uint64_t rsp) __attribute__((noreturn));
void user_main(void);
long syscall_by_syscall(long number, long a, long b, long c);

struct tss {
    uint32_t zero;
    uint64_t rsp0, rsp1, rsp2, zero2, ist[7], zero3;
    uint16_t zero4, iomap;
} __attribute__((packed));

/* What GS points to in the kernel; ring3_entry.S knows the offsets. */
struct record {
    uint64_t kernel_rsp, user_rsp;
};

static uint64_t gdt[8] __attribute__((aligned(16))) = {
    0,
    0x00af9b000000ffff, /* 0x08 kernel code */
    0x00cf93000000ffff, /* 0x10 kernel data */
    0,                  /* 0x18 where SYSRET would look for 32-bit user code */
    0x00cff3000000ffff, /* 0x20 user data */
    0x00affb000000ffff, /* 0x28 user code */
};
static struct tss tss;
static struct record record;
static uint64_t user_pd[512] __attribute__((aligned(4096)));
static uint64_t user_pt[512] __attribute__((aligned(4096)));
static uint8_t user_stack[4096] __attribute__((aligned(4096)));
static uint8_t trap_stack[8192] __attribute__((aligned(16)));
static uint8_t syscall_stack[8192] __attribute__((aligned(16)));

static unsigned long calls_by_int, calls_by_syscall;
static unsigned long program_result;

static long system_call(long number, long a, long b, long c)
{
    switch (number) {
    case SYS_WRITE:
        /* The only pointer from the user: it must lie in the user's pages. */
        if (a < (long)user_start || b < 0 || a > (long)user_end || b > (long)user_end - a)
            return -1;
        for (long i = 0; i < b; i++)
            print_char(((const char *)a)[i]);
        return b;
    case SYS_ADD:
        return a + b + c;
    case SYS_DONE:
        program_result = (unsigned long)a;
        return 0;
    default:
        return -1;
    }
}

long syscall_by_syscall(long number, long a, long b, long c)
{
    calls_by_syscall++;
    return system_call(number, a, b, c);
}

static void on_int80(struct trap *t)
{
    GUEST_ASSERT((t->cs & 3) == 3);
    calls_by_int++;
    t->rax = (uint64_t)system_call((long)t->rax, (long)t->rdi, (long)t->rsi, (long)t->rdx);
}

static void on_fault(struct trap *t)
{
    uint64_t cr2;
    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    GUEST_ASSERT((t->cs & 3) == 3);
    printk("ring3: fault from ring 3: vector %d, error %x, address %x, rip %x\n", t->vector,
           t->error, cr2, t->rip);
    printk("ring3: %d calls by INT 0x80, %d by SYSCALL\n", calls_by_int, calls_by_syscall);
    GUEST_ASSERT(t->error == (PTE_P | PTE_U)); /* present, read, from user */
    GUEST_ASSERT(cr2 == KERNEL_SECRET);
    GUEST_ASSERT(t->rip >= (uint64_t)user_start && t->rip < (uint64_t)user_end);
    GUEST_ASSERT(calls_by_int == 5 && calls_by_syscall == 6);
    GUEST_ASSERT(program_result == 1);
    GUEST_PASS();
}

static void load_gdt_and_tss(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr = {sizeof gdt - 1, (uint64_t)gdt};
    uint64_t at = (uint64_t)&tss;
    tss.rsp0 = (uint64_t)(trap_stack + sizeof trap_stack);
    tss.iomap = sizeof tss;
    gdt[6] = (sizeof tss - 1) | (at & 0xffffff) << 16 | 0x89ul << 40 | (at >> 24 & 0xff) << 56;
    gdt[7] = at >> 32;
    __asm__ volatile("lgdt %0; ltr %w1" : : "m"(gdtr), "r"(SEL_TSS) : "memory");
}

static void map_user(void)
{
    uint64_t *pdpt = (uint64_t *)(boot_pml4[0] & ~0xffful);
    uint64_t base = (uint64_t)user_start;
    unsigned pages = (unsigned)((user_end - user_start + 4095) / 4096);
    GUEST_ASSERT(pages < 255);
    for (unsigned i = 0; i < pages; i++)
        user_pt[i] = ((uint64_t)user_load + i * 4096ul) | PTE_P | PTE_W | PTE_U;
    user_pt[(USER_STACK_TOP - 4096) >> 12 & 511] = (uint64_t)user_stack | PTE_P | PTE_W | PTE_U;
    user_pd[base >> 21 & 511] = (uint64_t)user_pt | PTE_P | PTE_W | PTE_U;
    pdpt[base >> 30 & 511] = (uint64_t)user_pd | PTE_P | PTE_W | PTE_U;
    boot_pml4[0] |= PTE_U; /* the kernel's own GiB stays closed one level below */
    __asm__ volatile("mov %0, %%cr3" : : "r"(boot_pml4) : "memory");
}

static void enable_syscall(void)
{
    record.kernel_rsp = (uint64_t)(syscall_stack + sizeof syscall_stack);
    wrmsr(MSR_KERNEL_GS_BASE, (uint64_t)&record);
    wrmsr(MSR_GS_BASE, 0);
    wrmsr(MSR_STAR, 0x1bul << 48 | 0x08ul << 32); /* SYSRET: SS 0x23, CS 0x2b */
    wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    wrmsr(MSR_SFMASK, 0x700); /* TF, IF, DF off in the kernel */
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
}

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    trap_init();
    trap_handle(SYSCALL_VECTOR, on_int80, 3);
    trap_handle(TRAP_PF, on_fault, 0);
    pic_init(0);
    load_gdt_and_tss();
    map_user();
    enable_syscall();
    enter_user((uint64_t)user_main, USER_STACK_TOP);
}
