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


# Why a row falls short of its aim: what a profile or another row of this report shows.
WHY = {
    "memif": "Two daemons, client and server share two cores, and DPDK's net_memif gives a worker nothing to sleep on: daemons look for frames "
             "in steps of 20 us, and request and response wait for one of those each, and for the kernel to run a thread. The work itself is the row in one process.",
    "in process": "Both stacks are whole, with clients' memory, checksums in software and no flow but this one, so nothing is shared out over a burst: "
                  "each breath of a worker does its fixed part for one packet. The profile of a request is below.",
    "veth": "A frame crosses the kernel's veth and its packet socket both ways, which takes two system calls and a wake-up of the kernel's on top of what "
            "its own stack would do; the worker's share is the row of a request in the worker.",
    "wake": "Three sleepers are woken one after the other, worker, server and the kernel's client: the kernel's own row has two of these in it.",
    "crr": "Accept and close are requests to the control thread, two switches of threads each, and there are two daemons on two cores; the worker's "
           "share is the row connection of the instructions.",
    "bulk": "net_memif copies each frame in and out (DPDK's copies, one frame at a time), the stack sums it up and copies its text once on each side; the "
            "segment itself is in the rows tcp-receive and tcp-send, lean.",
    "veths": "A frame takes the kernel's driver, its XDP program and a copy at each end, some microseconds, whoever makes it.",
    "tap": "A frame is a system call of the driver's each way (5,000 cycles on such a machine), the kernel's own passes 64 KiB segments.",
    "request": "No function has more than an eighth of it: a request is two packets, each parsed, looked up, judged by a TCP with SACK, RACK, pacing and "
               "delivery rates, copied and summed, with checked arithmetic throughout. Parts and functions are in the profile below.",
    "routes": "A lookup reads three to four lines that no core's own cache holds (piece, node, value), asked for ahead: what that "
              "and huge pages are worth is among the techniques.",
    "passed on": "Nearly all of it are the checks of both headers and of both addresses; port and buffers are part of it.",
}


def met(result):
    """[(row, target, found, found in targets, "met", "not met" or "not measured", why not)]."""
    compared, idle = result.get("compared") or {}, result.get("idle") or {}
    sizes = {row["connections"]: row for row in result["connections"]}
    alone = result.get("in_process") or {}
    verdicts = []

    def say(row, value, unit, why, least=None, most=None):
        aim = most if least is None else least
        target = f"at {'most' if least is None else 'least'} {aim:,g}{unit}"
        if value is None:
            return verdicts.append((row, target, "–", "–", "not measured", ""))
        holds = value <= aim if least is None else value >= aim
        verdicts.append((row, target, f"{value:,.2f}{unit}", f"{value / aim:.2f}", "met" if holds else "not met", "" if holds else WHY[why]))

    def times(words, wire, key, base):
        got = compared.get(words, {})
        if key not in got.get(wire, {}) or key not in got.get(base, {}):
            return None
        return statistics.median(got[wire][key]) / statistics.median(got[base][key])

    def against(name, key):
        if key == "times":
            return alone[f"{name}_times_hundredths"] / 100 if f"{name}_times_hundredths" in alone else None
        pair, other = alone.get(f"{name}_pair_ns"), alone.get(f"{name}_{key}_ns")
        return other / pair if pair and other else None

    one = ("rr",)
    say("64 B request/response, native, both stacks polling in one process, beside the kernel's loopback", against("loopback", "kernel"), " x", "in process", least=10)
    say("the same, beside the kernel's loopback with one thread that polls both ends", against("loopback", "times"), " x", "in process", least=10)
    say("the same, 32 at once, over a veth, beside the kernel's with one thread that polls both ends of all", against("veth_of_burst", "times"), " x", "veths", least=2)
    say("64 B request/response, native, memif, beside the kernel's veth", times(one, "memif, native", "rate", "kernel"), " x", "memif", least=10)
    say("the same, unmodified program over a veth", times(one, "veth", "rate", "kernel"), " x", "veth", least=1.5)
    say("its 99th percentile", times(one, "veth", "p99", "kernel"), " x", "veth", most=0.5)
    quiet = (compared.get(("rr", "--pause", 5)) or {}).get("veth")
    say("a request over a veth after 5 ms of silence, there and back", statistics.median(quiet["p50"]) if quiet else None, " us", "wake", most=60)
    say("connections with one request, native, memif", times(("crr",), "memif, native", "rate", "kernel"), " x", "crr", least=8)
    say("UDP echo of 64 B, native, memif", times(("echo",), "memif, native", "rate", "kernel"), " x", "memif", least=8)
    say("bulk to the server, in place, memif", statistics.median(compared[("send",)]["memif, in place"]["gbit"]) if compared else None, " Gbit/s", "bulk", least=40)
    say("bulk to the server, unmodified, tap", times(("send",), "tap", "gbit", "kernel"), " x the kernel's", "tap", least=1)
    say("a request of client and worker, both polling, 32 at once behind a port with offloads, a tenth of all samples below",
        alone.get("request_of_burst_tenth"), " cycles", "request", most=1500)
    say("a request in the worker, 10,000 connections", sizes[10_000]["cycles"], " cycles", "request", most=900)
    say("the same, a million", sizes[1_000_000]["cycles"], " cycles", "request", most=1300)
    say("a million beside a thousand", sizes[1_000_000]["cycles"] / sizes[1000]["cycles"], " x", "request", most=1.6)
    say("memory of an idle connection", sizes[1_000_000]["bytes"], " B", "request", most=400)
    for row in result["forwarding"]:
        if row["aim"]:
            why = "routes" if row["size"] > 1000 else "passed on"
            say(f"{row['path']}, {row['size']:,} {row['of']}", row["cycles"], " cycles", why, most=row["aim"])
    for what, ours, linux in result.get("beside_linux") or (("a packet routed", 1, None), ("a frame bridged", 1, None)):
        say(f"{what}, beside Linux between two veth pairs", linux and linux / ours, " x", "passed on", least=10)
    say("an idle daemon", max(idle.values()) if idle else None, " % of a core", "memif", most=3)
    return verdicts
