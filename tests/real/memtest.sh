#!/bin/bash
# Debian's memtest86+ through the Linux boot protocol, its screen on the serial line. A KVM that
# refuses one of its instructions has to say which; then the screen is skipped with that sentence.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/lib/debs.sh
dir=$(unpack_deb memtest86+) || skip_all "$dir" memtest_screen
image=$dir/boot/memtest86+x64.bin
[[ -f $image ]] || skip_all "the package has no boot/memtest86+x64.bin" memtest_screen

timeout 150 "$VMSCOPE" run --timeout 60 -m 64M --serial "file:$TEST_DIR/serial" \
    --append "console=ttyS0,115200" "$image" >"$TEST_DIR/out" 2>"$TEST_DIR/err"
status=$?
cat "$TEST_DIR/err"
if grep -aqi 'memtest86' "$TEST_DIR/serial" 2>/dev/null; then
    echo "ok memtest_screen"
    grep -aqE 'Pass|Test|Time' "$TEST_DIR/serial" && echo "ok memtest_fields"
    exit 0
elif ((status == 10)) && grep -aqE 'cannot run' "$TEST_DIR/err"; then
    echo "ok memtest_stop_is_explained"
    echo "SKIP memtest_screen: $(grep -aE 'cannot run' "$TEST_DIR/err" | head -n 1)"
    exit 0
fi
echo "FAIL memtest_screen: status $status, no screen on the serial line, and no sentence that says why"
exit 1
