"""What techniques are worth in time: the same program with and without each of them, in turns."""
import os
import re
import shutil
import statistics
import subprocess

import wires

TURNS = 3
# Routes and connections that no core's own caches hold.
ROUTES, CONNECTIONS = 100_000, 100_000
# Opcodes of a prefetch and of a no-op of the same form and length: 0f 18 and 0f 1f.
PREFETCH, NOTHING = 0x18, 0x1F
# glibc then asks for huge pages for what it allocates (mallopt has no word for it).
HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
IDLE = ("sleep", "adaptive", "spin")


def without_prefetch(program, copy):
    """The same program, each prefetch of its own made a no-op; how many there were."""
    sections = wires.sh("objdump", "-h", program).stdout
    start, offset = (int(word, 16) for word in re.search(r"\.text\s+\w+\s+(\w+)\s+\w+\s+(\w+)", sections).groups())
    listing = subprocess.run(["objdump", "-d", "--section=.text", str(program)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*prefetcht0", listing, re.M)
    shutil.copy2(program, copy)
    with open(copy, "r+b") as file:
        for address, code in found:
            at = bytes.fromhex(code).index(bytes((0x0F, PREFETCH))) + 1
            file.seek(int(address, 16) - start + offset + at)
            file.write(bytes((NOTHING,)))
    return copy, len(found)


def forwarded(program, mhz, env):
    """Cycles of a forwarded packet: the median of a run."""
    argv = [program, "ip4-forward", "--verified", "--time", "--routes", str(ROUTES)]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, **env}).stdout
    return statistics.median(float(line.split()[0]) for line in said.splitlines()) * mhz / 1000


def requested(program, env):
    """Cycles of a request, 32 at once."""
    said = subprocess.run([program, str(CONNECTIONS)], capture_output=True, text=True, timeout=300, check=True, env={**os.environ, **env}).stdout
    return float(next(row[5] for row in map(str.split, said.splitlines()) if row and row[0] == str(CONNECTIONS)))


def in_time(packet_cost, connections, folder, mhz):
    """[{technique, row, with, without}], cycles: medians of turns."""
    plain = {"forward": packet_cost, "request": connections}
    bare = {row: without_prefetch(program, f"{folder}/{row}")[0] for row, program in plain.items()}
    ways = {"with": (plain, {}), "no prefetch": (bare, {}), "huge pages": (plain, HUGE)}
    found = {}
    for turn in range(TURNS):
        for way, (programs, env) in ways.items():
            print(f"  what techniques are worth, turn {turn + 1} of {TURNS}: {way}          ", end="\r", flush=True)
            found.setdefault(("forward", way), []).append(forwarded(programs["forward"], mhz, env))
            found.setdefault(("request", way), []).append(requested(programs["request"], env))
    print(" " * 70, end="\r")
    rows = {"forward": f"ip4-forward, {ROUTES:,} routes, cycles", "request": f"a request among {CONNECTIONS:,} connections, cycles"}
    cost = {key: statistics.median(values) for key, values in found.items()}
    return [{"technique": name, "row": rows[row], "with": cost[row, with_it], "without": cost[row, without_it]}
            for name, with_it, without_it in (("memory is asked for ahead (prefetch)", "with", "no prefetch"),
                                              ("huge pages for what is allocated (measured here, not used otherwise)", "huge pages", "with"))
            for row in rows]


class Veth(wires.Wires):
    """The kernel's client and a server on a daemon with the end of a veth pair, which idles as it is told."""

    def __init__(self, bin_dir, idle):
        self.idle_kind = idle
        super().__init__(bin_dir)

    def lay(self):
        wires.sh("ip", "-n", self.here, "link", "add", "a0", "type", "veth", "peer", "name", "a1")
        wires.sh("ip", "netns", "exec", self.here, "ethtool", "-K", "a0", "tx", "off", "tso", "off", "gso", "off")
        wires.sh("ip", "-n", self.here, "addr", "add", "198.18.77.1/24", "dev", "a0")
        for device in ("a0", "a1"):
            wires.sh("ip", "-n", self.here, "link", "set", device, "up")
        self.daemon("veth", "net_af_packet", "iface=a1,address=198.18.77.2/24", "--idle", self.idle_kind)
        self.server(self.here, "veth", "198.18.77.2", self.client_of("veth"))
        self.all = [wires.Wire("veth", self.here, "198.18.77.2")]
        wires.time.sleep(1)


def patience(bin_dir, seconds):
    """[(idle, rate, median, processor time of a million, idle share)]: one request at a time, by what an idle worker does."""
    found = []
    for idle in IDLE:
        lines = Veth(bin_dir, idle)
        try:
            share = lines.idle()["veth"]
            loads = [lines.load(lines.all[0], ("rr",), seconds) for _ in range(wires.TURNS)]
        finally:
            lines.close()
        found.append((idle, *(statistics.median(load[key] for load in loads) for key in ("rate", "p50", "cpu")), share))
        print("  --idle {}: {:,.0f} requests a second, median {:.0f} us, {:.0f} s of processor time a million, idle {:.1f} % of a core".format(*found[-1]))
    return found
