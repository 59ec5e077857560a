/*
 * Finding the slide of a relocated Linux kernel. Main thread.
 */
#include "debug/symbols/kaslr.h"

#include <errno.h>
#include <stddef.h>

#include "debug/session.h"
#include "debug/symbols/sym.h"
#include "vmm/base/le.h"
#include "vmm/base/x.h"

/* Linux on x86-64 ("Documentation/arch/x86/x86_64/mm.rst"): the image lies in this GiB, linked for
 * 16 MiB behind its begin, and is moved by multiples of 2 MiB. */
#define IMAGE_BASE  0xffffffff80000000ull
#define IMAGE_END   0xffffffffc0000000ull
#define IMAGE_LINK  (IMAGE_BASE + 0x1000000ull)
#define IMAGE_ALIGN 0x200000ull
#define PAGE_FAULT  14u

static bool in_image(uint64_t addr)
{
    return addr >= IMAGE_BASE && addr < IMAGE_END;
}

static uint64_t reg_of(struct session *s, unsigned vcpu, int id)
{
    struct reg_value v;

    return session_reg_get(s, vcpu, id, &v, NULL) < 0 ? 0 : v.u;
}

/* The handler in a long-mode gate: Intel SDM 3A, 6.14.1. */
static uint64_t gate_target(struct session *s, unsigned vcpu, unsigned vector)
{
    uint8_t gate[16];
    uint64_t at = reg_of(s, vcpu, REG_idtr_base) + 16 * vector;

    if (session_mem_read(s, vcpu, SPACE_LINEAR, at, gate, sizeof gate) != sizeof gate)
        return 0;
    return le_load(gate, 2) | le_load(gate + 6, 2) << 16 | le_load(gate + 8, 4) << 32;
}

static bool by_symbol(struct session *s, uint64_t at, const char *name, struct kaslr *out)
{
    /* A client that names running code would know it where it runs, not where it was linked. */
    const struct symbol *y = symbols_find_own(session_symbols(s), name);

    if (!y || !in_image(at) || ((at - y->addr) & (IMAGE_ALIGN - 1)))
        return false;
    *out = (struct kaslr){.slide = (int64_t)(at - y->addr), .at = at, .symbol = y->name};
    return true;
}

static bool first_in_image(void *arg, const struct walk_range *r)
{
    uint64_t *at = arg;

    if (r->linear + r->len_bytes <= IMAGE_BASE)
        return true;
    if (in_image(r->linear))
        *at = r->linear;
    return false;
}

int kaslr_find(struct session *s, unsigned vcpu, struct kaslr *out, struct err *e)
{
    static const char *const faults[] = {"asm_exc_page_fault", "page_fault", "async_page_fault"};
    uint64_t entry, fault, at = 0;
    struct walk_regs r;

    if (session_walk_regs(s, vcpu, &r) < 0)
        return err_set(e, EBUSY, "the guest is running; stop it first");
    if (session_mode(s, vcpu) != MODE_LONG64)
        return err_set(e, ENOENT, "vCPU %u is not in 64-bit mode: no 64-bit Linux runs there yet",
                       vcpu);
    entry = reg_of(s, vcpu, REG_msr_lstar);
    fault = gate_target(s, vcpu, PAGE_FAULT);
    if (by_symbol(s, entry, "entry_SYSCALL_64", out))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (by_symbol(s, fault, faults[i], out))
            return 0;
    walk_ranges(session_mem(s), &r, 1u << 20, first_in_image, &at);
    /* Slides are not negative: lower down are other kernels, and Linux' own first tables, which map
     * all of the GiB. */
    if (at < IMAGE_LINK || (!in_image(entry) && !in_image(fault)))
        return err_set(e, ENOENT,
                       "no Linux kernel is mapped at 0x%llx yet; let it boot further, and load "
                       "vmlinux with `symbol-file` for a surer answer",
                       IMAGE_BASE);
    at &= ~(IMAGE_ALIGN - 1);
    *out = (struct kaslr){.slide = (int64_t)(at - IMAGE_LINK), .at = at};
    return 0;
}
