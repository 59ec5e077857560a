"""What tests with raw packets of gdb's protocol share: a vmscope with a stub, frames, a client that
behaves."""
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time

PATIENCE = 120 * int(os.environ["TESTS_SCALE"])  # seconds for an answer; the machine may be busy


class Vm:
    """`vmscope run` that waits for gdb at `address`; what it says is in .text()."""

    def __init__(self, args, listen="0"):
        self.said = []
        self.process = subprocess.Popen(
            [os.environ["VMSCOPE"], "run", "-S", "--gdb", listen, "--timeout", str(10 * PATIENCE)] + args,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.address = None
        for line in self.process.stderr:
            self.said.append(line)
            at = re.search(rb"Listening for gdb at (unix:(.*)|127\.0\.0\.1:(\d+))", line)
            if at:
                self.address = at[2].rstrip(b".").decode() if at[2] else ("127.0.0.1", int(at[3]))
                break
        if not self.address:
            sys.exit("vmscope does not start: " + self.text())
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def text(self):
        return b"".join(self.said).decode(errors="replace")

    def connect(self):
        s = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        s.settimeout(PATIENCE)
        try:
            s.connect(self.address)
        except OSError:
            s.close()
            raise
        return s

    def is_alive(self):
        return self.process.poll() is None

    def end(self):
        """Asks it to end; whether it did, by itself or by our signal, and without a complaint."""
        if self.is_alive():
            self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return False
        self.reader.join(PATIENCE)
        code = self.process.returncode
        return (code >= 0 or code == -15) and not re.search("Sanitizer|runtime error", self.text())


def framed(body):
    if isinstance(body, str):
        body = body.encode("latin-1")
    body = b"".join(b"}" + bytes([c ^ 0x20]) if c in b"#$}*" else bytes([c]) for c in body)
    return b"$" + body + b"#%02x" % (sum(body) & 255)


class Client:
    """One that reads what it is told. Acknowledges are sent and passed over."""

    def __init__(self, vm):
        self.socket, self.bytes = vm.connect(), b""

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.socket.close()

    def send(self, body):
        self.socket.sendall(framed(body))

    def reply(self):
        """The next body, still with its run lengths; notifications and console output are skipped."""
        while True:
            m = re.search(rb"([$%])([^#]*)#..", self.bytes, re.S)
            if m:
                self.bytes = self.bytes[m.end():]
                if m[1] == b"$" and not (m[2][:1] == b"O" and m[2] != b"OK"):
                    return m[2]
                continue
            part = self.socket.recv(1 << 16)
            if not part:
                raise ConnectionResetError
            self.bytes += part

    def ask(self, body):
        self.send(body)
        return self.reply()


def is_served(vm):
    """A client that behaves is answered, once the last one is gone. False only if vmscope lives and
    does not answer."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with Client(vm) as c:
                c.socket.sendall(b"\x03" + framed("QNonStop:0"))
                c.reply()
                if c.ask("qC").startswith(b"QC"):
                    return True
        except socket.timeout:
            return False
        except OSError:
            try:
                vm.process.wait(0.02)  # refused while the last one is not gone, or it ends
                return True
            except subprocess.TimeoutExpired:
                pass
    return False
