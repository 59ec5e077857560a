#!/bin/bash
# docs/doctor.md explains every row, answer, method and instruction that `vmscope doctor` can print.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0 n=0
known() { # WHAT, with the names on standard input
    local name found=0
    while IFS= read -r name; do
        ((n++, found++))
        grep -qF "\`$name\`" docs/doctor.md || { echo "FAIL $1: docs/doctor.md does not explain \`$name\`"; status=1; return; }
    done
    ((found)) && echo "ok $1" || { echo "FAIL $1: no names were found in the code"; status=1; }
}
known rows < <(sed -n 's/^    {"\([^"]*\)", offsetof(struct probe, .*/\1/p' debug/doctor.c)
known facts < <(
    sed -n 's/^    fact_bool(o, "\([^"]*\)",.*/\1/p' debug/doctor.c
    grep -oE 'out_text\(o, "%-41s [^;]*"[a-z][^"]+",' debug/doctor.c | sed 's/.*"\([^"]*\)",$/\1/'
)
known methods < <(sed -n 's/^    \[METHOD_[A-Z0-9_]*\] = {"\([^"]*\)".*/\1/p' vmm/method.c)
known features < <(sed -n 's/^    \[MF_[A-Z0-9_]*\] = {{"\([^"]*\)".*/\1/p' vmm/method.c)
known instructions < <(sed -n 's/^    \[PI_[A-Z0-9_]*\] *= {"\([^"]*\)", .*/\1/p' vmm/probe.c)
sed -n '/how_keys\|keys\[PROBE_HOWS\]/,/};/p' vmm/probe.c | grep -oE '"[a-z]+"' | tr -d '"' |
    while read -r answer; do
        grep -qE "^\| ([a-z]+, )*$answer(, [a-z]+)* \|" docs/doctor.md || { echo "FAIL answers: docs/doctor.md does not explain $answer"; exit 1; }
    done && echo "ok answers" || status=1
((n > 60)) || { echo "FAIL doctor: only $n names were found in the code"; status=1; }
exit $status
