#!/bin/bash
# One test program beside a genuine kvm_amd: Debian's kernel booted by QEMU, whose emulation of an AMD
# processor has the virtualisation extension. Semantics are those of hardware; rates mean nothing.
# Fetches about 200 MB of Debian packages into the cache the first time.
#
#   tests/svm/run.sh SECONDS PROGRAM [ARG...]
#
# A rig for each, so that one that locks up takes nothing else along. $TEST_DIR lies in the rig's
# memory; its smaller files are copied out when the program fails.
set -u
cd "$(dirname "$0")/../.." || exit 2
seconds=$1 kept=$TEST_DIR/rig out=$TEST_DIR/log.rig
shift
if [[ ${VMSCOPE_IN_RIG-} ]]; then
    timeout -k 5 "$seconds" "$@"
    status=$?
    ((status == 0)) || find "$TEST_DIR" -path "$kept" -prune -o -type f ! -name 'log*' -size -4096k -exec cp -t "$kept" {} +
    echo $status >"$kept/status"
    exit $status
fi

mkdir -p "$kept"
if [[ ${TESTS_NO_FETCH-} ]]; then
    echo "SKIP svm_rig: TESTS_NO_FETCH is set, so no packages are fetched"
    exit 0
fi
if ! timeout 600 tests/svm-rig --prepare >"$kept/log" 2>&1; then
    echo "SKIP svm_rig: cannot prepare it: $(tail -n 1 "$kept/log")"
    exit 0
fi
# What the tests of real guests boot comes from here: the rig has no network.
if [[ $1 == tests/real/* ]]; then
    . tests/lib/debs.sh
    for pkg in $(all_debs); do
        unpack_deb "$pkg" >>"$kept/log" 2>&1
    done
fi
export VMSCOPE_IN_RIG=1 TESTS_NO_FETCH=1
# A program that hangs is ended inside, after $seconds. When the emulated machine itself hangs, which
# QEMU's does once in a while, nothing has been learnt about the program: it gets another one.
for try in 1 2; do
    tests/svm-rig --timeout $((seconds + 120)) --cpus 2 --dir "$kept" --log "$kept/console" \
        -- "$0" "$seconds" "$@" >"$out"
    status=$?
    if [[ -s $kept/status ]]; then
        cat "$out"
        exit $status
    fi
    echo "rig $try hung or failed after $(grep -c '^ok ' "$out") tests: $(tail -n 1 "$kept/console" 2>/dev/null)"
done
echo "FAIL svm_rig: the emulated machine itself hung or failed twice"
exit 1
