#!/bin/bash
# Commands against the bundled guests. Each file *.t holds cases:
#
#   NAME: what is tried
#   RUN: options and guest of `vmscope run`; %g is the folder of guests, %t the test's own folder
#   CMD: a command (%g and %t too), given with -e; in order, may be repeated
#   STDIN: a line of standard input
#   EXPECT: a regular expression for a line of output; in this order, each after the last
#   REFUSE: one that no line may match
#   STATUS: the exit status, 0 unless given
#   NOJSON: do not run it a second time with --json
#
# Output is what both streams print. Every case runs again with --json, and each line must be JSON.
# An argument selects cases whose name contains it.
set -u
shopt -s extglob
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests
status=0
reason=
if [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
    reason="no usable /dev/kvm"
fi
command -v python3 >/dev/null || { echo "SKIP json: there is no python3 to parse it"; nojson_all=1; }
# The rig is slow, and JSON is the same on all hosts.
[[ ${VMSCOPE_IN_RIG-} ]] && nojson_all=1

json_lines() {
    python3 -c 'import json,sys
n = 0
for line in sys.stdin.buffer:
    json.loads(line.decode("utf-8"))
    n += 1
sys.exit(n == 0)'
}

reset_case() {
    name= run= want=0 nojson=${nojson_all-} stdin=
    cmds=() expects=() refuses=()
}

fail() { # WHY
    echo "FAIL $name: $1"
    head -n 30 "$TEST_DIR/out" | sed 's/^/    | /'
    printf '  again: '
    printf '%q ' "$VMSCOPE" run "${args[@]}"
    echo
    status=1
}

run_case() {
    [[ $name && $name == *"$only"* ]] || return
    if [[ $reason ]]; then
        echo "SKIP $name: $reason"
        return
    fi
    local got from=1 hit re c
    run=${run//%g/$g}
    run=${run//%t/$TEST_DIR}
    args=()
    eval "args=($run)"
    for c in "${cmds[@]}"; do
        c=${c//%g/$g}
        args+=(-e "${c//%t/$TEST_DIR}")
    done
    printf '%s' "$stdin" | timeout -k 5 $((300 * TESTS_SCALE)) "$VMSCOPE" run "${args[@]}" >"$TEST_DIR/raw" 2>&1
    got=${PIPESTATUS[1]}
    tr -d '\000\r' <"$TEST_DIR/raw" >"$TEST_DIR/out"
    ((got == want)) || { fail "status $got, want $want"; return; }
    for re in "${expects[@]}"; do
        hit=$(tail -n "+$from" "$TEST_DIR/out" | grep -anE -m 1 -e "$re" | cut -d: -f1)
        [[ $hit ]] || { fail "no line from $from on matches $re"; return; }
        ((from += hit))
    done
    for re in "${refuses[@]}"; do
        grep -qaE -e "$re" "$TEST_DIR/out" && { fail "a line matches $re"; return; }
    done
    if [[ ! $nojson ]]; then
        printf '%s' "$stdin" | timeout -k 5 $((300 * TESTS_SCALE)) "$VMSCOPE" run --json "${args[@]}" \
            >"$TEST_DIR/json" 2>"$TEST_DIR/out"
        got=${PIPESTATUS[1]}
        ((got == want)) || { fail "status $got with --json, want $want"; return; }
        json_lines <"$TEST_DIR/json" 2>"$TEST_DIR/out" || { fail "not JSON with --json"; return; }
    fi
    echo "ok $name"
}

only=${1-}
for file in tests/cmd/*.t; do
    reset_case
    while IFS= read -r line || [[ $line ]]; do
        case $line in
            'NAME: '*) run_case; reset_case; name=$(basename "$file" .t).${line#NAME: } ;;
            'RUN: '*) run=${line#RUN: } ;;
            'CMD: '*) cmds+=("${line#CMD: }") ;;
            'STDIN:'*) stdin+=${line##STDIN:*( )}$'\n' ;;
            'EXPECT: '*) expects+=("${line#EXPECT: }") ;;
            'REFUSE: '*) refuses+=("${line#REFUSE: }") ;;
            'STATUS: '*) want=${line#STATUS: } ;;
            NOJSON) nojson=1 ;;
            '' | '#'*) ;;
            *) echo "FAIL $file: cannot read the line: $line"; status=1 ;;
        esac
    done <"$file"
    run_case
done
exit $status
