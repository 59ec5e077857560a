#!/bin/bash
# Debian's memtest86+ through the Linux boot protocol, its screen on the serial line: it must draw the
# whole screen and run its tests, which is seen by their numbers, patterns and percentages moving. A KVM
# that refuses one of its instructions has to say which; then the rest is skipped with that sentence.
# With TESTS_SLOW it has to finish a whole pass.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/lib/debs.sh
dir=$(unpack_deb memtest86+) || skip_all "$dir" memtest_screen memtest_runs
image=$dir/boot/memtest86+x64.bin
[[ -f $image ]] || skip_all "the package has no boot/memtest86+x64.bin" memtest_screen memtest_runs
serial=$TEST_DIR/serial
: >"$serial"

# Distinct states of the fields that tell of progress.
states() { tr '\033' '\n' <"$serial" | grep -aoE '#[0-9]+  \[[^]]*\]|ern: 0x[0-9a-f]+|^\[3;35H.*%' | sort -u | wc -l; }
progressed() {
    if [[ ${TESTS_SLOW-} == true ]]; then
        grep -aqE 'Pass: *[1-9]' "$serial"
    else
        (($(states) >= 7))
    fi
}

# 5 MB are the least that it tests in the window of 4 MB; what it does with them is the same.
limit=$((800 * TESTS_SCALE))
[[ ${TESTS_SLOW-} == true ]] && limit=3000
"$VMSCOPE" run --timeout $limit -m 5M --serial "file:$serial" --trace "$TEST_DIR/memtest.vtr" \
    --append "console=ttyS0,115200" "$image" >"$TEST_DIR/out" 2>"$TEST_DIR/err" </dev/null &
pid=$!
while kill -0 $pid 2>/dev/null && ! progressed; do
    sleep 0.3
done
kill -TERM $pid 2>/dev/null
wait $pid 2>/dev/null
status=$?
cat "$TEST_DIR/err"
echo "memtest: status $status, $SECONDS s, $(states) states seen"
tests/tools/vtscreen "$serial" >"$TEST_DIR/screen"
sed 's/^/    |/' "$TEST_DIR/screen"

if ! grep -q 'Memtest86+ v' "$TEST_DIR/screen"; then
    if ((status == 10)) && grep -aqE 'cannot run' "$TEST_DIR/err"; then
        echo "ok memtest_stop_is_explained"
        echo "SKIP memtest_screen: $(grep -aE 'cannot run' "$TEST_DIR/err" | head -n 1)"
        exit 0
    fi
    echo "FAIL memtest_screen: status $status, no screen on the serial line, and no sentence that says why"
    exit 1
fi
# Whichever of its tests it is in, and however far.
for field in 'Pass *[0-9]+%' 'Test *[0-9]+%' 'Test #[0-9]+ +\[' 'Pattern: (0x[0-9a-f]{16}|[a-z])' 'Errors: 0'; do
    grep -qE "$field" "$TEST_DIR/screen" || { echo "FAIL memtest_screen: no \"$field\" on it"; exit 1; }
done
echo "ok memtest_screen"
progressed || { echo "FAIL memtest_runs: its tests did not move within $limit s"; exit 1; }
echo "ok memtest_runs"
# Cut off in the middle, the recording is readable, and the port storm of its clock calibration shows.
if "$VMSCOPE" report --by port --top 5 "$TEST_DIR/memtest.vtr" >"$TEST_DIR/report" 2>&1; then
    cat "$TEST_DIR/report"
    echo "ok memtest_report"
else
    echo "FAIL memtest_report: $(tail -n 1 "$TEST_DIR/report")"
    exit 1
fi
