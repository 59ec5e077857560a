#!/bin/bash
# tests/run itself: what it counts, and that nothing that goes wrong is taken for success.
set -u
unset TESTS_SCALE # the scale of the run that this is part of is not that of those below
run=$(dirname "$0")/run
tree=$TEST_DIR/tree
mkdir -p "$tree/tests/cmd" "$tree/tests/svm"
cp "$run" "$tree/tests/run"
printf '#!/bin/bash\necho "in the rig for $1 s"; shift; exec "$@"\n' >"$tree/tests/svm/run.sh"
chmod +x "$tree/tests/svm/run.sh"
status=0 options=()

# expect NAME SCRIPT-TEXT LAST-LINE EXIT [WORDS]: with ${options[@]}, and $limit seconds
limit=100
expect() {
    local out got
    printf '#!/bin/bash\n%s\n' "$2" >"$tree/tests/cmd/x.sh"
    chmod +x "$tree/tests/cmd/x.sh"
    out=$(TESTS_LIMIT=$limit "$tree/tests/run" "${options[@]}" cmd 2>&1)
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
limit=2 expect time_limit $'echo ok a\nexec sleep 400' "1 passed, 1 failed, 0 skipped" 1 "still ran after"
# Two programs that need each other do not end one after the other.
cat >"$tree/tests/cmd/y.sh" <<'EOF'
#!/bin/bash
touch "$TEST_DIR/../here"
until [[ -e $TEST_DIR/../there ]]; do sleep 0.01; done
echo "ok b"
EOF
chmod +x "$tree/tests/cmd/y.sh"
TESTS_JOBS=2 expect programs_run_at_once $'touch "$TEST_DIR/../there"
until [[ -e $TEST_DIR/../here ]]; do sleep 0.01; done\necho "ok a"' "2 passed, 0 failed, 0 skipped" 0
rm -rf "$tree/tests/cmd/y.sh" "$tree"/o/check/cmd/*here
options=(--svm)
expect svm_names_its_programs $'echo ok a\necho "FAIL b: one is two"\nexit 1' \
    "1 passed, 1 failed, 0 skipped" 1 "svm/cmd/x: b: one is two"
expect svm_is_said_again $'echo "FAIL b: one is two"\nexit 1' \
    "0 passed, 1 failed, 0 skipped" 1 "again: tests/run --svm -v cmd/x"
options=(--svm -v)
expect svm_has_four_times_the_time 'echo "ok a $TESTS_SCALE"' "1 passed, 0 failed, 0 skipped" 0 "in the rig for 400 s"
SVM_SECONDS=-1 expect svm_ends 'echo "ok a"' "0 passed, 0 failed, 1 skipped" 0 "not begun: SVM_SECONDS"

# A rig that hangs $HANGS times, in place of a real one.
cp "$(dirname "$0")/svm/run.sh" "$tree/tests/svm/run.sh"
cat >"$tree/tests/svm-rig" <<'EOF'
#!/bin/bash
[[ $1 == --prepare ]] && exit
echo x >>"$TEST_DIR/rigs"
while [[ $1 != -- ]]; do shift; done
shift
(($(wc -l <"$TEST_DIR/rigs") > HANGS)) && exec "$@"
echo "ok half"
exit 124
EOF
chmod +x "$tree/tests/svm-rig"
export HANGS
options=(--svm)
HANGS=0 expect svm_once 'echo "ok a"' "1 passed, 0 failed, 0 skipped" 0
HANGS=0 expect svm_fails_once $'echo "FAIL a: why"\nexit 1' "0 passed, 1 failed, 0 skipped" 1 "a: why"
HANGS=1 expect svm_hung_rig_is_no_result 'echo "ok a"' "1 passed, 0 failed, 0 skipped" 0
HANGS=2 expect svm_hung_twice_is_a_failure 'echo "ok a"' "0 passed, 1 failed, 0 skipped" 1 "hung or failed twice"
exit $status
