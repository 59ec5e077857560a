/*
 * The machine as its devices see it: bus, door, interrupt lines, guest memory and a few wishes
 * they may express (power off, reset, console output). It contains no KVM, so tests drive devices
 * without a vCPU. vm.c embeds one and connects it to KVM.
 *
 * Lock: `lock` is taken around every device access, alarm and input. Order: machine lock, then
 * the log's. Public functions here expect it held unless said otherwise.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/dev.h"
#include "vmm/door.h"
#include "vmm/exit.h"
#include "vmm/mem.h"

#define MACHINE_CPUS_MAX 16
#define MACHINE_DEVS_MAX 32
#define MACHINE_GSIS     24

/* What the guest asked of the board; the vCPU thread that served the access stops the machine. */
enum board_wish {
    WISH_NONE,
    WISH_POWER_OFF,
    WISH_RESET,
    WISH_DEBUG_EXIT, /* port 0xF4; wish_value is the byte or word written */
};

/* Output channels towards people. */
enum console_chan { CONSOLE_COM1, CONSOLE_COM2, CONSOLE_DEBUG /* port 0xE9 */, CONSOLE_CHANS };

/* Interrupt work of one vCPU; `attention` is the only field read without the lock. */
struct cpu_lines {
    _Atomic unsigned attention; /* CPU_ATTN_*: something to look at before the next KVM_RUN */
    int sipi_vector;            /* -1: none */
    unsigned line;              /* GSI + 1 behind what intr_ack gave last; 0: none, or unknown */
};
#define CPU_ATTN_INTR 1u /* intr_vector() may have a vector */
#define CPU_ATTN_NMI  2u
#define CPU_ATTN_INIT 4u
#define CPU_ATTN_SIPI 8u

struct machine_hooks {
    void *arg;
    /* A character or more for people; called with the lock held, must not block. */
    void (*console)(void *arg, enum console_chan chan, const void *bytes, size_t len);
    /* cpu_lines[cpu].attention got a new bit: the vCPU must leave the guest and look. */
    void (*kick)(void *arg, unsigned cpu);
    /* A device did something worth a record; with the lock held. Optional. */
    void (*event)(void *arg, const struct exit_device *what);
    /* Carries out machine_dma on RAM. Optional: no more than a copy. */
    void (*dma)(void *arg, const struct dev *d, uint64_t gpa, void *dst, const void *src,
                size_t len);
    /* Only with the kernel's interrupt chips: sets a GSI. */
    void (*gsi)(void *arg, unsigned gsi, bool level);
};

struct machine {
    pthread_mutex_t lock;
    struct bus bus;
    struct door door;
    struct mem *mem; /* borrowed; may be NULL in bus tests */
    unsigned cpus;   /* 1 to MACHINE_CPUS_MAX */
    bool irqchip_kernel;
    struct machine_hooks hooks;
    struct cpu_lines cpu[MACHINE_CPUS_MAX];
    enum board_wish wish;
    uint32_t wish_value;
    bool a20; /* the A20 gate as the guest set it; KVM cannot mask the address line */
    unsigned devs;
    struct dev dev[MACHINE_DEVS_MAX];
    uint32_t gsi_level;                /* bit per GSI: the line is asserted */
    uint64_t gsi_raised[MACHINE_GSIS]; /* rising edges since power-on */
};

/* Builds every device of dev_table[] (without the in_kernel ones when irqchip_kernel). `manual`
 * makes a door whose time moves by hand. Takes the lock itself, as do fini and reset. */
int machine_init(struct machine *m, unsigned cpus, struct mem *mem, bool irqchip_kernel,
                 bool manual, const struct machine_hooks *hooks, struct err *e);
void machine_fini(struct machine *m);
/* Adds a device to a machine that is there already; `ops` must outlive the machine (its fini may
 * free it). Takes the lock. -EBUSY with a sentence when its name, ports or ranges are taken. */
int machine_add(struct machine *m, const struct dev_ops *ops, struct err *e);
/* Power-on state of every device; clears wishes and lines. */
void machine_reset(struct machine *m);
/* NULL when there is none of that name. */
struct dev *machine_dev(struct machine *m, const char *name);
/* State of the device made from `ops`, for chips that are wired to each other; NULL when this
 * machine was built without it. */
void *machine_state(const struct machine *m, const struct dev_ops *ops);

/* For devices. */
void machine_wish(struct machine *m, enum board_wish wish, uint32_t value);
void machine_console(struct machine *m, enum console_chan chan, const void *bytes, size_t len);
/* Makes a record of what a device did. Costs a call when nobody records. */
void machine_event(struct machine *m, const struct exit_device *what);
/* A device reads guest memory by itself, `len` bytes to `dst`, or writes it from `src` when dst is
 * NULL: a record tells of it, watchpoints see it, and bytes planted for breakpoints stay. Returns
 * the length of the prefix that is RAM. */
size_t machine_dma(struct dev *d, uint64_t gpa, void *dst, const void *src, size_t len);
/* Sets a CPU_ATTN_* bit and kicks the vCPU when it is new. */
void machine_attention(struct machine *m, unsigned cpu, unsigned attn);

/* Interrupt lines. GSI 0-15 reach the PICs and the IOAPIC (GSI 0 arrives at IOAPIC pin 2, as on
 * every PC), 16-23 the IOAPIC alone. Level-triggered devices hold the line. */
void irq_set(struct machine *m, unsigned gsi, bool level);

/* The vCPU's side (user-space interrupt chips). Vector that the vCPU should take next given its
 * TPR, or -1; does not change state. */
int intr_vector(struct machine *m, unsigned cpu);
/* Takes it: moves it to in-service, for the PIC performs INTA; cpu[].line says where it came from.
 * -1 when it went away. */
int intr_ack(struct machine *m, unsigned cpu);

#endif
