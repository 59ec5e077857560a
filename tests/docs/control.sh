#!/bin/bash
# docs/control.md against the program: every method, event and code that it has is described, and nothing
# else is. And the socket's life: mode, removal, and what one that died left behind.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0
doc=docs/control.md
[[ -r /dev/kvm && -w /dev/kvm ]] || { echo "SKIP control: no usable /dev/kvm"; exit 0; }
command -v nc >/dev/null || { echo "SKIP control: there is no nc"; exit 0; }

check() { # NAME CONDITION-TEXT-OR-EMPTY
    if [[ $2 ]]; then
        echo "FAIL $1: $2"
        status=1
    else
        echo "ok $1"
    fi
}
listens() {
    until [[ -S $TEST_DIR/s ]]; do
        kill -0 $pid 2>/dev/null || return
        sleep 0.05
    done
}
start() {
    "$VMSCOPE" run -S --control "unix:$TEST_DIR/s" "${O:-o}/guests/hello64" >"$TEST_DIR/out" 2>&1 </dev/null &
    pid=$!
    listens || echo "FAIL start: it does not listen: $(head -c 300 "$TEST_DIR/out")"
}

start
check mode "$([[ $(stat -c %a "$TEST_DIR/s") == 600 ]] || echo "it is $(stat -c %a "$TEST_DIR/s")")"
printf '{"jsonrpc":"2.0","id":1,"method":"hello"}' | nc -N -U "$TEST_DIR/s" >"$TEST_DIR/hello"
have=$(grep -o '"name":"[^"]*"' "$TEST_DIR/hello" | cut -d'"' -f4 | sort)
said=$(sed -n '/^## Methods/,/^## Events/s/^| `\([a-z.]*\)`.*/\1/p' $doc | sort)
check methods "$(diff <(echo "$have") <(echo "$said") | head -n 3)"
have=$(grep -o '"events":\[[^]]*' "$TEST_DIR/hello" | cut -d'[' -f2 | tr -d '"' | tr , '\n' | sort)
said=$(sed -n '/^## Events/,/^## Errors/s/^| `\([a-z]*\)`.*/\1/p' $doc | grep -vxE 'lost|sourced' | sort)
check events "$(diff <(echo "$have") <(echo "$said") | head -n 3)"
have=$(grep -oE '= -32[0-9]{3}' debug/control/rpc.h | tr -d '= ' | sort)
said=$(sed -n '/^## Errors/,$s/^| \(-[0-9]*\).*/\1/p' $doc | sort)
check codes "$(diff <(echo "$have") <(echo "$said") | head -n 3)"

kill -KILL $pid
wait $pid 2>/dev/null
check left_behind "$([[ -S $TEST_DIR/s ]] || echo "a killed vmscope leaves its socket, and did not")"
rm -f "$TEST_DIR/answer"
"$VMSCOPE" run -S --control "unix:$TEST_DIR/s" "${O:-o}/guests/hello64" >"$TEST_DIR/out" 2>&1 </dev/null &
pid=$!
while kill -0 $pid 2>/dev/null; do
    printf '{"jsonrpc":"2.0","id":1,"method":"quit","params":{"status":5}}\n' |
        nc -N -U "$TEST_DIR/s" >"$TEST_DIR/answer" 2>/dev/null
    grep -q result "$TEST_DIR/answer" && break
    sleep 0.05
done
wait $pid
got=$?
check taken_over "$([[ $got == 5 ]] || echo "status $got, want 5: $(head -c 300 "$TEST_DIR/out")")"
check removed "$([[ ! -e $TEST_DIR/s ]] || echo "the socket is still there")"
exit $status
