#!/bin/bash
# The manual page: its tables are those of the program, and mandoc finds nothing to say about it.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0
if tests/tools/man "$VMSCOPE" docs/vmscope.1 >"$TEST_DIR/vmscope.1" &&
    diff -u docs/vmscope.1 "$TEST_DIR/vmscope.1" >"$TEST_DIR/man.diff"; then
    echo "ok tables_are_the_program's"
else
    head -n 30 "$TEST_DIR/man.diff"
    echo "FAIL tables_are_the_program's: docs/vmscope.1 is out of date: make docs"
    status=1
fi
# Whether other manuals are installed is no fault of the page.
if ! command -v mandoc >/dev/null; then
    echo "SKIP mandoc: there is no mandoc"
else
    said=$(mandoc -Tlint docs/vmscope.1 2>/dev/null | grep -v 'referenced manual not found')
    if [[ $said ]]; then
        echo "$said"
        echo "FAIL mandoc: $(head -n 1 <<<"$said")"
        status=1
    else
        echo "ok mandoc"
    fi
fi
# Every option and command the program has is in the page.
for word in $("$VMSCOPE" --help | grep -oE -- '--[a-z-]+' | sort -u); do
    grep -qF -- "${word#-}" docs/vmscope.1 || { echo "FAIL options: $word is not in the page"; status=1; }
done
exit $status
