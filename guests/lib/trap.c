/*
 * The IDT of 64-bit guests, dispatch, the report of an unexpected exception, 8259 and PIT setup.
 * Intel SDM volume 3, 6.14 (64-bit gates); Intel 8259A and 8254 data sheets.
 */
#include "guests/lib/trap.h"

#include "guests/lib/guest.h"

#define VECTORS    256
#define STUB_BYTES 16
#define KERNEL_CS  0x08

struct gate {
    uint16_t offset_0;
    uint16_t selector;
    uint8_t ist;
    uint8_t type; /* 0x8e: present interrupt gate, DPL in bits 5 and 6 */
    uint16_t offset_16;
    uint32_t offset_32;
    uint32_t zero;
};

static struct gate idt[VECTORS];
static trap_fn *handlers[VECTORS];

extern const char trap_stubs[]; /* VECTORS stubs of STUB_BYTES each */

static void set_gate(unsigned vector, unsigned dpl)
{
    uint64_t to = (uint64_t)trap_stubs + vector * STUB_BYTES;
    idt[vector] = (struct gate){
        .offset_0 = (uint16_t)to,
        .selector = KERNEL_CS,
        .type = (uint8_t)(0x8e | dpl << 5),
        .offset_16 = (uint16_t)(to >> 16),
        .offset_32 = (uint32_t)(to >> 32),
    };
}

void trap_load(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr = {sizeof idt - 1, (uint64_t)idt};
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

void trap_init(void)
{
    /* Exceptions and the 8259s' range; the others get a gate with their handler. */
    for (unsigned v = 0; v < PIC_VECTOR + 16; v++)
        set_gate(v, 0);
    trap_load();
}

void trap_handle(unsigned vector, trap_fn *fn, unsigned dpl)
{
    if (vector >= VECTORS)
        return;
    handlers[vector] = fn;
    set_gate(vector, dpl);
}

static void report(const struct trap *t)
{
    uint64_t cr2;
    __asm__("mov %%cr2, %0" : "=r"(cr2));
    printk("unexpected trap: vector %d error %x rip %x cs %x rflags %x rsp %x cr2 %x\n", t->vector,
           t->error, t->rip, t->cs, t->rflags, t->rsp, cr2);
    GUEST_DONE(TESTDEV_CODE_TRAP);
}

void trap_dispatch(struct trap *t)
{
    trap_fn *fn = handlers[t->vector & (VECTORS - 1)];
    if (fn)
        fn(t);
    else
        report(t);
}

void pic_init(uint16_t open_mask)
{
    outb(0x20, 0x11); /* ICW1: edge, cascade, ICW4 follows */
    outb(0xa0, 0x11);
    outb(0x21, PIC_VECTOR);
    outb(0xa1, PIC_VECTOR + 8);
    outb(0x21, 0x04); /* the slave is on line 2 */
    outb(0xa1, 0x02);
    outb(0x21, 0x01); /* 8086 mode */
    outb(0xa1, 0x01);
    outb(0x21, (uint8_t)~open_mask);
    outb(0xa1, (uint8_t)(~open_mask >> 8));
}

void pic_eoi(unsigned irq)
{
    if (irq >= 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

void pit_init(unsigned hz)
{
    unsigned divisor = 1193182 / hz;
    outb(0x43, 0x34); /* channel 0, low then high byte, mode 2 */
    outb(0x40, (uint8_t)divisor);
    outb(0x40, (uint8_t)(divisor >> 8));
}
