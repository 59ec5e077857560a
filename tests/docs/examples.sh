#!/bin/bash
# Runs the examples of README.md and docs/*.md. A fenced sh block counts when the line before it is
#
#   <!-- test -->              ends with status 0
#   <!-- test: status 33 -->   ends with that status
#   <!-- test: prints WORDS -->   its output has these words (and status 0); both may be given:
#   <!-- test: status 6; prints triple fault -->
#
# Blocks run under `bash -e` in the top folder of the tree, as a reader would type them.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0 seen=0

# Writes block number n of all files to $TEST_DIR/n.sh and prints "n|file:line|condition".
blocks() {
    awk -v dir="$TEST_DIR" '
        FNR == 1 { armed = inside = 0 }
        /^<!-- test(:.*)? -->$/ {
            cond = $0; sub(/^<!-- test:? ?/, "", cond); sub(/ ?-->$/, "", cond); armed = 1; next
        }
        armed && /^```sh$/ { n++; inside = 1; armed = 0; out = dir "/" n ".sh"
            print n "|" FILENAME ":" FNR "|" cond; printf "" > out; next }
        inside && /^```$/ { inside = 0; close(out); next }
        inside { print > out; next }
        armed && !/^$/ { print "0|" FILENAME ":" FNR "|a test mark without a sh block"; armed = 0 }
    ' README.md docs/*.md
}

while IFS='|' read -r n where cond; do
    ((seen++))
    name=$(tr '/:' '__' <<<"$where")
    if [[ $n == 0 ]]; then
        echo "FAIL $name: $cond"
        status=1
        continue
    fi
    if grep -qE 'vmscope' "$TEST_DIR/$n.sh" && [[ ! -e /dev/kvm ]]; then
        echo "SKIP $name: there is no /dev/kvm"
        continue
    fi
    want=0 words=
    [[ $cond =~ status\ ([0-9]+) ]] && want=${BASH_REMATCH[1]}
    [[ $cond =~ prints\ (.*)$ ]] && words=${BASH_REMATCH[1]}
    timeout $((250 * TESTS_SCALE)) bash -e "$TEST_DIR/$n.sh" >"$TEST_DIR/$n.out" 2>&1 </dev/null
    got=$?
    if ((got != want)); then
        echo "FAIL $name: status $got, want $want: $(tail -n 1 "$TEST_DIR/$n.out" | head -c 300)"
        status=1
    elif [[ $words ]] && ! grep -qaF -- "$words" "$TEST_DIR/$n.out"; then
        echo "FAIL $name: does not print \"$words\" but: $(tail -n 1 "$TEST_DIR/$n.out" | head -c 300)"
        status=1
    else
        echo "ok $name"
    fi
done < <(blocks)
((seen)) || echo "SKIP examples: no document has one"
exit $status
