/*
 * Exits that are accesses: io, mmio, rdmsr, wrmsr. For vcpu.c, on the vCPU's thread; the engine's
 * part, vcpu_serve and vcpu_answer, is in vcpu.h.
 */
#ifndef VMM_ACCESS_H
#define VMM_ACCESS_H

#include <stdbool.h>

struct exit_event;
struct vcpu;

bool access_is(unsigned reason);
/* Fills in what the access asks for; the answer comes with vcpu_serve or vcpu_answer. */
void access_note(struct vcpu *v, struct exit_event *ev);

#endif
