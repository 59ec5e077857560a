/* Code bytes: the first byte chooses code size and syntax, the rest is code. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "disasm/disasm.h"

static bool name(void *arg, uint64_t addr, char *dst, size_t cap)
{
    (void)arg;
    memset(dst, 'n', cap - 1);
    dst[addr % cap] = '\0';
    return addr & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct disasm *d;
    struct insn x;
    unsigned bits;

    if (size < 2)
        return 0;
    if (!d)
        d = disasm_new();
    bits = 16u << (data[0] % 3);
    disasm_syntax(d, data[0] & 4 ? DISASM_ATT : DISASM_INTEL);
    disasm_symbols(d, data[0] & 8 ? name : NULL, NULL);
    for (size_t at = 1; at < size; at += x.len) {
        if (disasm_one(d, bits, at, data + at, size - at, &x) > size - at)
            abort();
    }
    if (disasm_back(d, bits, size, data + 1, size - 1, data[0]) > size - 1)
        abort();
    return 0;
}
