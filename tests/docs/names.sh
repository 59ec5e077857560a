#!/bin/bash
# What documents and comments name is there: C names and source files in the backticks of a document,
# and in comments of C files other files and functions written as `name()`. Words in capitals are
# placeholders; what other projects own is listed below.
set -u
cd "$(dirname "$0")/../.." || exit 2
exec python3 - <<'PY'
import os, re, sys

FOREIGN = {"linux/kvm.h", "include/uapi/linux/kvm.h", "include/gdb/signals.def",
           "arch/x86/kvm/trace.h", "arch/x86/include/asm/cpufeatures.h", "string.h", "curses.h",
           "start_info.h", "initrd_addr_max"}
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
files = ["Makefile", "README.md"]
for top in ("vmm", "debug", "disasm", "scripts", "tui", "guests", "tests", "docs"):
    files += [f"{d}/{f}" for d, _, names in os.walk(top) for f in names if "__pycache__" not in d]
ends = {f for p in files for f in ("/".join(p.split("/")[i:]) for i in range(p.count("/") + 1))}
stems = {os.path.basename(f).split(".")[0] for f in files}
docs = [f for f in files if re.fullmatch(r"README\.md|docs/.*\.md", f)]
text, words = {}, set()
for f in files:
    if f in docs or f.startswith("tests/fuzz/corpus/"):
        continue
    with open(f, errors="replace") as file:
        text[f] = file.read()
    words |= set(re.findall(r"\w+", COMMENT.sub(" ", text[f]) if f[-2:] in (".c", ".h") else text[f]))

def known(w):
    # d_line, k_cpuid: words of filters, made of the names of events
    return w in words or w in stems or w in FOREIGN or w.endswith("_") or \
        re.search("[A-Z]", w) or (w[:2] in ("d_", "k_") and w[2:].split("_")[0] in words)

def report(what, bad):
    print(f"FAIL {what}: names what is not there: {' '.join(sorted(bad)[:12])}" if bad else f"ok {what}")
    return bool(bad)

status = 0
for f in docs:
    bad = set()
    for code in re.findall(r"`([^`\n]+)`", open(f).read()):
        bad |= {w for w in re.findall(r"\b[a-z]\w*_\w+\b", code) if not known(w)}
        bad |= {w for w in re.findall(r"[\w/-]+\.(?:c|h|def|awk)\b", code)
                if w not in ends and not re.search("[A-Z]", w)}
    status |= report(f, bad)
bad = set()
for f in text:
    if not re.search(r"\.[ch]$", f):
        continue
    for c in COMMENT.findall(text[f]):
        bad |= {f"{f}:{w}" for w in re.findall(r"(?<![\w/.])[\w/-]+\.(?:c|h|def|awk|md|sh)\b", c)
                if w not in ends and w not in FOREIGN and not re.search("[A-Z]", w)}
        bad |= {f"{f}:{w}()" for w in re.findall(r"\b([a-z]\w+)\(\)", c) if not known(w)}
status |= report("comments", bad)
sys.exit(status)
PY
