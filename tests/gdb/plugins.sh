#!/bin/bash
# What plugins for kernel debugging (gef, pwndbg, scripts written for QEMU) ask of a remote stub,
# asked by gdb's Python: the calls that they make, not the plugins themselves.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb plugins

cat >"$TEST_DIR/ask.py" <<'PY'
import gdb

def run(command):
    try:
        return gdb.execute(command, to_string=True)
    except gdb.error as e:
        return "error: %s" % e

def say(name, value):
    print("%s: %s" % (name, value))

inferior, thread, frame = gdb.selected_inferior(), gdb.selected_thread(), gdb.selected_frame()
arch = frame.architecture()
say("is qemu", "ENABLE=" in run("maintenance packet Qqemu.sstepbits"))
say("is system", 'received: ""' in run("maintenance packet qOffsets"))
say("pid", inferior.pid)
say("thread", "%s %s %s" % (thread.ptid, thread.name, thread.is_stopped()))
say("arch", arch.name())
say("code", arch.disassemble(int(frame.read_register("pc")), count=2)[1]["asm"])
say("cr3", hex(int(frame.read_register("cr3"))))
say("efer", frame.read_register("efer"))
say("bases", "%s %s %s" % tuple(int(frame.read_register(r)) for r in ("fs_base", "gs_base", "k_gs_base")))
say("registers", all(r in [x.name for x in arch.registers()] for r in ("rax", "rip", "eflags", "cr4", "mxcsr", "st7")))
say("flags", run("info registers eflags").split()[0])
say("auxv", run("info auxv").strip())
say("mappings", run("info proc mappings").strip())
say("monitor mem", "RAM" in run("monitor info mem"))
say("monitor tab", "2 MiB" in run("monitor info tab"))
say("monitor unknown", run("monitor info nonsense").strip())
say("stack", len(bytes(inferior.read_memory(frame.read_register("rsp"), 64))))
say("device", run("x/1xw 0xfee00020").strip())
code = bytes(inferior.read_memory(0x100000, 4096))
say("search", hex(inferior.search_memory(0x100000, 0x2000, code[100:116])))
inferior.write_memory(0x5000, b"written")
say("written", bytes(inferior.read_memory(0x5000, 7)))
run("maintenance packet Qqemu.PhyMemMode:1")
say("physical", bytes(inferior.read_memory(0x100000, 4096)) == code)
run("maintenance packet Qqemu.PhyMemMode:0")
stops = []
gdb.events.stop.connect(lambda e: stops.append(type(e).__name__))

class Stop(gdb.Breakpoint):
    def stop(self):
        stops.append("decided at 0x%x" % int(gdb.parse_and_eval("$pc - (long)&guest_done")))
        return True

Stop("*guest_done", internal=True)
run("continue")
say("events", stops)
say("callers", [f.name() for f in (gdb.newest_frame(), gdb.newest_frame().older())])
gdb.Breakpoint("*0x5000", type=gdb.BP_HARDWARE_BREAKPOINT)
gdb.Breakpoint("*(int*)0x5000", type=gdb.BP_WATCHPOINT, wp_class=gdb.WP_READ)
say("points", len(gdb.breakpoints()))
PY
start "$g/hello64"
gdb_run "source $TEST_DIR/ask.py"
has plugin_calls 'is qemu: True' 'is system: True' 'pid: [1-9]' "thread: .* vCPU 0 True" 'arch: i386:x86-64' 'code: cld' \
    'cr3: 0x[0-9a-f]+' 'efer: ' 'bases: 0 0 0' 'registers: True' 'flags: eflags' 'auxv: ' 'mappings: ' \
    'monitor mem: True' 'monitor tab: True' 'monitor unknown: there is no' 'stack: 64' 'device: error: Cannot access' \
    'search: 0x100064' "written: b'written'" 'physical: True' "events: .'decided at 0x0', 'BreakpointEvent'" \
    "callers: .'guest_done', 'guest_main'" 'points: 3'
has_not no_python_error 'Traceback|Python Exception'
exit $status
