#!/bin/bash
# `monitor`: commands that let the guest go, help and completion, long output; and points that one
# client sets and others see, change and delete.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb monitor

# serial_init is near: `monitor continue` waits half a second for a stop.
start "$g/tinyos"
gdb_run 'tbreak kernel_main' 'continue' 'monitor nexti' 'nexti' 'monitor break serial_init' 'monitor continue' \
    'continue' 'bt 1' 'monitor delete' 'monitor continue' 'x/i $pc' 'monitor stop' 'monitor info cpus' 'continue' \
    'monitor reset' 'stepi' 'info registers eip' 'kill'
has monitor_steps 'Stepped to 0xffffffff' '=> 0xffffffff' 'gdb itself sees that' 'moved by others'
has monitor_continues 'Breakpoint .*<serial_init>' 'gdb itself sees that' '#0 +serial_init'
has monitor_runs_on 'The guest runs; .continue. in gdb' 'Cannot access memory|=> 0x' 'SIGINT' 'eip +0x100030'

start "$g/hello64"
gdb_run 'monitor help' 'monitor help stepi' 'monitor complete info exi' 'monitor complete tb' 'monitor x/4000xb 0x100000' \
    'monitor info registers control' 'monitor arch' 'monitor realmode' 'monitor gdb status' 'monitor info nonsense' \
    'monitor break' 'monitor print 6 * 7' 'monitor info' 'kill'
has monitor_helps 'Only in gdb' 'stepi \[' '^info exits' '^tbreak' '<guest_main' '0x100f9[0-9a-f].*:' 'cr0 .* \[ PE' \
    'i386:x86-64 \(auto\)' 'linear addresses' 'is attached' 'there is no' '= 42'

# Clients of one session: gdb, a program on the control socket, a script.
cat >"$TEST_DIR/others.lua" <<'LUA'
vm.on("stop", function(e) print("the script saw a stop at " .. vm.symbols[e.rip]) end)
LUA
cat >"$TEST_DIR/others.py" <<PY
import json, socket
def rpc(method, **params):
    with socket.socket(socket.AF_UNIX) as c:
        c.connect("$TEST_DIR/control")
        c.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        return json.loads(c.makefile().readline())["result"]
def points():
    rows = rpc("breakpoints.list")["breakpoints"]
    print("%d points:" % len(rows), *("%s hit %s%s" % (p["What"], p["Hits"], "" if p["Enb"] else " off") for p in rows))
    return rows
def named(what):
    return next(p["Num"] for p in points() if p["What"] == what)
PY
start --control "unix:$TEST_DIR/control" --script "$TEST_DIR/others.lua" "$g/stack"
gdb_run "source $TEST_DIR/others.py" 'break guest_main' 'continue' 'python points()' \
    'python rpc("breakpoints.add", location="ping")' 'break bottom' 'continue' 'continue' \
    'python rpc("breakpoints.delete", id=named("<ping>"))' 'break pong' 'continue' \
    'python rpc("breakpoints.change", id=named("<pong>"), enabled=False)' 'python points()' 'tbreak guest_done' \
    'continue' 'kill'
has others_see_and_set '^1 points: <guest_main> hit 1' 'Breakpoint 2, bottom' 'vmscope: Breakpoint .*<ping>' \
    '<ping> hit 1' 'Breakpoint 3, pong' '<pong> hit 1' '<pong> hit 1 off' 'guest_done'
if grep -q 'the script saw a stop at ping' "$TEST_DIR/vm.out"; then
    echo "ok script_sees_stops"
else
    fail script_sees_stops "$(tail -n 5 "$TEST_DIR/vm.out")"
fi

# What gdb lists stops, also when others deleted it; with either way of keeping breakpoints.
for keep in off on; do
    start "$g/stack"
    gdb_run "set breakpoint always-inserted $keep" 'break guest_main' 'continue' 'break ping' 'monitor delete' 'continue' \
        'monitor info breakpoints' 'delete' 'tbreak guest_done' 'continue' 'monitor info breakpoints' 'kill'
    has "deleted_by_others_$keep" 'Breakpoint 2, ping' '<ping>' 'Temporary breakpoint .*guest_done'
done
exit $status
