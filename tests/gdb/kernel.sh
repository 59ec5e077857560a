#!/bin/bash
# What a kernel's developer does: breakpoints in the upper half while the processor is still in
# 32-bit code, calls of the guest's functions, registers that refuse values, the guest's end.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb kernel

# tinyos begins in 32-bit code; its kernel is linked to 0xffffffff80100000. gdb cuts addresses to
# 32 bits then.
start "$g/tinyos"
gdb_run 'break kernel_main if magic > 5' 'watch ticks' 'monitor info breakpoints' 'continue' 'bt 1' 'continue' \
    'bt 1' 'info breakpoints' 'delete' 'stepi' 'monitor info breakpoints' 'kill'
has upper_half_from_32_bit_code 'Breakpoint 1, kernel_main \(magic=' '#0 .*kernel_main' 'Hardware watchpoint 2: ticks' \
    'New value = 1' '#0 .*timer_interrupt' 'already hit 1 time'
has nothing_is_left_behind '^No breakpoints'

start "$g/tinyos"
gdb_run 'set remoteaddresssize 64' 'set breakpoint always-inserted on' 'tbreak shell_run' 'monitor info breakpoints' \
    'continue' 'monitor info breakpoints' 'p $lstar' 'p $idtr_base' 'monitor kaslr' 'p $apic_base' 'set $apic_base = 0xfee00800' \
    'p $apic_base' 'set $apic_base = 0xfee00900' 'kill'
has always_inserted '<shell_run>' 'Temporary breakpoint 1, shell_run'
has registers_point '<syscall_entry>' '<idt>' 'no Linux kernel is mapped' '\[ BSP EN \]' '= \[ EN \]'

# A Linux that KASLR moved, as far as it shows: the entry of system calls is not where it was linked.
printf '.globl entry_SYSCALL_64\n.type entry_SYSCALL_64,@function\nentry_SYSCALL_64: nop\n.size entry_SYSCALL_64,1\n' |
    as -o "$TEST_DIR/k.o" - && ld -Ttext 0xffffffff81000040 -e entry_SYSCALL_64 -o "$TEST_DIR/k.elf" "$TEST_DIR/k.o"
start --symbols "$TEST_DIR/k.elf" "$g/hello64"
gdb_run 'set $lstar = 0xffffffff8b200040' 'monitor kaslr' 'maint packet qOffsets' 'disconnect' \
    "target remote 127.0.0.1:$port" 'info symbol $lstar' 'p $lstar' 'kill'
has kaslr 'KASLR slide: 0xa200000 .entry_SYSCALL_64 at 0xffffffff8b200040' 'symbol-file -o 0xa200000' 'Text=a200000;' \
    'entry_SYSCALL_64' '<entry_SYSCALL_64>'

# `call`: gdb keeps all registers and writes them back, the TSC among them.
start "$g/stack"
gdb_run 'tbreak bottom' 'continue' 'p $tsc' 'p descend(3,0)' 'p $tsc' 'bt 1' 'break ping if n == 15' \
    'p descend(2,0)' 'up' 'finish' 'p $' 'until' 'advance ping' 'bt 2' 'return' 'bt 1' 'tbreak guest_done' \
    'jump *$pc' 'p $rdi' 'reverse-stepi' 'record' 'checkpoint' 'kill'
has calls 'in bottom|bottom \(' '= 6' '#0 .*bottom' '= 3$'
has finishes_and_returns 'Value returned is' '#0 .*ping ' '#0 .*guest_main' 'Temporary breakpoint .*guest_done' '= 17$'
has no_history 'No more reverse-execution history' "doesn't support record" 'checkpoint: '

# Values that the processor cannot hold are refused one by one; nothing else changes.
cat >"$TEST_DIR/registers.py" <<'PY'
import gdb
for line in '''cr0=1 cr0=0x80000000 cr0=0x20000011 cr4=0 cr4=0x80000000 cr3=-1 efer=0 efer=0x1ff501 cr8=16 eflags=0x20002
    eflags=0x80000000 lstar=0x1234567890000000 fs_base=0x8000000000000000 gdtr_base=0x8000000000000000 xcr0=0 xcr0=5
    mxcsr=0xffffffff pat=0x0202020202020202 tsc_aux=0x100000000 apic_base=0x123'''.split():
    name, value = line.split('=')
    before = str(gdb.parse_and_eval('$' + name))
    try:
        gdb.execute('set $%s = %s' % (name, value))
        said = 'taken'
    except gdb.error as e:
        said = 'refused' if 'cannot set' in str(e) else str(e)
    gdb.execute('maint flush register-cache', to_string=True)
    print('%s: %s%s' % (line, said, '' if str(gdb.parse_and_eval('$' + name)) == before else ', but changed'))
for line in '''cr0=0x80000031 cr4=0x620 cr3=0x95018 cr3=0x95000 efer=0x501 cr8=15 cr8=0 eflags=0x102 eflags=0x202 eflags=2
    cs=0x33 cs=0x10 ss_attr=0xc093 cs_attr=0xc09b cs_attr=0xa09b dr7=0x401 dr7=0x400 dr0=0x1000 lstar=0x1000 star=5
    gs_base=0xffff888000000000 tr=0x28 idtr_limit=0xfff xcr0=7 mxcsr=0x1fa0 pat=0x0606060606060606 k_gs_base=0x1000
    rax=-1 rsp=0x8000 rip=0x100001 tsc_aux=5 cr2=0x1234'''.split():
    name, value = line.split('=')
    try:
        gdb.execute('set $%s = %s' % (name, value))
        gdb.execute('maint flush register-cache', to_string=True)
        got = int(gdb.execute('output/x $' + name, to_string=True), 0)
        got -= 1 << 64 if name == 'rax' else 0
    except gdb.error as e:
        got = e
    print('%s -> %s' % (line, 'ok' if got == int(value, 0) | (2 if name == 'eflags' else 0) or
                        name == 'idtr_limit' and got == 0xfff else got))
gdb.execute('set $xmm3.v4_float[1] = 1.5')
gdb.execute('set $st0 = 3.25')
gdb.execute('set $ax = 0x1234')
gdb.execute('set $ah = 0x77')
gdb.execute('maint flush register-cache')
print('parts: %s %s %s' % tuple(gdb.parse_and_eval(e) for e in ('$xmm3.v4_float[1]', '$st0', '$rax & 0xffff')))
gdb.execute('set $rip = 0x100000')
PY
start "$g/hello64"
gdb_run "source $TEST_DIR/registers.py" 'stepi' 'info registers rip'
if [[ $(grep -c ': refused$' "$TEST_DIR/gdb.out") == 20 && $(grep -c ' -> ok$' "$TEST_DIR/gdb.out") == 32 ]]; then
    echo "ok values_are_checked"
else
    fail values_are_checked "$(grep -aE ': |-> ' "$TEST_DIR/gdb.out" | grep -vE ': refused$|-> ok$' | head -n 5 | tr '\n' '|')"
fi
has parts_and_vectors 'parts: 1.5 3.25 30516' 'rip +0x100001'

# The end of the guest is the end of its threads; in extended mode `run` begins again.
start "$g/hello64"
"${gdb[@]}" -ex "target extended-remote 127.0.0.1:$port" -ex 'continue' \
    -ex 'info threads' -ex 'stepi' -ex 'monitor info cpus' -ex 'tbreak guest_done' -ex 'run' -ex 'info threads' \
    -ex 'kill' >"$TEST_DIR/gdb.out" 2>&1 </dev/null
has end_of_threads 'exited with code 041' 'No threads' 'not being run' 'guest_done' 'Thread 1'

# So are a detaching and a killing; `attach` and `run` come back.
start "$g/tinyos"
"${gdb[@]}" -ex "target extended-remote 127.0.0.1:$port" \
    -ex 'break kernel_main' -ex 'continue' -ex 'detach' -ex 'info threads' -ex 'attach 1' -ex 'info threads' \
    -ex 'stepi' -ex 'kill' -ex 'info threads' -ex 'run' -ex 'bt 1' -ex 'kill' -ex 'attach 1' -ex 'info registers eip' \
    -ex 'detach' >"$TEST_DIR/gdb.out" 2>&1 </dev/null
has attaches_again 'Breakpoint 1, kernel_main' 'detached' 'No threads' 'Thread 1 "vCPU 0"' 'killed' 'No threads' \
    '#0 +kernel_main' 'killed' 'eip +0x100030' 'detached'
has_not attaches_without_errors 'Could not read|New Thread'

# vmscope ends while gdb waits, and at gdb's wish.
start "$g/tinyos"
"${gdb[@]}" -ex "target remote 127.0.0.1:$port" -ex 'continue' -ex 'p 6*7' \
    >"$TEST_DIR/gdb.out" 2>&1 </dev/null &
gdb_pid=$!
until_prompt $gdb_pid
stop
wait $gdb_pid
has vmscope_ends_first 'terminated with signal SIGTERM' '= 42'
start "$g/hello64"
"${gdb[@]}" -ex "target remote 127.0.0.1:$port" -ex 'monitor quit 5' >"$TEST_DIR/gdb.out" 2>&1 </dev/null
wait "$vm_pid"
[[ $? == 5 ]] && echo "ok monitor_quit" || fail monitor_quit "vmscope went on or ended with another status"
vm_pid=
exit $status
