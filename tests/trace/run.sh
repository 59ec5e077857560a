#!/bin/bash
# The tracer against what guests say they did: counts are exact, a trace file gives the tables of
# the live view, filters count what matches, a killed vmscope leaves what it had flushed.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests
status=0
fail() {
    echo "FAIL $1: $2"
    status=1
}
[[ -r /dev/kvm && -w /dev/kvm ]] || {
    echo "SKIP tracer: no usable /dev/kvm"
    exit 0
}

# same NAME WANT GOT
same() { if [[ $2 == "$3" ]]; then echo "ok $1"; else fail "$1" "want \"$2\", got \"$3\""; fi; }

# count BY LABEL N GUEST: rows of `info exits by BY` whose first words are LABEL, live and recorded.
storm() {
    local guest=$1 n=$2 by=$3 label=$4 want=$5 live file=$TEST_DIR/$1.vtr
    "$VMSCOPE" run --serial "file:$TEST_DIR/$guest.serial" --append "n=$n" --trace "$file" -e continue \
        -e "info exits by $by top 1000" "$g/$guest" >"$TEST_DIR/$guest.live" 2>"$TEST_DIR/$guest.err" </dev/null
    grep -qa "made $n" "$TEST_DIR/$guest.serial" || fail "$guest" "the guest did not make $n: $(tail -n 1 "$TEST_DIR/$guest.err")"
    # The count is the first number behind the label, which ends in two blanks.
    live=$(sed -n "s/^$label  *\([0-9][0-9]*\) .*/\1/p" "$TEST_DIR/$guest.live")
    same "$guest: $want records of $n" "$want" "$live"
    "$VMSCOPE" report --by "$by" --top 1000 "$file" >"$TEST_DIR/$guest.report" 2>&1
    same "$guest: the report has the live table" \
        "$(sed -n "/^$by  /,/ a crossing /p" "$TEST_DIR/$guest.live")" \
        "$(sed -n "/^$by  /,/ a crossing /p" "$TEST_DIR/$guest.report")"
}
storm storm_pio 20000 what 'out 0x80 (POST code), 1 byte' 20000
storm storm_mmio 20000 gpa '0xfe000000 read (no device)' 10000
storm storm_hlt 200 kind hlt 200
storm storm_msr 3000 msr 'rdmsr 0xe9e9' 3000

# With --visible all an MSR that KVM knows comes to us too, and is answered as KVM does.
"$VMSCOPE" run --visible all --serial "file:$TEST_DIR/visible" --append "n=500 msr=0x10" -e continue \
    -e 'info exits by msr' "$g/storm_msr" >"$TEST_DIR/visible.live" 2>&1 </dev/null
if grep -q 'does not filter MSRs' "$TEST_DIR/visible.live"; then
    echo "SKIP visible all: this KVM does not filter MSRs"
else
    same "visible all shows an MSR that KVM knows" 500 "$(sed -n 's/^rdmsr 0x10[ (][^0-9]*\([0-9]*\) .*/\1/p' "$TEST_DIR/visible.live")"
    grep -qa '500 answered, 0 refused' "$TEST_DIR/visible" && echo "ok visible all answers as KVM does" ||
        fail "visible all" "$(tr -d '\r' <"$TEST_DIR/visible" | head -n 1)"
fi

"$VMSCOPE" run --serial none --append n=1000 -e 'trace filter kind==io && port==0x80 && value<0x10' \
    -e continue -e 'info exits by port' "$g/storm_pio" >"$TEST_DIR/filter" 2>&1 </dev/null
# 1000 writes of 0, 1, 2, … cut to a byte: 16 of each 256, and the first 16 of the last 232
same "filter counts what matches" 64 "$(sed -n 's/^0x80 out (POST code)  *\([0-9]*\) .*/\1/p' "$TEST_DIR/filter")"

# KVM's own counters: they exist where the kernel has them, and agree where they count the same.
"$VMSCOPE" run --serial none --append n=5000 -e continue -e 'info counters all' -e 'info exits' \
    "$g/storm_pio" >"$TEST_DIR/counters" 2>&1 </dev/null
counter() { sed -n "s/^$1  *\([0-9]*\)  .*/\1/p" "$TEST_DIR/counters"; }
if ! grep -q '^counter ' "$TEST_DIR/counters"; then
    echo "SKIP counters: $(grep -o "KVM's counters.*" "$TEST_DIR/counters" | head -n 1)"
elif (($(counter io_exits) > 0)); then
    same "KVM counts the same I/O exits" "$(counter io_exits)" "$(counter io)"
elif (($(counter insn_emulation) >= 5000)); then
    echo "ok KVM counts the instructions that it interpreted"
else
    fail "counters" "neither io_exits nor insn_emulation counted 5000 writes"
fi

# Halts and interrupts are counted by KVM, by us and by the guest: all the same, live and in the file.
"$VMSCOPE" run --serial none --append n=80 --trace "$TEST_DIR/halts.vtr" -e continue \
    -e 'info counters all' -e 'info exits' "$g/storm_hlt" >"$TEST_DIR/counters" 2>&1 </dev/null
"$VMSCOPE" report --counters "$TEST_DIR/halts.vtr" >"$TEST_DIR/filed" 2>&1
if (($(counter halt_exits) > 0)); then
    same "KVM counts the same halts" "80 80" "$(counter halt_exits) $(counter hlt)"
    same "the file has them" 80 "$(sed -n 's/^halt_exits  *\([0-9]*\)  .*/\1/p' "$TEST_DIR/filed")"
else
    echo "SKIP halts: this kernel counts none"
fi
if (($(counter irq_injections) > 0)); then
    # A processor whose exit cuts the delivery short gets the interrupt again.
    (($(counter irq_injections) >= $(counter inject) && $(counter inject) >= 80)) &&
        echo "ok KVM counts the same interrupts" ||
        fail "KVM counts the same interrupts" "$(counter irq_injections), want $(counter inject)"
else
    echo "SKIP interrupts: this kernel counts none"
fi

# Events inside KVM: CPUID never leaves it, but its trace point tells each.
inside() {
    "$VMSCOPE" run --serial none --append n=2000 -e 'trace kernel on' -e continue \
        -e 'info exits by what top 100' "$g/storm_cpuid" </dev/null
}
export -f inside
export g
if unshare -m bash -c 'mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null; inside' >"$TEST_DIR/kernel" 2>&1 ||
    grep -q 'kernel: cpuid' "$TEST_DIR/kernel"; then
    if grep -q 'kernel: cpuid 0x0  *2000 ' "$TEST_DIR/kernel"; then
        echo "ok trace points: 2000 CPUID inside KVM"
    elif grep -q 'kernel: exit' "$TEST_DIR/kernel" && grep -q '2000 ' "$TEST_DIR/kernel"; then
        echo "ok trace points: exits inside KVM"
    else
        fail "trace points" "$(tail -n 3 "$TEST_DIR/kernel" | head -c 300)"
    fi
else
    echo "SKIP trace points: $(grep -oE "the kernel's trace points.*|unshare.*" "$TEST_DIR/kernel" | head -n 1 | head -c 200)"
fi

# A kill leaves whole blocks; what they hold is a prefix.
"$VMSCOPE" run --serial none --append n=100000000 --trace "$TEST_DIR/killed.vtr" "$g/storm_pio" \
    >"$TEST_DIR/killed.log" 2>&1 </dev/null &
pid=$!
until [[ -s $TEST_DIR/killed.vtr && $(stat -c %s "$TEST_DIR/killed.vtr") -gt 100000 ]] || ! kill -0 $pid 2>/dev/null; do
    sleep 0.05
done
kill -KILL $pid
wait $pid 2>/dev/null
"$VMSCOPE" report --by port --json "$TEST_DIR/killed.vtr" >"$TEST_DIR/killed.json" 2>&1
if grep -q 'no index' "$TEST_DIR/killed.json" && grep -q '"total":[0-9]\{4,\}' "$TEST_DIR/killed.json"; then
    echo "ok killed writers leave a trace"
else
    fail "killed writers leave a trace" "$(head -c 300 "$TEST_DIR/killed.json")"
fi
exit $status
