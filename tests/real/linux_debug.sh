#!/bin/bash
# Debugging Debian's cloud kernel: breakpoints on its names, a watch on its clock, and single steps over
# int3, hlt, iret, syscall and sysret. Where KVM emulates ring 0, booting that far takes many minutes.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/lib/debs.sh
pkg=$(linux_image)
[[ $pkg ]] || skip_all "apt knows no linux-image-cloud-amd64; apt-get update may help" linux_debug
dir=$(unpack_deb "$pkg") || skip_all "$dir" linux_debug
"$VMSCOPE" doctor --json 2>/dev/null | grep -q '"emulated":true' &&
    skip_all "this KVM emulates ring 0, a thousand times slower" linux_debug
vmlinux=$dir/vmlinux
[[ -s $vmlinux ]] || vmlinux_of "$(find "$dir/boot" -name 'vmlinuz-*' | head -n 1)" "$vmlinux"
[[ -s $vmlinux ]] || skip_all "no tool here unpacks the kernel (tried xz, zstd, gzip, lz4)" linux_debug
linux_initrd "$TEST_DIR/initrd" || { echo "FAIL linux_debug: the program of the initramfs does not build"; exit 1; }
"$VMSCOPE" run --timeout $((1700 * TESTS_SCALE)) -m 128M --initrd "$TEST_DIR/initrd" --serial "file:$TEST_DIR/serial" \
    --append "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1 cryptomgr.notests nokaslr" \
    --script "tests/real/linux_debug.lua,patience=$((1000 * TESTS_SCALE))" "$vmlinux" >"$TEST_DIR/out" 2>&1 </dev/null
code=$?
cat "$TEST_DIR/out"
if ((code != 33)) && ! grep -q '^FAIL' "$TEST_DIR/out"; then
    echo "FAIL linux_debug: status $code, want 33: $(tail -n 1 "$TEST_DIR/out")"
    exit 1
fi
! grep -q '^FAIL' "$TEST_DIR/out"
