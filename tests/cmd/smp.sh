#!/bin/bash
# Several vCPUs, each in another state: all stop for whoever stops, each hit is told with its vCPU,
# and `set scheduler-locking` says who moves.
set -u
cd "$(dirname "$0")/../.." || exit 2
names="states states_known_to_the_kernel each_hit_is_told point_for_one locking_on locking_step locking_off steps_one_that_waits
nexti_over_a_halt init_ends_a_step started_while_it_stands points_after_an_init
point_goes_while_it_is_hit"
[[ -r /dev/kvm && -w /dev/kvm ]] || { for n in $names; do echo "SKIP $n: no usable /dev/kvm"; done; exit 0; }
status=0
# Emulated processors (tests/svm-rig) stop some hundred times a second: less is asked of them.
less=1
[[ ${VMSCOPE_IN_RIG-} ]] && less=10
{ ${CC:-gcc} -m32 -c -o "$TEST_DIR/crowd.o" tests/cmd/crowd.S &&
    ld -m elf_i386 -Ttext 0x7000 -o "$TEST_DIR/crowd.elf" "$TEST_DIR/crowd.o" &&
    objcopy -O binary "$TEST_DIR/crowd.elf" "$TEST_DIR/crowd.bin"; } >"$TEST_DIR/build" 2>&1 ||
    { echo "FAIL states: $(cat "$TEST_DIR/build")"; exit 1; }

{ ${CC:-gcc} -m32 -c -o "$TEST_DIR/restart.o" tests/cmd/restart.S &&
    ld -m elf_i386 -Ttext 0x7000 -o "$TEST_DIR/restart.elf" "$TEST_DIR/restart.o" &&
    objcopy -O binary "$TEST_DIR/restart.elf" "$TEST_DIR/restart.bin"; } >"$TEST_DIR/build" 2>&1 ||
    { echo "FAIL states: $(cat "$TEST_DIR/build")"; exit 1; }

# go COMMAND...: runs them; $out is what was said.
go() {
    local args=() c
    for c; do args+=(-e "$c"); done
    out=$(timeout $((300 * TESTS_SCALE)) "$VMSCOPE" run --cpus 6 --irqchip "${chips:-user}" --mode prot --load-addr 0x7000 \
        --symbols "$TEST_DIR/crowd.elf" "$TEST_DIR/crowd.bin" "${args[@]}" 2>&1)
}
fail() { echo "FAIL $name: $1: ${out//$'\n'/ | }"; status=1; return 1; }
says() {
    local re
    for re; do grep -qE -e "$re" <<<"$out" || { fail "no line like \"$re\""; return 1; }; done
}
# values: what `print` told, one a line.
values() { sed -nE 's/^\$[0-9]+ = ([0-9]+).*/\1/p' <<<"$out"; }
both='print *(u32*)0x600c' other='print *(u32*)0x6010'

# Stopped by processor 3, which others are in every state there is. The point is on the counting
# loop's third pass, by which time the others may still be on their way: they are waited for.
states() {
    go "break work thread 3 if *(u32*)0x600c > $((20000 / less)) && *(u32*)0x6010 > $((20000 / less))" continue 'info vcpus'
    says '^ +0 .* stopped +0x[0-9a-f]+ <spin' '^ +1 .* halted +0x[0-9a-f]+ <asleep' \
        '^ +2 .* halted, interrupts off +0x[0-9a-f]+ <dead' '^\* +3 .* stopped +0x[0-9a-f]+ <work>' \
        '^ +4 .* stopped +0x' '^ +5 .* waiting for SIPI' 'Breakpoint 1, 0x[0-9a-f]+ <work> on vCPU 3$'
}
states_known_to_the_kernel() {
    local chips=kernel
    states && steps_one_that_waits
}
each_hit_is_told() {
    local i more=() # whose turn is next is the host's choice
    for ((i = 0; i < 60 / less; i++)); do more+=(continue); done
    go 'break work' "${more[@]}"
    says '^Breakpoint 1, 0x[0-9a-f]+ <work> on vCPU 3$' '^Breakpoint 1, 0x[0-9a-f]+ <work> on vCPU 4$'
}
point_for_one() {
    go 'break work thread 4' continue continue continue 'info breakpoints'
    says '^1 .*vcpu 4( |$)' '<work> on vCPU 4$' || return
    ! grep -q 'on vCPU [0-35]' <<<"$out" || fail "another vCPU was reported"
}
locking_on() {
    go 'tbreak work thread 3' continue 'set scheduler-locking on' "$other" "stepi $((3000 / less))" 'break work' \
        continue continue continue "$other" "$both"
    mapfile -t v < <(values)
    ((${#v[@]} >= 2)) || fail "nothing was printed" || return
    [[ ${v[0]} == "${v[1]}" && ${v[2]-0} -gt $((700 / less)) ]] || fail "others moved: ${v[*]}" || return
    says 'work> on vCPU 3$'
}
locking_step() {
    go 'tbreak work thread 3' continue 'set scheduler-locking step' "$other" "stepi $((3000 / less))" "$other" \
        "break work thread 3 if *(u32*)0x600c > $((100000 / less))" continue "$other"
    mapfile -t v < <(values)
    ((${#v[@]} >= 2)) || fail "nothing was printed" || return
    [[ ${v[0]} == "${v[1]}" && ${v[2]-0} -gt ${v[1]} ]] || fail "steps and runs: ${v[*]}"
}
locking_off() {
    go 'tbreak work thread 3' continue 'set scheduler-locking off' "$other" "stepi $((30000 / less))" "$other"
    mapfile -t v < <(values)
    ((${#v[@]} >= 2)) || fail "nothing was printed" || return
    [[ ${v[1]} -gt ${v[0]} ]] || fail "nobody else ran in $((30000 / less)) steps: ${v[*]}"
}
steps_one_that_waits() {
    go 'tbreak work thread 3' continue 'vcpu 5' stepi
    says 'vCPU 5 waits for its start-up IPI'
}
# The one that is stepped over HLT sleeps; the others run meanwhile, and one of them ends the guest.
nexti_over_a_halt() {
    go 'break asleep thread 1' continue 'set scheduler-locking off' 'nexti 3'
    says '^Breakpoint 1, .* on vCPU 1$' 'debug-exit port'
}
# Processor 0 starts processor 1 over and over.
restart() {
    local args=() c
    for c; do args+=(-e "$c"); done
    out=$(timeout $((300 * TESTS_SCALE)) "$VMSCOPE" run --cpus 2 --mode prot --load-addr 0x7000 --symbols "$TEST_DIR/restart.elf" \
        "$TEST_DIR/restart.bin" "${args[@]}" 2>&1)
}
init_ends_a_step() {
    restart 'tbreak work' continue 'vcpu 0' 'set scheduler-locking on' 'until sipi' 'vcpu 1' 'stepi 5' 'info vcpus'
    says '^An INIT reset vCPU 1: it waits for its start-up IPI$' '^\* +1 .* waiting for SIPI'
}
started_while_it_stands() {
    restart 'tbreak work' continue 'vcpu 0' 'set scheduler-locking on' 'until sipi' 'vcpu 1' stepi 'vcpu 0' stepi \
        'vcpu 1' 'stepi 2'
    says '^An INIT reset vCPU 1' '^Stepped to 0x[0-9a-f]+ <work> on vCPU 1$'
}
# A point where it starts is hit although it stood at another, whose turn was over.
points_after_an_init() {
    restart 'break ap' 'break work' continue 'vcpu 0' 'set scheduler-locking on' 'until sent' 'vcpu 1' continue \
        continue 'vcpu 0' 'until sent' 'vcpu 1' continue
    says '^Arrived at' 'Breakpoint 1, 0x[0-9a-f]+ <ap> on vCPU 1$' 'Breakpoint 2, 0x[0-9a-f]+ <work> on vCPU 1$'
    [[ $(tail -n 2 <<<"$out") == *'Breakpoint 1, '*'<ap>'* ]] || fail "the start was passed"
}
# By its own commands, while two processors may be at it: the guest goes on as if it had never been.
point_goes_while_it_is_hit() {
    local force
    for force in "" break=icebp break=stepping; do
        VMSCOPE_FORCE_METHODS=$force go 'break *work+3' 'commands 1' 'delete 1' continue end 'tbreak *work+4' \
            continue 'info breakpoints' 'x/5xb work' continue
        says '^Breakpoint 1, 0x8020 ' '^Temporary breakpoint 2, 0x8021 ' '^No breakpoints' \
            '0x66.0xff.0x07.0x90.0x90' 'The guest wrote 0 to the debug-exit port' || return 1
    done
}
for name in $names; do "$name" && echo "ok $name"; done
exit $status
