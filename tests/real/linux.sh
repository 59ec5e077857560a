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

# boot NAME IMAGE REGEX: waits for a line of the kernel, then ends the run. A host whose KVM emulates
# ring 0 takes half a minute for the first one, two minutes if the kernel has to unpack itself.
boot() {
    local code pid serial=$TEST_DIR/$1.serial text=$3
    : >"$serial"
    "$VMSCOPE" run --timeout 180 -m 512M --serial "file:$serial" \
        --append "earlyprintk=serial,ttyS0 console=ttyS0 panic=-1 nokaslr" "$2" \
        >"$TEST_DIR/$1.out" 2>"$TEST_DIR/$1.err" </dev/null &
    pid=$!
    while kill -0 $pid 2>/dev/null && ! grep -aqE "$text" "$serial"; do
        sleep 0.2
    done
    kill -TERM $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
    cat "$TEST_DIR/$1.err"
    echo "$1: status $code, ${SECONDS} s, last line: $(tail -n 1 "$serial" 2>/dev/null)"
    if grep -aqE "$text" "$serial"; then
        echo "ok $1"
    elif ((code == 10)) && grep -aqE 'cannot run' "$TEST_DIR/$1.err"; then
        echo "ok $1_stop_is_explained"
        echo "SKIP $1: $(grep -aE 'cannot run' "$TEST_DIR/$1.err" | head -n 1)"
    else
        echo "FAIL $1: status $code and no kernel line on the serial port"
        status=1
    fi
}

[[ -s $vmlinux ]] || vmlinux_of "$bzimage" "$vmlinux"
if [[ -s $vmlinux ]]; then
    boot linux_pvh "$vmlinux" 'Linux version 6'
else
    echo "SKIP linux_pvh: no tool here unpacks $(basename "$bzimage") (tried xz, zstd, gzip, lz4)"
fi
if [[ ${TESTS_SLOW-} == true ]]; then
    boot linux_bzimage "$bzimage" 'Linux version 6'
else
    boot linux_bzimage "$bzimage" 'Linux version 6|KASLR disabled'
fi
exit $status
