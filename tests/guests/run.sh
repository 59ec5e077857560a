#!/bin/bash
# Every row of guests/expected.tsv on real KVM: exit status and COM1's text, with the interrupt
# chips of either side where the row asks for it, and once wholly single-stepped to the same end.
# An argument selects rows whose name contains it.
set -u
cd "$(dirname "$0")/../.." || exit 2
table=guests/expected.tsv
guests=${O:-o}/guests
status=0
reason=
if [[ ! -e /dev/kvm ]]; then
    reason="there is no /dev/kvm"
elif [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
    reason="no permission for /dev/kvm"
fi

# once NAME COMMAND-TIMEOUT WANT-STATUS WANT-TEXT ARGS...: one run of vmscope; $why when it failed
once() {
    local name=$1 limit=$2 want=$3 text=$4 got serial=$TEST_DIR/$1.serial
    shift 4
    : >"$serial"
    timeout -k 5 $((limit * TESTS_SCALE + 20)) "$VMSCOPE" run --timeout $((limit * TESTS_SCALE)) --serial "file:$serial" "$@" \
        >"$TEST_DIR/$name.out" 2>&1 </dev/null
    got=$?
    if ((got != want)); then
        why="status $got, want $want: $(tail -n 1 "$TEST_DIR/$name.out" | head -c 300)"
    elif ! tr -d '\r\n' <"$serial" | grep -qaE -e "$text"; then
        why="COM1 has no \"$text\": $(tr -d '\r\n' <"$serial" | head -c 200)"
    else
        return 0
    fi
    return 1
}

# try NAME ...: as `once`, as often as $tries says, and a line about it
try() {
    local name=$1 limit=$2 i
    if [[ $reason ]]; then
        echo "SKIP $name: $reason"
        return
    fi
    for ((i = 0; i < tries; i++)); do
        if once "$@"; then
            echo "ok $name"
            return
        fi
    done
    shift 4
    echo "FAIL $name: $why"
    printf '  again: '
    printf '%q ' "$VMSCOPE" run --timeout "$limit" "$@"
    echo
    status=1
}

rows=0
while IFS=$'\t' read -r name image options want text flags; do
    [[ -z $name || $name == '#'* || $name != *"${1-}"* ]] && continue
    ((rows++))
    [[ $options == - ]] && options=
    flags=,$flags,
    path=$guests/$image
    if [[ ! -f $path ]]; then
        echo "FAIL $name: $path is not built (make guests)"
        status=1
        continue
    fi
    # shellcheck disable=SC2206 # options are separated by blanks, none contains one
    args=($options)
    if [[ $flags == *,stdin,* ]]; then
        echo "SKIP $name: waits for input; tests/cmd and tests/tui type to it"
        continue
    fi
    # An emulated processor (tests/svm-rig) is late for its ticks, so these come later, too; those of
    # the kernel's chips cannot, so there a busy machine gets some tries.
    tries=1
    kernel=("${args[@]}")
    [[ ${VMSCOPE_IN_RIG-} && $flags == *,irq,* ]] && { tries=4; args+=(--slow-clock 10); }
    try "$name" 200 "$want" "$text" "${args[@]}" "$path"
    [[ $flags == *,irqchip-both,* ]] &&
        try "$name.kernel" 200 "$want" "$text" --irqchip kernel "${kernel[@]}" "$path"
    [[ $flags == *,no-step,* ]] ||
        try "$name.stepped" 200 "$want" "$text" -e "stepi 100000000" "${args[@]}" "$path"
done <"$table"
((rows)) || { echo "FAIL rows: no row of $table matches '${1-}'"; status=1; }
exit $status
