#!/bin/bash
# The picture in README.md is what the workbench draws today: the same command in a terminal of that size,
# numbers aside (addresses move with every change of the guest, times with every run).
set -u
cd "$(dirname "$0")/../.." || exit 2
names=picture
. tests/lib/tmux.sh

masked() { sed -E 's/[0-9a-f]*[0-9][0-9a-f]*/#/g; s/[ …]+/ /g; s/ $//' "$1"; }
awk '/^```text$/ { inside = 1; next } /^```$/ { inside = 0 } inside' README.md >"$TEST_DIR/said"
height=$(wc -l <"$TEST_DIR/said")
open_term 92 "$height" "$VMSCOPE" --append do=user \
    -e "'break process_run'" -e continue "${O:-o}/guests/tinyos"
if ! see 'Answers .*Esc closes' || ! see 'Breakpoint 1, '; then
    screen
    echo "FAIL picture: the guest never stopped at process_run"
    exit 1
fi
keys Escape
lose 'Esc closes'
screen >"$TEST_DIR/seen"
masked "$TEST_DIR/said" >"$TEST_DIR/said.masked"
masked "$TEST_DIR/seen" >"$TEST_DIR/seen.masked"
# The list of exits is another one in every run: five lines may differ, and the bottom lines.
same=$(grep -cxFf "$TEST_DIR/seen.masked" "$TEST_DIR/said.masked")
if ((same + 7 < height)); then
    diff "$TEST_DIR/said" "$TEST_DIR/seen"
    echo "FAIL picture: only $same of $height lines are as README.md shows them; the screen is in the log"
    exit 1
fi
echo "ok picture"
