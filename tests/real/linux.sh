#!/bin/bash
# Debian's cloud kernel, by its PVH entry (the ELF inside) and by the boot protocol (the bzImage), with an
# initramfs of one program. Where KVM runs ring 0 itself, all the way into that program. Where KVM emulates
# it, at a thousandth of the speed, four processors start, and the bzImage, moved by KASLR, passes
# cmpxchg16b, the FPU and its int3 self-test; with --slow both go into ring 3 there, too.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/lib/debs.sh
names="linux_pvh linux_kaslr linux_smp"
pkg=$(linux_image)
# shellcheck disable=SC2086
[[ $pkg ]] || skip_all "apt knows no linux-image-cloud-amd64; apt-get update may help" $names
# shellcheck disable=SC2086
dir=$(unpack_deb "$pkg") || skip_all "$dir" $names
bzimage=$(find "$dir/boot" -name 'vmlinuz-*' | head -n 1)
vmlinux=$dir/vmlinux
initrd=$TEST_DIR/initrd
status=0

emulated=false
"$VMSCOPE" doctor --json 2>/dev/null | grep -q '"emulated":true' && emulated=true

# story NAME IMAGE smp|alternatives|init KERNEL-ARGUMENTS [SCRIPT-ARGUMENTS [OPTIONS…]]: boots, and passes
# on what linux.lua's story prints.
story() {
    local name=$1 image=$2 until=$3 append=$4 more=${5-} want=0 code
    shift 5
    [[ $until == init ]] && want=33
    "$VMSCOPE" run --timeout $((1700 * TESTS_SCALE)) -m 128M --initrd "$initrd" "$@" \
        --serial "file:$TEST_DIR/$name.serial" \
        --append "console=ttyS0 earlyprintk=serial,ttyS0 panic=-1 $append" \
        --script "tests/real/linux.lua,name=$name,until=$until,init=$initrd.init,patience=$((${PATIENCE:-1200} * TESTS_SCALE))$more" \
        "$image" >"$TEST_DIR/$name.out" 2>"$TEST_DIR/$name.err" </dev/null
    code=$?
    cat "$TEST_DIR/$name.out" "$TEST_DIR/$name.err"
    echo "$name: status $code, $SECONDS s, last line: $(tail -n 1 "$TEST_DIR/$name.serial" 2>/dev/null)"
    if ((code == 10)) && grep -aqE 'cannot run' "$TEST_DIR/$name.err"; then
        echo "FAIL $name: $(grep -aE 'cannot run' "$TEST_DIR/$name.err" | head -n 1)"
    elif ((code != want)); then
        echo "FAIL $name: status $code, want $want: $(tail -n 1 "$TEST_DIR/$name.err")"
    elif grep -q '^FAIL' "$TEST_DIR/$name.out"; then
        status=1
        return
    else
        echo "ok ${name}_ends"
        return
    fi
    status=1
}

linux_initrd "$initrd" || { echo "FAIL linux_initrd: the program of the initramfs does not build"; exit 1; }
[[ -s $vmlinux ]] || vmlinux_of "$bzimage" "$vmlinux"
pvh=init kaslr=init
if [[ ${TESTS_SLOW-} == true ]]; then
    PATIENCE=1500
elif $emulated; then
    pvh='' kaslr=alternatives
fi
if [[ -s $vmlinux ]]; then
    [[ $pvh ]] && story linux_pvh "$vmlinux" $pvh nokaslr ""
    story linux_smp "$vmlinux" smp nokaslr ",cpus=4" -c 4
    # The kernel's chips have no slow clock; four processors on the rig's two take minutes.
    $emulated || [[ ${VMSCOPE_IN_RIG-} && ${TESTS_SLOW-} != true ]] ||
        story linux_smp_kernel "$vmlinux" smp nokaslr ",cpus=4" -c 4 --irqchip kernel
else
    echo "SKIP linux_pvh: no tool here unpacks $(basename "$bzimage") (tried xz, zstd, gzip, lz4)"
fi
story linux_kaslr "$bzimage" $kaslr "" ",moved=1"
exit $status
