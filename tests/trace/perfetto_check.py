#!/usr/bin/env python3
"""Checks a file against the trace event format: perfetto_check.py FILE [slices NAME COUNT]..."""
import json
import sys

PHASES = {
    "X": {"name": str, "cat": str, "ts": (int, float), "dur": (int, float), "pid": int, "tid": int},
    "i": {"name": str, "cat": str, "ts": (int, float), "pid": int, "tid": int, "s": str},
    "s": {"name": str, "cat": str, "ts": (int, float), "pid": int, "tid": int, "id": int},
    "t": {"name": str, "cat": str, "ts": (int, float), "pid": int, "tid": int, "id": int},
    "f": {"name": str, "cat": str, "ts": (int, float), "pid": int, "tid": int, "id": int, "bp": str},
    "C": {"name": str, "ts": (int, float), "pid": int, "args": dict},
    "M": {"name": str, "pid": int, "args": dict},
}


def check(trace):
    if set(trace) - {"traceEvents", "displayTimeUnit", "otherData"}:
        return "unknown members %s" % sorted(trace)
    if trace["displayTimeUnit"] not in ("ns", "ms"):
        return "displayTimeUnit"
    starts, ends, tracks, named = set(), set(), set(), set()
    for n, e in enumerate(trace["traceEvents"]):
        fields = PHASES.get(e.get("ph"))
        if fields is None:
            return "event %d has phase %r" % (n, e.get("ph"))
        for name, kind in fields.items():
            if not isinstance(e.get(name), kind) or isinstance(e.get(name), bool):
                return "event %d (%s): %s is %r" % (n, e["ph"], name, e.get(name))
        if e.get("ts", 0) < 0 or e.get("dur", 0) < 0:
            return "event %d lies before the trace" % n
        if e["ph"] == "i" and e["s"] not in "gpt":
            return "event %d has scope %s" % (n, e["s"])
        if e["ph"] == "C" and not all(isinstance(v, (int, float)) for v in e["args"].values()):
            return "event %d counts no numbers" % n
        if e["ph"] == "M" and e["name"] == "thread_name":
            named.add(e["tid"])
        if e["ph"] == "X":
            tracks.add(e["tid"])
        if e["ph"] == "s":
            starts.add(e["id"])
        if e["ph"] == "f":
            ends.add(e["id"])
    if starts != ends:
        return "flows without an end: %s" % sorted(starts ^ ends)[:5]
    if tracks - named:
        return "tracks without a name: %s" % sorted(tracks - named)
    return None


def flows(trace, steps):
    """Flows with exactly these phases, each of them inside a slice of its track."""
    phases, slices = {}, {}
    for e in trace["traceEvents"]:
        if e["ph"] == "X":
            slices.setdefault(e["tid"], []).append((e["ts"], e["ts"] + e["dur"]))
    for e in trace["traceEvents"]:
        if e["ph"] in "stf":
            inside = any(a <= e["ts"] + 0.0005 and e["ts"] <= b + 0.0005 for a, b in slices.get(e["tid"], []))
            phases.setdefault(e["id"], []).append(e["ph"] if inside else "?")
    return sum("".join(p) == steps for p in phases.values())


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        trace = json.load(f)
    why = check(trace)
    for i in range(2, len(sys.argv), 3):
        what, name, want = sys.argv[i : i + 3]
        got = sum(e["ph"] == "X" and e["name"].startswith(name) for e in trace["traceEvents"])
        if what == "flows":
            got = flows(trace, name)
        if got != int(want):
            why = why or "%d %s %r, want %s" % (got, what, name, want)
    if why:
        print(why)
        return 1
    return 0


sys.exit(main())
