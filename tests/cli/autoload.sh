#!/bin/bash
# The script beside a guest: never without being asked for in a run without a screen.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests status=0
[[ -r /dev/kvm && -w /dev/kvm ]] || {
    echo "SKIP autoload: no usable /dev/kvm"
    exit 0
}
check() { # NAME STATUS REGEX (or !REGEX) ARGS...
    local name=$1 want=$2 text=$3 out got
    shift 3
    out=$(timeout -s KILL $((250 * TESTS_SCALE)) "$VMSCOPE" run --timeout $((200 * TESTS_SCALE)) "$@" 2>&1 </dev/null)
    got=$?
    if [[ $want != "$got" ]]; then
        echo "FAIL $name: status $got, want $want: $(tail -c 300 <<<"$out" | tr '\n' ' ')"
        status=1
    elif [[ $text == !* ]] && grep -qE -e "${text#!}" <<<"$out" || { [[ $text != !* ]] && ! grep -qE -e "$text" <<<"$out"; }; then
        echo "FAIL $name: \"$text\": $(tail -c 300 <<<"$out" | tr '\n' ' ')"
        status=1
    else
        echo "ok $name"
    fi
}
d=$TEST_DIR/guest
mkdir -p "$d"
cp "$g/hello16.bin" "$d/kernel.bin"
check nothing_there 33 '!script' "$d/kernel.bin"
echo 'vm.on("end", function() print("it ran " .. vm.image():match("[^/]*$")) end)' >"$d/kernel.lua"
check not_without_a_word 33 'kernel.lua beside the guest was not run: --autoload yes runs it' "$d/kernel.bin"
check really_not 33 '!it ran' "$d/kernel.bin"
check yes_runs_it 33 'it ran kernel.bin' --autoload yes "$d/kernel.bin"
check no_is_silent 33 '!kernel.lua|it ran' --autoload no "$d/kernel.bin"
check other_words 2 'ask, yes or no' --autoload maybe "$d/kernel.bin"
echo 'print("the longer name wins")' >"$d/kernel.bin.lua"
check both_names 33 'the longer name wins' --autoload yes "$d/kernel.bin"
check beside_another_script 33 'it ran' --autoload no --script "$d/kernel.lua" "$d/kernel.bin"
echo 'assert(not io, "has io")' >"$d/kernel.bin.lua"
check sandbox_holds 33 '!has io' --autoload yes --script-sandbox "$d/kernel.bin"
check without_sandbox 8 'has io' --autoload yes "$d/kernel.bin"
echo 'error("broken on purpose")' >"$d/kernel.bin.lua"
check its_error_is_told 8 'broken on purpose' --autoload yes "$d/kernel.bin"
printf 'print(1)\0os.exit(3)' >"$d/kernel.bin.lua"
check zero_bytes 2 'is no script' --autoload yes "$d/kernel.bin"
rm "$d/kernel.bin.lua"
mkdir "$d/kernel.bin.lua"
check a_folder_is_none 33 '!it ran' --autoload yes "$d/kernel.bin"
# What a person said always to is not said for a run without a screen.
mkdir -p "$TEST_DIR/state/vmscope"
echo "always $(sha256sum "$d/kernel.lua" | cut -d' ' -f1) $d/kernel.lua" >"$TEST_DIR/state/vmscope/autoload"
rmdir "$d/kernel.bin.lua"
XDG_STATE_HOME=$TEST_DIR/state check always_is_for_persons 33 'was not run' "$d/kernel.bin"
exit $status
