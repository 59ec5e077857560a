#!/bin/bash
# The clients of tests/gdb/hostile.sh, others each time, for GDB_HOSTILE_SECONDS (300), against builds
# with sanitizers.
set -u
. "$(dirname "$0")/../gdb/lib.sh"
skip_without python3 hostile

for mode in asan tsan; do
    make --no-print-directory MODE=$mode "${O:-o}/$mode/vmscope" >"$TEST_DIR/build" 2>&1 ||
        { echo "FAIL hostile: cannot build: $(tail -n 1 "$TEST_DIR/build")"; exit 1; }
done
rows=("$g/modes.bin" "--cpus 4 $g/apic_smp" "--cpus 2 --irqchip kernel $g/tinyos" "--irqchip kernel $g/modes.bin"
    "--control unix:$TEST_DIR/control --cpus 4 --irqchip kernel $g/apic_smp" "--control unix:$TEST_DIR/control $g/modes.bin")
end=$((SECONDS + ${GDB_HOSTILE_SECONDS:-300}))
for ((n = 0; SECONDS < end; n++)); do
    seed=$RANDOM$RANDOM
    mode=dbg
    ((n / ${#rows[@]} % 3)) && mode=$( ((n / ${#rows[@]} % 3 == 1)) && echo asan || echo tsan)
    export VMSCOPE=$PWD/${O:-o}/$mode/vmscope
    read -ra args <<<"${rows[n % ${#rows[@]}]}"
    why=$(python3 tests/gdb/hostile.py "$seed" 60 "${args[@]}" 2>&1) || { fail "${mode}_seed_$seed" "$why"; break; }
done
((status)) || echo "ok $n seeds"
exit $status
