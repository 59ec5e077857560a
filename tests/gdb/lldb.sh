#!/bin/bash
# lldb as a client: its own packets, steps, breakpoints, registers.
set -u
. "$(dirname "$0")/lib.sh"
lldb=$(command -v lldb-14 || command -v lldb || echo lldb-14)
skip_without "$lldb" lldb

lldb_run() {
    local args=() c
    for c; do args+=(-o "$c"); done
    timeout -k 5 80 "$lldb" -x -b -o "target create $g/hello64" -o "gdb-remote 127.0.0.1:$port" \
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
exit $status
