#!/bin/bash
# `vmscope report`: exports, comparison, conditions for CI, explanations, broken files.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests
status=0
fail() {
    echo "FAIL $1: $2"
    status=1
}
[[ -r /dev/kvm && -w /dev/kvm ]] || {
    echo "SKIP report: no usable /dev/kvm"
    exit 0
}
record() { # FILE ARGS...
    local file=$TEST_DIR/$1
    shift
    "$VMSCOPE" run --serial none --trace "$file" "$@" >"$TEST_DIR/run.log" 2>&1 </dev/null
}
record hlt.vtr --append n=60 "$g/storm_hlt"
record pio.vtr --append n=60000 "$g/storm_pio"
record pio2.vtr --append n=60000 "$g/storm_pio"
record pio3.vtr --append n=60001 "$g/storm_pio"
r() { timeout $((250 * TESTS_SCALE)) "$VMSCOPE" report "$@" 2>&1 </dev/null; }
has() { # NAME TEXT ARGS...: a regular expression in what report says
    local name=$1 text=$2 out
    shift 2
    out=$(r "$@")
    if grep -qE -e "$text" <<<"$out"; then echo "ok $name"; else fail "$name" "\"$text\" is not in: $(head -c 400 <<<"$out")"; fi
}

if command -v python3 >/dev/null; then
    r --export perfetto -o "$TEST_DIR/p.json" "$TEST_DIR/hlt.vtr" || fail perfetto "the export failed"
    if why=$(python3 tests/trace/perfetto_check.py "$TEST_DIR/p.json" slices hlt 60 \
        slices 'interrupt 0x20' 60 flows stf 60 2>&1); then
        echo "ok perfetto: the format, every halt, and every interrupt from its line to its end"
    else
        fail perfetto "$why"
    fi
    r --export jsonl "$TEST_DIR/hlt.vtr" >"$TEST_DIR/x.jsonl"
    r --export csv "$TEST_DIR/hlt.vtr" >"$TEST_DIR/x.csv"
    if why=$(python3 - "$TEST_DIR/x.jsonl" "$TEST_DIR/x.csv" 2>&1 <<'PY'
import csv, json, sys
a = [json.loads(l) for l in open(sys.argv[1])]
b = list(csv.DictReader(open(sys.argv[2])))
assert len(a) == len(b) > 100, (len(a), len(b))
assert [x["what"] for x in a] == [x["what"] for x in b]
assert sum(x["kind"] == "hlt" for x in a) == 60
assert sum(x.get("event") == "eoi" and x["line"] == 0 and x["vector"] == 32 for x in a) == 60
assert sum(x["kind"] == "inject" and x["line"] == 0 and x["vector"] == 32 for x in a) == 60
assert sum(x["space"] == "vector" and x["address"] == "0x20" for x in b) == 60
PY
    ); then echo "ok csv and jsonl have the same records"; else fail "csv and jsonl" "${why##*$'\n'}"; fi
    for x in svg html; do
        r --export $x "$TEST_DIR/hlt.vtr" >"$TEST_DIR/x.$x"
    done
    if why=$(python3 -c '
import sys, xml.dom.minidom, html.parser
xml.dom.minidom.parse(sys.argv[1])
t = open(sys.argv[2]).read()
html.parser.HTMLParser().feed(t)
assert "http" not in t.replace("http://www.w3.org/2000/svg", ""), "the page fetches something"
assert "guest_main" in t' "$TEST_DIR/x.svg" "$TEST_DIR/x.html" 2>&1); then echo "ok svg and html"; else fail "svg and html" "${why##*$'\n'}"; fi
else
    echo "SKIP exports: there is no python3 to parse them"
fi
want=$(r --json "$TEST_DIR/hlt.vtr" | sed -n 's/.*"total":\([0-9]*\).*/\1/p')
got=$(r --export folded --if 'kind!=inject' "$TEST_DIR/hlt.vtr" | awk '{n += $NF} END {print n}')
[[ $want == "$got" ]] && echo "ok folded stacks add up" || fail "folded stacks" "$got, want $want"

record calls.vtr -e 'trace stacks on 8' -e continue --append n=60 "$g/storm_hlt"
r --export folded --if 'kind!=inject' "$TEST_DIR/calls.vtr" >"$TEST_DIR/calls.folded"
grep -q '^vCPU 0;kernel;start64;guest_main;hlt 60$' "$TEST_DIR/calls.folded" &&
    grep -q '^vCPU 0;kernel;start64;trap_common;trap_dispatch;on_timer;pic_eoi;out 0x20 .* 60$' "$TEST_DIR/calls.folded" &&
    echo "ok folded stacks have the callers" || fail "callers" "$(head -n 3 "$TEST_DIR/calls.folded")"
n=$(r --export csv "$TEST_DIR/calls.vtr" | awk -F, '/pic_eoi/ {print NR - 1; exit}')
has "explain has the callers" 'called from +on_timer\+0x[0-9a-f]+, from trap_dispatch' --explain "$n" "$TEST_DIR/calls.vtr"
want=$(r --json "$TEST_DIR/calls.vtr" | sed -n 's/.*"total":\([0-9]*\).*/\1/p')
got=$(awk '{n += $NF} END {print n}' "$TEST_DIR/calls.folded")
[[ $want == "$got" ]] && echo "ok callers are no exits" || fail "callers" "$got, want $want"

has "diff: the same run is alike" 'vCPU 0: all [0-9]{5} exits are alike' --diff "$TEST_DIR/pio.vtr" "$TEST_DIR/pio2.vtr"
has "diff: one write more" 'vCPU 0: 60[0-9]{3} exits are alike, then' --diff "$TEST_DIR/pio.vtr" "$TEST_DIR/pio3.vtr"
has "diff: they meet again" 'in all: 600[0-9]{2} of a.s 600[0-9]{2} exits and b.s 600[0-9]{2} are alike; [0-9] are only in a, [0-9] only in b' --diff "$TEST_DIR/pio.vtr" "$TEST_DIR/pio3.vtr"
has "diff: what changed" '^out 0x80 .* 60000 +60001 +\+1 ' --by what --diff "$TEST_DIR/pio.vtr" "$TEST_DIR/pio3.vtr"
has "storms are named" '(9[0-9]|100)% of exits: 1-byte writes to port 0x80 \(POST code\) at guest_main\+0x[0-9a-f]+, [0-9.]+k?/s, [0-9]+% of time; .*delays' --storms "$TEST_DIR/pio.vtr"
has "calm is no storm" 'No storm' --storms "$TEST_DIR/hlt.vtr"
has "explain" 'exit reason 12|HLT exiting is on' --explain "$(r --export csv "$TEST_DIR/hlt.vtr" | awk -F, '$4 == "hlt" {print NR - 1; exit}')" "$TEST_DIR/hlt.vtr"
# A status of report: STATUS ARGS...
status_of() {
    local name=$1 want=$2 got
    shift 2
    r "$@" >"$TEST_DIR/status.log"
    got=$?
    [[ $got == "$want" ]] && echo "ok $name" || fail "$name" "status $got, want $want: $(tail -n 1 "$TEST_DIR/status.log")"
}
status_of "fail-if: true" 8 --fail-if 'count(kind==hlt) == 60 && rate() > 0' "$TEST_DIR/hlt.vtr"
status_of "fail-if: false" 0 --fail-if 'count(kind==hlt && cpl==3) || share(kind==mmio) > 1' "$TEST_DIR/hlt.vtr"
status_of "fail-if of a comparison: true" 8 --diff "$TEST_DIR/pio.vtr" "$TEST_DIR/pio3.vtr" --fail-if 'differ() > 0 && count(port==0x80) == before(port==0x80) + 1'
status_of "fail-if of a comparison: false" 0 --diff "$TEST_DIR/pio.vtr" "$TEST_DIR/pio2.vtr" --fail-if 'differ() > 0'
status_of "fail-if: nothing to compare with" 2 --fail-if 'differ() > 0' "$TEST_DIR/pio.vtr"
status_of "fail-if beside a list" 8 --list 3 --fail-if 'count(kind==hlt) == 60' "$TEST_DIR/hlt.vtr"
status_of "fail-if: not an expression" 2 --fail-if 'count(kind==hlt) >' "$TEST_DIR/hlt.vtr"
status_of "no such key" 2 --by colour "$TEST_DIR/hlt.vtr"
status_of "no such field" 2 --if 'prot==1' "$TEST_DIR/hlt.vtr"
status_of "no such export" 2 --export pdf "$TEST_DIR/hlt.vtr"
status_of "full disk" 2 --export csv -o /dev/full "$TEST_DIR/hlt.vtr"

# Each kind of broken file has its own sentence, which says what is wrong and what was read.
size=$(stat -c %s "$TEST_DIR/pio.vtr")
# The middle of a file's longest block of records: others lie between them, the more the slower the host.
inside_records() {
    local at=64 type stored most=0
    while read -r type stored < <(od -An -v -tu4 -w8 -j $((at + 4)) -N 8 "$1") && ((at < $(stat -c %s "$1") - 24)); do
        ((type % 65536 == 3 && stored > most)) && ((most = stored, middle = at + 56 + stored / 2))
        ((at += 56 + stored))
    done
}
inside_records "$TEST_DIR/pio.vtr"
broken() { # NAME TEXT; the file is $TEST_DIR/broken.vtr
    has "$1" "$2" "$TEST_DIR/broken.vtr"
}
: >"$TEST_DIR/broken.vtr"
broken "an empty file" 'is empty: nothing was recorded'
head -c 40 "$TEST_DIR/pio.vtr" >"$TEST_DIR/broken.vtr"
broken "half a head" 'has only 40 bytes, and the head of one has 64'
head -c 64 "$TEST_DIR/pio.vtr" >"$TEST_DIR/broken.vtr"
broken "a head alone" 'The file has no exits'
broken "a head alone says why" 'has no index: its writer was killed or is still at work'
head -c 300 "$TEST_DIR/pio.vtr" >"$TEST_DIR/broken.vtr"
broken "cut in the names" 'ends in the middle of its names'
head -c $middle "$TEST_DIR/pio.vtr" >"$TEST_DIR/broken.vtr"
broken "cut in the records" 'ends in the middle of a block of [0-9]+ records; what stands before is whole'
head -c $((size - 10)) "$TEST_DIR/pio.vtr" >"$TEST_DIR/broken.vtr"
broken "cut at the end" 'lacks its last bytes; all blocks are there'
patch() { # AT BYTES: over a copy
    cp "$TEST_DIR/pio.vtr" "$TEST_DIR/broken.vtr"
    printf "$2" | dd of="$TEST_DIR/broken.vtr" bs=1 seek="$1" conv=notrunc status=none
}
patch 8 '\x09'
broken "another format" 'is of trace format 9 .* reads format 1 .*use the vmscope that wrote it'
patch 20 '\x63'
broken "newer records" 'records of version 99 .* versions 1 to [0-9]+'
patch $middle '\xff\xff\xff\xff\xff\xff\xff\xff'
broken "a damaged block" 'is damaged at byte [0-9]+: the [0-9]+ records of that block are left out'
broken "a damaged block costs no other" '[0-9]+ of [0-9]+ records could be read'
printf 'MZ\0\0no trace at all, but long enough to be taken for one if nobody looked at it' >"$TEST_DIR/broken.vtr"
broken "something else" 'is no trace file: it does not begin as one'

# Broken files: a sentence, what is readable, never a crash.
size=$(stat -c %s "$TEST_DIR/pio.vtr")
crashed=0
for i in 1 7 63 64 100 $((size / 3)) $((size / 2)) $((size - 30)) $((size - 1)); do
    head -c "$i" "$TEST_DIR/pio.vtr" >"$TEST_DIR/cut.vtr"
    r --by site "$TEST_DIR/cut.vtr" >"$TEST_DIR/cut.log"
    (($? > 2)) && crashed=$i
    [[ -s $TEST_DIR/cut.log ]] || crashed=$i
done
((crashed)) && fail "cut files" "at $crashed: $(tail -n 1 "$TEST_DIR/cut.log")" || echo "ok cut files give a sentence"
exit $status
