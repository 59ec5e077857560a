/*
 * Addresses that a client cut to 32 bits. While gdb is told of a 16- or 32-bit processor it sends
 * no more than that of any address, so `break kernel_main`, said in the boot code of a kernel that
 * lives at the top of the address space, arrives without its upper half. Main thread.
 */
#include "debug/gdb/stub.h"
#include "debug/symbols/sym.h"

/* Upper halves that a kernel's symbols have: one or two in practice. */
#define HIGHS_MAX 8u

static bool add_high(uint64_t *high, unsigned *n, uint64_t h)
{
    for (unsigned i = 0; i < *n; i++)
        if (high[i] == h)
            return true;
    if (*n == HIGHS_MAX)
        return false;
    high[(*n)++] = h;
    return true;
}

uint64_t gdb_widen(const struct gdb *g, uint64_t addr)
{
    const struct symbols *t = session_symbols(g->s);
    uint64_t high[HIGHS_MAX];
    unsigned n = 0;

    if (g->arch == GDB_X86_64 || addr >> 32)
        return 0;
    for (size_t i = 0; i < symbols_count(t); i++) {
        uint64_t h = symbols_at(t, i)->addr >> 32;

        if (h && !add_high(high, &n, h))
            break;
    }
    for (unsigned i = 0; i < n; i++)
        if (symbols_lookup(t, high[i] << 32 | addr))
            return high[i] << 32 | addr;
    return addr >> 31 ? ~0ull << 32 | addr : 0;
}
