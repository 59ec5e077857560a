#!/usr/bin/env python3
"""What gdb's users wait for, as ratios: vmscope's stub against QEMU's, and against the floor, a stub
that plays the same conversation back from a table (gdb_floor.c). Same guest, same gdb, in
alternation; medians of the ratios of each round. Figures and whether each target is met, not tests.

    tests/bench/gdb.py [ROUNDS]
"""
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../..")
VMSCOPE = os.environ.get("VMSCOPE", os.path.join(ROOT, "vmscope"))
FLOOR = os.environ.get("GDB_FLOOR", os.path.join(ROOT, "o/rel/tests/bench/gdb_floor"))
QEMU = "qemu-system-x86_64"
MIB = 1 << 20
DATA_AT, DATA_LEN = 16 * MIB, 64 * MIB
HITS, SLOW_HITS = 40000, 1000
# Dumps go to memory: a disk would be measured otherwise.
WORK = tempfile.mkdtemp(prefix="vmscope_bench_", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
STEPS = ["stepi 2000"]
DUMP = ["dump binary memory %s/out 0x%x 0x%x" % (WORK, DATA_AT, DATA_AT + DATA_LEN)]


# ---- guest and machines --------------------------------------------------------------------------

def build():
    """The guest, and the address of its function."""
    obj, elf = WORK + "/k.o", WORK + "/k.elf"
    subprocess.check_call(["as", "--32", "-o", obj, HERE + "/gdb.S"])
    subprocess.check_call(["ld", "-m", "elf_i386", "-Ttext", "0x100100", "--section-start=.multiboot=0x100000",
                           "--no-warn-rwx-segments", "-e", "_start", "-o", elf, obj])
    with open(WORK + "/random", "wb") as f:
        f.write(os.urandom(DATA_LEN))
    names = subprocess.check_output(["nm", elf], text=True).split("\n")
    return elf, next(int(n.split()[0], 16) for n in names if n.endswith(" work"))


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
    raise SystemExit("bench: nobody listens at port %d" % port)


def vmscope(elf, port, data):
    args = [VMSCOPE, "run", "-S", "-m", "96M", "--gdb", str(port)]
    if data:
        args += ["-e", "restore %s binary 0x%x" % (data, DATA_AT)]
    return args + [elf]


def qemu(elf, port, data):
    args = [QEMU, "-accel", "kvm", "-m", "96", "-nodefaults", "-display", "none", "-no-reboot", "-kernel", elf,
            "-gdb", "tcp:127.0.0.1:%d" % port]
    if data:
        args += ["-device", "loader,file=%s,addr=0x%x,force-raw=on" % (data, DATA_AT)]
    return args


class Process:
    """Something that listens for gdb at self.port."""
    def __init__(self, args, port=0):
        self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if port else subprocess.PIPE,
                                     stderr=subprocess.DEVNULL)
        self.port = port or int(self.proc.stdout.readline())
        if port:
            wait_port(port)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.proc.kill()
        self.proc.wait()
        if self.proc.stdout:
            self.proc.stdout.close()


def machine(make, elf, data=None):
    port = free_port()
    return Process(make(elf, port, data), port)


# ---- recording for the floor ---------------------------------------------------------------------

def record(port, path, session):
    """Runs session(PORT) through a proxy in front of `port`; what each packet was answered goes to
    the table at `path`."""
    listener = socket.create_server(("127.0.0.1", 0))
    table = []

    def pump():
        client, _ = listener.accept()
        server = raw(port)
        left = 0  # characters of a checksum to come
        while True:
            for s in select.select([client, server], [], [])[0]:
                data = s.recv(MIB)
                (server if s is client else client).sendall(data)
                if not data:
                    return
                if s is server:
                    if table:
                        table[-1].extend(data)
                    continue
                for c in data:
                    left = left - 1 if left else 2 if c == 0x23 else 0
                    if left == 1:
                        table.append(bytearray())
    t = threading.Thread(target=pump, daemon=True)
    t.start()
    session(listener.getsockname()[1])
    listener.close()
    with open(path, "wb") as f:
        for entry in table:
            f.write(struct.pack("<I", len(entry)) + entry)


# ---- clients -------------------------------------------------------------------------------------

def gdb(port, before, commands):
    """Seconds that gdb takes for the commands."""
    args = ["gdb", "-nx", "-q", "-batch", "-ex", "set pagination off", "-ex", "set confirm off",
            "-ex", "target remote 127.0.0.1:%d" % port]
    for c in before + ["python import time; start = time.monotonic()"] + commands + \
            ["python print('took %f' % (time.monotonic() - start))", "disconnect"]:
        args += ["-ex", c]
    out = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=300, text=True, errors="replace").stdout
    for line in out.split("\n"):
        if line.startswith("took "):
            return float(line.split()[1])
    raise SystemExit("bench: gdb failed:\n" + out)


def raw(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def request(s, body):
    s.sendall(b"$" + body + b"#%02x" % (sum(body) & 255))
    tail = b""
    while tail[-3:-2] != b"#":
        part = s.recv(MIB)
        if not part:
            raise SystemExit("bench: the stub closed the connection")
        tail = (tail + part)[-3:]


def raw_read(port):
    with raw(port) as s:
        request(s, b"QStartNoAckMode")
        s.sendall(b"+")
        t = time.monotonic()
        for at in range(DATA_AT, DATA_AT + DATA_LEN, 0x20000):
            request(s, b"x%x,20000" % at)
        return time.monotonic() - t


def first_reply(port):
    t = time.monotonic()
    with raw(port) as s:
        request(s, b"?")
        return time.monotonic() - t


def cpu_while_stopped(proc):
    """Seconds of processor time in a second, a client attached."""
    def ticks():
        with open("/proc/%d/stat" % proc.pid) as f:
            return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
    before = ticks()
    time.sleep(1)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK")


# ---- measuring -----------------------------------------------------------------------------------

class Rows:
    def __init__(self):
        self.rows = {}

    def note(self, name, who, seconds):
        self.rows.setdefault(name, {}).setdefault(who, []).append(seconds)

    def ratio(self, name, over, under):
        by = self.rows[name]
        return statistics.median([a / max(b, 1e-9) for a, b in zip(by[over], by[under])])

    def show(self, name, *targets):
        by = self.rows[name]
        print("%-22s %s" % (name, "  ".join("%s %.4f s" % (who, statistics.median(v)) for who, v in by.items())))
        for kind, limit in targets:
            if kind == "qemu" and "qemu" not in by:
                continue
            if kind == "qemu":
                got = self.ratio(name, "qemu", "vmscope")
                text, met = "%.2f times QEMU's speed; target: at least %.2f" % (got, limit), got >= limit
            elif kind == "floor":
                got = self.ratio(name, "vmscope", "floor")
                text, met = "%.2f of the floor's time; target: at most %.2f" % (got, limit), got <= limit
            else:
                got = statistics.median(by["vmscope"])
                text, met = "%.4f s; target: at most %.4f s" % (got, limit), got <= limit
            print("    %-60s %s" % (text, "met" if met else "MISSED"))


def rounds(rows, elf, work, have_qemu):
    makes = (vmscope, qemu) if have_qemu else (vmscope,)
    # QEMU's firmware has to reach the kernel first.
    there = ["hbreak *0x%x" % work, "continue", "delete"]
    tables = {}

    def floor(name, commands, m):
        if name not in tables:
            tables[name] = "%s/table%d" % (WORK, len(tables))
            record(m.port, tables[name], lambda port: gdb(port, there, commands))
        with Process([FLOOR, tables[name]]) as f:
            rows.note(name, "floor", gdb(f.port, there, commands))

    for _ in range(ROUNDS):
        for make in makes:
            who = make.__name__
            with machine(make, elf) as m:
                rows.note("stepi 2000", who, gdb(m.port, there, STEPS))
                if make is vmscope:
                    floor("stepi 2000", STEPS, m)
                rows.note("dump 64 MiB zeros", who, gdb(m.port, there, DUMP))
                hits = HITS if make is vmscope else SLOW_HITS
                rows.note("1000 false conditions", who,
                          gdb(m.port, there + ["eval \"hbreak *0x%x if $esi == %%d\", $esi + %d" % (work, hits)],
                              ["continue"]) * 1000 / hits)
            with machine(make, elf, WORK + "/random") as m:
                rows.note("dump 64 MiB random", who, gdb(m.port, there, DUMP))
                if make is not vmscope:
                    continue
                with open(WORK + "/out", "rb") as a, open(WORK + "/random", "rb") as b:
                    if a.read() != b.read():
                        raise SystemExit("bench: the dump differs from what is in memory")
                floor("dump 64 MiB random", DUMP, m)
                rows.note("64 MiB by x packets", who, raw_read(m.port))
                rows.note("first stop reply", who, first_reply(m.port))
                with raw(m.port) as s:
                    request(s, b"?")
                    rows.note("CPU/s while stopped", who, cpu_while_stopped(m.proc))


def main():
    for path, why in (("/dev/kvm", "there is no /dev/kvm"), (FLOOR, "gdb_floor is not built"),
                      (shutil.which("gdb") or "gdb", "gdb is not installed")):
        if not os.path.exists(path):
            print("SKIP gdb bench: %s" % why)
            return
    have_qemu = shutil.which(QEMU) is not None
    if not have_qemu:
        print("SKIP comparison of the stub with QEMU's: %s is not installed" % QEMU)
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(1))
    rows = Rows()
    elf, work = build()
    rounds(rows, elf, work, have_qemu)
    rows.show("stepi 2000", ("qemu", 1.5), ("floor", 1.15))
    rows.show("dump 64 MiB random", ("qemu", 1.6), ("floor", 1.2))
    rows.show("dump 64 MiB zeros", ("qemu", 2))
    rows.show("1000 false conditions", ("qemu", 30))
    rows.show("64 MiB by x packets", ("seconds", 0.3))
    rows.show("first stop reply", ("seconds", 0.005))
    rows.show("CPU/s while stopped", ("seconds", 0))


try:
    main()
finally:
    shutil.rmtree(WORK, ignore_errors=True)
