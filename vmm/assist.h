/*
 * Carrying out what this host's KVM refuses: an emulating KVM ends in KVM_EXIT_INTERNAL_ERROR at
 * instructions that its emulator lacks. The stop is exact and restartable, so vmscope does the
 * instruction itself and the guest goes on; each one is counted and leaves a record. vCPU thread.
 */
#ifndef VMM_ASSIST_H
#define VMM_ASSIST_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"

struct vcpu;

/* True when the refused instruction at RIP was carried out; `ev` becomes an EXIT_ASSIST record. */
bool vcpu_assist(struct vcpu *v, struct exit_event *ev);

/* Makes `ev` the record of an assisted SYSCALL or int n of ring 3, before registers change. */
void vcpu_assist_note(struct vcpu *v, struct exit_event *ev, bool is_syscall);

/* Name of assist kind `what` (exit_event.u.assist.what); NULL past the end. */
const char *assist_name(unsigned what);

#endif
