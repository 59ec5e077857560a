/*
 * Register images for entry, reset and start-up IPI. Pure functions of their arguments and guest
 * memory; called by vm.c for the boot processor and by the start-up of the others.
 */
#include "vmm/x86_boot.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/le.h"
#include "vmm/base/x.h"
#include "vmm/x86_bits.h"

typedef unsigned long long ull;

#define LARGE_BYTES (2ull << 20)
#define TABLE_SLOTS 512u

#define TYPE_DATA 3u  /* read, write, accessed */
#define TYPE_CODE 11u /* execute, read, accessed */
#define TYPE_LDT  2u
#define TYPE_TSS  11u /* busy: VMX wants nothing else in TR */

/* Flat descriptors; the accessed bits are set, as loading them would have done. */
static const uint64_t gdt_prot[] = {0, 0x00cf9b000000ffff, 0x00cf9b000000ffff, 0x00cf93000000ffff};
static const uint64_t gdt_long[] = {0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff};
_Static_assert(sizeof gdt_prot == sizeof gdt_long, "one length for both");

/* The hidden part that the processor keeps of a descriptor (SDM volume 3, 3.4.5). */
static struct kvm_segment from_descriptor(uint16_t selector, uint64_t d)
{
    uint32_t limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
    bool is_large = d >> 55 & 1;

    return (struct kvm_segment){
        .base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
        .limit = is_large ? limit << 12 | 0xfff : limit,
        .selector = selector,
        .type = d >> 40 & 15,
        .s = d >> 44 & 1,
        .dpl = d >> 45 & 3,
        .present = d >> 47 & 1,
        .avl = d >> 52 & 1,
        .l = d >> 53 & 1,
        .db = d >> 54 & 1,
        .g = is_large,
    };
}

static struct kvm_segment real_segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){.base = (uint64_t)selector << 4,
                                .limit = 0xffff,
                                .selector = selector,
                                .type = type,
                                .s = 1,
                                .present = 1};
}

static struct kvm_segment system_segment(uint8_t type)
{
    return (struct kvm_segment){.limit = 0xffff, .type = type, .present = 1};
}

static void set_data(struct kvm_sregs *s, struct kvm_segment seg)
{
    s->ds = s->es = s->fs = s->gs = s->ss = seg;
}

/* What every state shares; apic_base and cr8 stay. */
static void clear(struct kvm_sregs *s, struct kvm_regs *r)
{
    *r = (struct kvm_regs){.rflags = RFLAGS_ONE};
    memset(s->interrupt_bitmap, 0, sizeof s->interrupt_bitmap);
    s->cr2 = s->cr3 = s->cr4 = s->efer = 0;
    s->gdt = (struct kvm_dtable){.limit = 0xffff};
    s->idt = (struct kvm_dtable){.limit = 0xffff};
    s->tr = system_segment(TYPE_TSS);
    s->ldt = system_segment(TYPE_LDT);
}

void x86_reset_state(uint32_t signature, struct kvm_sregs *sregs, struct kvm_regs *regs)
{
    clear(sregs, regs);
    sregs->cr0 = CR0_CD | CR0_NW | CR0_ET;
    set_data(sregs, real_segment(0, TYPE_DATA));
    sregs->cs = real_segment(0xf000, TYPE_CODE);
    sregs->cs.base = 0xffff0000; /* until the first far jump */
    regs->rip = 0xfff0;
    regs->rdx = signature;
}

void x86_sipi_state(uint8_t vector, uint32_t signature, struct kvm_sregs *sregs,
                    struct kvm_regs *regs)
{
    x86_reset_state(signature, sregs, regs);
    sregs->cs = real_segment((uint16_t)(vector << 8), TYPE_CODE);
    regs->rip = 0;
}

static void apply_real(const struct boot_state *bs, struct kvm_sregs *s)
{
    s->cr0 = CR0_ET; /* caches on, as a BIOS leaves them */
    s->cs = real_segment(bs->cs, TYPE_CODE);
    set_data(s, real_segment(bs->ds, TYPE_DATA));
    s->ss = real_segment(bs->ss, TYPE_DATA);
    s->idt.limit = 0x3ff;
}

static int place_gdt(struct boot_state *bs, struct mem *m, const uint64_t *desc,
                     struct kvm_sregs *s, struct err *e)
{
    uint8_t raw[sizeof gdt_prot];
    int r = 0;

    if (!bs->gdt)
        r = boot_place_low(&bs->claims, m, sizeof raw, 16, "GDT", &bs->gdt, e);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < ARRAY_LEN(gdt_prot); i++)
        le_store(raw + 8 * i, 8, desc[i]);
    BUG_ON(mem_write(m, bs->gdt, raw, sizeof raw) != sizeof raw);
    s->gdt = (struct kvm_dtable){.base = bs->gdt, .limit = sizeof raw - 1};
    s->idt = (struct kvm_dtable){0};
    s->cs = from_descriptor(X86_SEL_CODE, desc[X86_SEL_CODE / 8]);
    set_data(s, from_descriptor(X86_SEL_DATA, desc[X86_SEL_DATA / 8]));
    return 0;
}

static uint64_t ram_end(const struct mem *m)
{
    const struct mem_region *r = m->regions ? &m->region[m->regions - 1] : NULL;

    return r ? r->gpa + r->len_bytes : 0;
}

static uint64_t round_up_div(uint64_t n, uint64_t d)
{
    return (n + d - 1) / d;
}

static void store(struct mem *m, uint64_t table, uint64_t slot, uint64_t v)
{
    uint8_t raw[8];

    le_store(raw, sizeof raw, v);
    BUG_ON(mem_write(m, table + 8 * slot, raw, sizeof raw) != sizeof raw);
}

/* One PML4, then its PDPTs, then all page directories, each level contiguous. RAM ends below 2^47
 * (mem.c), so one PML4 is enough and every address is canonical. */
static int place_page_tables(struct boot_state *bs, struct mem *m, struct err *e)
{
    uint64_t end = ram_end(m) > MEM_HOLE_END ? ram_end(m) : MEM_HOLE_END;
    uint64_t large = round_up_div(end, LARGE_BYTES), dirs = round_up_div(large, TABLE_SLOTS);
    uint64_t ptrs = round_up_div(dirs, TABLE_SLOTS), bytes = (1 + ptrs + dirs) * PAGE_BYTES;
    uint64_t pdpt, pd;
    int r = 0;

    if (!bs->page_tables)
        r = boot_place_low(&bs->claims, m, bytes, PAGE_BYTES, "page tables", &bs->page_tables, e);
    if (r < 0)
        return r;
    pdpt = bs->page_tables + PAGE_BYTES;
    pd = pdpt + ptrs * PAGE_BYTES;
    memset(mem_ptr(m, bs->page_tables, bytes), 0, bytes);
    for (uint64_t i = 0; i < ptrs; i++)
        store(m, bs->page_tables, i, (pdpt + i * PAGE_BYTES) | PTE_P | PTE_W);
    for (uint64_t i = 0; i < dirs; i++)
        store(m, pdpt, i, (pd + i * PAGE_BYTES) | PTE_P | PTE_W);
    for (uint64_t i = 0; i < large; i++)
        store(m, pd, i, i * LARGE_BYTES | PTE_P | PTE_W | PTE_PS);
    return 0;
}

static int apply_prot(struct boot_state *bs, struct mem *m, struct kvm_sregs *s, struct err *e)
{
    if (bs->rip > UINT32_MAX)
        return err_set(e, EINVAL, "the entry 0x%llx is out of reach of 32-bit protected mode",
                       (ull)bs->rip);
    s->cr0 = CR0_PE | CR0_ET;
    return place_gdt(bs, m, gdt_prot, s, e);
}

static int apply_long(struct boot_state *bs, struct mem *m, unsigned maxphyaddr,
                      struct kvm_sregs *s, struct err *e)
{
    int r;

    if (maxphyaddr < 64 && (ram_end(m) - 1) >> maxphyaddr)
        return err_set(e, EINVAL,
                       "guest RAM ends at 0x%llx, but this processor has only %u physical address "
                       "bits; try a smaller -m",
                       (ull)(ram_end(m) - 1), maxphyaddr);
    r = place_gdt(bs, m, gdt_long, s, e);
    if (!r)
        r = place_page_tables(bs, m, e);
    if (r < 0)
        return r;
    s->cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE;
    s->cr3 = bs->page_tables;
    s->cr4 = CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    return 0;
}

int x86_boot_apply(struct boot_state *bs, struct mem *m, unsigned maxphyaddr,
                   struct kvm_sregs *sregs, struct kvm_regs *regs, struct err *e)
{
    int r = 0;

    clear(sregs, regs);
    regs->rip = bs->rip;
    regs->rsp = bs->rsp;
    regs->rax = bs->rax;
    regs->rbx = bs->rbx;
    regs->rcx = bs->rcx;
    regs->rdx = bs->rdx;
    regs->rsi = bs->rsi;
    regs->rdi = bs->rdi;
    regs->rbp = bs->rbp;
    if (bs->mode == BOOT_MODE_REAL)
        apply_real(bs, sregs);
    else if (bs->mode == BOOT_MODE_PROT)
        r = apply_prot(bs, m, sregs, e);
    else
        r = apply_long(bs, m, maxphyaddr, sregs, e);
    return r;
}
