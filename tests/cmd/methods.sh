#!/bin/bash
# The method that `vmscope doctor` names is the one that the debugger uses, and a lower rung of the
# ladder, picked by VMSCOPE_FORCE_METHODS, stops the guest at the same places.
set -u
cd "$(dirname "$0")/../.." || exit 2
command -v python3 >/dev/null || { echo "SKIP methods: there is no python3 to read JSON"; exit 0; }
[[ -r /dev/kvm && -w /dev/kvm ]] || { echo "SKIP methods: no usable /dev/kvm"; exit 0; }
exec python3 - "$VMSCOPE" "${O:-o}/guests" <<'PYTHON'
import json, os, re, subprocess, sys

vmscope, guests = sys.argv[1:]
failed = 0
PATIENCE = 300 * int(os.environ["TESTS_SCALE"])
SAID = {"debug-register": "debug register", "int3": "int3", "icebp": "icebp",
        "gate": "int3; in ring 3 caught", "stepping": "single steps", "no-slot": "page without memory",
        "handlers": "break at the guest's handler"}


def doctor(feature, mode):
    got = json.loads(subprocess.run([vmscope, "doctor", "--json"], capture_output=True, text=True,
                                    timeout=PATIENCE).stdout)
    for row in got["methods"]:
        if row["feature"] == feature and row["mode"] == mode:
            return [row["method"]] + re.findall(r"[\w-]+", row["then"])
    raise AssertionError(f"doctor names no {feature} in {mode}")


def run(guest, *commands, force=None):
    env = dict(os.environ)
    env.pop("VMSCOPE_FORCE_METHODS", None)
    if force:
        env["VMSCOPE_FORCE_METHODS"] = force
    args = [vmscope, "run", f"{guests}/{guest}"]
    for c in commands:
        args += ["-e", c]
    return subprocess.run(args, capture_output=True, text=True, timeout=PATIENCE, env=env).stdout


def how(text, number):
    m = re.search(rf"^{number} +\S.*$", text, re.M)
    assert m, f"no row {number} in {text!r}"
    return m.group()


def case(name, fn, *args):
    global failed
    try:
        fn(*args)
        print(f"ok {name}", flush=True)
    except (AssertionError, subprocess.TimeoutExpired) as e:
        print(f"FAIL {name}: {e}", flush=True)
        failed = 1


def agree(guest, mode, place):
    ladder = doctor("break", mode)
    lines = [f"tbreak {place}", "continue"] + ["break *$pc+%d" % n for n in range(16, 21)]
    text = run(guest, *lines, "info breakpoints")
    first, last = how(text, 2), how(text, 6)
    assert SAID[ladder[0]] in first, f"doctor says {ladder[0]}, the list {first!r}"
    if ladder[0] == "debug-register":  # the fifth finds none
        assert SAID[ladder[1]] in last, f"doctor says then {ladder[1]}, the list {last!r}"


def catch_agrees():
    text = run("hello64", "catch exception pf", "info breakpoints")
    assert SAID[doctor("catch", "long0")[0]] in how(text, 1), text



def same_stops(method):
    lines = ("break print_char", "ignore 1 20", "continue", "print/c $rdi", "continue",
             "print/c $rdi", "info breakpoints")
    plain, forced = run("hello64", *lines), run("hello64", *lines, force=f"break={method}")
    assert SAID[method] in how(forced, 1), how(forced, 1)
    values = re.findall(r"^\$\d = .*$", plain, re.M)
    assert len(values) == 2 and values == re.findall(r"^\$\d = .*$", forced, re.M), forced


case("doctor_and_breakpoints_agree_in_real_mode", agree, "hello16.bin", "real", "*0x7c00")
case("doctor_and_breakpoints_agree_in_protected_mode", agree, "hello32", "prot", "guest_main")
case("doctor_and_breakpoints_agree_in_long_mode", agree, "hello64", "long0", "guest_main")
case("doctor_and_catchpoints_agree", catch_agrees)
for method in doctor("break", "long0")[1:]:
    case(f"the_same_stops_by_{method}", same_stops, method)
sys.exit(failed)
PYTHON
