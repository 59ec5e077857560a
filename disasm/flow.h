/*
 * What an instruction does: effects, branch target, absolute operand. Private to disasm/.
 */
#ifndef DISASM_FLOW_H
#define DISASM_FLOW_H

#include <capstone/capstone.h>

#include "disasm/disasm.h"

/* Fills effects, target and mem_abs of `out` (whose addr and len are set) from a decoded
 * instruction with detail. */
void flow_of(const cs_insn *in, unsigned bits, struct insn *out);
/* CS_AC_* of operand `i`, with Capstone's mistakes mended. */
unsigned flow_access(const cs_insn *in, unsigned i);
/* movs, stos and the like, with or without a prefix; not SSE's movsd and cmpsd. */
bool flow_is_string(const cs_insn *in);

#endif
