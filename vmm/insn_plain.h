/*
 * Instructions in ring 0 that can only succeed: they fault nowhere, start nothing, reach no device,
 * and leave with the next instruction or at a near jump's target. Where that is known beforehand a
 * step needs no guard against handlers that run away. vCPU thread.
 * Source: Intel SDM volume 2, the exception tables of each instruction.
 */
#ifndef VMM_INSN_PLAIN_H
#define VMM_INSN_PLAIN_H

#include <stdbool.h>

struct insn_head;
struct vcpu;

/* `h` is what insn_head_read found at RIP. False whenever in doubt. `*falls`: how many bytes behind
 * RIP the next instruction will be; 0 when it is a jump, or may write to its own page. Debug
 * registers of the guest's own are not asked. */
bool insn_plain(struct vcpu *v, const struct insn_head *h, unsigned *falls);

#endif
