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
    ("  after 5 ms of silence, its median", "us", "less", ("rr", "--pause", 5), "p50"),
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
    ("UDP, 64 B frames to the server that arrive", "1/s", "more", ("udp-send",), "rate"),
    ("UDP, 64 B frames from the server that arrive", "1/s", "more", ("udp-receive",), "rate"),
    ("bulk to the server, 1 connection", "Gbit/s", "more", ("send",), "gbit"),
    ("bulk to the server, 8 connections", "Gbit/s", "more", ("send", "--connections", 8), "gbit"),
    ("bulk from the server, 1 connection", "Gbit/s", "more", ("receive",), "gbit"),
    ("bulk from the server, 8 connections", "Gbit/s", "more", ("receive", "--connections", 8), "gbit"),
)
LOADS = tuple(dict.fromkeys(row[3] for row in ROWS))
TURNS = 5


def sh(*argv, **kwargs):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True, **kwargs)


# Kinds of sockets of `load`, and where its server of that kind listens.
PORTS = {"std": PORT, "native": PORT + 1, "in-place": PORT + 2}


class Wire:
    """Somewhere a client can run, and the address at which a server of the same kind of sockets answers it."""

    def __init__(self, name, space, address, under=(), sockets="std"):
        self.name, self.space, self.under, self.sockets = name, space, list(under), sockets
        self.server = f"{address}:{PORTS[sockets]}"


class Spaces:
    """Network namespaces and what is laid in them; they are taken away at the end, and when laying the rest fails."""

    def __init__(self, *spaces):
        self.spaces = spaces
        try:
            for space in spaces:
                sh("ip", "netns", "add", space)
                sh("ip", "-n", space, "link", "set", "lo", "up")
            self.lay()
        except BaseException:
            self.close()
            raise

    def close(self):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


class Wires(Spaces):
    """The client and the server of each wire; what they and their daemons left is taken away at the end.

    kernel           client and server in namespaces of their own, a veth pair between them, offloads on
    loopback         both on the kernel in one namespace
    veth             the client on the kernel, the server on io-pkt, which has a veth's end by net_af_packet
    veth, 2 workers  the same with -t 2: on two cores there is none left for the programs
    af_xdp           the same by net_af_xdp
    tap              the client on the kernel, the server on io-pkt, which has a net_tap
    memif            client and server on an io-pkt each, shared memory between the two
    memif, native    the same with the Rust crate instead of an unmodified program
    memif, in place  the same, bulk written and read where it lies
    """

    def __init__(self, bin_dir):
        self.bin = bin_dir
        self.here, self.there = f"iobc{os.getpid()}", f"iobk{os.getpid()}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-bench-"))
        self.processes, self.daemons = [], {}
        super().__init__(self.here, self.there)

    def lay(self):
        for pair in "abcd":
            sh("ip", "-n", self.here, "link", "add", f"{pair}0", "type", "veth", "peer", "name", f"{pair}1")
        sh("ip", "-n", self.here, "link", "set", "b1", "netns", self.there)
        # af_packet hands frames on as they are: without these the kernel would leave its checksums
        # unfinished and its segments unsplit. The kernel's own wire keeps its offloads.
        for device in ("a0", "c0", "d0"):
            sh("ip", "netns", "exec", self.here, "ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off")
        for space, device, address in ((self.here, "a0", "198.18.77.1"), (self.here, "a1", None), (self.here, "c0", "198.18.81.1"), (self.here, "c1", None),
                                       (self.here, "d0", "198.18.82.1"), (self.here, "d1", None),
                                       (self.here, "b0", "198.18.78.1"), (self.there, "b1", "198.18.78.2")):
            if address:
                sh("ip", "-n", space, "addr", "add", f"{address}/24", "dev", device)
            sh("ip", "-n", space, "link", "set", device, "up")
        socket = self.dir / "memif"
        self.daemon("veth", "net_af_packet", "iface=a1,address=198.18.77.2/24")
        self.daemon("veth2", "net_af_packet", "iface=c1,qpairs=2,address=198.18.81.2/24", "-t", "2")
        self.daemon("xdp", "net_af_xdp", "iface=d1,address=198.18.82.2/24")
        self.daemon("tap", "net_tap", "iface=t0,address=198.18.79.2/24")
        self.daemon("memif-server", "net_memif", f"role=server,socket={socket},socket-abstract=no,address=198.18.80.2/24")
        self.daemon("memif-client", "net_memif", f"role=client,socket={socket},socket-abstract=no,address=198.18.80.1/24")
        sh("ip", "-n", self.here, "addr", "add", "198.18.79.1/24", "dev", "t0")
        sh("ip", "-n", self.here, "link", "set", "t0", "up")
        memif = "198.18.80.2"
        self.all = [
            Wire("kernel", self.here, "198.18.78.2"),
            Wire("loopback", self.there, "198.18.78.2"),
            Wire("veth", self.here, "198.18.77.2"),
            Wire("veth, 2 workers", self.here, "198.18.81.2"),
            Wire("af_xdp", self.here, "198.18.82.2"),
            Wire("tap", self.here, "198.18.79.2"),
            Wire("memif", self.here, memif, self.client_of("memif-client")),
            Wire("memif, native", self.here, memif, self.client_of("memif-client", "native"), "native"),
            Wire("memif, in place", self.here, memif, self.client_of("memif-client", "in-place"), "in-place"),
        ]
        self.server(self.there, "kernel", "198.18.78.2")
        for name, address in (("veth", "198.18.77.2"), ("veth2", "198.18.81.2"), ("xdp", "198.18.82.2"), ("tap", "198.18.79.2"), ("memif-server", memif)):
            self.server(self.here, name, address, self.client_of(name))
        for sockets in ("native", "in-place"):
            self.server(self.here, f"memif-server-{sockets}", memif, self.client_of("memif-server", sockets), sockets)
        time.sleep(1)

    def server(self, space, name, address, under=(), sockets="std"):
        self.spawn(space, f"{name}-load", *under, self.bin / "load", "--sockets", sockets, "server", f"{address}:{PORTS[sockets]}")

    def client_of(self, name, sockets="std"):
        run = [self.bin / "iopkt", "run", "--"] if sockets == "std" else []
        return ["env", f"IOPKT_RUN={self.dir / name}", *run]

    def daemon(self, name, driver, options, *more):
        env = ["env", f"IOPKT_RUN={self.dir / name}"]
        started = self.spawn(self.here, name, *env, self.bin / "io-pkt", "-d", driver, options, "--metrics", "off", *more)
        self.daemons[name] = started.pid
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
        argv = ["ip", "netns", "exec", wire.space, *wire.under, self.bin / "load", "--sockets", wire.sockets, words[0], wire.server,
                "--seconds", seconds, *words[1:]]
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

    def idle(self, seconds=2):
        """Share of a core, in percent, that each daemon uses while nothing happens."""
        spent = {name: machine.process_seconds(pid) for name, pid in self.daemons.items()}
        time.sleep(seconds)
        return {name: (machine.process_seconds(self.daemons[name]) - before) / seconds * 100 for name, before in spent.items()}

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        super().close()
        shutil.rmtree(self.dir, ignore_errors=True)


def compare(bin_dir, seconds):
    """{load: {wire: {key: [a value per turn]}}}, the wires taking turns; and what the daemons use while idle."""
    wires = Wires(bin_dir)
    try:
        found, idle = {}, wires.idle()
        for turn in range(TURNS):
            for words in LOADS:
                for wire in wires.all:
                    print(f"  turn {turn + 1} of {TURNS}: {' '.join(map(str, words))}, {wire.name}          ", end="\r", flush=True)
                    for key, value in wires.load(wire, words, seconds).items():
                        found.setdefault(words, {}).setdefault(wire.name, {}).setdefault(key, []).append(value)
        print(" " * 70, end="\r")
        return found, idle
    finally:
        wires.close()
