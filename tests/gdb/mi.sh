#!/bin/bash
# gdb as IDEs drive it: the machine interface, asynchronous, with variables, frames and an interrupt.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb mi

start "$g/tinyos"
mi_start
mi connects '\^connected' '-gdb-set mi-async on' "-target-select remote 127.0.0.1:$port"
mi breaks_in_upper_half '\^done,bkpt.*kernel_main' '-break-insert -h kernel_main'
mi hits '\*stopped,reason="breakpoint-hit".*kernel_main.*i386:x86-64' '-exec-continue'
mi lists_registers '\^done,register-values=.*"0",value="0x.*"7",value="0x' '-data-list-register-values x 0 7 16'
mi steps '\*stopped,reason="end-stepping-range"' '-exec-step-instruction'
mi runs '\*running' '-break-delete' '-exec-continue'
mi interrupts '\*stopped' '-exec-interrupt'
mi names_threads 'vCPU 0' '-thread-info'
mi_end

# A whole session with a program that an IDE started, ended and started again.
start "$g/stack"
mi_start
mi selects '\^connected' '-gdb-set mi-async on' "-file-exec-and-symbols $g/stack" \
    "-target-select extended-remote 127.0.0.1:$port"
mi is_async 'features=.*"async"' '-list-target-features'
mi runs_to_main '\*stopped,reason="breakpoint-hit".*func="guest_main"' '-break-insert -t guest_main' '-exec-run'
mi hits_bottom '\*stopped,reason="breakpoint-hit".*func="bottom"' '-break-insert bottom' '-exec-continue'
mi lists_frames '\^done,stack=\[frame=.*"bottom".*"descend".*"guest_main"' '-stack-list-frames 0 12'
mi lists_variables '\^done,variables=.*name="n".*name="here"' '-stack-select-frame 3' '-stack-list-variables --simple-values'
mi makes_variables '\^done,name="here"' '-var-create here @ here' '-stack-select-frame 0'
mi finishes '\*stopped,reason="function-finished".*gdb-result-var' '-exec-finish' '-exec-finish'
mi updates_variables '\^done,changelist=\[' '-var-update --all-values *'
mi assigns '\^done,value="0"' '-var-assign here 0'
mi reads_memory '\^done,memory=.*contents="faf' '-data-read-memory-bytes _start 4'
mi writes_memory '\^done' '-data-write-memory-bytes 0x5000 0102'
mi reads_back 'contents="0102"' '-data-read-memory-bytes 0x5000 2'
mi disassembles '\^done,asm_insns=.*inst="' '-data-disassemble -s $pc -e "$pc+8" -- 0'
mi evaluates 'value="\[ PE .*PG \]"' '-data-evaluate-expression $cr0'
mi watches '\*stopped,reason="(watchpoint-trigger|watchpoint-scope)"' '-break-watch here' '-exec-continue'
mi conditions '\*stopped,reason="breakpoint-hit".*func="ping".*value="8"' '-break-delete' '-break-insert -c "n == 8" ping' \
    '-exec-continue'
mi steps_over '\*stopped,reason="end-stepping-range"' '-break-delete' '-exec-next-instruction'
mi steps_lines '\*stopped,reason="end-stepping-range".*func="p' '-exec-step'
mi monitors '^@"\*? *0 .*long64' '-interpreter-exec console "monitor info cpus"'
mi refuses '\^error,msg="Could not write register .*cannot set cr0' '-gdb-set var $cr0 = 0x80000000'
mi ends '\*stopped,reason="exited",exit-code="041"' '-exec-continue'
mi starts_again '\*stopped,reason="breakpoint-hit".*func="guest_main"' '-break-insert -t guest_main' '-exec-run'
mi detaches '\^done' '-target-detach'
mi_end
exit $status
