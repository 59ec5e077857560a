#!/bin/bash
# Non-stop mode: one vCPU stands at a breakpoint while the others run.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb nonstop

start --cpus 4 "$g/apic_smp"
coproc MI { exec gdb -nx -q --interpreter=mi3 2>&1; }
gdb_pid=$MI_PID
exec {to}>&"${MI[1]}" {from}<&"${MI[0]}"
: >"$TEST_DIR/gdb.out"

# step NAME REGEX COMMAND...: sends the commands and reads on until a line matches.
step() {
    local name=$1 re=$2 c line
    shift 2
    for c; do printf '%s\n' "$c" >&$to; done
    while IFS= read -r -t 30 -u $from line; do
        printf '%s\n' "$line" >>"$TEST_DIR/gdb.out"
        [[ $line =~ $re ]] && { echo "ok $name"; return; }
    done
    fail "$name" "no line like \"$re\": $(tail -n 4 "$TEST_DIR/gdb.out" | tr '\n' '|')"
}

step connects '^\^connected' '-gdb-set mi-async on' '-gdb-set non-stop on' "-target-select remote 127.0.0.1:$port"
step one_stands '^\^done,threads=.*state="stopped".*state="running"' '-thread-info'
step steps_one '^\*stopped,reason="end-stepping-range".*thread-id="1"' '-exec-step-instruction --thread 1'
step breaks '^\^done,bkpt' '-break-insert ap_main'
step another_stops '^\*stopped,reason="breakpoint-hit".*ap_main.*thread-id="2"' '-exec-continue --thread 1'
step others_run '^\^done,threads=.*state="running"' '-thread-info'
step its_registers '^\^done,register-values=.*value="0x' '-data-list-register-values --thread 2 x 16'
step its_memory '^\^done,memory' '-data-read-memory-bytes --thread 2 0x100000 16'
step interrupts_one '^\*stopped,.*thread-id="1"' '-exec-interrupt --thread 1'
step steps_another '^\*stopped,reason="end-stepping-range".*thread-id="2"' '-exec-step-instruction --thread 2'
step ends '^=thread-group-exited.*exit-code' '-break-delete' '-exec-continue --all'
printf '%s\n' '-gdb-exit' >&$to
wait "$gdb_pid" 2>/dev/null
exit $status
