#!/bin/bash
# docs/assist.md has a row for each kind of assist.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0 n=0
while read -r name; do
    ((n++))
    grep -qF "| \`$name\` |" docs/assist.md || { echo "FAIL assist_kinds: docs/assist.md has no row for \`$name\`"; status=1; }
done < <(sed -n 's/^ *\[ASSIST_[A-Z0-9_]*\] *= {"\([^"]*\)".*/\1/p' vmm/assist.c)
((n > 20)) || { echo "FAIL assist_kinds: only $n kinds found in vmm/assist.c"; exit 1; }
((status)) || echo "ok assist_kinds"
exit $status
