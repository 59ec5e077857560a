#!/bin/bash
# nexti over calls that come back in unusual ways: one of the next instruction, one that leaves more
# on the stack, one that calls itself.
set -u
cd "$(dirname "$0")/../.." || exit 2
names="calls_the_next_instruction comes_back_with_more recursion"
[[ -r /dev/kvm && -w /dev/kvm ]] || { for n in $names; do echo "SKIP $n: no usable /dev/kvm"; done; exit 0; }
status=0
{ ${CC:-gcc} -m32 -c -o "$TEST_DIR/over.o" tests/cmd/over.S &&
    ld -m elf_i386 -Ttext 0x7000 -o "$TEST_DIR/over.elf" "$TEST_DIR/over.o" &&
    objcopy -O binary "$TEST_DIR/over.elf" "$TEST_DIR/over.bin"; } >"$TEST_DIR/build" 2>&1 ||
    { echo "FAIL build: $(cat "$TEST_DIR/build")"; exit 1; }

# over LABEL LINE: one nexti from there comes to what LINE matches.
over() {
    out=$(timeout $((300 * TESTS_SCALE)) "$VMSCOPE" run --mode prot --load-addr 0x7000 --symbols "$TEST_DIR/over.elf" \
        "$TEST_DIR/over.bin" -e "until $1" -e nexti 2>&1)
    if grep -qE -e "$2" <<<"$out"; then echo "ok $name"; return; fi
    echo "FAIL $name: ${out//$'\n'/ | }"
    status=1
}
name=calls_the_next_instruction
over pic '^=> 0x[0-9a-f]+ <pic\+0x5>:.*pop'
name=comes_back_with_more
over saves '^=> 0x[0-9a-f]+ <saves\+0x5>:.*add'
name=recursion
over deep '^=> 0x[0-9a-f]+ <thunk>:.*push'
exit $status
