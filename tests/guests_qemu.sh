#!/bin/bash
# Runs the guests of guests/expected.tsv that QEMU can boot, under TCG, and compares status and
# console: they must behave on an independent machine before ours is judged by them.
# Usage: tests/guests_qemu.sh DIRECTORY-WITH-IMAGES [NAME…]
set -u
dir=${1:?directory with the guests\' images}
shift
command -v qemu-system-x86_64 >/dev/null || { echo "SKIP: no qemu-system-x86_64"; exit 0; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
while IFS=$'\t' read -r name image options status regex flags; do
    case $name in '#'*|'') continue ;; esac
    [ $# -gt 0 ] && case " $* " in *" $name "*) ;; *) continue ;; esac
    args=() iso='' append=''
    case ,$flags, in
    *,qemu-kernel,*) args=(-kernel "$dir/$image") ;;
    *,qemu-disk,*) args=(-drive "file=$dir/$image,format=raw") ;;
    *,qemu-grub,*)
        command -v grub-mkrescue >/dev/null || { echo "SKIP $name: no grub-mkrescue"; continue; }
        iso=1 ;;
    *) echo "skip $name: not bootable by QEMU alone"; continue ;;
    esac
    read -ra words <<<"$options"
    for ((i = 0; i < ${#words[@]}; i++)); do
        case ${words[i]} in
        -c) args+=(-smp "${words[++i]}") ;;
        --append) append=${words[++i]} && [ ! "$iso" ] && args+=(-append "$append") ;;
        esac
    done
    if [ "$iso" ]; then
        mkdir -p "$out/iso/boot/grub"
        cp "$dir/$image" "$out/iso/boot/kernel"
        printf 'multiboot2 /boot/kernel %s\nboot\n' "$append" >"$out/iso/boot/grub/grub.cfg"
        grub-mkrescue -o "$out/cd.iso" "$out/iso" >/dev/null 2>&1
        args=(-cdrom "$out/cd.iso" -vga std)
    fi
    timeout 20 qemu-system-x86_64 -accel tcg -cpu max -m 64 -nodefaults -display none -no-reboot \
        -serial stdio -debugcon "file:$out/e9" -device isa-debug-exit,iobase=0xf4,iosize=4 \
        "${args[@]}" >"$out/com1" 2>"$out/err" </dev/null
    got=$?
    # What QEMU cannot say by its status: a triple fault ends it with 0 under -no-reboot.
    [ "$status" = 6 ] && [ $got = 0 ] && got=6
    if [ "$got" != "$status" ] || ! tr -d '\r\n\0' <"$out/com1" | LC_ALL=C grep -aqE "$regex"; then
        echo "FAIL $name: status $got (wanted $status), console:"
        cat -v "$out/com1" "$out/err"
        failed=1
    else
        echo "ok   $name"
    fi
done <"$(dirname "$0")/../guests/expected.tsv"
exit $failed
