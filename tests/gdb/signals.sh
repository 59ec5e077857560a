#!/bin/bash
# vmscope is told to end while a client of its stub waits for the guest: it ends by that signal, and
# the client hears that the machine is gone.
set -u
. "$(dirname "$0")/lib.sh"
skip_without python3 signals

# Continues, says so, and reads to the end of the connection.
waiter() {
    python3 - "$port" "$1" <<'PY'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 200)
s.sendall(b"$QNonStop:%s#%02x$?#3f" % (sys.argv[2].encode(), sum(b"QNonStop:" + sys.argv[2].encode()) & 255))
got = b""
while got.count(b"#") < 2:
    got += s.recv(4096)
s.sendall(b"$vCont;c#a8$qC#b4") # the second is answered at once: it is under way
while b"QC" not in got:
    got += s.recv(4096)
print("goes", flush=True)
while True:
    part = s.recv(4096)
    if not part:
        break
    got += part
print(got.decode(errors="replace"))
PY
}

try() { # NAME SIGNAL NON-STOP ARGS...
    local name=$1 signal=$2 non_stop=$3 code
    shift 3
    start "$@"
    : >"$TEST_DIR/client" # of the one before, which says "goes" too; the child empties it too late
    waiter "$non_stop" >"$TEST_DIR/client" 2>&1 &
    local client=$!
    until grep -q goes "$TEST_DIR/client"; do
        kill -0 $client 2>/dev/null || break
        sleep 0.02
    done
    kill "-$signal" "$vm_pid"
    wait "$vm_pid"
    code=$?
    vm_pid=
    if ! wait $client; then
        fail "$name" "the client: $(tail -n 2 "$TEST_DIR/client")"
    elif ((code != 128 + $(kill -l "$signal"))); then
        fail "$name" "status $code: $(tail -n 2 "$TEST_DIR/vm.err")"
    elif [[ $non_stop == 0 ]] && ! grep -q 'X0f' "$TEST_DIR/client"; then
        fail "$name" "the client is not told: $(tail -n 2 "$TEST_DIR/client")"
    else
        echo "ok $name"
    fi
}
try term TERM 0 "$g/tinyos"
try int INT 0 --cpus 4 --irqchip kernel "$g/tinyos"
try hup_non_stop HUP 1 --cpus 4 "$g/tinyos"
exit $status
