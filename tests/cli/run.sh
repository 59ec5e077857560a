#!/bin/bash
# The command line as scripts see it: exit statuses, sentences for what is wrong, and that output
# which cannot be written or a signal ends a run in order.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests
status=0

fail() { # NAME WHY
    echo "FAIL $1: $2"
    status=1
}
# expect NAME STATUS TEXT ARGS...: exit status and a regular expression found in either output.
expect() {
    local name=$1 want=$2 text=$3 out got
    shift 3
    out=$(timeout -k 5 $((250 * TESTS_SCALE)) "$VMSCOPE" "$@" 2>&1 </dev/null | tr -d '\000')
    got=${PIPESTATUS[0]}
    [[ ${want} == "$got" ]] || { fail "$name" "status $got, want $want: $(head -c 300 <<<"$out")"; return; }
    grep -qaiE -e "$text" <<<"$out" || { fail "$name" "\"$text\" is not in: $(head -c 400 <<<"$out")"; return; }
    # An error is a sentence, not a dump.
    if ((want == 2)) && (($(wc -l <<<"$out") > 12)); then
        fail "$name" "$(wc -l <<<"$out") lines for one mistake"
        return
    fi
    echo "ok $name"
}
set -o pipefail

expect help 0 'usage|vmscope \[' --help
expect version 0 'vmscope [0-9]' --version
expect no_trace_file 2 'trace file is missing' report
expect no_guest 2 'guest' run
expect unknown_option 2 'bogus' run --bogus "$g/hello16.bin"
expect near_miss 2 'timeout' run --timeot 3 "$g/hello16.bin"
expect option_without_argument 2 'timeout' run --timeout
expect no_such_file 2 'no-such-image' run no-such-image
expect image_is_a_folder 2 'guests' run "$g"
expect memory_zero 2 'memory|-m' run -m 0 "$g/hello16.bin"
expect memory_garbage 2 '12q' run -m 12q "$g/hello16.bin"
expect memory_too_big 2 'memory' run -m 999999T "$g/hello16.bin"
expect cpus_zero 2 'cpu' run -c 0 "$g/hello16.bin"
expect cpus_too_many 2 'cpu' run -c 1000 "$g/hello16.bin"
expect boot_unknown 2 'boot' run --boot floppy "$g/hello16.bin"
expect boot_mismatch 2 'multiboot' run --boot multiboot "$g/hello16.bin"
expect serial_unwritable 2 'nowhere' run --serial file:/nowhere/at/all "$g/hello16.bin"
expect symbols_missing 2 'no-symbols' run --symbols no-symbols "$g/hello16.bin"
expect script_missing 2 'no-script' run -x no-script "$g/hello16.bin"

[[ -r /dev/kvm && -w /dev/kvm ]] || {
    echo "SKIP statuses: no usable /dev/kvm"
    exit $status
}
expect doctor 0 'step' doctor
expect debug_exit 33 'hello16: by COM1' run --debugcon none "$g/hello16.bin"
expect time_out 4 'did not end' run --timeout 1 "$g/tinyos"
expect halted_for_ever 0 'good night' run "$g/cli_hlt"
expect triple_fault 6 'triple fault' run "$g/triple"
expect bad_command 8 'nosuchcommand' run -e nosuchcommand "$g/hello16.bin"
printf 'info registers\nprint nosuchsymbol\n' >"$TEST_DIR/bad.cmds"
expect bad_line_in_file 8 'bad\.cmds:2' run -x "$TEST_DIR/bad.cmds" "$g/hello16.bin"
for endless in /dev/zero /dev/full; do
    expect "commands_of $endless" 8 'longer than' run -x $endless "$g/hello16.bin"
    expect "source_of $endless" 8 'longer than' run -e "source $endless" "$g/hello16.bin"
done
expect commands_of_a_folder 2 'directory' run -x "$TEST_DIR" "$g/hello16.bin"
expect late_answer 4 'within 1 s' run --timeout 1 -e 'lua while true do end' "$g/hello16.bin"
expect serial_none 33 '' run --serial none "$g/hello16.bin"

# JSON that a parser accepts, if there is one.
if command -v python3 >/dev/null; then
    for cmd in "info registers" "info exits" "info devices" "info breakpoints"; do
        if "$VMSCOPE" run --json --serial none -e "$cmd" "$g/hello16.bin" 2>/dev/null </dev/null |
            python3 -c 'import json,sys
n = 0
for line in sys.stdin:
    if line.strip():
        json.loads(line); n += 1
sys.exit(n == 0)' 2>"$TEST_DIR/json.err"; then
            echo "ok json ($cmd)"
        else
            fail "json ($cmd)" "$(tail -n 1 "$TEST_DIR/json.err")"
        fi
    done
    if "$VMSCOPE" doctor --json </dev/null | python3 -c 'import json,sys; json.load(sys.stdin)'; then
        echo "ok json (doctor)"
    else
        fail "json (doctor)" "not JSON"
    fi
else
    echo "SKIP json: there is no python3 to parse it"
fi

# ends NAME SIGNAL: a running guest is told to go; it goes, and not by a crash.
ends() {
    local pid got end
    "$VMSCOPE" run --serial "file:$TEST_DIR/$1.serial" "$g/tinyos" >"$TEST_DIR/$1.log" 2>&1 </dev/null &
    pid=$!
    until grep -qa tinyos "$TEST_DIR/$1.serial" 2>/dev/null || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
    kill "-$2" $pid
    end=$((SECONDS + 100 * TESTS_SCALE))
    while kill -0 $pid 2>/dev/null && ((SECONDS < end)); do sleep 0.05; done
    if kill -0 $pid 2>/dev/null; then
        kill -KILL $pid
        wait $pid 2>/dev/null
        fail "$1" "still runs $((100 * TESTS_SCALE)) s after SIG$2"
        return
    fi
    wait $pid 2>/dev/null
    got=$?
    case $got in
        132 | 134 | 135 | 136 | 139) fail "$1" "crashed: status $got" ;;
        *) echo "ok $1" ;;
    esac
}
ends sigterm TERM
ends sighup HUP

"$VMSCOPE" run "$g/hello16.bin" >/dev/full 2>"$TEST_DIR/full.err" </dev/null
got=$?
if ((got != 33 && got != 2 && got != 141)); then
    fail full_disk "status $got"
else
    echo "ok full_disk"
fi
"$VMSCOPE" run -e "info exits" "$g/hello16.bin" 2>/dev/null </dev/null | head -c 1 >/dev/null
got=${PIPESTATUS[0]}
if ((got >= 132 && got != 141)); then fail closed_pipe "status $got"; else echo "ok closed_pipe"; fi

# closed NAME STATUS REDIRECTIONS: a descriptor that is closed is not given to something else.
closed() {
    local got
    eval "timeout -k 5 $((250 * TESTS_SCALE)) \"\$VMSCOPE\" run \"\$g/hello16.bin\" $3"
    got=$?
    if ((got == $2)); then echo "ok $1"; else fail "$1" "status $got, want $2"; fi
}
closed no_stdin 33 '<&- >/dev/null 2>&1'
closed no_stdout 2 '>&- </dev/null 2>"$TEST_DIR/closed"'
grep -q 'standard output: Bad file' "$TEST_DIR/closed" || fail no_stdout "$(cat "$TEST_DIR/closed")"
closed no_stderr 33 '2>&- </dev/null >/dev/null'
closed nothing_open 2 '<&- >&- 2>&-'
exit $status
