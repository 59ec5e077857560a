#!/bin/bash
# Every file of the tree that a document names must exist; names with a capital in the last part
# (vmm/devices/NAME.c) are placeholders. Every relative link must lead somewhere.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0
for doc in README.md docs/*.md docs/*.1; do
    [[ -f $doc ]] || continue
    missing=
    while read -r path; do
        [[ ${path##*/} =~ [A-Z*] && ! -e $path ]] && [[ ${path##*/} != Makefile ]] && continue
        [[ -e $path ]] || missing+=" $path"
    done < <(grep -oE '\b(vmm|debug|disasm|scripts|tui|guests|tests|tools|docs)/[A-Za-z0-9_/.*-]*[A-Za-z0-9_*]\.(c|h|S|def|sh|md|mk|lua|tsv|awk|1|ld)\b' "$doc" | sort -u)
    while read -r link; do
        [[ -e $(dirname "$doc")/$link ]] || missing+=" link:$link"
    done < <(grep -oE '\]\([^)#:]+\)' "$doc" | sed 's/^](//; s/)$//' | sort -u)
    if [[ $missing ]]; then
        echo "FAIL ${doc##*/}: names what is not there:$missing"
        status=1
    else
        echo "ok ${doc##*/}"
    fi
done
exit $status
