#!/bin/bash
# Random packets, half packets and dying clients: the session goes on.
set -u
. "$(dirname "$0")/../gdb/lib.sh"
skip_without python3 hostile

seconds=60
try() { # NAME ARGS...
    local name=$1 why
    shift
    if why=$(python3 tests/slow/gdb_hostile.py $RANDOM $seconds "$@" 2>&1); then echo "ok $name"; else fail "$name" "$why"; fi
}
try modes "$g/modes.bin"
try user_chips --cpus 4 "$g/apic_smp"
try kernel_chips --cpus 2 --irqchip kernel "$g/tinyos"
exit $status
