#!/bin/bash
# A guest that is built anew while it is debugged: at `reset` its symbols are read again, and
# breakpoints are where their names are now.
set -u
cd "$(dirname "$0")/../.." || exit 2
[[ -r /dev/kvm && -w /dev/kvm ]] || { echo "SKIP reload: no usable /dev/kvm"; exit 0; }
g=${O:-o}/guests image=$TEST_DIR/kernel out=$TEST_DIR/out
cp "$g/hello64" "$image"
coproc V { timeout $((300 * TESTS_SCALE)) "$VMSCOPE" run -S -x - "$image" 2>&1; }
exec 3>&"${V[1]}" 4<&"${V[0]}" # bash forgets them when the program ends

# Copies lines to $out up to one that matches.
until_line() {
    local line
    while IFS= read -r line <&4; do
        echo "$line" >>"$out"
        [[ $line =~ $1 ]] && return 0
    done
    return 1
}

ok() { echo "ok $1"; }
fail() { echo "FAIL $1: $2"; sed 's/^/    | /' "$out"; exit 1; }

printf 'break guest_main\ncontinue\n' >&3
until_line '^Breakpoint 1, 0x[0-9a-f]+ <guest_main>' || fail reload "it did not stop"
cp "$g/stack" "$image"
printf 'reset\ncontinue\nbacktrace\nquit\n' >&3
until_line 'has changed: they were read again' || fail reload "nothing is said of the symbols"
until_line 'Breakpoint 1 \(guest_main\) is at 0x' || fail reload "nothing is said of the breakpoint"
until_line '^Breakpoint 1, 0x[0-9a-f]+ <guest_main>' || fail reload "the breakpoint was lost"
until_line 'guest_main \(\) at .*stack\.c' || fail reload "lines are those of the old file"
ok symbols_and_breakpoints_follow_a_new_image
