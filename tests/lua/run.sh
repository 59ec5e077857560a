#!/bin/bash
# Scripts on the bundled guests, as a user runs them. The head of each says on which:
#
#   -- guest: OPTIONS IMAGE      words for `vmscope run`; IMAGE is one of o/guests
#   -- status: N                 exit status, 0 unless given
#   -- needs: a processor …      skipped on a KVM that interprets ring 0
#
# A script that gets to its end prints "passed"; what it says else is shown when it fails.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0
for f in tests/lua/*.lua; do
    name=$(basename "$f" .lua)
    if [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
        echo "SKIP $name: no usable /dev/kvm"
        continue
    fi
    if grep -q '^-- needs: a processor' "$f" && [[ $("$VMSCOPE" doctor --json) == *'"emulated":true'* ]]; then
        echo "SKIP $name: this KVM interprets ring 0 and knows no vmcall"
        continue
    fi
    read -ra words <<<"$(sed -n 's/^-- guest: //p' "$f")"
    want=$(sed -n 's/^-- status: //p' "$f")
    words[-1]=${O:-o}/guests/${words[-1]}
    # Where all is slow, hooks take longer than the time between two ticks.
    [[ $TESTS_SCALE -gt 1 ]] && words=(--slow-clock 20 "${words[@]}")
    set -o pipefail
    out=$(timeout -s KILL $((250 * TESTS_SCALE)) "$VMSCOPE" run --timeout $((200 * TESTS_SCALE)) --script "$f" "${words[@]}" 2>&1 </dev/null | tr -d '\000')
    got=$?
    if [[ $got != "${want:-0}" ]]; then
        echo "FAIL $name: status $got, want ${want:-0}: $(tail -c 600 <<<"$out" | tr '\n' ' ')"
        status=1
    elif ! grep -qx passed <<<"$out"; then
        echo "FAIL $name: it did not get to its end: $(tail -c 600 <<<"$out" | tr '\n' ' ')"
        status=1
    else
        echo "ok $name"
    fi
done
exit $status
