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
    out=$(timeout -s KILL 60 "$VMSCOPE" run --timeout 40 "$@" 2>&1 </dev/null | tr -d '\000')
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

expect storm 33 'io port 0x80 at guest_main' --script storm,rate=500,period=0.02,sample=200 --append n=60000 "$g/storm_pio"
expect portio_record 33 'accesses in' --script "portio,record=$d/io.txt" "$g/hello64"
expect portio_replay 33 'reads answered, 0 differences' --script "portio,replay=$d/io.txt" "$g/hello64"
expect syscalls 33 'syscalls: 11 calls' --script syscalls,from=enter_user "$g/ring3"
expect irqlat 33 'irqlat: 20 interrupts measured' --script irqlat "$g/timer_irq"
expect functrace 33 'pong = 0xf' --script 'functrace,match=^p[io]ng$' "$g/stack"
expect coverage 33 'coverage: [1-9]' --script "coverage,out=$d/cov.info" "$g/stack"
grep -q '^DA:[0-9]*,[1-9]' "$d/cov.info" && grep -q '^end_of_record' "$d/cov.info" &&
    echo "ok coverage_file" || { echo "FAIL coverage_file: $(head -c 200 "$d/cov.info")"; status=1; }
expect coverage_by_step 33 '5 of 5 lines' --script "coverage,out=$d/c2.info,by=step,match=^descend\$" "$g/stack"
expect heapcheck 33 '2 errors, 2 blocks left' --script heapcheck,alloc=heap_alloc,free=heap_free "$g/heap"
expect boottime 33 'mode long64' --script boottime "$g/hello64"
expect multiboot 33 'multiboot: 0 problems' --script multiboot "$g/stack"
expect tables 33 '49 gates, 0 problems' --script tables "$g/ring3"
expect tables_at 33 'IDT has 0 entries' --script tables,at=guest_main "$g/ring3"
expect uart 33 'hello16' --script uart "$g/hello16.bin"

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
