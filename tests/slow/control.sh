#!/bin/bash
# Several control clients at once that say anything at random for CONTROL_SECONDS (60): right and wrong
# requests, halves, garbage, and silence. vmscope, under the address sanitizer, lives, and leaves nothing.
set -u
cd "$(dirname "$0")/../.." || exit 2
[[ -r /dev/kvm && -w /dev/kvm ]] || { echo "SKIP random_clients: no usable /dev/kvm"; exit 0; }
make --no-print-directory MODE=asan "${O:-o}/asan/vmscope" >"$TEST_DIR/build" 2>&1 ||
    { echo "FAIL random_clients: cannot build: $(tail -n 1 "$TEST_DIR/build")"; exit 1; }
cat >"$TEST_DIR/clients.py" <<'PY'
import json, os, random, socket, subprocess, sys, time

program, guest, folder, seconds, seed = sys.argv[1:]
random.seed(int(seed))
path = folder + "/s"
errors = open(folder + "/errors", "w+")
vms = subprocess.Popen([program, "run", "-S", "--control", "unix:" + path, "-c", "2", guest],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
while not os.path.exists(path):
    time.sleep(0.05)
open(folder + "/cmds", "w").write("stepi 2\nprint $rip\ncontinue\nprint $rsp\n")
LINES = ["info registers", "info exits", "break shell_run", "continue", "stepi 5", "nexti", "finish",
         "delete", "x/8xg $rsp", "backtrace", "info devices", "print 1+", "watch *0x1000", "catch io",
         "tbreak cmd_user", "send user\\r", "type ls\\n", "lua vm.regs.rip", "lua error('x')", "stop",
         "source " + folder + "/cmds", "display $rip", "undisplay", "info walk $rsp", "storm", "reset",
         "control status", "vcpu 1", "vcpu 9", "set $rax = 5", "until shell_run", "", "\x00", "x" * 5000]
WORDS = ["stopped", "running", "console", "storm", "mode", "reset", "trace", "points", "state", "rip",
         "xmm0", "nothing"]
ODD = [None, [], {}, True, -1, 1e300, "\x00", 1 << 62]
VALUES = {
    "s": lambda: random.choice(LINES + ["linear", "physical", "break", "com2", "00ff"]),
    "b": lambda: random.random() < 0.5,
    "u": lambda: random.choice([0, 1, 2, 100, 1 << 40, "0x10", "no number"]),
    "a": lambda: random.choice([0, 4096, "$rip", "0xfffffffffffffff0", "shell_run", "nothing+"]),
    "n": lambda: random.choice([0, 0.01, 0.2]),
    "o": lambda: {"rax": 1, "rbx": "$rsp"},
    "l": lambda: random.sample(WORDS, random.randint(0, 5)),
}

def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.settimeout(5)
    return s

def request(n, method):
    params = {}
    spec = method["params"] + (" wait?:b timeout?:n" if method["waits"] else "")
    for name, kind in (field.split(":") for field in spec.split()):
        if not name.endswith("?") or random.random() < 0.6:
            odd = random.random() < 0.05
            params[name.rstrip("?")] = random.choice(ODD) if odd else VALUES[kind]()
    line = json.dumps({"jsonrpc": "2.0", "id": n, "method": method["name"], "params": params})
    line = line.encode() + b"\n"
    if random.random() < 0.05:
        line = line[:random.randint(0, len(line))]
    return os.urandom(200) if random.random() < 0.03 else line

def ask(s, method):
    s.sendall(json.dumps({"jsonrpc": "2.0", "id": "x", "method": method}).encode() + b"\n")
    have = b""
    while b'"id":"x"' not in have or not have.endswith(b"\n"):
        have += s.recv(1 << 16)
    return next(json.loads(l) for l in have.split(b"\n") if b'"id":"x"' in l)

first = connect()
methods = [m for m in ask(first, "hello")["result"]["methods"] if m["name"] != "quit"]
first.close()
clients, sent, end = [], 0, time.time() + float(seconds)
while time.time() < end and vms.poll() is None:
    if len(clients) < 6 and random.random() < 0.3:
        clients.append(connect())
        clients[-1].settimeout(0.02)
    if not clients:
        continue
    c = random.choice(clients)
    try:
        c.sendall(request(sent, random.choice(methods)))
        sent += 1
        if random.random() < 0.5 and not c.recv(1 << 20):
            raise OSError("it hung up")
    except socket.timeout:
        pass
    except OSError:
        clients.remove(c)
        continue
    if random.random() < 0.02:
        c.close()
        clients.remove(c)
for c in clients:
    c.close()
if vms.poll() is None:
    last = connect()
    last.settimeout(60)
    ask(last, "quit")
    vms.wait(60)
errors.seek(0)
said = errors.read()
assert vms.returncode in range(0, 11) and "ERROR" not in said, (vms.returncode, said[-3000:])
assert not os.path.exists(path), "the socket is still there"
print(sent, "requests")
PY
seed=${SEED:-$RANDOM}
if ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 timeout 400 python3 "$TEST_DIR/clients.py" \
    "${O:-o}/asan/vmscope" "${O:-o}/guests/tinyos" "$TEST_DIR" "${CONTROL_SECONDS:-60}" "$seed" >"$TEST_DIR/said" 2>&1; then
    echo "ok random_clients ($(tail -n 1 "$TEST_DIR/said"), SEED=$seed)"
else
    echo "FAIL random_clients: SEED=$seed: $(tail -n 1 "$TEST_DIR/said" | head -c 1500)"
    exit 1
fi
