/*
 * Far transfers of protected and long mode, by the manual: descriptors, privilege, stacks and task
 * states, for a KVM that lacks them. Events (deliver.h), returns, calls and task switches share the
 * pieces declared here. A transfer is made on copies of the registers, which become the vCPU's when
 * nothing can fail any more; nothing runs, no ioctl is made. vCPU thread; tests without KVM.
 * Source: Intel SDM volume 3, chapters "Protection", "Interrupt and Exception Handling" and "Task
 * Management"; volume 2, CALL, JMP, RET, IRET and INT n; AMD APM volume 2, chapters 4, 8 and 12.
 */
#ifndef VMM_FAR_H
#define VMM_FAR_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/assist.h"

struct vcpu;

#define FAR_FLAG_TF   0x100u
#define FAR_FLAG_IF   0x200u
#define FAR_FLAG_IOPL 0x3000u
#define FAR_FLAG_NT   0x4000u
#define FAR_FLAG_RF   0x10000u
#define FAR_FLAG_VM   0x20000u
#define FAR_FLAG_AC   0x40000u
#define FAR_FLAG_VIF  0x80000u
#define FAR_FLAG_VIP  0x100000u
#define FAR_FLAG_ID   0x200000u

#define FAR_DB 1
#define FAR_TS 10
#define FAR_NP 11
#define FAR_SS 12
#define FAR_GP 13

/* A transfer being made. */
struct far {
    struct vcpu *v;
    struct kvm_regs regs; /* as they will be */
    struct kvm_sregs sregs;
    struct assist_event *raise; /* the fault that ended it; vector -1: it cannot be done here */
    unsigned ext;               /* 1: error codes have the bit "external event" */
};

/* A segment or system descriptor, or a gate, with where it was read. */
struct descriptor {
    uint16_t selector;
    uint64_t at; /* linear */
    uint8_t raw[16];
    struct kvm_segment seg; /* as a segment register would hold it */
};

static inline bool far_is_long(const struct kvm_sregs *s)
{
    return s->efer & 0x400;
}
/* Is it 64-bit code? */
static inline bool far_is_64(const struct kvm_sregs *s)
{
    return far_is_long(s) && s->cs.l;
}
/* Bytes of an instruction's operands there, by REX.W and the operand-size prefix; not of those that
 * have 64 bits without REX.W. */
static inline unsigned far_operand_bytes(const struct kvm_sregs *s, bool rexw, bool opsize)
{
    if (far_is_64(s))
        return rexw ? 8 : opsize ? 2 : 4;
    return s->cs.db != opsize ? 4 : 2;
}

/* Copies the vCPU's registers, with the IDT's limit that the guest believes in; *raise: no fault.
 */
void far_begin(struct far *f, struct vcpu *v, struct assist_event *raise);
/* The copies become the vCPU's. */
void far_commit(struct far *f);
/* Fills f->raise; always false. `selector`: what the error code names, or 0. */
bool far_fault(struct far *f, int vector, unsigned selector);

/* The functions below return false with f->raise filled. */

/* Reads the descriptor of `selector`; `vector` is the fault when there is none (null selector, or
 * beyond its table). System descriptors of long mode are 16 bytes. */
bool far_descriptor(struct far *f, uint16_t selector, int vector, struct descriptor *d);
/* Memory of tables and task states: a supervisor's, implicit. */
bool far_read(struct far *f, uint64_t linear, void *dst, size_t len);
bool far_write(struct far *f, uint64_t linear, const void *src, size_t len);
/* Sets the accessed bit, if it is not; sets or clears the busy bit of a task state. */
bool far_accessed(struct far *f, struct descriptor *d);
bool far_busy(struct far *f, struct descriptor *d, bool busy);

/* A code segment for privilege `cpl` becomes CS; the offset is held against its limit (#GP(0)). */
bool far_load_cs(struct far *f, struct descriptor *d, unsigned cpl, uint64_t rip);
/* A stack segment of exactly that privilege; `vector`: #TS for a stack out of a task state, #GP for
 * one that was popped. Not present is #SS. */
bool far_stack_segment(struct far *f, uint16_t selector, unsigned cpl, int vector,
                       struct kvm_segment *out);
/* The stack of an inner ring out of the current task state: f->sregs.ss and f->regs.rsp become it.
 * `ist` (1 to 7, long mode) names another one; 0 none. */
bool far_inner_stack(struct far *f, unsigned cpl, unsigned ist);
/* Pushes `n` values of `size` bytes on f's stack, value[0] first, or none of them. `named`: the
 * selector in the error code of #SS. */
bool far_push(struct far *f, const uint64_t *value, unsigned n, unsigned size, unsigned cpl,
              unsigned named);
/* Pops that many; `skip` bytes of the stack are passed over first. */
bool far_pop(struct far *f, uint64_t *value, unsigned n, unsigned size, unsigned skip);
/* RSP plus `bytes`, within the width of the stack. */
void far_drop(struct far *f, unsigned bytes);
/* Data segments that the outer ring `cpl` may not use become null. */
void far_drop_inner(struct far *f, unsigned cpl);
/* A segment as real and virtual-8086 mode load it. */
struct kvm_segment far_v86_segment(uint16_t selector);

/* ---- transfers: true when made, the registers then are the vCPU's --------------------------- */

/* CALL or JMP to a far pointer: code, call gates, task states, task gates. `next`: RIP behind the
 * instruction; `size`: 2, 4 or 8, the operand's. */
bool far_call(struct vcpu *v, uint16_t selector, uint64_t offset, unsigned size, uint64_t next,
              bool call, struct assist_event *raise);
/* RETF, dropping `imm` bytes; IRET. Not in real mode. `next`: RIP behind the instruction, which a
 * task saves. */
bool far_return(struct vcpu *v, unsigned size, unsigned imm, struct assist_event *raise);
bool far_iret(struct vcpu *v, unsigned size, uint64_t next, struct assist_event *raise);

enum task_how { TASK_JMP, TASK_CALL, TASK_EVENT, TASK_IRET };
/* The task of the (already judged) task state `d` goes on; the present one is saved to go on at
 * `next`. Faults found after the new task's registers were loaded are the new task's: then false,
 * with the registers changed. f's copies are not used. */
bool far_task(struct far *f, struct descriptor *d, enum task_how how, uint64_t next);

#endif
