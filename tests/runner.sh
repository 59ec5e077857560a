#!/bin/bash
# tests/run itself: what it counts, and that nothing that goes wrong is taken for success.
set -u
run=$(dirname "$0")/run
tree=$TEST_DIR/tree
mkdir -p "$tree/tests/cmd"
cp "$run" "$tree/tests/run"
status=0

# expect NAME SCRIPT-TEXT LAST-LINE EXIT [WORDS]
expect() {
    local out got
    printf '#!/bin/bash\n%s\n' "$2" >"$tree/tests/cmd/x.sh"
    chmod +x "$tree/tests/cmd/x.sh"
    out=$(TESTS_LIMIT=2 "$tree/tests/run" cmd 2>&1)
    got=$?
    if [[ ${out##*$'\n'} == "$3" && $got == "$4" && $out == *"${5-}"* ]]; then
        echo "ok $1"
    else
        echo "FAIL $1: exit $got and \"${out##*$'\n'}\", want exit $4 and \"$3\" with \"${5-}\""
        printf '%s\n' "$out"
        status=1
    fi
}

expect counts_lines $'echo ok a\necho chatter\necho "SKIP b: no such host"\nprintf "ok c"' \
    "2 passed, 0 failed, 1 skipped" 0 "cmd/x: b: no such host"
expect failure_is_shown $'echo "ok a"\necho "FAIL b: one is two"\nexit 1' \
    "1 passed, 1 failed, 0 skipped" 1 "again: tests/run -v cmd/x"
expect crash_is_a_failure $'echo "ok a"\nkill -SEGV $$' "1 passed, 1 failed, 0 skipped" 1 "signal SEGV"
expect silence_is_a_failure 'true' "0 passed, 1 failed, 0 skipped" 1 "printed no result"
expect status_without_fail $'echo ok a\nexit 3' "1 passed, 1 failed, 0 skipped" 1 "status 3"
expect fail_without_status 'echo "FAIL a: why"' "0 passed, 2 failed, 0 skipped" 1 "ended with status 0"
expect time_limit $'echo ok a\nexec sleep 400' "1 passed, 1 failed, 0 skipped" 1 "still ran after"
exit $status
