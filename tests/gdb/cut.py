"""A client that dies at any byte of a session that gdb really has.

cut.py CUTS SEED GDB-COMMANDS-FILE VMSCOPE-ARGS…

Records what gdb sends, then says it again, packet for packet with the answers in between, to the byte at
which it is cut: at CUTS chosen ones, or at all (0). After each the next client is served and finds neither
the points nor the modes of the last."""
import random
import re
import socket
import subprocess
import sys
import threading

import rsp


def record(vm, commands):
    """The packets, Ctrl-C's and acknowledges of one gdb session, in its order."""
    front = socket.create_server(("127.0.0.1", 0))
    sent = []

    def carry():
        gdb, _ = front.accept()
        stub = vm.connect()
        stub.settimeout(None)

        def back():
            try:
                while True:
                    part = stub.recv(1 << 16)
                    if not part:
                        break
                    gdb.sendall(part)
            except OSError:
                pass

        threading.Thread(target=back, daemon=True).start()
        while True:
            part = gdb.recv(1 << 16)
            if not part:
                break
            sent.append(part)
            stub.sendall(part)
        stub.close()

    carrier = threading.Thread(target=carry, daemon=True)
    carrier.start()
    said = subprocess.run(["gdb", "-nx", "-q", "-batch", "-ex", "set remotetimeout 60",
                           "-ex", "target remote 127.0.0.1:%d" % front.getsockname()[1],
                           "-x", commands], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=2 * rsp.PATIENCE)
    carrier.join(20)
    pieces = re.findall(rb"\$[^#]*#..|.", b"".join(sent), re.S)
    if len(pieces) < 20:
        sys.exit("gdb's session is too short: " + said.stdout.decode(errors="replace")[-2000:])
    return pieces


def say(vm, pieces, at):
    """The first `at` bytes; complete packets wait for their answers, but those that let the guest run
    and are the last."""
    try:
        with rsp.Client(vm) as c:
            for piece in pieces:
                c.socket.sendall(piece[:at])
                at -= len(piece)
                if at <= 0:
                    return
                if piece[:1] == b"$" and piece[1:2] not in (b"D", b"k"):
                    c.reply()
    except ConnectionError:
        pass


def leaves_nothing(vm):
    """The guest stands at its entry again after vRun, without points of the last client."""
    with rsp.Client(vm) as c:
        c.send("!")
        c.reply()
        if not c.ask("vRun;").startswith(b"T05"):
            return False
        c.send("qRcmd," + b"info breakpoints".hex())
        while True:
            part = c.socket.recv(1 << 16)
            if not part:
                return False
            c.bytes += part
            if re.search(rb"\$OK#..", c.bytes):
                return b"gdb: *".hex().encode() not in c.bytes


cuts, seed, commands, args = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
vm = rsp.Vm(args)
pieces = record(vm, commands)
vm.end()
total = sum(map(len, pieces))
places = sorted(random.Random(seed).sample(range(1, total), min(cuts, total - 1)) if cuts else range(1, total))
vm = rsp.Vm(args)
why = None
for at in places:
    say(vm, pieces, at)
    if not rsp.is_served(vm):
        why = "nobody is served any more"
    elif vm.is_alive() and not leaves_nothing(vm):
        why = "something of the last client is left"
    elif not vm.is_alive():
        if not vm.end():
            why = "it died"
        vm = rsp.Vm(args)
    if why:
        break
if not vm.end() and not why:
    why = "it does not end"
if why:
    print(vm.text()[-3000:])
    sys.exit("%s after a cut at byte %d of %d: %s" % (why, at, total, b"".join(pieces)[max(0, at - 60):at]))
print("%d cuts in %d bytes" % (len(places), total))
