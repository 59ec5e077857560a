#!/usr/bin/env python3
"""What gdb's users wait for: vmscope's stub against QEMU's, and against a stub that answers at once
from a table (gdb's own speed, which nobody can beat). Same guest, same gdb, in alternation; medians.
Figures, not tests.   tests/bench/gdb.py [ROUNDS]"""
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
HERE = os.path.dirname(os.path.abspath(__file__))
VMSCOPE = os.environ.get("VMSCOPE", os.path.join(HERE, "../../vmscope"))
MIB = 1 << 20
DATA_AT, DATA_LEN = 16 * MIB, 64 * MIB
STEPS, HITS, SLOW_HITS = 2000, 40000, 1000
WORK = tempfile.mkdtemp(prefix="vmscope_bench_")


def build():
    obj, elf = WORK + "/k.o", WORK + "/k.elf"
    subprocess.check_call(["as", "--32", "-o", obj, HERE + "/gdb.S"])
    subprocess.check_call(["ld", "-m", "elf_i386", "-Ttext", "0x100100", "--section-start=.multiboot=0x100000",
                           "--no-warn-rwx-segments", "-e", "_start", "-o", elf, obj])
    with open(WORK + "/random", "wb") as f:
        f.write(os.urandom(DATA_LEN))
    return elf


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with open("/proc/net/tcp") as f:
            if any(line.split()[1].endswith(":%04X" % port) and line.split()[3] == "0A" for line in f.readlines()[1:]):
                return
        time.sleep(0.01)
    sys.exit("bench: nobody listens at port %d" % port)


def vmscope(elf, port, data):
    args = [VMSCOPE, "run", "-S", "-m", "96M", "--gdb", str(port)]
    if data:
        args += ["-e", "restore %s binary 0x%x" % (data, DATA_AT)]
    return args + [elf]


def qemu(elf, port, data):
    args = ["qemu-system-i386", "-accel", "kvm", "-cpu", "qemu32", "-m", "96", "-nodefaults", "-display", "none",
            "-no-reboot", "-kernel", elf, "-gdb", "tcp:127.0.0.1:%d" % port]
    if data:
        args += ["-device", "loader,file=%s,addr=0x%x,force-raw=on" % (data, DATA_AT)]
    return args


class Machine:
    def __init__(self, make, elf, data=None):
        self.port = free_port()
        self.proc = subprocess.Popen(make(elf, self.port, data), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        wait_port(self.port)
        if make is qemu:
            time.sleep(4)  # its firmware has to reach the kernel

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.proc.kill()
        self.proc.wait()


class Floor:
    """Answers g, m and vCont;s at once. As much of a stub as gdb needs for stepi and dump."""
    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(1)
        self.port = self.sock.getsockname()[1]
        self.frames = {}
        threading.Thread(target=self.serve, daemon=True).start()

    def frame(self, body):
        if body not in self.frames:
            self.frames[body] = b"$" + body + b"#%02x" % (sum(body) & 255)
        return self.frames[body]

    def memory(self, length):
        key = ("m", length)
        if key not in self.frames:
            self.frames[key] = self.frame(os.urandom(length).hex().encode())
        return self.frames[key]

    def answer(self, body):
        regs = b"00" * 32 + b"00001000" + b"02000000" + b"00" * 24
        if body.startswith(b"qSupported"):
            return self.frame(b"PacketSize=40000;QStartNoAckMode+;vContSupported+")
        if body in (b"QStartNoAckMode", b"D") or body[:1] == b"H":
            return self.frame(b"OK")
        if body == b"g":
            return self.frame(regs)
        if body[:1] == b"m":
            return self.memory(int(body.split(b",")[1], 16))
        if body == b"vCont?":
            return self.frame(b"vCont;c;C;s;S")
        if body == b"?" or body.startswith(b"vCont;s"):
            return self.frame(b"T05thread:1;08:00001000;04:00000000;05:00000000;")
        if body == b"qfThreadInfo":
            return self.frame(b"m1")
        if body == b"qsThreadInfo":
            return self.frame(b"l")
        if body == b"qC":
            return self.frame(b"QC1")
        if body == b"qAttached":
            return self.frame(b"1")
        return self.frame(b"")

    def serve(self):
        while True:
            client, _ = self.sock.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data, ack = b"", True
            while True:
                got = client.recv(65536)
                if not got:
                    break
                data += got
                while b"#" in data and len(data) >= data.index(b"#") + 3:
                    body, data = data[data.index(b"$") + 1:data.index(b"#")], data[data.index(b"#") + 3:]
                    client.sendall((b"+" if ack else b"") + self.answer(body))
                    ack = ack and body != b"QStartNoAckMode"
            client.close()


def gdb(port, elf, *commands):
    """Seconds of the commands alone: gdb's start and connect are timed by themselves and taken off."""
    def run(cmds):
        args = ["gdb", "-nx", "-q", "-batch", "-ex", "set pagination off", "-ex", "set confirm off",
                "-ex", "set architecture i386" if elf is None else "file " + elf,
                "-ex", "target remote 127.0.0.1:%d" % port]
        for c in cmds:
            args += ["-ex", c]
        t = time.monotonic()
        subprocess.run(args + ["-ex", "disconnect"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=300)
        return time.monotonic() - t
    return max(run(commands) - run([]), 1e-6)


def raw(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def request(s, body):
    s.sendall(b"$" + body + b"#%02x" % (sum(body) & 255))
    data = b""
    while len(data) < 4 or data[-3:-2] != b"#":
        part = s.recv(MIB)
        if not part:
            sys.exit("bench: the stub closed the connection")
        data += part
    return data


def raw_read(port):
    s = raw(port)
    request(s, b"QStartNoAckMode")
    s.sendall(b"+")
    t = time.monotonic()
    for at in range(DATA_AT, DATA_AT + DATA_LEN, 0x20000):
        body = b"x%x,20000" % at
        s.sendall(b"$" + body + b"#%02x" % (sum(body) & 255))
        tail = b""
        while tail[-3:-2] != b"#":
            part = s.recv(MIB)
            tail = (tail + part)[-3:]
    return time.monotonic() - t


def first_reply(port):
    t = time.monotonic()
    s = raw(port)
    request(s, b"?")
    return time.monotonic() - t


def cpu_while_stopped(proc):
    def ticks():
        with open("/proc/%d/stat" % proc.pid) as f:
            return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
    before = ticks()
    time.sleep(1)
    return (ticks() - before) * 1000 // os.sysconf("SC_CLK_TCK")


def median(values):
    return statistics.median(values)


def main():
    if not os.path.exists("/dev/kvm"):
        print("SKIP gdb bench: there is no /dev/kvm")
        return
    elf = build()
    have_qemu = shutil.which("qemu-system-i386") is not None
    if not have_qemu:
        print("SKIP comparison with QEMU: qemu-system-i386 is not installed")
    floor = Floor()
    data = WORK + "/random"
    dump = "dump binary memory %s/out 0x%x 0x%x" % (WORK, DATA_AT, DATA_AT + DATA_LEN)
    rows = {}

    def note(name, who, seconds):
        rows.setdefault(name, {}).setdefault(who, []).append(seconds)

    for _ in range(ROUNDS):
        note("stepi 2000", "floor", gdb(floor.port, None, "stepi %d" % STEPS))
        note("dump 64 MiB random", "floor", gdb(floor.port, None, dump))
        for make in (vmscope, qemu) if have_qemu else (vmscope,):
            who = make.__name__
            with Machine(make, elf) as m:
                note("stepi 2000", who, gdb(m.port, elf, "stepi %d" % STEPS))
                hits = HITS if make is vmscope else SLOW_HITS
                note("false condition, 1000 hits", who,
                     gdb(m.port, elf, "hbreak work", "continue", "set $start = $esi", "delete",
                         "print $start", "eval \"hbreak work if $esi == %%d\", $start + %d" % hits,
                         "continue") * 1000 / hits)
                note("dump 64 MiB zeros", who, gdb(m.port, elf, dump))
            with Machine(make, elf, data) as m:
                note("dump 64 MiB random", who, gdb(m.port, elf, dump))
                if make is vmscope:
                    note("64 MiB by x packets", who, raw_read(m.port))
                    note("first stop reply", who, first_reply(m.port))
                    note("CPU a second while stopped", who, cpu_while_stopped(m.proc) / 1000)
    for name, by in rows.items():
        line = "%-28s" % name
        for who, values in by.items():
            line += "  %s %8.4f s" % (who, median(values))
        if "qemu" in by:
            line += "  %6.2f times QEMU's speed" % median([q / v for q, v in zip(by["qemu"], by["vmscope"])])
        if "floor" in by:
            line += "  %5.2f of the floor's time" % median([v / f for f, v in zip(by["floor"], by["vmscope"])])
        print(line)
    shutil.rmtree(WORK)


main()
