#!/bin/bash
# A recorded trace on the screen: opens without a machine, shows what the recording has, leaves the
# terminal as it was. What keys and commands do is tested without a terminal (unit/test_browse).
set -u
cd "$(dirname "$0")/../.." || exit 2
names="opens explains drills filters quits ends"
. tests/lib/tmux.sh
file=$TEST_DIR/pio.vtr
"$VMSCOPE" run --serial none --trace "$file" --append n=20000 "${O:-o}/guests/storm_pio" \
    >"$TEST_DIR/record.log" 2>&1 </dev/null

# step NAME REGEX: the screen comes to show it.
step() {
    if see "$2"; then
        echo "ok $1"
    else
        echo "FAIL $1: the screen never showed \"$2\""
        screen | sed 's/^/    | /'
        status=1
    fi
}
restored() { # NAME STATUS
    local why=
    see "status $2\." && why=$(left_behind) && [[ -z $why ]] && { echo "ok $1"; return; }
    echo "FAIL $1: ${why:-it did not end with status $2}"
    status=1
}
open_term 100 30 "$VMSCOPE" "$file"
step opens '20[0-9]{3} records, .*1 vCPU'
keys Enter
step explains 'Explanation of record 1 '
keys 2
step "tables" 'out 0x80 \(POST code\), 1 byte +20000'
keys Enter
step drills '20000 match: kind==io && port==0x80'
keys /
step "asks for a filter" '^filter:'
keys 'port==0x3f8' Enter
step filters '[0-9]+ match: port==0x3f8'
keys q
restored quits 0
open_term 80 24 "$VMSCOPE" "$file"
see '20[0-9]{3} records'
kill -TERM "$(program)"
restored "ends by a signal" 2

out=$("$VMSCOPE" "$file" </dev/null 2>&1)
[[ $? == 2 && $out == *'needs a terminal'*'vmscope report '* ]] && echo "ok without a terminal" ||
    { echo "FAIL without a terminal: $out"; status=1; }
out=$("$VMSCOPE" run "$file" </dev/null 2>&1)
[[ $? == 2 && $out == *'is a recorded trace'*'vmscope report '* ]] && echo "ok run says what it is" ||
    { echo "FAIL run: $out"; status=1; }
exit $status
