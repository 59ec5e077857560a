#!/bin/bash
# Steps stay out of interrupt handlers, also from a HLT that only an interrupt ends; asked for, they
# go there. With both kinds of interrupt chips.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb timer

steps_stay_out() {
    start "${options[@]}" "$g/timer_irq"
    gdb_run 'hbreak wait_interrupt' 'continue' 'delete' 'stepi' 'stepi' 'p ticks' 'stepi' 'p ticks' 'stepi' 'x/i $pc' \
        'python
import gdb
inside = 0
for i in range(150):
    gdb.execute("stepi", to_string=True)
    inside += "trap" in gdb.execute("info symbol $pc", to_string=True) or gdb.selected_frame().name() == "on_timer"
print("in a handler: %d of 150" % inside)' 'p ticks > 5' 'delete' 'continue'
    has "${chips}_step_waits_for_the_interrupt" '^\$1 = 0' '^\$2 = 1' '=> .* <guest_main'
    has "${chips}_steps_stay_out" 'in a handler: 0 of 150' '^\$3 = 1'
    has "${chips}_guest_is_not_disturbed" 'exited with code 041'
}

for chips in user kernel; do
    options=(--irqchip $chips)
    # An emulated processor (tests/svm-rig) is late for ticks of 10 ms. Those of the kernel's chips are its own.
    [[ ${VMSCOPE_IN_RIG-} && $chips == user ]] && options+=(--slow-clock 20)
    steps_stay_out
    start "${options[@]}" "$g/timer_irq"
    gdb_run 'maint packet Qqemu.sstep=1' 'hbreak wait_interrupt' 'continue' 'delete' 'stepi' 'stepi' 'stepi' 'stepi' \
        'info line *$pc'
    has "${chips}_steps_go_there_if_asked" 'Line .* of "guests/lib/trap_entry.S"'
done
exit $status
