#!/bin/bash
# Non-stop mode: one vCPU stands at a breakpoint while the others run.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb nonstop

start --cpus 4 "$g/apic_smp"
mi_start
mi connects '^\^connected' '-gdb-set mi-async on' '-gdb-set non-stop on' "-target-select remote 127.0.0.1:$port"
mi one_stands '^\^done,threads=.*state="stopped".*state="running"' '-thread-info'
mi steps_one '^\*stopped,reason="end-stepping-range".*thread-id="1"' '-exec-step-instruction --thread 1'
mi breaks '^\^done,bkpt' '-break-insert ap_main'
mi another_stops '^\*stopped,reason="breakpoint-hit".*ap_main.*thread-id="2"' '-exec-continue --thread 1'
mi others_run '^\^done,threads=.*state="running"' '-thread-info'
mi its_registers '^\^done,register-values=.*value="0x' '-data-list-register-values --thread 2 x 16'
mi its_memory '^\^done,memory' '-data-read-memory-bytes --thread 2 0x100000 16'
mi interrupts_one '^\*stopped,.*thread-id="1"' '-exec-interrupt --thread 1'
mi steps_another '^\*stopped,reason="end-stepping-range".*thread-id="2"' '-exec-step-instruction --thread 2'
mi ends '^=thread-group-exited.*exit-code' '-break-delete' '-exec-continue --all'
mi_end
exit $status
