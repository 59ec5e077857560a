#!/bin/bash
# Debian's cloud kernel, by its PVH entry (the ELF inside) and by the boot protocol (the bzImage):
# the first lines it prints, and a sentence when this KVM cannot run it further.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/lib/debs.sh
names="linux_pvh linux_bzimage"
pkg=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
# shellcheck disable=SC2086
[[ $pkg ]] || skip_all "apt knows no linux-image-cloud-amd64; apt-get update may help" $names
# shellcheck disable=SC2086
dir=$(unpack_deb "$pkg") || skip_all "$dir" $names
bzimage=$(find "$dir/boot" -name 'vmlinuz-*' | head -n 1)
vmlinux=$dir/vmlinux
status=0

# boot NAME IMAGE
boot() {
    local code
    timeout 150 "$VMSCOPE" run --timeout 90 -m 512M --serial "file:$TEST_DIR/$1.serial" \
        --append "earlyprintk=serial,ttyS0 console=ttyS0 panic=-1 nokaslr" "$2" \
        >"$TEST_DIR/$1.out" 2>"$TEST_DIR/$1.err"
    code=$?
    cat "$TEST_DIR/$1.err"
    echo "$1: status $code, $(grep -ac . "$TEST_DIR/$1.serial" 2>/dev/null) lines, the last:" \
        "$(tail -n 1 "$TEST_DIR/$1.serial" 2>/dev/null)"
    if grep -aq 'Linux version 6' "$TEST_DIR/$1.serial" 2>/dev/null; then
        echo "ok $1"
    elif ((code == 10)) && grep -aqE 'refuse|cannot|not emulate' "$TEST_DIR/$1.err"; then
        echo "ok $1_stop_is_explained"
        echo "SKIP $1: $(grep -aE 'refuse|cannot|not emulate' "$TEST_DIR/$1.err" | head -n 1)"
    else
        echo "FAIL $1: status $code and no kernel line on the serial port"
        status=1
    fi
}

[[ -s $vmlinux ]] || vmlinux_of "$bzimage" "$vmlinux"
if [[ -s $vmlinux ]]; then
    boot linux_pvh "$vmlinux"
else
    echo "SKIP linux_pvh: no tool here unpacks $(basename "$bzimage") (tried xz, zstd, gzip, lz4)"
fi
boot linux_bzimage "$bzimage"
exit $status
