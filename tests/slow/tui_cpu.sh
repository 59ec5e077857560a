#!/bin/bash
# What the workbench costs while the guest storms: the main thread's processor time against that of
# the vCPU's thread, which is always busy. Processor time, so that a busy host changes nothing.
set -u
cd "$(dirname "$0")/../.." || exit 2
names=tui_cpu
. tests/lib/tmux.sh
open_term 120 40 "$VMSCOPE" --append n=100000000 -e continue "${O:-o}/guests/storm_pio"
see 'running .*[0-9]k exits/s' || { echo "FAIL tui_cpu: the guest does not run"; screen; exit 1; }
pid=$(program)

ticks() { awk '{print $14 + $15}' "/proc/$pid/task/$1/stat"; }
# The busiest thread beside the main one is the vCPU's.
vcpu() {
    local d
    for d in "/proc/$pid/task/"*; do
        [[ ${d##*/} == "$pid" ]] || echo "$(ticks "${d##*/}") ${d##*/}"
    done | sort -n | tail -1 | cut -d' ' -f2
}
cpu=$(vcpu)
main_0=$(ticks "$pid") cpu_0=$(ticks "$cpu")
# Ten seconds of the vCPU, however long they take.
hz=$(getconf CLK_TCK)
while (($(ticks "$cpu") - cpu_0 < 10 * hz)); do
    kill -0 "$pid" 2>/dev/null || { echo "FAIL tui_cpu: it ended"; exit 1; }
    sleep 0.2
done
main=$(($(ticks "$pid") - main_0)) busy=$(($(ticks "$cpu") - cpu_0))
keys q y
if ((main * 10 < busy)); then
    echo "ok tui_cpu: the screen took $((main * 1000 / busy))/1000 of the vCPU's time"
else
    echo "FAIL tui_cpu: the screen took $main ticks while the vCPU took $busy"
    exit 1
fi
