"""Clients that send nonsense and die anywhere.

hostile.py SEED CONVERSATIONS VMSCOPE-ARGS…

Conversation i of a seed is always the same; `hostile.py SEED:i,j,… 0 …` makes only those. A client that
behaves is to be answered after each few. The guest is started again when a client has ended it."""
import random
import socket
import subprocess
import sys

import rsp

ADDRESSES = [0x7c00, 0x100000, 0x1000, 0xfee00000, 0xffffffff80000000, 5, (1 << 64) - 1]
THREADS = ["1", "2", "-1", "0", "p1.1", "9", "4"]
COMMANDS = ["info registers", "info exits", "stepi", "continue", "reset", "gdb status", "arch i386", "arch auto",
            "realmode offset", "info tab", "complete in", "stop", "break *0x100000", "delete", "\n", "\x00", "commands",
            "end", "nexti", "until $pc", "run", "help", "x/2000b 0", "quit 3"]


def packet(r):
    number = r.randint
    a = r.choice(ADDRESSES + [number(0, 1 << 22)])
    return r.choice([
        "qSupported:swbreak+;hwbreak+;exec-events+;error-message+", "QStartNoAckMode", "?", "g", "G" + "00" * number(0, 80),
        "p%x" % number(0, 200), "P%x=%0*x" % (number(0, 180), 2 * r.choice([1, 4, 8, 10, 16]), number(0, 255)),
        "m%x,%x" % (a, number(0, 0x2000)), "M%x,4:01020304" % a, "x%x,%x" % (a, number(0, 0x40000)), "X%x,3:abc" % a,
        "Z%d,%x,%x" % (number(0, 5), a, number(0, 70)), "z%d,%x,%x" % (number(0, 5), a, number(0, 70)),
        "Z0,%x,1;X8,2600002303001327" % a, "Z0,%x,1;X%x,%016x" % (a, number(1, 8), number(0, 1 << 64)),
        "Z0,%x,1;cmds:1,X4,23002a27" % a, "c", "s", "vCont;s:1;c", "vCont;c", "vCont;r%x,%x:1" % (a, a + 64), "vCont;t",
        "vCont;s:" + r.choice(THREADS), "vCont;c:" + r.choice(THREADS), "vCont;t:" + r.choice(THREADS),
        "vCont;s:1;r%x,%x:2;c" % (a, a + 8), "C05", "S05", "vCtrlC", "H%s%s" % (r.choice("cg"), r.choice(THREADS)),
        "T" + r.choice(THREADS), "qXfer:features:read:target.xml:%x,1000" % (number(0, 3) * 0x1000),
        "qXfer:threads:read::0,1000", "qRcmd," + r.choice(COMMANDS).encode().hex(), "vRun;", "vRun;" + "41" * number(0, 500),
        "R00", "vKill;1", "vAttach;1", "!", "D", "k", "QNonStop:%d" % number(0, 1), "vStopped", "jThreadsInfo",
        "qSearch:memory:%x;%x;ab" % (a, number(0, 1 << 24)), "qCRC:%x,%x" % (a, number(0, 1 << 20)), "m0,%x" % (1 << 63),
        "QThreadSuffixSupported", "QListThreadsInStopReply", "Qqemu.PhyMemMode:%d" % number(0, 1), "vFile:open:2f,0,0",
        "bs", "bc", "qMemoryRegionInfo:%x" % a, "M0,%x:" % (1 << 60), "A" * number(0, 300000), "\x03"])


def mangled(r, data):
    if not r.randint(0, 40):
        data = data[:r.randint(0, len(data))]
    if not r.randint(0, 60):
        data = bytes(c ^ (0 if r.randint(0, 9) else r.randint(0, 255)) for c in data[:500])
    return data


def converse(r, s):
    """A few packets; after each the client waits a moment for an answer, or does not."""
    reads, resets, floods = r.randint(0, 9) > 0, not r.randint(0, 3), not r.randint(0, 19)
    if resets:  # ends by a reset
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.settimeout(0.02)
    for _ in range(r.randint(0, 30)):
        text = packet(r)
        data = mangled(r, b"\x03" if text == "\x03" else rsp.framed(text))
        waits = r.randint(0, 1)
        try:
            s.sendall(data * (500 if floods and len(data) < 100 else 1))
            if waits and reads and not s.recv(65536):
                return
        except socket.timeout:
            pass


def run(seed, conversations, args):
    vm = rsp.Vm(args)
    done = []
    for i in conversations:
        r = random.Random("%s.%d" % (seed, i))
        done.append(i)
        checks = not r.randint(0, 3) or i == conversations[-1]
        try:
            with vm.connect() as s:
                converse(r, s)
        except OSError:
            pass
        if checks and not rsp.is_served(vm):
            vm.end()
            return "nobody is served any more after conversations %s of" % ",".join(map(str, done)), vm
        if checks and vm.is_alive():
            continue
        try:
            vm.process.wait(0 if vm.is_alive() else None)
        except subprocess.TimeoutExpired:
            continue
        if not vm.end():
            return "it died of conversations %s of" % ",".join(map(str, done)), vm
        vm, done = rsp.Vm(args), []
    return None if vm.end() else "it does not end after conversations %s of" % ",".join(map(str, done)), vm


seed, _, chosen = sys.argv[1].partition(":")
which = [int(i) for i in chosen.split(",")] if chosen else list(range(int(sys.argv[2])))
why, vm = run(seed, which, sys.argv[3:])
if why:
    print(vm.text()[-12000:])
    sys.exit("%s seed %s (%s)" % (why, seed, " ".join(sys.argv[3:])))
