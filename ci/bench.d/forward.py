"""What a packet costs that Linux passes on between two veth pairs, as a router and as a bridge."""
import json
import os
import statistics
import subprocess
import sys

from wires import Spaces, sh

TURNS = 5
# Frames in bursts, from one processor, which then also does what the kernel does with them.
SENDER = """
import ctypes, os, socket, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
device, seconds = sys.argv[1], float(sys.argv[3])
frame = ctypes.create_string_buffer(bytes.fromhex(sys.argv[2]))
class Iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
class Message(ctypes.Structure): _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(Iovec)), ("iovlen", ctypes.c_size_t),
    ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int), ("sent", ctypes.c_uint)]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((device, 0))
s.setsockopt(263, 20, 1)
text, burst = Iovec(ctypes.addressof(frame), len(frame) - 1), 64
burst_of = (Message * burst)(*[Message(None, 0, ctypes.pointer(text), 1, None, 0, 0, 0)] * burst)
send = ctypes.CDLL(None, use_errno=True).sendmmsg
sent, began = 0, time.perf_counter()
while time.perf_counter() - began < seconds:
    taken = send(s.fileno(), burst_of, burst, 0)
    if taken < 0: sys.exit("sendmmsg: errno %d" % ctypes.get_errno())
    sent += taken
print(sent, time.perf_counter() - began)
"""


# A datagram of 46 bytes from 198.18.90.1, port 40000, to 198.18.91.9, port 9, without a checksum of its own; nobody's station.
DATAGRAM = "4500002e0000000040113990c6125a01c6125b099c400009001a0000"
STATION = "02:00:00:00:00:09"
IPV4, STRANGE = "0800", "88b5"


def frame(destination, kind):
    """60 bytes to this station, in hexadecimal: the datagram, as a packet of IPv4 or of a type that nobody takes."""
    return f"{destination.replace(':', '')}020000000001{kind}{DATAGRAM}".ljust(120, "0")


class Middle(Spaces):
    """s0 ══ r0 [passes on] r1 ══ d0, each end in a namespace of its own."""

    def __init__(self):
        self.source, self.middle, self.sink = (f"iobf{os.getpid()}{side}" for side in "srd")
        super().__init__(self.source, self.middle, self.sink)

    def lay(self):
        for end, space, other in (("s0", self.source, "r0"), ("d0", self.sink, "r1")):
            sh("ip", "-n", space, "link", "add", end, "type", "veth", "peer", "name", other, "netns", self.middle)
            for name, where in ((end, space), (other, self.middle)):
                sh("ip", "netns", "exec", where, "sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
                sh("ip", "-n", where, "link", "set", name, "up")

    def route(self):
        """Neither side answers: the next station is one that is nobody's, and known."""
        sh("ip", "netns", "exec", self.middle, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        sh("ip", "-n", self.middle, "addr", "add", "198.18.90.2/24", "dev", "r0")
        sh("ip", "-n", self.middle, "addr", "add", "198.18.91.1/24", "dev", "r1")
        sh("ip", "-n", self.middle, "neigh", "add", "198.18.91.9", "lladdr", STATION, "dev", "r1", "nud", "permanent")
        return self.address("r0")

    def bridge(self):
        sh("ip", "-n", self.middle, "addr", "flush", "dev", "r0")
        sh("ip", "-n", self.middle, "addr", "flush", "dev", "r1")
        sh("ip", "-n", self.middle, "link", "add", "b0", "type", "bridge")
        for port in ("r0", "r1"):
            sh("ip", "-n", self.middle, "link", "set", port, "master", "b0")
        sh("ip", "-n", self.middle, "link", "set", "b0", "up")
        sh("bridge", "-n", self.middle, "fdb", "add", STATION, "dev", "r1", "master", "static")
        return STATION

    def address(self, device):
        return json.loads(sh("ip", "-n", self.middle, "-j", "link", "show", device).stdout)[0]["address"]

    def passed_on(self):
        return json.loads(sh("ip", "-n", self.middle, "-s", "-j", "link", "show", "r1").stdout)[0]["stats64"]["tx"]["packets"]

    def send(self, text, seconds):
        """Nanoseconds of a frame, from the sender's call until it is gone; how many of them r1 has passed on."""
        before = self.passed_on()
        said = sh("ip", "netns", "exec", self.source, sys.executable, "-c", SENDER, "s0", text, str(seconds)).stdout.split()
        sent, took = int(said[0]), float(said[1])
        return took / sent * 1e9, (self.passed_on() - before) / sent

    def costs(self, to, own, seconds):
        """Nanoseconds of a frame that is passed on, without what it costs where nobody takes it: one for each turn. None: it was not passed on."""
        found = []
        for _ in range(TURNS):
            (whole, share), (sender, none) = self.send(frame(to, IPV4), seconds), self.send(frame(own, STRANGE), seconds)
            if share < 0.99 or none > 0.01:
                return print(f"  not measured: Linux passed on {share:.2f} of what it should have, {none:.2f} of what it should not")
            found.append(whole - sender)
        return found


def beside(forwarding, mhz, seconds):
    """[(what, ns, Linux's ns)] of a frame of 60 bytes: Linux passes it on to the other pair and drops it behind that, on the sender's
    processor, without what sending it over the first pair costs; medians of turns. None: not measured."""
    try:
        middle = Middle()
    except subprocess.CalledProcessError as error:
        return print(f"  Linux as a router and as a bridge is not measured: {' '.join(map(str, error.cmd))}: {error.stderr.strip()}")
    found = []
    try:
        for what, path, lay, own in (("a packet routed", "ip4-forward", middle.route, "r0"), ("a frame bridged", "l2-bridge", middle.bridge, "b0")):
            to = lay()
            # A bridge passes on any type: what it takes no further is for itself.
            costs = middle.costs(to, middle.address(own), seconds)
            if costs is None:
                return None
            ours = next(row["cycles"] for row in forwarding if row["path"] == path) / mhz * 1000
            found.append((what, ours, statistics.median(costs)))
            print(f"  {what} by Linux between two veth pairs: {found[-1][2]:.0f} ns ({min(costs):.0f} .. {max(costs):.0f})", flush=True)
        return found
    finally:
        middle.close()
