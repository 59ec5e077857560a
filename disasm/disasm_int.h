/*
 * The decoder behind disasm.h, for the other files of this folder.
 */
#ifndef DISASM_DISASM_INT_H
#define DISASM_DISASM_INT_H

#include <capstone/capstone.h>

#include "disasm/disasm.h"

/* Decodes into the scratch instruction, valid until the next call; NULL for bytes that are none. */
const cs_insn *disasm_decode(struct disasm *d, unsigned bits, uint64_t addr, const uint8_t *bytes,
                             size_t n);

#endif
