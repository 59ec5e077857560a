#!/bin/bash
# A storm that goes on and on, to a file: memory does not grow from one number of records to another,
# and nothing is lost without being said. Short here, ten minutes' worth of records in the slow tests.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0
[[ -r /dev/kvm && -w /dev/kvm ]] || { echo "SKIP soak: no usable /dev/kvm"; exit 0; }
first=150000 last=400000
if [[ ${TESTS_SLOW:-} == true ]]; then first=1000000 last=60000000; fi
file=$TEST_DIR/soak.vtr

"$VMSCOPE" run --serial none --trace "$file" --append n=$((last * 20)) "${O:-o}/guests/storm_pio" \
    >"$TEST_DIR/run.log" 2>&1 </dev/null &
pid=$!
trap 'kill -9 $pid 2>/dev/null' EXIT

records() { "$VMSCOPE" report --list 1 --json "$file" 2>/dev/null | sed -n 's/.*"records":\([0-9]*\),"bytes".*/\1/p'; }
rss_kib() { sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"; }
# Waits until the file has so many records; then the memory in KiB.
at() {
    local n
    while kill -0 $pid 2>/dev/null; do
        n=$(records)
        ((${n:-0} >= $1)) && { rss_kib; return; }
        sleep 0.05
    done
}
early=$(at $first)
late=$(at $last)
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
if [[ -z $early || -z $late ]]; then
    echo "FAIL soak: it ended before $last records: $(tail -n 1 "$TEST_DIR/run.log")"
    exit 1
fi
# 1 MiB for what the allocator and the C library do beside us.
if ((late <= early + 1024)); then
    echo "ok soak: $early KiB at $first records, $late at $last"
else
    echo "FAIL soak: $early KiB at $first records, $late KiB at $last"
    status=1
fi
out=$("$VMSCOPE" report --by port "$file" 2>&1)
grep -q 'overwritten' <<<"$out" && lost=", some lost and counted" || lost=
if grep -q 'no index' <<<"$out" && grep -q '^0x80 out' <<<"$out"; then
    echo "ok what was written before the kill is there$lost"
else
    echo "FAIL killed: $(head -c 300 <<<"$out")"
    status=1
fi
exit $status
