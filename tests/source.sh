#!/bin/sh
# Rules over the source text that need no tool beyond awk and the compiler.
cd "$(dirname "$0")/.." || exit 2
status=0
result() { # NAME TEXT: fails when there is text
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        printf '%s\n' "$2"
        echo "FAIL $1: $(printf '%s\n' "$2" | head -n 1)"
        status=1
    fi
}
files=$(find vmm debug disasm scripts tui guests tests -name '*.[ch]' 2>/dev/null)
# shellcheck disable=SC2086
result arrows "$(awk -f tests/tools/arrows.awk $files)"
result headers_compile_alone "$(make --no-print-directory headers 2>&1 | grep -E 'error|Error' | head -n 20)"
# shellcheck disable=SC2086
result no_long_lines "$(awk '/clang-format off/ { table = 1 } /clang-format on/ || FNR == 1 { table = 0 }
    !table && length($0) > 140 { print FILENAME ":" FNR ": " length($0) " bytes" }' \
    $(printf '%s\n' $files | grep -v '^tests/'))"
# A clone holds these folders and no other; a build adds o.
result folders "$(git ls-files 2>/dev/null | awk -F/ 'NF > 1 && $1 !~ /^\./ { print $1 }' | sort -u |
    grep -vxE 'tui|vmm|debug|disasm|scripts|guests|tests|docs' | sed 's/^/a folder too many: /')"
exit $status
