#!/bin/bash
# Watchpoints as gdb sets them: written, read and accessed memory, wider than the processor's debug
# registers, and with a condition.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb watch

as --32 -o "$TEST_DIR/k.o" tests/bench/gdb.S &&
    ld -m elf_i386 -Ttext 0x100100 --section-start=.multiboot=0x100000 --no-warn-rwx-segments -e _start \
        -o "$TEST_DIR/k.elf" "$TEST_DIR/k.o" || { echo "FAIL build: the guest cannot be built"; exit 1; }
start "$TEST_DIR/k.elf"
gdb_run 'watch *(int*)&value' 'continue' 'continue' 'delete' 'rwatch *(int*)&value' 'continue' 'delete' \
    'awatch *(char[32]*)&value' 'continue' 'monitor info breakpoints' 'delete' \
    'watch *(int*)&value if *(int*)&value == 100' 'continue' 'p *(int*)&value' 'info registers esi'
has watch 'Hardware watchpoint 1' 'Old value = 0' 'New value = 1' 'New value = 2'
has rwatch 'Hardware read watchpoint 2' '^Value = '
has wide_awatch 'access .*watchpoint 3: ' 'access .*watchpoint 3: ' 'acc watchpoint .* 0x0*101000 '
has condition 'New value = 100' '= 100$' 'esi +0x64'
exit $status
