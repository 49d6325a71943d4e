"""What it costs a client to be one: attach, system calls, doorbells, cycles."""
import os
import re
import shutil
import statistics

import wires

TURNS = 21
# Milliseconds until a process has its first socket, beyond what its next one takes.
ATTACH_MS = 2
DOORBELLS = 50
CYCLES = 1500


def opened(lines, wire):
    """Microseconds of a process's first socket and of its next."""
    done = wires.sh("ip", "netns", "exec", wire.space, *wire.under, lines.bin / "load", "open").stdout.split()
    return float(done[1]), float(done[3])


def traced(lines, wire, words, seconds, *options):
    """Requests of a client under strace, and its system calls by name."""
    out = lines.dir / "strace"
    argv = ["ip", "netns", "exec", wire.space, "strace", "-f", "-c", "-U", "name,calls", "-o", out, *options, *wire.under,
            lines.bin / "load", words[0], wire.server, "--seconds", seconds, *words[1:]]
    said = wires.sh(*argv).stdout.split()
    calls = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", out.read_text(), re.M) if name != "total"}
    return float(said[1]) * seconds, calls


def each(lines, wire, words, *options):
    """System calls of one request, without what starts and ends a program."""
    (few, before), (many, after) = (traced(lines, wire, words, seconds, *options) for seconds in (0.5, 2.0))
    return {name: count for name in after if (count := (after[name] - before.get(name, 0)) / (many - few)) >= 0.0005}


def line(what, value, unit, aim=None):
    print(f"{what}: {value:.3g}{unit}" + ("" if aim is None else f", aim {aim}{'' if value <= aim else ': MISSED'}"), flush=True)


def counted(what, calls):
    by_name = ", ".join(f"{name} {count:.3g}" for name, count in sorted(calls.items(), key=lambda item: -item[1]))
    line(f"system calls of {what} ({by_name})", sum(calls.values()), "")


class Veths(wires.Spaces):
    """Two veth pairs: one whose ends two stacks have (`s0`, `s1`), one that leads the kernel from here to there."""

    address = "198.18.84.2"

    def __init__(self):
        self.here, self.there = f"iobp{os.getpid()}", f"iobq{os.getpid()}"
        super().__init__(self.here, self.there)

    def lay(self):
        for first, second in (("s0", "s1"), ("k0", "k1")):
            wires.sh("ip", "-n", self.here, "link", "add", first, "type", "veth", "peer", "name", second)
        wires.sh("ip", "-n", self.here, "link", "set", "k1", "netns", self.there)
        for space, device, address in ((self.here, "k0", "198.18.84.1"), (self.there, "k1", self.address)):
            wires.sh("ip", "-n", space, "addr", "add", f"{address}/24", "dev", device)
        for space, device in ((self.here, "s0"), (self.here, "s1"), (self.here, "k0"), (self.there, "k1")):
            wires.sh("ip", "-n", space, "link", "set", device, "up")


def in_process(root):
    """Cycles of a request of client and worker, and nanoseconds of one between two stacks in one process, over rings and over
    a veth, and of the kernel's over its loopback and over a veth: what benches/request.rs prints."""
    bench = ["cargo", "bench", "--locked", "-q", "--workspace", "--profile", "dist", "--bench", "request"]
    print("building what is installed, linked as a whole: some minutes the first time", flush=True)
    wires.sh(*bench, "--no-run", cwd=root)
    if os.geteuid() == 0:
        veths = Veths()
        try:
            said = wires.sh("ip", "netns", "exec", veths.here, *bench, "--", "s0", "s1", veths.address, f"/run/netns/{veths.there}", cwd=root)
        finally:
            veths.close()
    else:
        said = wires.sh(*bench, cwd=root)
    words = said.stdout.split()
    found = dict(zip(words[::2], map(int, words[1::2])))
    for what, name in (("32 at once, behind a port with offloads", "_of_burst"), ("one at a time", "")):
        client, worker, request = (found[f"{part}{name}_tenth"] for part in ("client", "worker", "request"))
        line(f"64 B request and response, both polling, {what}; a tenth of all samples are below (of the client's part {client}, of the worker's {worker}), "
             f"the middle one: {found[f'request{name}']}", request, " cycles", CYCLES if name else None)
    for what, wire in (("over rings, beside the kernel's loopback", "loopback"), ("over a veth, beside the kernel's over a veth", "veth")):
        for count, name in (("one at a time", ""), ("32 at once", "_of_burst")):
            if f"{wire}{name}_pair_ns" in found:
                compared(f"two stacks in one process, 64 B request and response, {count}, {what}", found, f"{wire}{name}")
    return found


def compared(what, found, name):
    """Two stacks beside two of the kernel's, all of whose programs poll; one at a time also beside programs that sleep."""
    pair, polling, sleeping = (found.get(f"{name}_{which}_ns") for which in ("pair", "kernel_polling", "kernel"))
    times = found[f"{name}_times_hundredths"] / 100
    beside = f", {sleeping / pair:.2f} x where its programs sleep ({1e9 / sleeping:,.0f})" if sleeping else ""
    print(f"{what}: {1e9 / pair:,.0f} a second, {times:.2f} x the kernel's in the middle one of all turns ({1e9 / polling:,.0f}){beside}", flush=True)


def measure(bin_dir, root):
    """Printed, beside what is aimed at; what was found in one process."""
    alone = in_process(root)
    lines = wires.Wires(bin_dir)
    try:
        wire = next(wire for wire in lines.all if wire.name == "memif")
        turns = [opened(lines, wire) for _ in range(TURNS)]
        first, following = (statistics.median(column) / 1000 for column in zip(*turns))
        line(f"attach (first socket {first:.2f} ms, next {following:.2f} ms)", first - following, " ms", ATTACH_MS)
        if not shutil.which("strace"):
            print("system calls and doorbells: strace is missing: apt-get install strace")
            return alone
        for words in (("rr",), ("rr", "--connections", 256)):
            counted("a request, " + " ".join(map(str, words)), each(lines, wire, words))
        counted("socket, connect, one request and close", each(lines, wire, ("crr",)))
        # Only writes are stopped at: a client that is not slowed down.
        rung = each(lines, wire, ("rr", "--connections", 256), "--seccomp-bpf", "-e", "trace=write").get("write", 0)
        line("doorbells of 1000 requests, 256 connections", 1000 * rung, "", DOORBELLS)
    finally:
        lines.close()
    return alone
