#!/bin/bash
# gdb as IDEs drive it: the machine interface, asynchronous, with an interrupt.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb mi

start "$g/tinyos"
coproc MI { exec gdb -nx -q --interpreter=mi3 2>&1; }
gdb_pid=$MI_PID
exec {to}>&"${MI[1]}" {from}<&"${MI[0]}"
: >"$TEST_DIR/gdb.out"

# expect REGEX: reads on until a line matches.
expect() {
    local line
    while IFS= read -r -t 30 -u $from line; do
        printf '%s\n' "$line" >>"$TEST_DIR/gdb.out"
        [[ $line =~ $1 ]] && return 0
    done
    return 1
}
say() {
    printf '%s\n' "$1" >&$to
}

say '-gdb-set mi-async on'
say "-target-select remote 127.0.0.1:$port"
expect '\^connected' && echo "ok connects" || fail connects "$(tail -n 3 "$TEST_DIR/gdb.out")"
say '-break-insert -h *0x100031'
expect '\^done,bkpt' && echo "ok breaks" || fail breaks "$(tail -n 3 "$TEST_DIR/gdb.out")"
say '-exec-continue'
expect '\*stopped,reason="breakpoint-hit"' && echo "ok hits" || fail hits "$(tail -n 3 "$TEST_DIR/gdb.out")"
say '-data-list-register-values x 0 1 2'
expect '\^done,register-values' && echo "ok lists_registers" || fail lists_registers "$(tail -n 1 "$TEST_DIR/gdb.out")"
say '-exec-step-instruction'
expect '\*stopped,reason="end-stepping-range"' && echo "ok steps" || fail steps "$(tail -n 3 "$TEST_DIR/gdb.out")"
say '-break-delete'
say '-exec-continue'
expect '\*running' || fail runs "$(tail -n 3 "$TEST_DIR/gdb.out")"
say '-exec-interrupt'
expect '\*stopped' && echo "ok interrupts" || fail interrupts "$(tail -n 3 "$TEST_DIR/gdb.out")"
say '-thread-info'
expect 'vCPU 0' && echo "ok names_threads" || fail names_threads "$(tail -n 1 "$TEST_DIR/gdb.out")"
say '-gdb-exit'
wait "$gdb_pid" 2>/dev/null
exit $status
