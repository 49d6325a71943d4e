"""What the figures were meant to be, and where a request's instructions go: for rows that fall short."""
import collections
import re
import statistics
import subprocess

# Part of the program and the files it is made of, first match wins.
LAYERS = (
    ("TCP engine", r"stack/tcp/"),
    ("sockets, flows, IP and Ethernet", r"stack/(inet|wire|types|fib|lsm)/"),
    ("shared memory with the client", r"ipc/shm/"),
    ("port and buffers (DPDK)", r"dpdk|rte_|librte|shim"),
    ("checked arithmetic", r"num/(uint|int)_macros|convert/num"),
    ("the standard library, inlined above", r"/library/|registry/src"),
)


def shares(listing, name_of, most=None):
    """Share of each name in the rows of a listing of callgrind_annotate, most first: [(name, share)]. A row is a file and
    a function in it, without what that calls; the line of totals is none."""
    found = collections.Counter()
    for line in listing.splitlines():
        row = re.match(r"\s*([\d,]+) \([ \d.]+%\)\s+(\S+?):(.*?)( \[|$)", line)
        if row:
            found[name_of(row[2], row[3])] += int(row[1].replace(",", ""))
    total = sum(found.values()) or 1
    return [(name, count / total) for name, count in found.most_common(most)]


def layer(file, function):
    return next((name for name, files in LAYERS if re.search(files, f"{file}:{function}")), "the rest")


def of_request(callgrind, program, counted):
    """Where the instructions of requests and responses go: {layers, functions}."""
    with_file = program.parent / "request-response.callgrind"
    callgrind(counted, program, "request-response", 4160, out=with_file)
    listing = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", with_file], capture_output=True, text=True, check=True).stdout
    with_file.unlink()
    plain = lambda _, function: re.sub(r"<impl [\w:]+>::", "", function)
    return {"layers": shares(listing, layer), "functions": shares(listing, plain, 12)}


def met(result):
    """[(row, target, found, whether it is met)]: what was not measured says so."""
    compared, idle = result.get("compared") or {}, result.get("idle") or {}
    rows = {row["connections"]: row for row in result["connections"]}
    verdicts = []

    def say(row, target, value, holds, unit=""):
        verdicts.append((row, target, "not measured" if value is None else f"{value:,.2f}{unit}", bool(value is not None and holds(value))))

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
    say("a request in the worker, 10,000 connections", "at most 900 cycles", rows[10_000]["cycles"], lambda x: x <= 900, " cycles")
    say("the same, a million", "at most 1,300 cycles", rows[1_000_000]["cycles"], lambda x: x <= 1300, " cycles")
    say("a million beside a thousand", "at most 1.6 x", rows[1_000_000]["cycles"] / rows[1000]["cycles"], lambda x: x <= 1.6, " x")
    say("memory of an idle connection", "at most 400 B", rows[1_000_000]["bytes"], lambda x: x <= 400, " B")
    say("an idle daemon", "at most 3 % of a core", max(idle.values()) if idle else None, lambda x: x <= 3, " %")
    return verdicts
