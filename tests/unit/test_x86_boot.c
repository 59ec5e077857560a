/*
 * vmm/x86_boot.c: register images and the tables behind them.
 */
#include "tests/test.h"

#include <errno.h>

#include "vmm/base/le.h"
#include "vmm/x86_boot.h"

static struct mem ram;
static struct err err;
static struct kvm_sregs s;
static struct kvm_regs r;

/* What KVM had before is not to shine through, but for apic_base and cr8. */
static struct boot_state start(uint64_t bytes, enum boot_mode mode)
{
    mem_fini(&ram);
    if (mem_init(&ram, bytes, &err) < 0)
        return (struct boot_state){0};
    memset(&s, 0x5a, sizeof s);
    memset(&r, 0x5a, sizeof r);
    s.apic_base = 0xfee00900;
    s.cr8 = 3;
    return (struct boot_state){.mode = mode, .rip = 0x1234, .rsp = 0x9000, .rbx = 7};
}

static uint64_t at(uint64_t gpa)
{
    uint8_t raw[8] = {0};

    mem_read(&ram, gpa, raw, 8);
    return le_load(raw, 8);
}

static void real_mode(void)
{
    struct boot_state bs = start(1 << 20, BOOT_MODE_REAL);

    bs.cs = 0x1000;
    bs.ds = 0x2000;
    bs.ss = 0x3000;
    CHECK_EQ(x86_boot_apply(&bs, &ram, 40, &s, &r, &err), 0);
    CHECK_EQ(s.cr0, 0x10);
    CHECK_EQ(s.cr3 | s.cr4 | s.efer, 0);
    CHECK_EQ(s.cs.base, 0x10000);
    CHECK_EQ(s.cs.selector, 0x1000);
    CHECK_EQ(s.cs.limit, 0xffff);
    CHECK_EQ(s.cs.type, 11);
    CHECK_EQ(s.cs.db | s.cs.l | s.cs.g | s.cs.unusable, 0);
    CHECK_EQ(s.ds.base, 0x20000);
    CHECK_EQ(s.gs.base, 0x20000);
    CHECK_EQ(s.ss.base, 0x30000);
    CHECK_EQ(s.ss.type, 3);
    CHECK_EQ(s.idt.limit, 0x3ff);
    CHECK_EQ(s.apic_base, 0xfee00900);
    CHECK_EQ(s.cr8, 3);
    CHECK_EQ(r.rflags, 2);
    CHECK_EQ(r.rip, 0x1234);
    CHECK_EQ(r.rbx, 7);
    CHECK_EQ(r.r15, 0);
    CHECK_EQ(bs.claims.count, 0);
}

static void protected_mode(void)
{
    struct boot_state bs = start(1 << 20, BOOT_MODE_PROT);

    CHECK_EQ(x86_boot_apply(&bs, &ram, 40, &s, &r, &err), 0);
    CHECK_EQ(s.cr0, 0x11);
    CHECK_EQ(s.efer | s.cr4 | s.cr3, 0);
    CHECK_EQ(s.cs.selector, 0x10);
    CHECK_EQ(s.cs.base, 0);
    CHECK_EQ(s.cs.limit, 0xffffffff);
    CHECK_EQ(s.cs.db, 1);
    CHECK_EQ(s.cs.l, 0);
    CHECK_EQ(s.ss.selector, 0x18);
    CHECK_EQ(s.ss.type, 3);
    CHECK_EQ(s.ss.db, 1);
    CHECK_EQ(s.idt.limit, 0);
    CHECK_EQ(s.tr.type, 11);
    CHECK_EQ(bs.claims.count, 1);
    CHECK_STR(bs.claims.claim[0].what, "GDT");
    CHECK_EQ(s.gdt.base, bs.gdt);
    CHECK_EQ(s.gdt.limit, 31);
    CHECK_EQ(at(bs.gdt), 0);
    CHECK_EQ(at(bs.gdt + 0x10), 0x00cf9b000000ffff);
    CHECK_EQ(at(bs.gdt + 0x18), 0x00cf93000000ffff);
    /* Again, as after a reset: the same place. */
    CHECK_EQ(x86_boot_apply(&bs, &ram, 40, &s, &r, &err), 0);
    CHECK_EQ(bs.claims.count, 1);
    bs.rip = 1ull << 32;
    CHECK_EQ(x86_boot_apply(&bs, &ram, 40, &s, &r, &err), -EINVAL);
    CHECK_HAS(err.msg, "0x100000000 is out of reach of 32-bit");
}

/* The address behind `linear` by the tables alone, or ~0. */
static uint64_t translate(uint64_t linear)
{
    uint64_t e = at(s.cr3 + 8 * (linear >> 39 & 511));

    if (!(e & 1))
        return ~0ull;
    e = at((e & ~0xfffull) + 8 * (linear >> 30 & 511));
    if (!(e & 1))
        return ~0ull;
    e = at((e & ~0xfffull) + 8 * (linear >> 21 & 511));
    if ((e & 0x83) != 0x83)
        return ~0ull;
    return (e & ~0x1fffffull) | (linear & 0x1fffff);
}

static void long_mode(void)
{
    static const uint64_t same[] = {0,          0x1fffff,   0x200000,  0xb8000,
                                    0xbfffffff, 0xfee00000, 0xffffffff};
    struct boot_state bs = start(1 << 20, BOOT_MODE_LONG);

    CHECK_EQ(x86_boot_apply(&bs, &ram, 40, &s, &r, &err), 0);
    CHECK_EQ(s.cr0, 0x80010031);
    CHECK_EQ(s.cr4, 0x20);
    CHECK_EQ(s.efer, 0x500);
    CHECK_EQ(s.cs.l, 1);
    CHECK_EQ(s.cs.db, 0);
    CHECK_EQ(s.cs.selector, 0x10);
    CHECK_EQ(at(bs.gdt + 0x08), 0x00cf9b000000ffff);
    CHECK_EQ(at(bs.gdt + 0x10), 0x00af9b000000ffff);
    CHECK_EQ(s.cr3, bs.page_tables);
    CHECK_EQ(bs.claims.count, 2);
    CHECK_STR(bs.claims.claim[1].what, "page tables");
    CHECK_EQ(bs.claims.claim[1].len_bytes, 6 * 4096);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        CHECK_EQ(translate(same[i]), same[i]);
    CHECK_EQ(translate(1ull << 32), ~0ull);
    CHECK_EQ(translate(1ull << 39), ~0ull);
}

static void long_mode_maps_all_ram(void)
{
    struct boot_state bs = start((512ull << 30) + (3 << 20), BOOT_MODE_LONG);
    uint64_t end = (513ull << 30) + (3 << 20);

    if (!ram.base)
        SKIP("this host does not map 512 GiB (error %d)", err.code);
    CHECK_EQ(x86_boot_apply(&bs, &ram, 46, &s, &r, &err), 0);
    CHECK_EQ(translate(end - 1), end - 1);
    CHECK_EQ(translate((512ull << 30) - 1), (512ull << 30) - 1);
    CHECK_EQ(translate(512ull << 30), 512ull << 30);
    CHECK_EQ(translate(514ull << 30), ~0ull);
    bs = (struct boot_state){.mode = BOOT_MODE_LONG};
    CHECK_EQ(x86_boot_apply(&bs, &ram, 39, &s, &r, &err), -EINVAL);
    CHECK_HAS(err.msg, "only 39 physical address bits");
}

static void no_room(void)
{
    struct boot_state bs = start(1 << 20, BOOT_MODE_LONG);

    CHECK_EQ(boot_claim(&bs.claims, &ram, NULL, 0, 0x9f000, &err, "image"), 0);
    CHECK_EQ(x86_boot_apply(&bs, &ram, 40, &s, &r, &err), -ENOSPC);
    CHECK_HAS(err.msg, "no room for page tables");
}

static void reset(void)
{
    start(1 << 20, BOOT_MODE_REAL);
    x86_reset_state(0x800f12, &s, &r);
    CHECK_EQ(s.cr0, 0x60000010);
    CHECK_EQ(s.cs.selector, 0xf000);
    CHECK_EQ(s.cs.base, 0xffff0000);
    CHECK_EQ(r.rip, 0xfff0);
    CHECK_EQ(r.rdx, 0x800f12);
    CHECK_EQ(r.rflags, 2);
    CHECK_EQ(r.rax | r.rsp | r.rbp, 0);
    CHECK_EQ(s.gdt.limit, 0xffff);
    CHECK_EQ(s.idt.base, 0);
    CHECK_EQ(s.ldt.type, 2);
    CHECK_EQ(s.interrupt_bitmap[0] | s.interrupt_bitmap[3], 0);
    x86_sipi_state(0x9f, 0x800f12, &s, &r);
    CHECK_EQ(s.cs.selector, 0x9f00);
    CHECK_EQ(s.cs.base, 0x9f000);
    CHECK_EQ(r.rip, 0);
    CHECK_EQ(s.ds.base, 0);
    CHECK_EQ(r.rflags, 2);
}

static const struct test tests[] = {
    {"real mode", real_mode},        {"protected mode", protected_mode},
    {"long mode", long_mode},        {"long mode maps all RAM", long_mode_maps_all_ram},
    {"no room for tables", no_room}, {"reset and start-up IPI", reset},
};

TEST_MAIN(tests)
