"""Clients that send nonsense and die anywhere. `gdb_hostile.py SEED SECONDS VMSCOPE-ARGS…` starts a guest
again whenever a client has ended it, and fails unless an honest client is answered afterwards."""
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time

SEED, SECONDS, ARGS = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
ADDRESSES = [0x7c00, 0x100000, 0x1000, 0xfee00000, 0xffffffff80000000, 5, (1 << 64) - 1]
THREADS = ["1", "2", "-1", "0", "p1.1", "9", "4"]
COMMANDS = ["info registers", "info exits", "stepi", "continue", "reset", "gdb status", "arch i386", "arch auto",
            "realmode offset", "info tab", "complete in", "stop", "break *0x100000", "delete", "\n", "\x00"]
random.seed(SEED)
number = random.randint
stderr = []


def boot():
    vm = subprocess.Popen([os.environ["VMSCOPE"], "run", "-S", "--gdb", "0", "--timeout", str(SECONDS + 60)] + ARGS,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in vm.stderr:
        at = re.search(rb"127\.0\.0\.1:(\d+)", line)
        if at:
            threading.Thread(target=lambda: stderr.extend(vm.stderr), daemon=True).start()
            return vm, int(at.group(1))
    sys.exit("FAIL %s: vmscope does not start" % SEED)


def framed(body):
    body = b"".join(b"}" + bytes([c ^ 0x20]) if c in b"#$}*" else bytes([c]) for c in body)
    return b"$" + body + b"#%02x" % (sum(body) & 255)


def packet():
    a = random.choice(ADDRESSES + [number(0, 1 << 22)])
    return random.choice([
        "qSupported:swbreak+;hwbreak+;exec-events+;error-message+", "QStartNoAckMode", "?", "g", "G" + "00" * number(0, 80),
        "p%x" % number(0, 200), "P%x=%0*x" % (number(0, 180), 2 * random.choice([1, 4, 8, 10, 16]), number(0, 255)),
        "m%x,%x" % (a, number(0, 0x2000)), "M%x,4:01020304" % a, "x%x,%x" % (a, number(0, 0x40000)), "X%x,3:abc" % a,
        "Z%d,%x,%x" % (number(0, 5), a, number(0, 70)), "z%d,%x,%x" % (number(0, 5), a, number(0, 70)),
        "Z0,%x,1;X8,2600002303001327" % a, "Z0,%x,1;X%x,%016x" % (a, number(1, 8), number(0, 1 << 64)),
        "Z0,%x,1;cmds:1,X4,23002a27" % a, "c", "s", "vCont;s:1;c", "vCont;c", "vCont;r%x,%x:1" % (a, a + 64), "vCont;t",
        "vCont;s:" + random.choice(THREADS), "C05", "S05", "vCtrlC", "H%s%s" % (random.choice("cg"), random.choice(THREADS)),
        "T" + random.choice(THREADS), "qXfer:features:read:target.xml:%x,1000" % (number(0, 3) * 0x1000),
        "qXfer:threads:read::0,1000", "qRcmd," + random.choice(COMMANDS).encode().hex(), "vRun;", "R00", "vKill;1",
        "vAttach;1", "!", "D", "k", "QNonStop:%d" % number(0, 1), "vStopped", "jThreadsInfo",
        "qSearch:memory:%x;%x;ab" % (a, number(0, 1 << 24)), "qCRC:%x,%x" % (a, number(0, 1 << 20)),
        "QThreadSuffixSupported", "QListThreadsInStopReply", "Qqemu.PhyMemMode:%d" % number(0, 1), "vFile:open:2f,0,0",
        "bs", "bc", "qMemoryRegionInfo:%x" % a, "\x03"])


def converse(s):
    for _ in range(number(0, 30)):
        text = packet()
        data = b"\x03" if text == "\x03" else framed(text.encode())
        if not number(0, 40):
            data = data[:number(0, len(data))]
        if not number(0, 60):
            data = bytes(c ^ (0 if number(0, 9) else number(0, 255)) for c in data)
        s.sendall(data)
        try:
            if number(0, 1) and not s.recv(65536):
                return
        except socket.timeout:
            pass


def answers(port):
    """An honest client, when the last one is gone."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 20) as s:
                s.sendall(b"\x03" + framed(b"QNonStop:0") + framed(b"qC"))
                got = b""
                while b"QC" not in got:
                    part = s.recv(4096)
                    if not part:
                        break
                    got += part
                if b"QC" in got:
                    return True
        except OSError:
            return False
    return False


def goes_on(vm, port):
    if answers(port):
        return True
    try:
        return vm.wait(20) >= 0  # a client has let the guest run to its end
    except subprocess.TimeoutExpired:
        return False


vm, port = boot()
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            s.settimeout(0.02)
            if not number(0, 3):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # ends by a reset
            converse(s)
    except ConnectionRefusedError:
        vm.wait(60)
        if vm.returncode < 0:
            break
        vm, port = boot()
    except OSError:
        pass
alive = goes_on(vm, port)
if vm.poll() is None:
    vm.terminate()
try:
    vm.wait(20)
except subprocess.TimeoutExpired:
    alive = False
    vm.kill()
text = b"".join(stderr).decode(errors="replace")
if not alive or "Sanitizer" in text or "runtime error" in text:
    print(text[-3000:])
    sys.exit("vmscope did not survive seed %d of %s" % (SEED, " ".join(ARGS)))
