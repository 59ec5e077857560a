#!/bin/bash
# Boot programs of Debian's packages without firmware beneath them. GRUB built for coreboot asks nothing
# of a BIOS: it gets the one table it looks for, draws on the serial line, waits by the PIT, reads the RTC
# and loads a multiboot guest of ours, and what the tracer recorded must agree with what came out of the
# serial port and with KVM's own count. iPXE's bzImage has only a real-mode entry that calls the BIOS:
# that must be said.
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/lib/debs.sh
status=0
check() { # STATUS NAME WHY-NOT
    if (($1 == 0)); then
        echo "ok $2"
    else
        echo "FAIL $2: $3"
        status=1
    fi
}

if dir=$(unpack_deb ipxe); then
    "$VMSCOPE" run --timeout $((100 * TESTS_SCALE)) "$dir/boot/ipxe.lkrn" >"$TEST_DIR/ipxe.out" 2>&1 </dev/null
    [[ $? == 2 ]] && grep -q 'calls the BIOS' "$TEST_DIR/ipxe.out"
    check $? ipxe_is_refused "$(tail -n 1 "$TEST_DIR/ipxe.out")"
else
    echo "SKIP ipxe_is_refused: $dir"
fi

names="grub_boots grub_loads_a_guest grub_counts"
# shellcheck disable=SC2086
dir=$(unpack_deb grub-coreboot-bin) || skip_all "$dir" $names
modules=$PWD/$dir/usr/lib/grub/i386-coreboot
mkimage=$(command -v grub-mkimage)
if [[ -z $mkimage ]]; then
    # shellcheck disable=SC2086
    dir=$(unpack_deb grub-common) || skip_all "$dir" $names
    mkimage=$PWD/$dir/usr/bin/grub-mkimage
fi
# shellcheck disable=SC2086
"$mkimage" --version >/dev/null 2>&1 || skip_all "$mkimage does not run here (make check-slow installs it)" $names
cd "$TEST_DIR" || exit 2
guests=$OLDPWD/${O:-o}/guests lua=$OLDPWD/tests/real/grub.lua
cat >config <<'END'
serial --unit=0 --speed=115200
terminal_output serial
terminal_input serial
echo "grub: on the serial line"
lsmmap
date
sleep 1
cat (memdisk)/hello
multiboot (memdisk)/guest from-grub
boot
END
mkdir -p disk
echo "grub: reads its memory disk" >disk/hello
cp "$guests/hello32" disk/guest || exit 2
tar -cf disk.tar -C disk hello guest
"$mkimage" -O i386-coreboot -d "$modules" -o grub.elf -m disk.tar -c config -p '(memdisk)/' serial terminal \
    echo lsmmap date sleep memdisk tar cat normal multiboot boot >mkimage.out 2>&1 ||
    { echo "FAIL grub_image: $(tail -n 1 mkimage.out)"; exit 1; }

"$VMSCOPE" run --timeout $((500 * TESTS_SCALE)) -m 64M --serial file:serial --script "$lua" --trace grub.vtr grub.elf \
    >out 2>err </dev/null
code=$?
cat out err
grep -q 'grub: on the serial line' serial && grep -q 'length = 0x3f00000, available RAM' serial &&
    grep -q 'grub: reads its memory disk' serial
check $? grub_boots "status $code: $(tail -n 1 err)"
[[ $code == 33 ]] && grep -q 'hello32: 32-bit protected mode, multiboot information at 0x' serial
check $? grub_loads_a_guest "status $code: $(tail -n 1 err)"

# Three counters that know nothing of each other: the bytes that came out of COM1 (written to 0x3f8 while
# the divisor latch is closed), the records of the tracer, and KVM's own statistics.
total() { "$VMSCOPE" report --json "$@" grub.vtr | sed -n 's/.*"total":\([0-9]*\).*/\1/p'; }
value() { sed -n "s/^$1=//p" out; }
[[ $(value bytes) == "$(stat -c %s serial)" ]]
check $? grub_counts_bytes "$(value bytes) writes of data to COM1, $(stat -c %s serial) bytes in its file"
[[ $(value writes) -gt 0 && $(value writes) == "$(total --if 'kind==io && port==0x3f8 && write')" ]]
check $? grub_counts_records "$(value writes) writes to COM1 seen by a script, $(total --if 'kind==io && port==0x3f8 && write') recorded"
[[ $(value io) == "$(total --if 'kind==io')" ]]
check $? grub_counts_live "$(value io) port accesses counted live, $(total --if 'kind==io') recorded"
if (($(value kvm_io))); then
    (($(value kvm_io) == $(value io)))
    check $? grub_counts_kvm "$(value kvm_io) port accesses by KVM's statistics, $(value io) recorded"
else # a KVM that emulates counts no reasons; it loads the guest's FPU state once for each KVM_RUN
    (($(value kvm_runs) >= $(value exits) && $(value kvm_runs) <= $(value exits) + 100))
    check $? grub_counts_kvm "$(value kvm_runs) entries by KVM's statistics, $(value exits) exits recorded"
fi
exit $status
