/*
 * Exits that are accesses: io, mmio, rdmsr, wrmsr. For vcpu.c, on the vCPU's thread; the engine's
 * part, vcpu_serve and vcpu_answer, is in vcpu.h.
 */
#ifndef VMM_ACCESS_H
#define VMM_ACCESS_H

struct exit_event;
struct vcpu;

/* Fills in what the access asks for, of an exit for which exit_is_access holds; the answer comes
 * with vcpu_serve or vcpu_answer. */
void access_note(struct vcpu *v, struct exit_event *ev);

#endif
