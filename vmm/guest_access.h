/*
 * Guest memory as the guest's own instructions see it: through its page tables, with its rights,
 * setting accessed and dirty bits, and with the fault that it would take. For instructions that
 * vmscope carries out. vCPU thread. (A debugger's reads are walk_read: they ask for no rights.)
 * Source: Intel SDM volume 3, chapter "Paging", access rights and page-fault error code.
 */
#ifndef VMM_GUEST_ACCESS_H
#define VMM_GUEST_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/walk.h"

struct vcpu;
struct assist_event;

/* How an access is made: the privilege in the low two bits, and what follows. */
enum guest_as {
    GUEST_SUPERVISOR = 0,
    GUEST_IMPLICIT = 4, /* to descriptor tables and task states: RFLAGS.AC lets none through */
    GUEST_TOLD = 8,     /* stores to trapped pages are told to vm_config.trapped */
};

/* The guest's verdict on a data access to what `w` has walked: -1 it may, else the error code of
 * its page fault. Not for WALK_NON_CANONICAL and WALK_TABLE_NOT_RAM. */
int guest_verdict(const struct vcpu *v, const struct walk *w, bool write);
/* Sets accessed and (write) dirty bits as the processor does on its way down. */
void guest_mark(const struct vcpu *v, const struct walk *w, bool write);

/* Copies all of it or nothing. False: `raise` is the fault that the guest takes (CR2 is set), or
 * has vector -1 when the memory is no RAM and the instruction cannot be done here. */
bool guest_read(struct vcpu *v, uint64_t linear, void *dst, size_t len, struct assist_event *raise);
bool guest_write(struct vcpu *v, uint64_t linear, const void *src, size_t len,
                 struct assist_event *raise);
/* The same, made as `as` says: a privilege or'ed with flags of enum guest_as. */
bool guest_read_as(struct vcpu *v, unsigned as, uint64_t linear, void *dst, size_t len,
                   struct assist_event *raise);
bool guest_write_as(struct vcpu *v, unsigned as, uint64_t linear, const void *src, size_t len,
                    struct assist_event *raise);

#endif
