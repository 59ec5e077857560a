#!/bin/bash
# `vmscope run` for CI: what is expected, sent and checked, what is written about it, and that no script,
# command or full disk makes a failed run look good or one that hangs.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests d=$TEST_DIR
status=0

[[ -r /dev/kvm && -w /dev/kvm ]] || {
    echo "SKIP checks: no usable /dev/kvm"
    exit 0
}
fail() {
    echo "FAIL $1: $2"
    status=1
}
# expect NAME STATUS REGEX ARGS...
expect() {
    local name=$1 want=$2 text=$3 got
    shift 3
    timeout -s KILL $((250 * TESTS_SCALE)) "$VMSCOPE" run "$@" >"$d/out" 2>&1 </dev/null
    got=$?
    if [[ $want != "$got" ]]; then
        fail "$name" "status $got, want $want: $(tail -c 300 "$d/out" | tr '\n\000' '  ')"
    elif ! tr -d '\000' <"$d/out" | grep -qaE -e "$text"; then
        fail "$name" "\"$text\" is not in: $(tail -c 400 "$d/out" | tr '\n\000' '  ')"
    else
        echo "ok $name"
    fi
}

# A conversation: each --expect behind a --send is looked for in what comes after it.
expect conversation 0 'all that was expected' --timeout $((200 * TESTS_SCALE)) --expect 'tinyos> ' --send 'help\r' \
    --expect 'poweroff .*machine off' --send 'poweroff\r' --expect 'good bye' "$g/tinyos"
expect said_before 8 "did not print what --expect 'type help" --timeout $((200 * TESTS_SCALE)) --expect 'tinyos> ' \
    --send 'poweroff\r' --expect 'type help for the commands' --keep "$d/before" "$g/tinyos"
expect last_send 0 'good bye' --timeout $((200 * TESTS_SCALE)) --expect 'tinyos> ' --send 'poweroff\r' "$g/tinyos"
expect send_wrong 2 'backslash' --send 'a\q' "$g/hello16.bin"

expect check_holds 0 'every --check holds' --check '$eax != 0 || 1' --check 'count(kind==io) > 3' \
    --check 'count() < 10000' "$g/hello16.bin"
expect check_fails 8 "count\(kind==io\) < 3' does not hold: it came to [0-9]+ < 3" --keep "$d/k1" \
    --check 'count(kind==io) < 3' "$g/hello16.bin"
expect check_symbol 0 'holds' --check 'guest_main != 0' "$g/hello64"
expect check_unknown 2 'no symbol "nosuch"' --check 'nosuch == 1' "$g/hello16.bin"
expect check_half 2 'missing' --check '$rax ==' "$g/hello16.bin"
expect check_of_records 2 'do not keep .value' --check 'count(value==3) > 1' "$g/hello16.bin"

# Reports: well-formed, and with what the guest prints in them.
expect reports 8 'again: cd ' --timeout $((200 * TESTS_SCALE)) --expect '<&"nothing">' --fail 'no such "<line>"' \
    --check '1 == 2' --junit "$d/j.xml" --json="$d/r.json" --keep "$d/k2" "$g/hello16.bin"
if command -v xmllint >/dev/null; then
    xmllint --noout "$d/j.xml" 2>"$d/xml" && echo "ok junit" || fail junit "$(head -n 1 "$d/xml")"
else
    python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' "$d/j.xml" 2>"$d/xml" &&
        echo "ok junit" || fail junit "$(tail -n 1 "$d/xml")"
fi
python3 - "$d/j.xml" "$d/r.json" <<'PY' && echo "ok reports_agree" || fail reports_agree "see above"
import json, sys, xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot().find("testsuite")
cases = suite.findall("testcase")
bad = [c for c in cases if c.find("failure") is not None]
r = json.load(open(sys.argv[2]))
assert int(suite.get("tests")) == len(cases) == 4, len(cases)
assert int(suite.get("failures")) == len(bad) == 3, [c.get("name") for c in bad]
assert r["status"] == 8 and r["expect"][0] == {"regex": '<&"nothing">', "seen": False}, r
assert r["check"] == [{"expression": "1 == 2", "holds": False}], r
assert r["kept"] and r["rerun"].startswith("cd "), r
PY
for f in console registers exits screen rerun why stop backtrace; do
    [[ -s $(echo "$d/k2/$f".*) ]] || fail "kept_$f" "it is missing or empty"
done
# The command that is kept does it again.
bash "$d/k2/rerun.sh" >"$d/out" 2>&1 </dev/null
got=$?
[[ $got == 8 ]] && echo "ok rerun" || fail rerun "status $got: $(tail -n 1 "$d/out")"

expect junit_nowhere 2 'cannot write /nowhere/j.xml' --junit /nowhere/j.xml "$g/hello16.bin"
expect report_on_full_disk 2 'No space left' --expect COM1 --json=/dev/full "$g/hello16.bin"
expect keep_no_folder 8 'cannot make the folder' --expect nothing --keep /dev/null "$g/hello16.bin"
expect json_without_file 2 'is attached: --json=FILE' --json "$d/x.json" "$g/hello16.bin"

# Time and signals end a script that does not.
echo 'while true do end' >"$d/loop.lua"
echo 'while true do pcall(function() while true do end end) end' >"$d/deaf.lua"
echo 'vm.on("tick", 0.05, function() while true do end end) vm:cont()' >"$d/tick.lua"
expect timeout_of_a_script 4 'did not end within 1 s' --timeout 1 --script "$d/loop.lua" "$g/hello16.bin"
grep -qa 'by COM1' "$d/out" && fail timeout_of_a_script "the guest ran although its script never ended"
expect timeout_of_a_deaf_script 4 'within 1 s' --timeout 1 --script "$d/deaf.lua" "$g/hello16.bin"
expect timeout_of_a_hook 4 'within 1 s' --timeout 1 --script "$d/tick.lua" "$g/tinyos"
expect timeout_of_a_command 4 'within 1 s' --timeout 1 -e 'lua while true do end' "$g/hello16.bin"
for sig in TERM HUP INT; do
    echo 'print("looping") while true do end' >"$d/loud.lua"
    : >"$d/$sig"
    "$VMSCOPE" run --script "$d/loud.lua" "$g/hello16.bin" >>"$d/$sig" 2>&1 </dev/null &
    pid=$!
    until grep -q looping "$d/$sig" || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
    kill -$sig $pid
    wait $pid 2>/dev/null
    got=$?
    [[ $got == $((128 + $(kill -l $sig))) ]] && grep -q 'ended by signal' "$d/$sig" &&
        echo "ok script_and_$sig" || fail "script_and_$sig" "status $got: $(tail -n 2 "$d/$sig" | tr '\n' ' ')"
done
exit $status
