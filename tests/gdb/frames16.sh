#!/bin/bash
# `bt`, `finish` and `up` in 16-bit code, with the unwinder that `vmscope gdbinit` prints.
set -u
. "$(dirname "$0")/lib.sh"
skip_without gdb frames16

cd "$TEST_DIR" || exit 1
as --32 -o f.o "$OLDPWD/tests/gdb/frames16.S" && ld -m elf_i386 -Ttext 0x7c00 -o f.elf f.o && objcopy -O binary f.elf f.bin ||
    { echo "FAIL build: the guest cannot be built"; exit 1; }
cd - >/dev/null || exit 1
start --symbols "$TEST_DIR/f.elf" "$TEST_DIR/f.bin"
"$VMSCOPE" gdbinit --gdb "127.0.0.1:$port" --symbols "$TEST_DIR/f.elf" "$TEST_DIR/f.bin" >"$TEST_DIR/init"
"${gdb[@]}" -x "$TEST_DIR/init" -ex 'break *inner' -ex 'continue' -ex 'bt' -ex 'echo after push\n' \
    -ex 'stepi' -ex 'bt' -ex 'echo in frame\n' -ex 'stepi' -ex 'bt' -ex 'up' -ex 'p/x $sp' -ex 'echo at ret\n' \
    -ex 'stepi' -ex 'stepi' -ex 'bt' -ex 'echo finishing\n' -ex 'finish' -ex 'bt' -ex 'kill' >"$TEST_DIR/gdb.out" 2>&1 </dev/null
for where in 'hit|Breakpoint 1' 'after push' 'in frame' 'at ret'; do
    has "frames_${where##*[| ]}" "$where" '^#0 .* in inner' '^#1 .* in outer' '^#2 .* in _start'
done
has stack_pointer_of_caller 'in frame' '= 0x7bf6'
has finishes 'finishing' '^#0 .* in outer' '^#1 .* in _start'
exit $status
