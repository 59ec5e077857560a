#!/bin/bash
# The prompt of `vmscope run` on a terminal: Ctrl-C opens it, the guest goes on, both ways out leave
# the terminal as it was. Python's pty is the terminal.
set -u
cd "$(dirname "$0")/../.." || exit 2
command -v python3 >/dev/null || { echo "SKIP prompt: there is no python3 to play the terminal"; exit 0; }
[[ -r /dev/kvm && -w /dev/kvm ]] || { echo "SKIP prompt: no usable /dev/kvm"; exit 0; }
exec python3 - "$VMSCOPE" "${O:-o}/guests" <<'PYTHON'
import os, pty, re, select, signal, sys, termios, time

vmscope, guests = sys.argv[1], sys.argv[2]
failed = 0


def job_control(argv):
    """What a shell does: one job in a process group of its own; a line brings it back."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(argv[0], argv)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)
        os.tcsetpgrp(0, os.getpid())
        os.write(1, b"shell: stopped\n")
        os.read(0, 100)
        os.write(1, b"shell: on\n")
        os.tcsetpgrp(0, job)
        os.kill(job, signal.SIGCONT)


class Terminal:
    """vmscope on a pseudo-terminal of its own."""

    def __init__(self, *args, shell=False):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            if shell:
                job_control([vmscope, *args])
            os.execv(vmscope, [vmscope, *args])
        self.text, self.at = "", 0
        self.modes = None

    def expect(self, pattern, seconds=300):
        end = time.monotonic() + seconds
        while True:
            m = re.compile(pattern).search(self.text, self.at)
            if m:
                self.at = m.end()
                return m
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"{pattern!r} did not come; last: {self.text[-300:]!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"it ended before {pattern!r}; last: {self.text[-300:]!r}")
            self.text += data.decode("utf-8", "replace")

    def send(self, text):
        os.write(self.fd, text.encode())

    def status(self):
        end = time.monotonic() + 300
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("it does not end")

    def ends_with(self, want):
        got = os.waitstatus_to_exitcode(self.status())
        assert got == want, f"status {got}, want {want}; last: {self.text[-300:]!r}"

    def echoes(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)


def case(name, fn):
    global failed
    try:
        fn()
        print(f"ok {name}", flush=True)
    except AssertionError as e:
        print(f"FAIL {name}: {e}", flush=True)
        failed = 1


def tinyos(**how):
    t = Terminal("run", f"{guests}/tinyos", **how)
    t.expect("tinyos> ")
    return t


def keys_reach_the_guest():
    t = tinyos()
    assert not t.echoes(), "the terminal echoes what the guest should"
    t.send("exit 5\r")
    t.expect("exit 5")
    t.ends_with(11)
    assert t.echoes(), "the terminal was not restored"


def ctrl_c_opens_the_prompt():
    t = tinyos()
    t.send("\x03")
    t.expect(r"\(vmscope\) ")
    t.send("print 6*7\n")
    t.expect(r"\$1 = 42")
    t.expect(r"\(vmscope\) ")
    t.send("info regi\t rip\n")  # completed
    t.expect(r"rip +0x[0-9a-f]+")
    t.expect(r"\(vmscope\) ")
    t.send("continue\n")
    t.expect("Continuing")
    t.send("exit 6\r")
    t.expect("exit 6")
    t.expect("debug-exit port")
    t.expect(r"\(vmscope\) ")  # the end can be looked at
    t.send("quit\n")
    t.ends_with(13)
    assert t.echoes(), "the terminal was not restored"


def second_ctrl_c_ends():
    t = tinyos()
    t.send("\x03")
    t.expect(r"\(vmscope\) ")
    t.send("\x03")
    t.ends_with(0)
    assert t.echoes(), "the terminal was not restored"


def ctrl_d_ends():
    t = tinyos()
    t.send("\x03")
    t.expect(r"\(vmscope\) ")
    t.send("\x04")
    t.ends_with(0)


def empty_line_repeats():
    t = Terminal("run", "-S", f"{guests}/hello64")
    t.expect(r"\(vmscope\) ")
    t.send("stepi\n")
    t.expect("=> 0x100001 ")
    t.expect(r"\(vmscope\) ")
    t.send("\n")
    t.expect("=> 0x100002 ")
    t.expect(r"\(vmscope\) ")
    t.send("bogus\n")
    t.expect("there is no command")
    t.expect(r"\(vmscope\) ")  # a mistake at the prompt ends nothing
    t.send("quit 9\n")
    t.ends_with(9)


def steps_are_interrupted():
    t = Terminal("run", "-S", f"{guests}/tinyos")
    t.expect(r"\(vmscope\) ")
    t.send("stepi 1000000000\n")
    t.expect("a kernel to look into")  # they are being made
    t.send("\x03")
    t.expect(r"Interrupted at 0x[0-9a-f]+.*, after \d+ of 1000000000 steps")
    t.expect(r"\(vmscope\) ")
    t.send("stepi\n")
    t.expect(r"Stepped to|Entered the handler")
    t.expect(r"\(vmscope\) ")
    t.send("quit 9\n")
    t.ends_with(9)


def suspended_and_back():
    t = tinyos(shell=True)
    t.send("\x1a")
    t.expect("shell: stopped")
    assert t.echoes(), "suspended with the guest's terminal modes"
    t.send("fg\r")
    t.expect("shell: on")
    t.send("exit 0\r")
    t.ends_with(1)


def no_shell_to_suspend_to():
    t = tinyos()
    t.send("\x1a")
    t.send("exit 0\r")
    t.ends_with(1)


def killed_by_sigterm():
    t = tinyos()
    os.kill(t.pid, signal.SIGTERM)
    t.ends_with(-signal.SIGTERM)
    assert t.echoes(), "the terminal was not restored"


def the_guest_cannot_drive_the_terminal():
    t = Terminal("run", f"{guests}/garbage")
    t.expect("garbage: end")
    t.status()
    assert "\x1b" not in t.text, "an escape came through"


for fn in (keys_reach_the_guest, ctrl_c_opens_the_prompt, second_ctrl_c_ends, ctrl_d_ends,
           empty_line_repeats, steps_are_interrupted, suspended_and_back, no_shell_to_suspend_to, killed_by_sigterm,
           the_guest_cannot_drive_the_terminal):
    case(fn.__name__, fn)
sys.exit(failed)
PYTHON
