#!/bin/bash
# The guests that QEMU can boot, under its TCG, which carries out all of x86 by the book: they must
# end on an independent machine as guests/expected.tsv says before ours is judged by them.
# An argument selects rows whose name contains it.
set -u
cd "$(dirname "$0")/../.." || exit 2
guests=${O:-o}/guests
out=${TEST_DIR:-$(mktemp -d)}
status=0
command -v qemu-system-x86_64 >/dev/null ||
    { echo "SKIP guests_qemu: there is no qemu-system-x86_64"; exit 0; }

# Makes $out/cd.iso, from which GRUB loads image $1 with command line $2.
make_cd() {
    rm -rf "$out/iso" "$out/cd.iso"
    mkdir -p "$out/iso/boot/grub"
    cp "$guests/$1" "$out/iso/boot/kernel"
    printf 'multiboot2 /boot/kernel %s\nboot\n' "$2" >"$out/iso/boot/grub/grub.cfg"
    grub-mkrescue -o "$out/cd.iso" "$out/iso" >"$out/grub.log" 2>&1
}

while IFS=$'\t' read -r name image options want text flags; do
    [[ -z $name || $name == '#'* || $name != *"${1-}"* ]] && continue
    args=() append=''
    read -ra words <<<"$options"
    for ((i = 0; i < ${#words[@]}; i++)); do
        case ${words[i]} in
        -c) args+=(-smp "${words[++i]}") ;;
        --append) append=${words[++i]} ;;
        esac
    done
    case ,$flags, in
    *,qemu-kernel,*) args+=(-kernel "$guests/$image" -append "$append") ;;
    *,qemu-disk,*) args+=(-drive "file=$guests/$image,format=raw,snapshot=on") ;;
    *,qemu-grub,*)
        command -v grub-mkrescue xorriso mformat >/dev/null ||
            { echo "SKIP $name: no grub-mkrescue, xorriso or mtools"; continue; }
        make_cd "$image" "$append" || { echo "FAIL $name: $(tail -n 1 "$out/grub.log")"; status=1; }
        args+=(-cdrom "$out/cd.iso" -vga std)
        ;;
    *) echo "SKIP $name: QEMU alone does not boot it, or does not end"; continue ;;
    esac
    timeout -k 5 60 qemu-system-x86_64 -accel tcg -cpu max -m 64 -nodefaults -display none \
        -no-reboot -serial "file:$out/com1" -debugcon "file:$out/e9" \
        -device isa-debug-exit,iobase=0xf4,iosize=4 "${args[@]}" </dev/null >"$out/qemu.log" 2>&1
    got=$?
    # A triple fault ends it with 0 under -no-reboot.
    ((want == 6 && got == 0)) && got=6
    if ((got != want)); then
        echo "FAIL $name: status $got, want $want: $(tail -n 1 "$out/com1" | tr -cd '[:print:]')"
        status=1
    elif ! tr -d '\r\n' <"$out/com1" | LC_ALL=C grep -qaE -e "$text"; then
        echo "FAIL $name: COM1 has no \"$text\""
        status=1
    else
        echo "ok $name"
    fi
done <guests/expected.tsv
exit $status
