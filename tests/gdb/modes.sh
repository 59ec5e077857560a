#!/bin/bash
# One gdb session follows the processor from real mode to long mode and back: with symbols told by
# vmscope, with a file that gdb loaded itself, and without any.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb follows_modes

walk=('x/2i $pc' 'bt 1' 'stepi' 'info registers eip'
    'break *0x7e04' 'continue' 'break *0x7ec6' 'break *0x7f46' 'break *0x7f82' 'break *0x7fdf'
    'continue' 'x/i $pc' 'info registers eip' 'p $cr0'
    'continue' 'x/2i $pc' 'info registers rip' 'p $efer' 'stepi' 'p $r15'
    'continue' 'x/i $pc' 'continue' 'x/2i $pc' 'p $cr0' 'delete' 'continue')

follows() { # NAME
    has "$1_real" '=> 0x7c00.*ljmp.*0x0,.0x7c05' '0x7c05.*cli' 'eip +0x7c05'
    has "$1_break_in_real_mode" 'Breakpoint 1, .*'
    has "$1_protected" 'Breakpoint 2, ' '=> 0x7ec6.*mov +\$0x7c00,%esp' 'eip +0x7ec6' '\[ .*PE.*\]'
    has "$1_long" 'Breakpoint 3, ' '=> 0x7f46.*mov' 'movabs \$0x123456789abcdef0,%rax' 'rip +0x7f46' \
        '\[ .*LME.*LMA.*\]'
    has "$1_compatibility" 'Breakpoint 4, ' '=> 0x7f82.*mov +\$0x.*,%esi'
    has "$1_real_again" 'Breakpoint 5, ' '=> 0x7fdf.*xor +%ax,%ax' 'mov +%ax,%ds'
    has "$1_ends" 'exited with code 041'
}

start --symbols "$g/modes.elf" "$g/modes.bin"
gdb_run "${walk[@]}"
follows told_symbols
has told_symbols_are_there 'real_mode \(\) at' 'protected32 \(\) at' 'long_mode \(\) at' 'real_again \(\) at'

start "$g/modes.bin"
gdb_file=$g/modes.elf gdb_run "${walk[@]}"
follows own_file
has own_symbols_stay 'real_mode' 'protected32' 'long_mode' 'real_again'

start "$g/modes.bin"
gdb_run "${walk[@]}"
follows no_file

# A step from a breakpoint on the far jump itself ends behind it.
start --symbols "$g/modes.elf" "$g/modes.bin"
gdb_run 'break protected16' 'continue' 'python
while "ljmp" not in gdb.execute("x/i $pc", to_string=True):
    gdb.execute("stepi", to_string=True)
' 'break *$pc' 'monitor reset' 'continue' 'info registers eip' 'continue' 'continue' 'x/i $pc' 'stepi' 'x/i $pc' 'stepi' 'x/i $pc' 'kill'
has steps_off_a_breakpoint_across 'eip +0x7c00' '=> .*ljmp' '=> 0x7ec6 <protected32>' '=> 0x7ecb <protected32.5>'

# As the .gdbinit that `vmscope gdbinit` prints sets gdb.
start "$g/modes.bin"
gdb_run 'set breakpoint always-inserted on' 'set remoteaddresssize 64' "${walk[@]}"
follows always_inserted

# Single steps across each change of mode; symbols by `symbol-file` alone.
cat >"$TEST_DIR/across.py" <<'PY'
def arch():
    return gdb.selected_frame().architecture().name()
def across(most=2000):
    was = arch()
    for n in range(most):
        at = gdb.execute("x/i $pc", to_string=True).split("\t")[-1].strip()
        gdb.execute("stepi", to_string=True)
        if arch() != was:
            break
    print("from %s by %s to %s at %s" % (was, at.split()[0], arch(), gdb.execute("info symbol $pc", to_string=True).split()[0]))
    print(gdb.execute("bt 1", to_string=True).strip())
PY
start "$g/modes.bin"
gdb_run "symbol-file $g/modes.elf" "source $TEST_DIR/across.py" 'break protected16' 'break compatibility' \
    'continue' 'python across()' 'continue' 'python across()' 'python across()' 'delete' 'continue'
has steps_across 'from i8086 by .*ljmp.* to i386 at protected32' '#0 +protected32' 'from i386 by .*ljmp.* to i386:x86-64 at long_mode' \
    '#0 +long_mode' 'from i386:x86-64 by .* to i386 at compatibility_again' '#0 +compatibility_again' 'exited with code 041'

# Leave in one mode, come back in another; be killed; come back again.
start "$g/modes.bin"
gdb_run 'break *0x7e04' 'continue' 'x/i $pc' 'delete' 'stepi' 'disconnect'
has leaves_in_real_mode '=> 0x7e04'
gdb_run 'x/i $pc' 'break *0x7f46' 'continue' 'p $rip' 'disconnect'
has leaves_in_long_mode 'Breakpoint 1' '0x7f46'
gdb_run 'info registers rip' 'stepi' 'x/i $pc'
has comes_back_in_long_mode 'rip +0x7f46' '=> 0x7f4b'

# Run again from each mode: the breakpoint of that mode is reached again.
start "$g/modes.bin"
for at in 0x7e04 0x7ec6 0x7f46 0x7f82; do
    "${gdb[@]}" -ex "target extended-remote 127.0.0.1:$port" \
        -ex "break *$at" -ex 'continue' -ex 'run' -ex 'x/i $pc' -ex 'kill' >"$TEST_DIR/gdb.out" 2>&1 </dev/null
    has "runs_again_from_$at" 'Breakpoint 1' 'Breakpoint 1' "=> $at"
    has_not "runs_without_errors_from_$at" 'too long|not compatible|SIGTRAP'
done

# Killed at a stop in each mode, and back.
start "$g/modes.bin"
for at in 0x7e04 0x7ec6 0x7f46 0x7f82 0x7fdf; do
    gdb_run "break *$at" 'continue' 'python import os, signal; os.kill(os.getpid(), signal.SIGKILL)' 2>/dev/null
    gdb_run 'info registers' 'x/i $pc' 'disconnect'
    has "comes_back_after_kill_at_$at" "=> $at"
done

start "$g/modes.bin"
gdb_run 'monitor arch i386' 'break *0x7f46' 'continue' 'show architecture' 'monitor arch'
has arch_is_pinned '"i386"' 'pinned'
start "$g/modes.bin"
gdb_run 'monitor realmode offset' 'monitor realmode' 'stepi' 'info registers eip'
has realmode_offset 'offsets into CS' 'eip +0x7c05'
exit $status
