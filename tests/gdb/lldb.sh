#!/bin/bash
# lldb as a client: its own packets, steps, breakpoints, registers.
set -u
. "$(dirname "$0")/lib.sh"
lldb=$(command -v lldb-14 || command -v lldb || echo lldb-14)
skip_without "$lldb" lldb

# For one batch of commands.
lldb=(timeout -k 5 $((120 * TESTS_SCALE)) "$lldb" -x -b -o 'settings set plugin.process.gdb-remote.packet-timeout 60')

lldb_run() {
    local args=() c
    for c; do args+=(-o "$c"); done
    "${lldb[@]}" -o "target create $g/hello64" -o "gdb-remote 127.0.0.1:$port" \
        "${args[@]}" -o quit >"$TEST_DIR/gdb.out" 2>&1 </dev/null
}

start "$g/hello64"
lldb_run 'register read rip rsp' 'stepi' 'register read rip' 'breakpoint set -n guest_done' 'continue' 'bt' \
    'register write rbx 0x1234' 'register read rbx' 'memory read -f x -s 8 -c 1 $rsp' \
    'memory write -s 8 0x5000 0x55aa' 'memory read -f x -s 8 -c 1 0x5000' 'thread list' \
    'process plugin packet monitor info cpus' 'continue'
has lldb_registers 'rip = 0x0*100000' 'rsp = 0x0*9eff8'
has lldb_steps 'instruction step into' 'rip = 0x0*100001'
has lldb_breaks 'stop reason = breakpoint 1.1' 'guest_main'
has lldb_writes 'rbx = 0x0*1234' '0x0*55aa'
has lldb_threads "name = 'vCPU 0'"

# Watchpoints, frames, stepping by line, stops that lldb has no word for, the end. `-k` commands run
# when the first stop of a kind that counts as a crash has come.
start --symbols "$g/stack" -e 'tbreak guest_main' -e continue "$g/stack"
"${lldb[@]}" -o "target create $g/stack" -o "gdb-remote 127.0.0.1:$port" -o 'register read cr0 lstar' \
    -o 'breakpoint set -n bottom' -o 'continue' -o 'bt' -o 'up' -o 'frame variable here' -o 'watchpoint set variable here' \
    -o 'watchpoint list' -o 'watchpoint delete 1' -o 'finish' -o 'thread step-inst -c 3' -o 'next' -o 'expr 6 * 7' \
    -o 'memory region $pc' -o 'disassemble -c 2' -o 'breakpoint delete -f' \
    -o 'process plugin packet monitor catch io if port == 0x3f8' -o 'continue' -k 'register read rip' \
    -k 'process plugin packet monitor delete' -k 'breakpoint set -n guest_done' -k 'continue' -k 'continue' -k quit \
    -o quit >"$TEST_DIR/gdb.out" 2>&1 </dev/null
has lldb_frames 'cr0 = 0x' 'stop reason = breakpoint 1.1' 'frame #0: .*bottom' 'frame #12: .*guest_main' 'here = 0' \
    'Watchpoint 1: addr' 'step out' 'instruction step' '42' 'rwx|r-x|rw-'
has lldb_hears_sentences 'stop reason = Catchpoint .* .io if port == 0x3f8.' 'rip = ' 'stop reason = breakpoint 2.1' \
    'exited with status = 33'
exit $status
