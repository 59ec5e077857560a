# Sourced by tests that boot what Debian ships. Packages are fetched once into the cache below the
# output folder and unpacked there; nothing is installed.

cache=${O:-o}/cache/debs

# The package of Debian's cloud kernel; nothing where apt has no lists.
linux_image() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}

# All that is fetched here, for who has to fetch it beforehand.
all_debs() {
    linux_image
    printf '%s\n' memtest86+ ipxe grub-coreboot-bin grub-common
}

# Prints SKIP for each name in $2... with reason $1 and ends the program.
skip_all() {
    local why=$1 name
    shift
    for name; do echo "SKIP $name: $why"; done
    exit 0
}

# unpack_deb PACKAGE: prints the folder with the package's files; on failure prints the reason and
# returns 1. A package whose dependency carries the files is resolved by the caller.
unpack_deb() {
    mkdir -p "$cache"
    (flock 9 && unpack_alone "$1") 9>"$cache/$1.lock"
}

unpack_alone() {
    local pkg=$1 dir=$cache/$1 log=$cache/$1.log deb
    if [[ ! -e $dir/.done ]]; then
        if [[ ${TESTS_NO_FETCH-} ]]; then
            echo "TESTS_NO_FETCH is set, so $pkg is not fetched"
            return 1
        fi
        command -v apt-get >/dev/null || { echo "there is no apt-get here to fetch $pkg"; return 1; }
        rm -rf "$dir"
        mkdir -p "$dir/deb"
        if ! (cd "$dir/deb" && timeout 240 apt-get download "$pkg") >"$log" 2>&1; then
            echo "apt-get cannot download $pkg: $(grep -m1 '^E:' "$log" || tail -n 1 "$log")"
            return 1
        fi
        deb=$(find "$dir/deb" -name '*.deb' | head -n 1)
        if ! dpkg-deb -x "$deb" "$dir" >"$log" 2>&1; then
            echo "cannot unpack $pkg: $(tail -n 1 "$log")"
            return 1
        fi
        rm -rf "$dir/deb"
        touch "$dir/.done"
    fi
    echo "$dir"
}

# vmlinux_of BZIMAGE OUT: the ELF kernel inside. Tries each compression whose magic occurs.
vmlinux_of() {
    local image=$1 out=$2 row magic tool at
    while read -r magic tool; do
        command -v "${tool%% *}" >/dev/null || continue
        while IFS=: read -r at _; do
            # Trailing bytes after the payload make the tools complain; the result counts.
            # shellcheck disable=SC2086
            tail -c +$((at + 1)) "$image" | $tool >"$out" 2>/dev/null
            [[ $(head -c 4 "$out" | tail -c 3) == ELF ]] && return 0
        done < <(LC_ALL=C grep -obaP "$magic" "$image")
    done <<'END'
\xfd7zXZ\x00 xz -dc --single-stream
\x28\xb5\x2f\xfd zstd -dcq
\x1f\x8b\x08 gzip -dc
\x02\x21\x4c\x18 lz4 -dc
\x5d\x00\x00\x00 xz -dc --format=lzma
BZh bzip2 -dc
END
    rm -f "$out"
    return 1
}

# cpio_entry NAME MODE [MAJOR MINOR [FILE]]: one entry of an initramfs ("newc"); MODE in octal. The archive
# ends with the entry TRAILER!!!.
cpio_entry() {
    local name=$1 size=0 n=$((${#1} + 1))
    [[ ${5-} ]] && size=$(stat -c %s "$5")
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X' $((++cpio_inode)) $((8#$2)) \
        0 0 1 0 "$size" 0 0 "${3:-0}" "${4:-0}" $n 0
    printf '%s\0' "$name"
    head -c $(((4 - (110 + n) % 4) % 4)) /dev/zero
    if [[ ${5-} ]]; then
        cat "$5"
        head -c $(((4 - size % 4) % 4)) /dev/zero
    fi
}
cpio_inode=0

# linux_initrd OUT: an initramfs of one program, tests/real/init.c.
linux_initrd() {
    gcc -Os -static -nostdlib -ffreestanding -fno-pie -no-pie -fno-stack-protector \
        -Wl,--build-id=none -o "$1.init" tests/real/init.c || return 1
    {
        cpio_entry dev 040755
        cpio_entry dev/console 020600 5 1
        cpio_entry init 0100755 0 0 "$1.init"
        cpio_entry 'TRAILER!!!' 0
    } >"$1"
}
