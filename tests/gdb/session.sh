#!/bin/bash
# What a person does with gdb: registers, memory, breakpoints with conditions, monitor, Ctrl-C,
# detaching, coming back after a gdb that was killed.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb session

start "$g/hello64"
gdb_run 'info registers rip rsp eflags' 'p $cr0' 'p/x $cs' 'stepi' 'x/i $pc' 'info threads' \
    'hbreak guest_done' 'continue' 'bt' 'p $rdi' 'set $rax = 0x1122334455667788' 'p/x $rax' 'p/x $ax' \
    'set var *(long*)$sp = 42' 'p *(long*)$sp' 'x/s 0x0' 'p *(int*)0xfee00000' 'set $cr0 = 0' \
    'p $xmm0.v4_int32' 'p $st0' 'find 0x100000,0x101000,(char)0xf4' 'continue'
has symbols_come_from_vmscope 'Reading symbols from target:' '_start \(\)'
has registers 'rip +0x100000' 'rsp +0x9eff8' '\[ PE .*PG \]'
has steps '=> 0x100001' 'vCPU 0.*long64, ring 0'
has breakpoint 'Breakpoint 1, .*guest_done' '#1 .*guest_main' '#2 .*_start' '= 16'
has writes '0x1122334455667788' '0x7788' '= 42'
has devices_are_not_read 'Cannot access memory at address 0xfee00000'
has impossible_values_are_refused 'cannot set cr0'
has wide_registers '\{0, 0, 0, 0\}'
has ends 'exited with code 041'

start "$g/stack"
gdb_run 'break guest_main if $rsp == 1' 'tbreak guest_done' 'continue' 'info breakpoints' \
    'monitor info breakpoints' 'monitor help' 'monitor info cpus' 'monitor complete info exi'
has condition_was_false 'guest_done' 'stop only if'
has monitor '<guest_main>' 'realmode linear' '^info exits'

# Printing without stopping, done by vmscope.
start "$g/stack"
gdb_run 'set dprintf-style agent' 'dprintf guest_done,"done with %d\n", $edi' 'continue'
has dprintf '^done with 16$' 'exited with code'

# Lines to be run at each hit: gdb's own, and vmscope's through the monitor.
start "$g/hello64"
cat >"$TEST_DIR/at_hits.gdb" <<'GDB'
break print_char
commands
silent
p/c $rdi
continue
end
break guest_done
commands
echo done now\n
end
continue
GDB
gdb_run "source $TEST_DIR/at_hits.gdb" 'info breakpoints'
has gdb_commands "^.1 = 104 'h'" "^.43 = 10 '" 'Breakpoint 2, guest_done' '^done now' 'already hit 43 times'
start "$g/hello64"
gdb_run 'monitor break print_char' 'monitor commands' 'monitor silent' 'monitor print/c $rdi' \
    'monitor continue' 'monitor end' 'monitor info breakpoints' 'break guest_done' 'continue'
has monitor_commands 'print/c .rdi' "^.1 = 104 'h'" "^.43 = 10 '" 'Breakpoint 1, guest_done'

# What one sets the others see: a catchpoint of the monitor stops gdb's continue.
start "$g/hello64"
gdb_run 'monitor catch io if port == 0x3f8' 'continue' 'x/i $pc' 'monitor delete' 'continue'
has catch_by_monitor 'vmscope: Catchpoint 1' '=> 0x' 'exited with code 041'

# Placed before the code is there: tinyos maps its upper half itself.
start "$g/tinyos"
gdb_run 'hbreak *0xffffffff80100000' 'info symbol $pc' 'disconnect'
has unmapped_breakpoint 'Hardware assisted breakpoint 1'

# Ctrl-C, as a terminal sends it, while the guest runs.
start "$g/tinyos"
"${gdb[@]}" -ex "target remote 127.0.0.1:$port" \
    -ex 'continue' -ex 'info registers rip' -ex 'detach' >"$TEST_DIR/gdb.out" 2>&1 </dev/null &
gdb_pid=$!
until_prompt $gdb_pid Continuing
pkill -INT -P $gdb_pid gdb
wait $gdb_pid
has interrupt 'SIGINT' 'rip +0x' 'detached'

# gdb is killed while the guest runs: the guest goes on, and the next gdb finds it.
start "$g/tinyos"
"${gdb[@]}" -ex "target remote 127.0.0.1:$port" -ex 'break *0x1' -ex 'continue' \
    >"$TEST_DIR/gdb.out" 2>&1 </dev/null &
gdb_pid=$!
until_prompt $gdb_pid
pkill -KILL -P $gdb_pid gdb
wait $gdb_pid
gdb_run 'info registers rip' 'monitor info breakpoints' 'stepi' 'x/i $pc' 'detach'
has comes_back_after_kill 'rip +0x' '=> 0x' 'detached'
has its_breakpoints_are_gone '^No breakpoints'
gdb_run 'info registers rip' 'kill'
has comes_back_after_detach 'rip +0x'
wait $vm_pid
vm_pid=
echo "ok kill_ends_run"

# extended-remote: the guest can be run again.
start "$g/hello64"
"${gdb[@]}" -ex "target extended-remote 127.0.0.1:$port" \
    -ex 'break guest_done' -ex 'continue' -ex 'run' -ex 'continue' -ex 'kill' >"$TEST_DIR/gdb.out" 2>&1 </dev/null
has runs_again 'Breakpoint 1, .*guest_done' 'Breakpoint 1, .*guest_done'

"$VMSCOPE" gdbinit --gdb "127.0.0.1:1" "$g/hello64" >"$TEST_DIR/init" || fail gdbinit "status $?"
start "$g/hello64"
sed -i "s/127\.0\.0\.1:1/127.0.0.1:$port/" "$TEST_DIR/init"
"${gdb[@]}" -x "$TEST_DIR/init" -ex 'stepi' -ex 'show scheduler-locking' \
    >"$TEST_DIR/gdb.out" 2>&1 </dev/null
has gdbinit '_start' 'is "step"'
exit $status
