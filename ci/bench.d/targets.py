"""What the figures were meant to be, and where a request's instructions go: for rows that fall short."""
import collections
import re
import statistics

# Part of the program and the files it is made of, first match wins.
LAYERS = (
    ("TCP engine", r"stack/tcp/"),
    ("sockets, flows, IP and Ethernet", r"stack/(inet|wire|types|fib|lsm)/"),
    ("shared memory with the client", r"ipc/shm/"),
    ("port and buffers (DPDK)", r"dpdk|rte_|librte|shim"),
    ("checked arithmetic", r"num/(uint|int)_macros|convert/num"),
    ("the standard library, inlined above", r"/library/|registry/src"),
)


def rows(listing):
    """Instructions and `file:function [library]` of the rows of a listing of callgrind_annotate: without what a function
    calls, and without the line of totals."""
    found = (re.match(r"\s*([\d,]+) \([ \d.]+%\)\s+(\S+?:.*)", line) for line in listing.splitlines())
    return [(int(row[1].replace(",", "")), row[2]) for row in found if row]


def shares(listing, name_of, most=None):
    """Share of each name that rows are given, most first: [(name, share)]."""
    found = collections.Counter()
    for instructions, name in rows(listing):
        found[name_of(re.sub(r" \[[^]]*\]$", "", name))] += instructions
    total = sum(found.values()) or 1
    return [(name, count / total) for name, count in found.most_common(most)]


def layer(place):
    return next((name for name, files in LAYERS if re.search(files, place)), "the rest")


def of_request(listing):
    """Where the instructions of requests and responses go: {layers, functions}."""
    plain = lambda place: re.sub(r"<impl [\w:]+>::", "", place.partition(":")[2])
    return {"layers": shares(listing, layer), "functions": shares(listing, plain, 12)}


def met(result):
    """[(row, target, found, "met", "not met" or "not measured")]."""
    compared, idle = result.get("compared") or {}, result.get("idle") or {}
    sizes = {row["connections"]: row for row in result["connections"]}
    verdicts = []

    def say(row, target, value, holds, unit=""):
        found, verdict = ("–", "not measured") if value is None else (f"{value:,.2f}{unit}", "met" if holds(value) else "not met")
        verdicts.append((row, target, found, verdict))

    def times(words, wire, key, base):
        got = compared.get(words, {})
        if key not in got.get(wire, {}) or key not in got.get(base, {}):
            return None
        return statistics.median(got[wire][key]) / statistics.median(got[base][key])

    one = ("rr",)
    say("64 B request/response, native, memif, beside the kernel's veth", "at least 10 x", times(one, "memif, native", "rate", "kernel"), lambda x: x >= 10, " x")
    say("the same, unmodified program over a veth", "at least 1.5 x", times(one, "veth", "rate", "kernel"), lambda x: x >= 1.5, " x")
    say("its 99th percentile", "at most 0.5 x", times(one, "veth", "p99", "kernel"), lambda x: x <= 0.5, " x")
    say("connections with one request, native, memif", "at least 8 x", times(("crr",), "memif, native", "rate", "kernel"), lambda x: x >= 8, " x")
    say("UDP echo of 64 B, native, memif", "at least 8 x", times(("echo",), "memif, native", "rate", "kernel"), lambda x: x >= 8, " x")
    say("bulk to the server, in place, memif", "at least 40 Gbit/s",
        statistics.median(compared[("send",)]["memif, in place"]["gbit"]) if compared else None, lambda x: x >= 40, " Gbit/s")
    say("bulk to the server, unmodified, tap", "at least the kernel's", times(("send",), "tap", "gbit", "kernel"), lambda x: x >= 1, " x")
    say("a request in the worker, 10,000 connections", "at most 900 cycles", sizes[10_000]["cycles"], lambda x: x <= 900, " cycles")
    say("the same, a million", "at most 1,300 cycles", sizes[1_000_000]["cycles"], lambda x: x <= 1300, " cycles")
    say("a million beside a thousand", "at most 1.6 x", sizes[1_000_000]["cycles"] / sizes[1000]["cycles"], lambda x: x <= 1.6, " x")
    say("memory of an idle connection", "at most 400 B", sizes[1_000_000]["bytes"], lambda x: x <= 400, " B")
    for row in result["forwarding"]:
        if row["aim"]:
            say(f"{row['path']}, {row['size']:,} {row['of']}", f"at most {row['aim']} cycles", row["cycles"], lambda x, aim=row["aim"]: x <= aim, " cycles")
    say("an idle daemon", "at most 3 % of a core", max(idle.values()) if idle else None, lambda x: x <= 3, " %")
    return verdicts
