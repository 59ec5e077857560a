/*
 * What this host's KVM can do and which method each feature of the debugger uses here: the text
 * and JSON of `vmscope doctor`, also for reports. Main thread.
 */
#ifndef DEBUG_DOCTOR_H
#define DEBUG_DOCTOR_H

#include <stdbool.h>

#include "debug/out.h"
#include "vmm/probe.h"

/* Writes the report on `p`; asks the host for the names of kernel, module and processor, and opens
 * /dev/kvm for the CPUID bits that cannot be masked. */
void doctor_report(const struct probe *p, struct out *o);
/* `vmscope doctor [--json]`: probes afresh and prints to standard output. The exit status: 0, or 2
 * when KVM cannot be used at all (the reason is printed, as JSON "error" too). */
int doctor_main(bool json);

#endif
