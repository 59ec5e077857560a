# Sourced by the tests with real debuggers: starts a guest that waits for one, runs gdb on it, and
# looks for lines in what it said.
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests
status=0
vm_pid=
# gdb for one batch of commands. An answer may be late on a busy machine; the limits are for what hangs.
gdb=(timeout -k 5 $((120 * TESTS_SCALE)) gdb -nx -q -batch -ex 'set pagination off' -ex 'set confirm off'
    -ex 'set remotetimeout 60')

# skip_without COMMAND NAME...: ends the program when the command is missing.
skip_without() {
    local cmd=$1 name
    shift
    [[ -e /dev/kvm ]] || { for name; do echo "SKIP $name: there is no /dev/kvm"; done; exit 0; }
    command -v "$cmd" >/dev/null && return
    for name; do echo "SKIP $name: $cmd is not installed"; done
    exit 0
}

# start OPTIONS... GUEST: $port is where it listens, $vm_pid its process.
start() {
    stop
    : >"$TEST_DIR/vm.err" # the child empties it too late for us
    "$VMSCOPE" run -S --gdb 0 --timeout $((500 * TESTS_SCALE)) "$@" >"$TEST_DIR/vm.out" 2>"$TEST_DIR/vm.err" </dev/null &
    vm_pid=$!
    port=
    until [[ $port ]]; do
        kill -0 $vm_pid 2>/dev/null || { echo "FAIL start: $(cat "$TEST_DIR/vm.err")"; exit 1; }
        sleep 0.02
        port=$(sed -n 's/.*Listening for gdb at 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$TEST_DIR/vm.err")
    done
}

# until_prompt PID [TEXT]: waits for the guest's prompt (or for gdb to have said TEXT) while PID lives.
until_prompt() {
    until grep -qa '[$>] ' "$TEST_DIR/vm.out" || { [[ ${2-} ]] && grep -qa "$2" "$TEST_DIR/gdb.out"; }; do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.02
    done
}

stop() {
    [[ $vm_pid ]] || return
    kill -TERM "$vm_pid" 2>/dev/null
    wait "$vm_pid" 2>/dev/null
    vm_pid=
}
trap stop EXIT

# gdb_run COMMAND...: a batch session on the guest; what it says is in $TEST_DIR/gdb.out.
gdb_run() {
    local args=() c
    for c; do args+=(-ex "$c"); done
    "${gdb[@]}" -ex 'set width 0' ${gdb_file:+-ex "file $gdb_file"} -ex "target remote 127.0.0.1:$port" \
        "${args[@]}" >"$TEST_DIR/gdb.out" 2>&1 </dev/null
    gdb_status=$?
    # What users lose sessions to must not come up anywhere.
    if grep -aE "reply is too long|not compatible with|internal-error|Bogus trace|Truncated register|Remote connection closed|Ignoring packet error" \
        "$TEST_DIR/gdb.out"; then
        fail "no_gdb_error" "$(tail -n 3 "$TEST_DIR/gdb.out")"
    fi
}

fail() { # NAME WHY
    echo "FAIL $1: $2"
    status=1
}

# has NAME REGEX...: gdb.out has a match of each, in this order, each on a line after the former.
has() {
    local name=$1 re line=0 n
    shift
    for re; do
        n=$(tail -n +$((line + 1)) "$TEST_DIR/gdb.out" | grep -naE -m1 -e "$re" | cut -d: -f1)
        if [[ ! $n ]]; then
            fail "$name" "no line like \"$re\" behind line $line of: $(tr '\n' '|' <"$TEST_DIR/gdb.out" | tail -c 900)"
            return 1
        fi
        ((line += n))
    done
    echo "ok $name"
}

has_not() { # NAME REGEX
    if grep -qaE -e "$2" "$TEST_DIR/gdb.out"; then
        fail "$1" "\"$2\" is in: $(grep -aE -m1 -e "$2" "$TEST_DIR/gdb.out")"
    else
        echo "ok $1"
    fi
}

# mi_start: gdb's machine interface as a co-process; mi NAME REGEX COMMAND... sends the commands and
# reads on until a line matches. All that was said is in gdb.out.
mi_start() {
    coproc MI { exec gdb -nx -q -ex 'set remotetimeout 60' --interpreter=mi3 2>&1; }
    mi_pid=$MI_PID
    exec {mi_to}>&"${MI[1]}" {mi_from}<&"${MI[0]}"
    : >"$TEST_DIR/gdb.out"
}

mi() {
    local name=$1 re=$2 c line
    shift 2
    for c; do printf '%s\n' "$c" >&$mi_to; done
    while IFS= read -r -t $((100 * TESTS_SCALE)) -u $mi_from line; do
        printf '%s\n' "$line" >>"$TEST_DIR/gdb.out"
        [[ $line =~ $re ]] && { echo "ok $name"; return; }
    done
    fail "$name" "no line like \"$re\": $(tail -n 4 "$TEST_DIR/gdb.out" | tr '\n' '|' | tail -c 900)"
}

mi_end() {
    printf '%s\n' '-gdb-exit' >&$mi_to
    wait "$mi_pid" 2>/dev/null
    exec {mi_to}>&- {mi_from}<&-
}
