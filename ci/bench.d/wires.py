"""Timed rows: one client and server program, over io-pkt and over the kernel, in turns."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import machine

PORT = 9100
# name, unit, better, arguments of `load`, what of its report
ROWS = (
    ("64 B request/response, 1 connection", "1/s", "more", ("rr",), "rate"),
    ("  its median", "us", "less", ("rr",), "p50"),
    ("  99 of 100 within", "us", "less", ("rr",), "p99"),
    ("  999 of 1000 within", "us", "less", ("rr",), "p999"),
    ("  processor time of a million", "s", "less", ("rr",), "cpu"),
    ("64 B request/response, 32 connections", "1/s", "more", ("rr", "--connections", 32), "rate"),
    ("  its median", "us", "less", ("rr", "--connections", 32), "p50"),
    ("  99 of 100 within", "us", "less", ("rr", "--connections", 32), "p99"),
    ("  999 of 1000 within", "us", "less", ("rr", "--connections", 32), "p999"),
    ("  processor time of a million", "s", "less", ("rr", "--connections", 32), "cpu"),
    ("64 B request/response, 256 connections", "1/s", "more", ("rr", "--connections", 256), "rate"),
    ("  its median", "us", "less", ("rr", "--connections", 256), "p50"),
    ("  99 of 100 within", "us", "less", ("rr", "--connections", 256), "p99"),
    ("  processor time of a million", "s", "less", ("rr", "--connections", 256), "cpu"),
    ("connections, one request each", "1/s", "more", ("crr",), "rate"),
    ("  99 of 100 within", "us", "less", ("crr",), "p99"),
    ("UDP echo of 64 B frames, 1 on its way", "1/s", "more", ("echo",), "rate"),
    ("UDP echo of 64 B frames, 32 on their way", "1/s", "more", ("echo", "--window", 32), "rate"),
    ("bulk to the server, 1 connection", "Gbit/s", "more", ("send",), "gbit"),
    ("bulk to the server, 8 connections", "Gbit/s", "more", ("send", "--connections", 8), "gbit"),
    ("bulk from the server, 1 connection", "Gbit/s", "more", ("receive",), "gbit"),
    ("bulk from the server, 8 connections", "Gbit/s", "more", ("receive", "--connections", 8), "gbit"),
)
LOADS = tuple(dict.fromkeys(row[3] for row in ROWS))
TURNS = 5


def sh(*argv, **kwargs):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True, **kwargs)


class Wire:
    """Somewhere a client can run, and the address at which a server answers it."""

    def __init__(self, name, space, address, under=()):
        self.name, self.space, self.address, self.under = name, space, address, list(under)


class Wires:
    """The client and the server of each wire; what they and their daemons left is taken away at the end.

    kernel    client and server in namespaces of their own, a veth pair between them, offloads on
    veth      the client on the kernel, the server on io-pkt, which has a veth's end by net_af_packet
    tap       the client on the kernel, the server on io-pkt, which has a net_tap
    memif     client and server on an io-pkt each, shared memory between the two
    """

    def __init__(self, bin_dir):
        self.bin = bin_dir
        self.here, self.there = f"iobc{os.getpid()}", f"iobk{os.getpid()}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-bench-"))
        self.processes = []
        try:
            self.lay()
        except BaseException:
            self.close()
            raise

    def lay(self):
        for space in (self.here, self.there):
            sh("ip", "netns", "add", space)
            sh("ip", "-n", space, "link", "set", "lo", "up")
        for pair in "ab":
            sh("ip", "-n", self.here, "link", "add", f"{pair}0", "type", "veth", "peer", "name", f"{pair}1")
        sh("ip", "-n", self.here, "link", "set", "b1", "netns", self.there)
        # af_packet hands frames on as they are: without these the kernel would leave its checksums
        # unfinished and its segments unsplit. The kernel's own wire keeps its offloads.
        sh("ip", "netns", "exec", self.here, "ethtool", "-K", "a0", "tx", "off", "tso", "off", "gso", "off")
        for space, device, address in ((self.here, "a0", "198.18.77.1"), (self.here, "a1", None), (self.here, "b0", "198.18.78.1"), (self.there, "b1", "198.18.78.2")):
            if address:
                sh("ip", "-n", space, "addr", "add", f"{address}/24", "dev", device)
            sh("ip", "-n", space, "link", "set", device, "up")
        socket = self.dir / "memif"
        self.daemon("veth", "net_af_packet", "iface=a1,address=198.18.77.2/24")
        self.daemon("tap", "net_tap", "iface=t0,address=198.18.79.2/24")
        self.daemon("memif-server", "net_memif", f"role=server,socket={socket},socket-abstract=no,address=198.18.80.2/24")
        self.daemon("memif-client", "net_memif", f"role=client,socket={socket},socket-abstract=no,address=198.18.80.1/24")
        sh("ip", "-n", self.here, "addr", "add", "198.18.79.1/24", "dev", "t0")
        sh("ip", "-n", self.here, "link", "set", "t0", "up")
        self.all = [
            Wire("kernel", self.here, "198.18.78.2"),
            Wire("veth", self.here, "198.18.77.2"),
            Wire("tap", self.here, "198.18.79.2"),
            Wire("memif", self.here, "198.18.80.2", self.client_of("memif-client")),
        ]
        self.spawn(self.there, "kernel-load", self.bin / "load", "server", f"198.18.78.2:{PORT}")
        for name, address in (("veth", "198.18.77.2"), ("tap", "198.18.79.2"), ("memif-server", "198.18.80.2")):
            self.spawn(self.here, f"{name}-load", *self.client_of(name), self.bin / "load", "server", f"{address}:{PORT}")
        time.sleep(1)

    def client_of(self, name):
        return ["env", f"IOPKT_RUN={self.dir / name}", self.bin / "iopkt", "run", "--"]

    def daemon(self, name, driver, options):
        env = ["env", f"IOPKT_RUN={self.dir / name}"]
        started = self.spawn(self.here, name, *env, self.bin / "io-pkt", "-d", driver, options, "--metrics", "off")
        end = time.monotonic() + 15
        while subprocess.run([*env, self.bin / "iopkt", "status"], capture_output=True).returncode:
            if time.monotonic() > end or started.poll() is not None:
                raise SystemExit(f"the daemon over {driver} did not start: {(self.dir / name).with_suffix('.log').read_text()[-800:]}")
            time.sleep(0.05)

    def spawn(self, space, name, *argv):
        with open(self.dir / f"{name}.log", "wb") as log:
            child = subprocess.Popen(["ip", "netns", "exec", space, *map(str, argv)], stdout=log, stderr=log)
        self.processes.append(child)
        return child

    def load(self, wire, words, seconds):
        """What `load` found, and the processor time the whole machine spent on a million."""
        argv = ["ip", "netns", "exec", wire.space, *wire.under, self.bin / "load", words[0], f"{wire.address}:{PORT}", "--seconds", seconds, *words[1:]]
        before, began = machine.busy_seconds(), time.monotonic()
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=seconds * 5 + 30)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, argv))}: {done.stderr.strip()[-400:]}")
        took, busy = time.monotonic() - began, machine.busy_seconds() - before
        parts = done.stdout.split()
        found = {k: float(v) for k, v in zip(parts[::2], parts[1::2])}
        if found.get("rate"):
            found["cpu"] = busy / took / found["rate"] * 1e6
        return found

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for space in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def compare(bin_dir, seconds):
    """{load: {wire: {key: [a value per turn]}}}, the wires taking turns."""
    wires = Wires(bin_dir)
    try:
        found = {}
        for turn in range(TURNS):
            for words in LOADS:
                for wire in wires.all:
                    print(f"  turn {turn + 1} of {TURNS}: {' '.join(map(str, words))}, {wire.name}          ", end="\r", flush=True)
                    for key, value in wires.load(wire, words, seconds).items():
                        found.setdefault(words, {}).setdefault(wire.name, {}).setdefault(key, []).append(value)
        print(" " * 70, end="\r")
        return found
    finally:
        wires.close()
