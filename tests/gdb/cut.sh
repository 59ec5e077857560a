#!/bin/bash
# gdb's own session, cut off at chosen bytes: the next client is served and finds nothing of the last.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb cut
skip_without python3 cut

try() { # NAME CUTS SEED ARGS...
    local name=$1 why
    shift
    if why=$(python3 tests/gdb/cut.py "$1" "$2" tests/gdb/cut.gdb "${@:3}" 2>&1); then echo "ok $name ($why)"; else fail "$name" "$why"; fi
}
cuts=25
$TESTS_SLOW && cuts=400
try user_chips $cuts 1 --cpus 2 "$g/apic_smp"
try kernel_chips $cuts 2 --cpus 4 --irqchip kernel "$g/apic_smp"
exit $status
