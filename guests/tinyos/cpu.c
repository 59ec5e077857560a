/*
 * The processor's tables: segments, task state, interrupt gates, and the registers of SYSCALL.
 * Intel SDM volume 3, 3.4.5 (descriptors), 6.14 (gates), 7.7 (TSS), 5.8.8 (SYSCALL).
 */
#include "guests/tinyos/tinyos.h"

#define MSR_STAR   0xc0000081
#define MSR_LSTAR  0xc0000082
#define MSR_SFMASK 0xc0000084
#define EFER_SCE   1ul

#define GATE_INTERRUPT 0x8e
#define GATE_DPL3      0x60
#define STUB_BYTES     16
#define IST_DOUBLE     1

struct gate {
    uint16_t offset_0, selector;
    uint8_t ist, type;
    uint16_t offset_16;
    uint32_t offset_32, zero;
};

struct tss {
    uint32_t zero;
    uint64_t rsp[3], zero2, ist[7], zero3;
    uint16_t zero4, iomap;
} __attribute__((packed, aligned(4)));

struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* In the order that SYSCALL and SYSRET want: kernel code, data; user data, code. */
static uint64_t gdt[8] = {
    0,
    0x00af9b000000ffff, /* SEL_KERNEL_CODE */
    0x00cf93000000ffff, /* SEL_KERNEL_DATA */
    0,                  /* 32-bit user code would be here */
    0x00cff3000000ffff, /* SEL_USER_DATA */
    0x00affb000000ffff, /* SEL_USER_CODE */
    0,                  /* SEL_TSS, two entries */
    0,
};
static struct gate idt[256];
static struct tss tss;
static uint8_t double_fault_stack[4096] __attribute__((aligned(16)));

extern const char trap_stubs[];
void syscall_entry(void);

static void load_gdt(void)
{
    uint64_t at = (uint64_t)&tss;
    const struct table_register gdtr = {sizeof gdt - 1, (uint64_t)gdt};
    tss.iomap = sizeof tss;
    tss.ist[IST_DOUBLE - 1] = (uint64_t)(double_fault_stack + sizeof double_fault_stack);
    gdt[6] = (sizeof tss - 1) | (at & 0xffffff) << 16 | 0x89ul << 40 | (at >> 24 & 0xff) << 56;
    gdt[7] = at >> 32;
    /* CS keeps its selector, whose new descriptor says the same as boot.S's. */
    __asm__ volatile("lgdt %0\n\t"
                     "mov %w1, %%ss\n\t"
                     "mov %w1, %%ds\n\t"
                     "mov %w1, %%es\n\t"
                     "ltr %w2"
                     :
                     : "m"(gdtr), "r"(SEL_KERNEL_DATA), "r"(SEL_TSS)
                     : "memory");
}

static void set_gate(unsigned vector, uint8_t type, uint8_t ist)
{
    uint64_t to = (uint64_t)trap_stubs + vector * STUB_BYTES;
    idt[vector] = (struct gate){
        .offset_0 = (uint16_t)to,
        .selector = SEL_KERNEL_CODE,
        .ist = ist,
        .type = type,
        .offset_16 = (uint16_t)(to >> 16),
        .offset_32 = (uint32_t)(to >> 32),
    };
}

static void load_idt(void)
{
    const struct table_register idtr = {sizeof idt - 1, (uint64_t)idt};
    for (unsigned v = 0; v < VECTOR_IRQ0 + 16; v++)
        set_gate(v, GATE_INTERRUPT, 0);
    set_gate(3, GATE_INTERRUPT | GATE_DPL3, 0); /* ring 3 may set breakpoints */
    set_gate(8, GATE_INTERRUPT, IST_DOUBLE);    /* the stack may be what is broken */
    set_gate(VECTOR_SYSCALL, GATE_INTERRUPT | GATE_DPL3, 0);
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

void cpu_set_kernel_stack(uint64_t rsp)
{
    tss.rsp[0] = rsp;
    syscall_rsp = rsp;
}

void cpu_init(void)
{
    load_gdt();
    load_idt();
    wrmsr(MSR_STAR, 0x1bul << 48 | (uint64_t)SEL_KERNEL_CODE << 32);
    wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    wrmsr(MSR_SFMASK, 0x700); /* TF, IF, DF off on entry */
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
}
