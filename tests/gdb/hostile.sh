#!/bin/bash
# Random packets, half packets and dying clients, the same ones each time: the session goes on.
# tests/slow/gdb_hostile.sh has others each time, and sanitizers.
set -u
. "$(dirname "$0")/lib.sh"
skip_without python3 hostile

try() { # NAME SEED ARGS...
    local name=$1 seed=$2 why
    shift 2
    if why=$(python3 tests/gdb/hostile.py "$seed" 60 "$@" 2>&1); then echo "ok $name"; else fail "$name" "$why"; fi
}
try modes 1 "$g/modes.bin"
try modes_kernel_chips 2 --irqchip kernel --control "unix:$TEST_DIR/control" "$g/modes.bin"
try smp 3 --cpus 4 "$g/apic_smp"
try smp_kernel_chips 4 --cpus 4 --irqchip kernel "$g/apic_smp"
try tinyos 5 --control "unix:$TEST_DIR/control" "$g/tinyos"
exit $status
