"""What it costs a client to be one: attach, system calls, doorbells, cycles."""
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


def in_process(root):
    """Cycles of a request of client and worker, and nanoseconds of one between two stacks in one process and over the kernel's
    loopback, whose programs sleep or poll: {client, worker, pair_ns, kernel_ns, kernel_polling_ns}."""
    said = wires.sh("cargo", "bench", "--locked", "-q", "--workspace", "--bench", "request", cwd=root).stdout.split()
    found = dict(zip(said[::2], map(int, said[1::2])))
    line(f"64 B request and response, both polling (client {found['client']}, worker {found['worker']})", found["client"] + found["worker"], " cycles", CYCLES)
    pair = found["pair_ns"]
    print(f"64 B request and response, two stacks polling in one process: {1e9 / pair:,.0f} a second, {found['kernel_ns'] / pair:.1f} x the kernel's loopback "
          f"({1e9 / found['kernel_ns']:,.0f}), {found['kernel_polling_ns'] / pair:.1f} x where one thread polls both its ends ({1e9 / found['kernel_polling_ns']:,.0f})", flush=True)
    return found


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
