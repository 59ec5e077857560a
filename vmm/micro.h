/*
 * The probe's bench: one small VM, one vCPU, and programs of a few bytes run on it in a chosen
 * mode with a time bound. Only probe*.c uses it; everything on the calling thread.
 */
#ifndef VMM_MICRO_H
#define VMM_MICRO_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "vmm/counter.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"

/* Guest-physical layout; the page MICRO_RO is read-only memory, at MICRO_HOLE there is none. Both
 * exist from the start, so that no slot changes between runs. */
#define MICRO_CODE   0x5000u
#define MICRO_DATA   0x6000u
#define MICRO_RO     0x7000u
#define MICRO_HOLE   0x8000u
#define MICRO_KSTACK 0xa000u /* top */
#define MICRO_USTACK 0xb000u /* top */
#define MICRO_BYTES  0x20000u

/* Selectors of the long-mode and protected-mode GDT. */
#define MICRO_CS64  0x08u
#define MICRO_DS    0x10u
#define MICRO_CS32  0x18u
#define MICRO_TSS   0x20u
#define MICRO_CS32U 0x33u
#define MICRO_DSU   0x3bu
#define MICRO_CS64U 0x43u

/* Ports: the guest's handler of vector v writes to MICRO_VECTOR + v; ring-0 programs end by
 * writing to MICRO_END, ring-3 programs by HLT (vector 13). */
#define MICRO_END    0x7fu
#define MICRO_VECTOR 0x80u

enum micro_paging { MICRO_PAGING_MODE, MICRO_PAGING_32, MICRO_PAGING_PAE };

struct micro {
    int vm, vcpu;
    struct kvm_run *run;
    size_t run_bytes;
    uint8_t *mem;
    struct kvm_sregs fresh; /* as the new vCPU had them */
    uint64_t cr4_extra;     /* OSXSAVE and the like, where this KVM takes them */
    enum probe_mode mode;
    timer_t timer;
    sigset_t old_mask;
    unsigned stuck; /* runs that hit the bound */
    struct kvm_work work;
};

/* What one run ended with. */
struct micro_exit {
    int reason; /* KVM_EXIT_*, or -errno; -ETIME for the bound */
    int vector; /* exception the guest's handler reported, or -1 */
    bool ended; /* reached its end */
    uint64_t rip;
};

/* With the kernel's interrupt chips, or with none. */
int micro_open(struct micro *m, int kvm, bool irqchip, struct err *e);
void micro_close(struct micro *m);

/* Everything to a known state and `code` at MICRO_CODE, followed by the end of the mode's programs.
 * RAX = MICRO_HOLE, RBX = RSI = MICRO_DATA, others 0. */
void micro_load(struct micro *m, enum probe_mode mode, const void *code, size_t len);
/* The same with 32-bit or PAE paging in protected mode; false when this KVM leaves CR0.PG off. */
bool micro_load_paged(struct micro *m, enum micro_paging paging, const void *code, size_t len);
void micro_hide_idt(struct micro *m, bool hide);
/* Guest-debug control bits (0: off) and up to four debug registers. */
void micro_debug(struct micro *m, uint32_t control, const uint64_t dr[4], uint64_t dr7);
struct micro_exit micro_run(struct micro *m);
/* Address of the handler of `vector`: a NOP, then the OUT. */
uint64_t micro_handler(unsigned vector);
void micro_regs(struct micro *m, struct kvm_regs *r);
void micro_set_regs(struct micro *m, const struct kvm_regs *r);

#endif
