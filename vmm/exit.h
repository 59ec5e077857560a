/*
 * The exit record: one per return of KVM_RUN (and per event vmscope adds itself), fixed size.
 * Ring, panels, filters, Lua, statistics, JSON and trace files use this struct as it is; a change
 * bumps EXIT_RECORD_VERSION and a line in docs/trace-format.md. The exit table (exits.def) names
 * each reason and formats it. Plain data: touches no machine.
 */
#ifndef VMM_EXIT_H
#define VMM_EXIT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/buf.h"

/* Records of every version up to this one can be read: 2 added EXIT_DEVICE, EXIT_STACK and
 * inject.line. */
#define EXIT_RECORD_VERSION 2

/* Reasons of our own, beside KVM_EXIT_* (linux/kvm.h). */
enum {
    EXIT_OUR_FIRST = 0x100,
    EXIT_KICK = EXIT_OUR_FIRST, /* KVM_RUN returned EINTR: somebody wanted the vCPU */
    EXIT_ASSIST,                /* vmscope carried out an instruction that this KVM cannot run */
    EXIT_INJECT,                /* an interrupt or NMI was given to the vCPU: u.inject */
    EXIT_ERROR,                 /* KVM_RUN failed: u.fail.errno_ */
    EXIT_RUN,                   /* the machine was set running; in trace files and statistics */
    EXIT_STOP,                  /* the machine stopped: u.stop; likewise */
    EXIT_KERNEL,                /* an event inside KVM, from its trace points: u.kernel */
    EXIT_DEVICE,                /* something a device did: u.device */
    EXIT_STACK,                 /* callers of the exit before it on the vCPU: u.stack */
    EXIT_OUR_END,
};

/* What KVM did by itself (tracepoints.c); the numbers are part of the record. */
enum kernel_event {
    KERNEL_EXIT, /* number: the processor's exit reason; value: info1, info2, isa (1 VT-x, 2 SVM) */
    KERNEL_ENTRY,
    KERNEL_CPUID,     /* number: leaf; value: index, answered EAX */
    KERNEL_MSR,       /* number: MSR; value: data, 1 when refused */
    KERNEL_FAULT,     /* value: address, error code */
    KERNEL_PIO,       /* number: port; value: data, size */
    KERNEL_MMIO,      /* value: GPA, data, size */
    KERNEL_VIRQ,      /* number: vector */
    KERNEL_EXCEPTION, /* number: vector; value: 1 with error code, error code */
    KERNEL_INSN,      /* value: 1 when it failed, length */
    KERNEL_APIC,      /* number: register; value: data */
    KERNEL_CR,        /* number: control register; value: data */
    KERNEL_HYPERCALL, /* number: call; value: first argument */
    KERNEL_EVENTS,
};

/* What devices do beside answering accesses; the numbers are part of the record. */
enum device_event {
    DEVICE_LINE,      /* an interrupt line was raised: line */
    DEVICE_REQUEST,   /* a local APIC was asked for a vector: vector, line when one is behind it */
    DEVICE_EOI,       /* the guest ended an interrupt: vector, line */
    DEVICE_NMI,       /* an NMI was sent to a vCPU */
    DEVICE_INIT,      /* likewise INIT */
    DEVICE_SIPI,      /* and a start-up message: vector is the page */
    DEVICE_TIMER_SET, /* value: ns until it fires */
    DEVICE_TIMER_OFF,
    DEVICE_TIMER, /* it fired */
    DEVICE_DMA,   /* value: GPA; len: bytes; write: into guest memory */
    DEVICE_RESET,
    DEVICE_POWER_OFF,
    DEVICE_EVENTS,
};

#define DEVICE_NO_ID   0xffu /* of the board itself */
#define DEVICE_NO_CPU  0xffu /* concerns no vCPU */
#define EXIT_NO_LINE   0xffffu
#define EXIT_NO_VECTOR 0xffffu

struct exit_device {
    uint16_t event; /* enum device_event */
    uint8_t id;     /* of the device, as in the machine */
    uint8_t cpu;    /* vCPU, or DEVICE_NO_CPU */
    uint16_t line;  /* GSI, or EXIT_NO_LINE */
    uint16_t vector;
    uint64_t value, len;
    uint8_t write;
};

/* Some of the callers of the code at an exit; a deep stack takes several records. */
struct exit_stack {
    uint8_t first, count; /* which callers these are, 0 the innermost */
    uint8_t total;        /* callers in all records of the exit */
    uint64_t frame[4];    /* linear, inside the call instruction */
};

/* flags */
#define EXIT_F_UNCLAIMED 1u  /* no device answered at that port or address */
#define EXIT_F_STEPPED   2u  /* a single step was being made */
#define EXIT_F_STOPPED   4u  /* the machine stopped here */
#define EXIT_F_PAST      8u  /* RIP is already past the instruction that left the guest */
#define EXIT_F_STRING    16u /* part of a rep ins/outs */
#define EXIT_F_RAM       32u /* mmio: a watched page of RAM, no device */
#define EXIT_F_OURS      64u /* shutdown, internal: a step behind a hidden IDT, a planted byte */

struct exit_event {
    uint64_t seq;      /* number in its vCPU's ring, from 0 */
    uint64_t at_ns;    /* CLOCK_MONOTONIC when KVM_RUN returned */
    uint32_t guest_ns; /* time inside KVM_RUN, saturated */
    uint32_t host_ns;  /* time in the handler, saturated; 0 while it still runs */
    uint64_t rip;      /* as in the register */
    uint64_t cs_base;
    uint64_t cr3;
    uint16_t reason; /* KVM_EXIT_* or EXIT_* */
    uint16_t flags;  /* EXIT_F_* */
    uint8_t vcpu;
    uint8_t mode; /* enum cpu_mode */
    uint8_t cpl;
    uint8_t size; /* bytes of one access, 0 when there is none */
    union {
        struct {
            uint16_t port;
            uint8_t write, pad;
            uint32_t count; /* elements of a string access, 1 otherwise */
            uint64_t value; /* written, or what the device answered (first element) */
        } io;
        struct {
            uint64_t gpa;
            uint64_t value;
            uint32_t write;
        } mmio;
        struct {
            uint32_t index;
            uint8_t write, error;
            uint16_t why; /* KVM_MSR_EXIT_REASON_* */
            uint64_t value;
        } msr;
        struct {
            uint32_t exception;
            uint64_t pc, dr6, dr7;
        } debug;
        struct {
            uint32_t suberror, ndata;
            uint8_t insn_len;
            uint8_t insn[15];
            uint64_t data0;
        } internal;
        struct {
            uint64_t hardware_reason;
            int32_t errno_;
        } fail;
        struct {
            uint32_t vector;
            uint16_t kind; /* 0 interrupt, 1 NMI, 2 exception */
            uint16_t line; /* GSI + 1 that is behind the interrupt; 0: none, or unknown */
        } inject;
        struct {
            uint32_t what; /* index in the assist table */
            uint8_t insn_len;
            uint8_t insn[15];
        } assist;
        struct {
            uint32_t type;
            uint64_t data;
        } system;
        struct {
            int32_t vector; /* of the exception that could not be delivered; -1 unknown */
            uint32_t error_code;
            uint8_t has_error_code;
        } shutdown;
        struct {
            uint32_t kind; /* enum stop_kind */
            int32_t point; /* -1: none */
        } stop;
        struct {
            uint16_t event; /* enum kernel_event */
            uint8_t write, pad;
            uint32_t number;
            uint64_t value[3];
        } kernel;
        struct exit_device device;
        struct exit_stack stack;
        uint64_t raw[5];
    } u;
};
_Static_assert(sizeof(struct exit_event) == 96, "the record's size is part of the format");

/* Short lower-case kind for filters and columns: "io", "mmio", "hlt", "irq_window"; a C identifier,
 * since filters are expressions. "kvm_41" for a reason of a newer kernel. Static text; any thread,
 * as all below. */
const char *exit_kind_name(unsigned reason);
/* The reason of a kind's name ('-' passes for '_') or of its KVM name; -1 when unknown. */
int exit_kind_by_name(const char *name);
/* One line of help for people. */
const char *exit_kind_help(unsigned reason);
/* Every row, for tables; NULL past the end. */
struct exit_kind {
    uint16_t reason;
    const char *name;
    const char *kvm_name; /* "KVM_EXIT_IO"; for our own reasons "EXIT_KICK" */
    const char *help;
};
const struct exit_kind *exit_kind_at(unsigned i);
/* "#PF" for 14; NULL for vectors without such a name (Intel SDM 3A, table 6-1). */
const char *exit_vector_name(unsigned vector);
/* "efer", "lstar"; NULL for an MSR that the register table does not name. */
const char *exit_msr_name(uint32_t index);

/* Index of a reason in arrays of EXIT_COUNTERS: KVM's below 64 (unknown ones at 63), ours at
 * 64 + reason - EXIT_OUR_FIRST. */
#define EXIT_COUNTERS 80
static inline unsigned exit_counter(unsigned reason)
{
    if (reason >= EXIT_OUR_FIRST)
        return 64 + (reason - EXIT_OUR_FIRST) % (EXIT_COUNTERS - 64);
    return reason < 63 ? reason : 63;
}

/* The one access of an exit that left the guest for it: where, which way, and what was written or
 * answered. Of a string access it is the first element. */
enum exit_space { EXIT_PORT, EXIT_GPA, EXIT_MSR };
struct exit_access {
    enum exit_space space;
    bool write;
    uint64_t at; /* port number, guest physical address or MSR index */
    uint64_t value;
};
/* Is an exit of this reason an access: io, mmio, rdmsr or wrmsr? */
bool exit_is_access(unsigned reason);
/* False, and *a as it was, for every other exit. */
bool exit_access(const struct exit_event *ev, struct exit_access *a);

/* "line", "eoi", "timer"; NULL past the last device_event. */
const char *exit_device_name(unsigned event);
/* False for a record that concerns no vCPU: what a device did by itself. */
bool exit_has_cpu(const struct exit_event *ev);
/* Appends what a device did, without values: "line 4 (COM1) raised", "vector 0x24 requested".
 * `dev` is the device's name or NULL. */
void exit_device_what(const struct exit_device *d, const char *dev, struct buf *out);

/* "cpuid", "fault"; NULL past the last kernel_event. */
const char *exit_kernel_name(unsigned event);
/* Appends what a kernel event is about, without its values: "rdmsr 0xc0000080", "exit 48 (EPT
 * violation)". `isa`: 1 VT-x, 2 SVM, 0 unknown. */
void exit_kernel_what(unsigned event, uint32_t number, bool write, unsigned isa, struct buf *out);

/* Appends the operands as one line of text: "out 0x3f8 (COM1 data) 1 byte = 0x41 'A'"; the kind's
 * name for reasons without operands. `reg_name` is what the device calls the register (or the
 * assist that acted), or NULL; already safe for a terminal. */
void exit_format(const struct exit_event *ev, const char *reg_name, struct buf *out);

#endif
