#!/bin/bash
# The groups that meet KVM, again beside a genuine kvm_amd: Debian's kernel booted by QEMU, whose
# emulation of an AMD processor has the virtualisation extension. Semantics are those of hardware;
# rates mean nothing, so programs get four times their time. Fetches about 200 MB of Debian packages
# into the cache the first time. SVM_GROUPS: other groups or programs; SVM_SECONDS: their time.
set -u
cd "$(dirname "$0")/../.." || exit 2
log=$TEST_DIR/rig.log
if [[ ${TESTS_NO_FETCH-} ]]; then
    echo "SKIP svm_rig: TESTS_NO_FETCH is set, so no packages are fetched"
    exit 0
fi
if ! timeout 300 tests/svm-rig --prepare >"$log" 2>&1; then
    echo "SKIP svm_rig: cannot prepare it: $(tail -n 1 "$log")"
    exit 0
fi
# What the tests of real guests boot comes from here: the rig has no network.
. tests/lib/debs.sh
for pkg in $(all_debs); do
    unpack_deb "$pkg" >>"$log" 2>&1
done
export VMSCOPE_IN_RIG=1 TESTS_NO_FETCH=1
seconds=${SVM_SECONDS:-5400}
# shellcheck disable=SC2086
TESTS_SCALE=4 timeout $((seconds + 100)) tests/svm-rig --timeout "$seconds" --cpus 2 --log "$TEST_DIR/console.log" -- \
    tests/run --raw ${SVM_GROUPS:-unit guests cmd gdb lua real}
status=$?
case $status in
    0 | 1) exit $status ;;
    124) echo "FAIL svm_rig: the run inside took longer than $seconds s" ;;
    125) echo "FAIL svm_rig: the rig itself failed: $(tail -n 1 "$TEST_DIR/console.log" 2>/dev/null)" ;;
    *) echo "FAIL svm_rig: the run inside ended with status $status" ;;
esac
exit 1
