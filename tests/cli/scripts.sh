#!/bin/bash
# The shipped scripts, each on a bundled guest, and the checks of runs without a screen.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests
status=0

[[ -r /dev/kvm && -w /dev/kvm ]] || {
    echo "SKIP scripts: no usable /dev/kvm"
    exit 0
}
# expect NAME STATUS REGEX ARGS...
expect() {
    local name=$1 want=$2 text=$3 out got
    shift 3
    out=$(timeout -s KILL $((250 * TESTS_SCALE)) "$VMSCOPE" run --timeout $((200 * TESTS_SCALE)) "$@" 2>&1 </dev/null | tr -d '\000')
    got=${PIPESTATUS[0]}
    if [[ $want != "$got" ]]; then
        echo "FAIL $name: status $got, want $want: $(tail -c 300 <<<"$out" | tr '\n' ' ')"
        status=1
    elif ! grep -qaE -e "$text" <<<"$out"; then
        echo "FAIL $name: \"$text\" is not in: $(tail -c 400 <<<"$out" | tr '\n' ' ')"
        status=1
    else
        echo "ok $name"
    fi
}
set -o pipefail
d=$TEST_DIR

expect storm 33 'storm: [1-9][0-9]* storms? seen' --script storm,rate=500,period=0.02,sample=200 --append n=60000 "$g/storm_pio"
expect storm_place 33 '[0-9.]+ %  io port 0x80 at guest_main' --script storm,rate=500,period=0.02,sample=200 --append n=60000 "$g/storm_pio"
expect storm_none 33 'storm: 0 storms seen' --script storm "$g/timer_irq"
expect portio_record 33 'accesses in' --script "portio,record=$d/io.txt" "$g/hello64"
expect portio_replay 33 'reads answered, 0 differences' --script "portio,replay=$d/io.txt" "$g/hello64"
sed -i 's/^w 0x3f8 1 0x68/w 0x3f8 1 0x69/' "$d/io.txt"
expect portio_differs 33 'wrote 0x68 to port 0x3f8; the recording has 0x69' --script "portio,replay=$d/io.txt" "$g/hello64"
# The result is the number plus 10 at home, plus 20 by SYSCALL: what the kernel of ring3 answers.
expect syscalls 33 'int +2\(0x3, 0xa, 0x64\) = 0x71 from 0x[0-9a-f]+ <user_main' --script syscalls,from=enter_user "$g/ring3"
expect syscalls_both 33 'syscall 2\(0x3, 0x14, 0xc8\) = 0xdf' --script syscalls,from=enter_user "$g/ring3"
expect syscalls_count 33 'syscalls: 11 calls, 11 results' --script syscalls,from=enter_user,count=1 "$g/ring3"
expect syscalls_named 33 'syscalls: +8 open$' --script syscalls,from=enter_user,abi=linux "$g/ring3"
expect irqlat 33 'irqlat: 20 interrupts measured' --script irqlat "$g/timer_irq"
expect irqlat_both_times 33 'vector 0x20 until the vCPU got it: 20 times' --script irqlat "$g/timer_irq"
expect functrace 33 '^  pong\(0x13, 0x[0-9a-f]+\)$' --script 'functrace,match=^p[io]ng$' "$g/stack"
expect functrace_results 33 '^      pong = 0x11$' --script 'functrace,match=^p[io]ng$' "$g/stack"
expect coverage 33 'coverage: [1-9]' --script "coverage,out=$d/cov.info" "$g/stack"
grep -q '^DA:[0-9]*,[1-9]' "$d/cov.info" && grep -q '^end_of_record' "$d/cov.info" &&
    [[ $(grep -A1 'FN:[0-9]*,descend$' "$d/cov.info" | tail -1) == FNDA:11,descend ]] &&
    [[ $(grep -c '^FN:' "$d/cov.info") == $(grep -c '^FNDA:' "$d/cov.info") ]] &&
    sed -n "/^SF:.*stack.c/,/^end_of_record/p" "$d/cov.info" | grep -q ',descend$' &&
    echo "ok coverage_file" || { echo "FAIL coverage_file: $(grep -A1 descend "$d/cov.info" | head -c 200)"; status=1; }
expect coverage_by_step 33 '5 of 5 lines' --script "coverage,out=$d/c2.info,by=step,match=^descend\$" "$g/stack"
expect heapcheck 33 '6 allocations, 7 frees, 2 errors, 2 blocks left \(80 bytes\)' --script heapcheck,alloc=heap_alloc,free=heap_free "$g/heap"
expect heapcheck_again 33 'is freed again by guest_main\+0x[0-9a-f]+; guest_main' --script heapcheck,alloc=heap_alloc,free=heap_free "$g/heap"
expect heapcheck_foreign 33 'frees 0x[0-9a-f]+, which heap_alloc never gave' --script heapcheck,alloc=heap_alloc,free=heap_free "$g/heap"
expect heapcheck_leak 33 '\(48 bytes, for guest_main\+0x[0-9a-f]+\) was not freed' --script heapcheck,alloc=heap_alloc,free=heap_free "$g/heap"
expect boottime 33 'mode long64' --script boottime "$g/hello64"
expect boottime_post 33 'POST 03 in guest_main' --script boottime,max=20 --append n=10 "$g/storm_pio"
expect multiboot 33 'multiboot: 0 problems' --script multiboot "$g/stack"
expect multiboot_none 33 'there is no Multiboot header' --script multiboot "$g/hello16.bin"
expect tables 33 '49 gates, 0 problems' --script tables "$g/ring3"
expect tables_at 33 'IDT has 0 entries' --script tables,at=guest_main "$g/ring3"
# Sends "Hi\n" to COM4; its line status, what comes back and the scratch register go to port 0xE9.
printf '\xba\xe8\x02\xb0\x48\xee\xb0\x69\xee\xb0\x0a\xee\xba\xed\x02\xec\xe6\xe9\xba\xe8\x02\xec\xe6\xe9\xba\xef\x02\xb0\x5a\xee\xec\xe6\xe9\xb0\x10\xe6\xf4\xf4' >"$d/com4.bin"
expect uart 33 'uart: Hi$' --script uart "$d/com4.bin"
# The script's line comes when its thread does, also between the guest's bytes.
expect uart_echo 33 'HZ|Huart: Hi$' --script uart,echo=1 "$d/com4.bin"
expect uart_without_echo 33 '`(Z|uart)' --script uart "$d/com4.bin"
# Modules and scripts of one's own come first.
mkdir -p "$d/config/vmscope/scripts"
echo 'return {answer = 42}' >"$d/config/vmscope/scripts/mine.lua"
echo 'local again = require("mine") again.n = (again.n or 0) + 1
print("mine says " .. require("mine").answer * require("mine").n, require("tables") ~= nil, pcall(require, "../mine"))
print(select(2, pcall(require, "nosuch")))' >"$d/config/vmscope/scripts/user.lua"
XDG_CONFIG_HOME=$d/config expect require_own 33 'mine says 42.*true.*false' --script user "$g/hello16.bin"
XDG_CONFIG_HOME=$d/config expect require_none 33 'there is no module nosuch.lua in ' --script user "$g/hello16.bin"
XDG_CONFIG_HOME=$d/config expect require_sandboxed 33 'mine says 42' --script-sandbox --script user "$g/hello16.bin"

# Each says how it is used, and has a line in the list.
for f in scripts/lib/*.lua; do
    n=$(basename "$f" .lua)
    expect "help_$n" 0 "vmscope run --script $n" --script "$n,help" "$g/hello16.bin"
    "$VMSCOPE" run -e "help lua $n" -e "help lua" "$g/hello16.bin" 2>/dev/null | grep -E "^$n +[A-Z0-9]" >/dev/null ||
        { echo "FAIL listed_$n: help lua does not list it"; status=1; }
done

expect slow_clock 33 '20 ticks, 20 halts' --slow-clock 3 "$g/timer_irq"
expect slow_clock_of_kvm 2 'no effect on the timers of --irqchip kernel' --slow-clock 3 --irqchip kernel "$g/timer_irq"

# Linux's memory, made by hand in both layouts of kallsyms: each line of the script is a check.
for form in old new; do
    timeout -s KILL $((250 * TESTS_SCALE)) "$VMSCOPE" run -S --timeout $((200 * TESTS_SCALE)) -m 64M --script "tests/cli/linux_memory.lua,form=$form" \
        "$g/hello64" >"$d/linux.$form" 2>&1 </dev/null
    if [[ $? == 0 && $(grep -c '^PASS' "$d/linux.$form") == 20 ]] && ! grep -q '^MISS' "$d/linux.$form"; then
        echo "ok linux_$form"
    else
        echo "FAIL linux_$form: $(grep -v '^PASS' "$d/linux.$form" | head -c 400 | tr '\n' ' ')"
        status=1
    fi
done

expect expect_seen 0 'all that was expected' --expect 'by COM1' --expect 'port 0xE9' "$g/hello16.bin"
expect expect_missing 8 'did not print what' --expect 'no such text' --keep "$d/kept" "$g/hello16.bin"
for f in console registers exits screen rerun why; do
    [[ -s $(echo "$d/kept/$f".*) ]] || { echo "FAIL kept_$f: it is missing or empty"; status=1; }
done
expect fail_seen 8 'matches --fail' --fail 'hello' --keep "$d/kept2" "$g/hello16.bin"
expect too_many_exits 8 'max-exits' --max-exits 20 --keep "$d/kept3" "$g/hello16.bin"
expect junit 0 . --expect COM1 --junit "$d/j.xml" --json="$d/r.json" "$g/hello16.bin"
grep -q 'failures="0"' "$d/j.xml" && grep -q '"status":0' "$d/r.json" && echo "ok junit_file" ||
    { echo "FAIL junit_file: $(head -c 300 "$d/j.xml")"; status=1; }
expect bad_regex 2 'regular expression' --expect '(' "$g/hello16.bin"
expect no_script 2 'no script' --script no-such-script "$g/hello16.bin"
echo 'assert(false, "on purpose")' >"$d/bad.lua"
expect failing_script 8 'on purpose' --script "$d/bad.lua" "$g/hello16.bin"
echo 'assert(not io and not os)' >"$d/sandbox.lua"
expect sandbox 33 . --script-sandbox --script "$d/sandbox.lua" "$g/hello16.bin"
exit $status
