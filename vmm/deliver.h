/*
 * Interrupts and exceptions enter the guest: gate, privilege, stack switch, IST, error code, and
 * what becomes of a fault on the way (#DF, shutdown). For a KVM that emulates ring 0, whose own
 * delivery knows 32- and 64-bit gates only; elsewhere the processor delivers, by queue_event. No
 * ioctl is made; tests call it without KVM. vCPU thread.
 * Source: Intel SDM volume 3, "Interrupt and Exception Handling", "8086 Emulation"; volume 2, INT
 * n; AMD APM volume 2, chapter 8.
 */
#ifndef VMM_DELIVER_H
#define VMM_DELIVER_H

#include "vmm/assist.h"

struct vcpu;

enum delivered {
    DELIVER_ENTERED,  /* the vCPU stands at the handler's first instruction */
    DELIVER_SHUTDOWN, /* a fault while delivering #DF: nothing changed but CR2 */
    DELIVER_CANNOT,   /* a table lies outside memory: nothing changed */
    DELIVER_QUEUED,   /* event_give: with KVM, which delivers it with the next entry */
};

/* Delivers `ev`, which becomes the event that was entered, or, at a shutdown, the one that could
 * not be at first. RFLAGS in the frame gets RF for a fault and loses it for all others. */
enum delivered deliver_event(struct vcpu *v, struct assist_event *ev);

/* The way of all events that vmscope gives: deliver_event where KVM emulates ring 0, else KVM's
 * queue (never DELIVER_CANNOT). An event that waited there is forgotten. */
enum delivered event_give(struct vcpu *v, struct assist_event *ev);
/* Queues it for KVM. */
void event_queue(struct vcpu *v, const struct assist_event *ev);

#endif
