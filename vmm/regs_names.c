/*
 * Names of registers beside the rows' own: partial registers and gdb's words. Any thread.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "vmm/base/x.h"
#include "vmm/regs.h"

/* clang-format off */
#define LEGACY(r, x) /* rax: eax ax al ah */                                                       \
    {"e" #x "x", {REG_##r, 0, 32}}, {#x "x", {REG_##r, 0, 16}},                                    \
    {#x "l", {REG_##r, 0, 8}},      {#x "h", {REG_##r, 8, 8}}
#define POINTER(x) /* rsi: esi si sil */                                                           \
    {"e" #x, {REG_r##x, 0, 32}}, {#x, {REG_r##x, 0, 16}}, {#x "l", {REG_r##x, 0, 8}}
#define NUMBERED(n) /* r8: r8d r8w r8b */                                                          \
    {"r" #n "d", {REG_r##n, 0, 32}}, {"r" #n "w", {REG_r##n, 0, 16}}, {"r" #n "b", {REG_r##n, 0, 8}}

static const struct {
    const char *name;
    struct reg_part part;
} aliases[] = {
    LEGACY(rax, a), LEGACY(rbx, b), LEGACY(rcx, c), LEGACY(rdx, d),
    POINTER(si), POINTER(di), POINTER(bp),
    /* `sp` means the whole register in gdb, and in 16-bit code the rest of RSP is zero anyway. */
    {"esp", {REG_rsp, 0, 32}}, {"sp", {REG_rsp, 0, 64}}, {"spl", {REG_rsp, 0, 8}},
    NUMBERED(8), NUMBERED(9), NUMBERED(10), NUMBERED(11),
    NUMBERED(12), NUMBERED(13), NUMBERED(14), NUMBERED(15),
    {"eip", {REG_rip, 0, 32}}, {"ip", {REG_rip, 0, 16}}, {"pc", {REG_rip, 0, 64}},
    {"fp", {REG_rbp, 0, 64}},
    {"eflags", {REG_rflags, 0, 32}}, {"flags", {REG_rflags, 0, 16}},
    {"gdtr", {REG_gdtr_base, 0, 64}}, {"idtr", {REG_idtr_base, 0, 64}},
    {"msw", {REG_cr0, 0, 16}},
    {"k_gs_base", {REG_msr_kernel_gs_base, 0, 64}},
};
/* clang-format on */

const char *reg_alias_at(unsigned i)
{
    return i < ARRAY_LEN(aliases) ? aliases[i].name : NULL;
}

static int row_by_name(const char *name)
{
    for (int i = 0; i < REG_COUNT; i++) {
        const char *row = reg_table[i].name;

        if (!strcasecmp(row, name))
            return i;
        if (reg_table[i].kind == 'M' && !strcasecmp(row + strlen("msr_"), name))
            return i;
    }
    return -1;
}

bool reg_partial(const char *name, struct reg_part *out)
{
    int id = row_by_name(name);

    if (id >= 0) {
        *out = (struct reg_part){id, 0, reg_table[id].bits};
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (!strcasecmp(aliases[i].name, name)) {
            *out = aliases[i].part;
            return true;
        }
    return false;
}

int reg_by_name(const char *name)
{
    struct reg_part p;

    if (!reg_partial(name, &p) || p.width != reg_table[p.id].bits)
        return -1;
    return p.id;
}

static uint64_t part_mask(const struct reg_part *p)
{
    return p->width < 64 ? (1ull << p->width) - 1 : UINT64_MAX;
}

uint64_t reg_part_get(const struct reg_part *p, uint64_t whole)
{
    return whole >> p->low & part_mask(p);
}

uint64_t reg_part_put(const struct reg_part *p, uint64_t whole, uint64_t v)
{
    return (whole & ~(part_mask(p) << p->low)) | (v & part_mask(p)) << p->low;
}
