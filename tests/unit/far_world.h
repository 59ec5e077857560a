/*
 * A processor state and memory with every kind of descriptor, for tests of far transfers: a vCPU
 * without KVM, on which vmm/deliver.c and its kind work, and the same state in a VM, where the
 * processor does the same.
 */
#ifndef TESTS_UNIT_FAR_WORLD_H
#define TESTS_UNIT_FAR_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/test.h"

#include "vmm/assist.h"
#include "vmm/base/buf.h"
#include "vmm/base/le.h"
#include "vmm/deliver.h"
#include "vmm/kvm.h"
#include "vmm/micro.h"
#include "vmm/vcpu.h"

#define FW_BYTES 0x100000u

/* Where things lie; linear is physical. */
#define FW_GDT     0x1000u
#define FW_LDT     0x1800u
#define FW_IDT     0x2000u
#define FW_TSS     0x4000u /* 32 bits, or 64 in long mode */
#define FW_TASK    0x4200u /* another 32-bit task */
#define FW_TASK16  0x4400u
#define FW_OLD16   0x4600u /* a 16-bit one, as the current */
#define FW_CODE    0x6000u /* the program; the far end of every transfer is filled with int3 */
#define FW_HANDLER 0x5000u /* of vector n: 16 n behind */
#define FW_TARGET  0x7000u /* where gates, pointers and tasks lead */
#define FW_STACK   0x8000u /* tops of stacks: the program's, */
#define FW_STACK0  0x9000u /* the task state's for ring 0, 1 and 2, */
#define FW_STACK1  0x9400u
#define FW_STACK2  0x9800u
#define FW_IST     0xa000u
#define FW_STACKT  0xb000u /* and of the other task */
#define FW_TABLES  0x10000u

enum {
    CODE0 = 0x08,
    DATA0 = 0x10,
    CODE3 = 0x1b,
    DATA3 = 0x23,
    TSS = 0x28,
    CODE64 = 0x38,
    CODE64_3 = 0x43,
    CONFORMING = 0x48,
    CODE16 = 0x50,
    DATA16 = 0x58,
    TASK = 0x60,
    TASK16 = 0x68,
    LDT = 0x70,
    GATE32 = 0x78,
    GATE16 = 0x80,
    TASK_GATE = 0x88,
    TSS64 = 0x90,
    GATE64 = 0xa0,
    ABSENT = 0xb0,
    CODE16_3 = 0xbb,
    DATA16_3 = 0xc3,
    CODE1 = 0xc9,
    DATA1 = 0xd1,
    OLD16 = 0xd8,
    SMALL = 0xe0,
    GATE1 = 0xe8,
    GATE_SAME = 0xf0,
    CONFORMING64 = 0xf8,
    FW_GDT_BYTES = 0x100,
};

enum fw_mode { FW_REAL, FW_PROT16, FW_PROT32, FW_V86, FW_LONG, FW_COMPAT, FW_MODES };

struct fw {
    struct vm vm;
    struct vcpu v;
    struct kvm_run *run;
};

static inline void fw_put(uint8_t *mem, uint64_t at, unsigned n, uint64_t value)
{
    le_store(mem + at, n, value);
}

static const struct {
    uint16_t selector;
    uint32_t base, limit;
    uint8_t access, flags; /* of the flags: 8 G, 4 D, 2 L */
} fw_gdt[] = {
    {CODE0, 0, 0xfffff, 0x9b, 0xc},        {DATA0, 0, 0xfffff, 0x93, 0xc},
    {CODE3, 0, 0xfffff, 0xfb, 0xc},        {DATA3, 0, 0xfffff, 0xf3, 0xc},
    {TSS, FW_TSS, 0x67, 0x8b, 0},          {CODE64, 0, 0xfffff, 0x9b, 0xa},
    {CODE64_3, 0, 0xfffff, 0xfb, 0xa},     {CONFORMING, 0, 0xfffff, 0x9f, 0xc},
    {CONFORMING64, 0, 0xfffff, 0x9f, 0xa}, {CODE16, 0, 0xffff, 0x9b, 0},
    {DATA16, 0, 0xffff, 0x93, 0},          {TASK, FW_TASK, 0x67, 0x89, 0},
    {TASK16, FW_TASK16, 0x2b, 0x81, 0},    {OLD16, FW_OLD16, 0x2b, 0x83, 0},
    {LDT, FW_LDT, 0xf, 0x82, 0},           {TSS64, FW_TSS, 0x67, 0x8b, 0},
    {ABSENT, 0, 0xfffff, 0x1b, 0xc},       {CODE16_3, 0, 0xffff, 0xfb, 0},
    {DATA16_3, 0, 0xffff, 0xf3, 0},        {CODE1, 0, 0xfffff, 0xbb, 0xc},
    {DATA1, 0, 0xfffff, 0xb3, 0xc},        {SMALL, 0, 0x10, 0x9b, 0x4},
};

static inline void fw_descriptors(uint8_t *mem)
{
    for (size_t i = 0; i < sizeof fw_gdt / sizeof fw_gdt[0]; i++) {
        uint8_t *d = mem + FW_GDT + (fw_gdt[i].selector & ~7u);
        uint32_t base = fw_gdt[i].base, limit = fw_gdt[i].limit;

        le_store(d, 2, limit);
        le_store(d + 2, 3, base);
        d[5] = fw_gdt[i].access;
        d[6] = (uint8_t)(fw_gdt[i].flags << 4 | limit >> 16);
        d[7] = (uint8_t)(base >> 24);
    }
}

static inline void fw_gate(uint8_t *at, uint16_t selector, uint64_t offset, uint8_t low,
                           uint8_t access, bool wide)
{
    le_store(at, 2, offset);
    le_store(at + 2, 2, selector);
    at[4] = low;
    at[5] = access;
    le_store(at + 6, 2, offset >> 16);
    if (wide)
        le_store(at + 8, 8, offset >> 32);
}

static inline void fw_gates(uint8_t *mem)
{
    fw_gate(mem + FW_GDT + GATE32, CODE0, FW_TARGET, 2, 0xec, false);
    fw_gate(mem + FW_GDT + GATE16, CODE16, FW_TARGET, 3, 0xe4, false);
    fw_gate(mem + FW_GDT + TASK_GATE, TASK, 0, 0, 0xe5, false);
    fw_gate(mem + FW_GDT + GATE64, CODE64, FW_TARGET, 0, 0xec, true);
    fw_gate(mem + FW_GDT + GATE1, CODE1 & ~3u, FW_TARGET, 1, 0xec, false);
    fw_gate(mem + FW_GDT + GATE_SAME, CONFORMING, FW_TARGET, 2, 0xec, false);
}

/* The other tasks, as somebody has left them. */
static inline void fw_tasks(uint8_t *mem)
{
    static const uint16_t regs[] = {0x1111, 0x2222, 0x3333, 0x4444, 0, 0x6666, 0x7777, 0x8888};
    uint8_t *big = mem + FW_TASK, *small = mem + FW_TASK16;

    le_store(big + 0x20, 4, FW_TARGET + 0x10);
    le_store(big + 0x24, 4, 0x246);
    le_store(small + 0x0e, 2, FW_TARGET + 0x20);
    le_store(small + 0x10, 2, 0x202);
    for (unsigned i = 0; i < 8; i++) {
        le_store(big + 0x28 + i * 4, 4, i == 4 ? FW_STACKT : 0xabcd0000u | regs[i]);
        le_store(small + 0x12 + i * 2, 2, i == 4 ? FW_STACKT : regs[i]);
    }
    for (unsigned i = 0; i < 6; i++)
        le_store(big + 0x48 + i * 4, 4, i == 1 ? CODE0 : DATA0);
    for (unsigned i = 0; i < 4; i++)
        le_store(small + 0x22 + i * 2, 2, i == 1 ? CODE16 : DATA16);
    le_store(big + 0x60, 4, LDT);
    le_store(big + 0x66, 2, 0x68);
}

static inline void fw_memory(uint8_t *mem, enum fw_mode mode)
{
    bool lm = mode == FW_LONG || mode == FW_COMPAT;

    memset(mem, 0, FW_BYTES);
    memset(mem + FW_HANDLER, 0xcc, 0x1000);
    memset(mem + FW_CODE, 0xcc, 0x1000);
    memset(mem + FW_TARGET, 0xcc, 0x1000);
    fw_descriptors(mem);
    fw_gates(mem);
    fw_tasks(mem);
    for (unsigned n = 0; n < 256; n++) {
        uint64_t to = FW_HANDLER + n * 16;

        if (mode == FW_REAL)
            fw_put(mem, n * 4, 4, to);
        else if (lm)
            fw_gate(mem + FW_IDT + n * 16, CODE64, to, 0, 0x8e, true);
        else
            fw_gate(mem + FW_IDT + n * 8, CODE0, to, 0, 0x8e, false);
    }
    for (unsigned n = 0; n < 3 && !lm; n++) {
        static const uint16_t selector[] = {DATA0, DATA1, DATA3};

        fw_put(mem, FW_TSS + 4 + n * 8, 4, FW_STACK0 + n * 0x400);
        fw_put(mem, FW_TSS + 8 + n * 8, 4, selector[n]);
    }
    for (unsigned n = 0; n < 3 && lm; n++)
        fw_put(mem, FW_TSS + 4 + n * 8, 8, FW_STACK0 + n * 0x400);
    for (unsigned n = 0; n < 7 && lm; n++)
        fw_put(mem, FW_TSS + 0x24 + n * 8, 8, FW_IST + n * 0x100);
    fw_put(mem, FW_OLD16 + 2, 2, FW_STACK0);
    fw_put(mem, FW_OLD16 + 4, 2, DATA16);
    fw_put(mem, FW_TSS + 0x66, 2, 0x68);
    /* 2 MB in pages of 4 KB, for everybody */
    fw_put(mem, FW_TABLES, 8, (FW_TABLES + 0x1000) | 7);
    fw_put(mem, FW_TABLES + 0x1000, 8, (FW_TABLES + 0x2000) | 7);
    fw_put(mem, FW_TABLES + 0x2000, 8, (FW_TABLES + 0x3000) | 7);
    for (unsigned n = 0; n < 256; n++)
        fw_put(mem, FW_TABLES + 0x3000 + n * 8, 8, n * 4096 | 0x67);
}

/* A segment register as loading `selector` would make it. */
static inline struct kvm_segment fw_segment(const uint8_t *mem, uint16_t selector)
{
    const uint8_t *d = mem + FW_GDT + (selector & ~7u);
    struct kvm_segment s = {.selector = selector,
                            .base = le_load(d + 2, 3) | (uint64_t)d[7] << 24,
                            .limit = (uint32_t)(le_load(d, 2) | (d[6] & 15u) << 16),
                            .type = d[5] & 15,
                            .s = d[5] >> 4 & 1,
                            .dpl = d[5] >> 5 & 3,
                            .present = d[5] >> 7,
                            .l = d[6] >> 5 & 1,
                            .db = d[6] >> 6 & 1,
                            .g = d[6] >> 7};

    if (s.g)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

static inline struct kvm_segment fw_real_segment(uint16_t selector, unsigned dpl)
{
    return (struct kvm_segment){.selector = selector,
                                .base = selector * 16u,
                                .limit = 0xffff,
                                .type = 3,
                                .present = 1,
                                .dpl = (uint8_t)dpl,
                                .s = 1};
}

static inline void fw_registers(const uint8_t *mem, enum fw_mode mode, unsigned cpl,
                                struct kvm_sregs *s, struct kvm_regs *r)
{
    /* 64-bit, 32-bit, 16-bit; rings 0, 1, 3 */
    static const uint16_t code[3][4] = {
        {CODE64, 0, 0, CODE64_3}, {CODE0, CODE1, 0, CODE3}, {CODE16, 0, 0, CODE16_3}};
    static const uint16_t data[2][4] = {{DATA0, DATA1, 0, DATA3}, {DATA16, 0, 0, DATA16_3}};
    bool lm = mode == FW_LONG || mode == FW_COMPAT;
    unsigned width = mode == FW_LONG ? 0 : mode == FW_PROT16 ? 2 : 1;

    *r = (struct kvm_regs){.rip = FW_CODE, .rsp = FW_STACK, .rflags = 0x202};
    r->rax = 0xa1a2a3a4;
    r->rbp = 0xb1b2b3b4;
    s->cr0 = mode == FW_REAL ? 0x10 : 0x31;
    s->cr3 = s->cr4 = s->efer = 0;
    s->gdt = (struct kvm_dtable){.base = FW_GDT, .limit = FW_GDT_BYTES - 1};
    s->idt = (struct kvm_dtable){.base = mode == FW_REAL ? 0 : FW_IDT,
                                 .limit = mode == FW_REAL ? 0x3ff
                                          : lm            ? 0xfff
                                                          : 0x7ff};
    s->ldt = (struct kvm_segment){.type = 2, .unusable = 1};
    s->tr = fw_segment(mem, lm ? TSS64 : TSS);
    if (lm) {
        s->cr0 |= 0x80000000;
        s->cr3 = FW_TABLES;
        s->cr4 = 0x20;
        s->efer = 0x500;
    }
    if (mode == FW_REAL || mode == FW_V86) {
        unsigned dpl = mode == FW_V86 ? 3 : 0;

        s->cs = fw_real_segment(FW_CODE >> 4, dpl);
        s->cs.type = dpl ? 3 : 11;
        s->ss = s->ds = s->es = s->fs = s->gs = fw_real_segment(0, dpl);
        s->es.selector = 0x31;
        s->es.base = 0x310;
        r->rip = 0;
        r->rflags |= dpl ? 0x20000 : 0;
        return;
    }
    s->cs = fw_segment(mem, code[width][cpl]);
    s->ss = s->ds = s->es = s->fs = s->gs = fw_segment(mem, data[width == 2][cpl]);
}

/* ---- what came of it, as text
 * --------------------------------------------------------------------
 */

static inline void fw_segments(const struct kvm_sregs *s, struct buf *out)
{
    const struct kvm_segment *const seg[] = {&s->ds, &s->es, &s->fs, &s->gs};

    for (unsigned i = 0; i < 4; i++)
        buf_addf(out, " %x", seg[i]->selector);
}

/* "CS:RIP SS:RSP cpl flags", data segments when they are not the program's, and the words of the
 * stack, of `size` bytes each, down from the top nearest above RSP. */
static inline void fw_text(const uint8_t *mem, const struct kvm_regs *r, const struct kvm_sregs *s,
                           const struct kvm_sregs *was, unsigned size, struct buf *out)
{
    uint64_t sp = s->cs.l ? r->rsp : s->ss.db ? (uint32_t)r->rsp : (uint16_t)r->rsp, top;

    buf_addf(out, "%x:%llx %x:%llx ring %u flags %llx", s->cs.selector, (unsigned long long)r->rip,
             s->ss.unusable ? s->ss.selector & 3u : s->ss.selector, (unsigned long long)r->rsp,
             cpu_cpl(s), (unsigned long long)r->rflags);
    if (s->tr.selector != was->tr.selector)
        buf_addf(out, " task %x cr0.ts %u ax %llx ldt %x", s->tr.selector,
                 (unsigned)(s->cr0 >> 3 & 1), (unsigned long long)r->rax, s->ldt.selector);
    if (s->ds.selector != was->ds.selector || s->gs.selector != was->gs.selector) {
        buf_adds(out, " data");
        fw_segments(s, out);
    }
    sp += s->ss.base;
    top = (sp + 0xff) & ~0xffull;
    if (top != sp)
        buf_adds(out, " stack");
    for (uint64_t at = sp; at < top && at - sp < 12 * size; at += size)
        buf_addf(out, " %llx", (unsigned long long)le_load(mem + (at & (FW_BYTES - 1)), size));
}

/* Which bits of descriptors and task states a task switch has changed. */
static inline void fw_task_text(const uint8_t *mem, unsigned old, struct buf *out)
{
    buf_addf(out, "; busy %x/%x", mem[FW_GDT + (old & ~7u) + 5] & 15, mem[FW_GDT + TASK + 5] & 15);
    buf_addf(out, " %x link %llx %llx", mem[FW_GDT + TASK16 + 5] & 15,
             (unsigned long long)le_load(mem + FW_TASK, 2),
             (unsigned long long)le_load(mem + FW_TASK16, 2));
    if ((old & ~7u) == OLD16)
        buf_addf(out, " saved %llx %llx %llx", (unsigned long long)le_load(mem + FW_OLD16 + 14, 2),
                 (unsigned long long)le_load(mem + FW_OLD16 + 16, 2),
                 (unsigned long long)le_load(mem + FW_OLD16 + 0x24, 2));
    else
        buf_addf(out, " saved %llx %llx %llx", (unsigned long long)le_load(mem + FW_TSS + 0x20, 4),
                 (unsigned long long)le_load(mem + FW_TSS + 0x24, 4),
                 (unsigned long long)le_load(mem + FW_TSS + 0x4c, 4));
}

#endif
