#!/bin/bash
# replay.sh PROGRAM: feeds a fuzz target the files of its corpus (tests/fuzz/corpus/NAME for
# fuzz_NAME). After a crash each file is tried alone, so that the guilty one is named.
set -u
cd "$(dirname "$0")/../.." || exit 2
program=$1
name=${program##*/fuzz_}
shopt -s nullglob
files=(tests/fuzz/corpus/"$name"/*)
if ((${#files[@]} == 0)); then
    echo "FAIL corpus: tests/fuzz/corpus/$name has no file"
    exit 1
fi
if "$program" "${files[@]}"; then
    echo "ok ${#files[@]} files"
    exit 0
fi
for f in "${files[@]}"; do
    timeout $((100 * TESTS_SCALE)) "$program" "$f" >"$TEST_DIR/one.log" 2>&1 && continue
    echo "FAIL ${f##*/}: $(grep -m1 -E 'ERROR|runtime error|ssert' "$TEST_DIR/one.log" || echo "ended with an error")"
    echo "  again: $program $f"
done
echo "FAIL replay: the program failed over the whole corpus"
exit 1
