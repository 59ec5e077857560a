#!/bin/bash
# Four vCPUs as threads, with both kinds of interrupt chips.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb smp

for chips in user kernel; do
    start --cpus 4 --irqchip $chips "$g/apic_smp"
    gdb_run 'info threads' 'break ap_main' 'continue' 'info threads' 'bt 1' 'delete' \
        'set scheduler-locking on' 'stepi' 'stepi' 'set scheduler-locking off' 'thread apply all -s p $pc' \
        'x/i $pc' 'continue'
    has "${chips}_threads" 'Thread 1 "vCPU 0"' 'Thread 4 "vCPU 3"'
    has "${chips}_break_on_another" 'hit Breakpoint 1, .*ap_main|Breakpoint 1, .*ap_main'
    has "${chips}_all_vcpus" 'Thread 4 ' 'Thread 1 '
    has "${chips}_ends" 'exited with code'
done
exit $status
