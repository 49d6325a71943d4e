"""What a packet costs that Linux passes on between two veth pairs, as a router and as a bridge."""
import json
import os
import statistics
import subprocess
import sys

from wires import sh

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


def checksum(header):
    total = sum(int.from_bytes(header[at:at + 2], "big") for at in range(0, len(header), 2))
    total = (total & 0xffff) + (total >> 16)
    return (~(total + (total >> 16)) & 0xffff).to_bytes(2, "big")


def frame(destination, kind):
    """60 bytes to this station: a datagram of IPv4 from one side of the router to the other, or of an EtherType that nobody takes."""
    header = bytes.fromhex("4500002e0000000040110000") + bytes((198, 18, 90, 1, 198, 18, 91, 9))
    header = header[:10] + checksum(header) + header[12:]
    text = header + bytes.fromhex("9c400009001a" + "0000") if kind == 0x0800 else b""
    start = bytes.fromhex(destination.replace(":", "")) + bytes.fromhex("020000000001") + kind.to_bytes(2, "big")
    return (start + text).ljust(60, b"\0").hex()


class Middle:
    """s0 ══ r0 [passes on] r1 ══ d0, each end in a namespace of its own."""

    def __init__(self):
        # Of who sends, of who passes on, and of who takes nothing in.
        self.spaces = [f"iobf{os.getpid()}{side}" for side in "srd"]
        self.source, self.middle, self.sink = self.spaces
        try:
            self.lay()
        except BaseException:
            self.close()
            raise

    def lay(self):
        for space in self.spaces:
            sh("ip", "netns", "add", space)
            sh("ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        for end, space, other, far in (("s0", self.source, "r0", self.middle), ("d0", self.sink, "r1", self.middle)):
            sh("ip", "-n", space, "link", "add", end, "type", "veth", "peer", "name", other, "netns", far)
            sh("ip", "-n", space, "link", "set", end, "up")
            sh("ip", "-n", far, "link", "set", other, "up")

    def route(self):
        """Neither side answers: the next station is one that is nobody's, and known."""
        sh("ip", "netns", "exec", self.middle, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        sh("ip", "-n", self.middle, "addr", "add", "198.18.90.2/24", "dev", "r0")
        sh("ip", "-n", self.middle, "addr", "add", "198.18.91.1/24", "dev", "r1")
        sh("ip", "-n", self.middle, "neigh", "add", "198.18.91.9", "lladdr", "02:00:00:00:00:09", "dev", "r1", "nud", "permanent")
        return self.address("r0")

    def bridge(self):
        sh("ip", "-n", self.middle, "addr", "flush", "dev", "r0")
        sh("ip", "-n", self.middle, "addr", "flush", "dev", "r1")
        sh("ip", "-n", self.middle, "link", "add", "b0", "type", "bridge")
        for port in ("r0", "r1"):
            sh("ip", "-n", self.middle, "link", "set", port, "master", "b0")
        sh("ip", "-n", self.middle, "link", "set", "b0", "up")
        sh("bridge", "-n", self.middle, "fdb", "add", "02:00:00:00:00:09", "dev", "r1", "master", "static")
        return "02:00:00:00:00:09"

    def address(self, device):
        return json.loads(sh("ip", "-n", self.middle, "-j", "link", "show", device).stdout)[0]["address"]

    def passed_on(self):
        return json.loads(sh("ip", "-n", self.middle, "-s", "-j", "link", "show", "r1").stdout)[0]["stats64"]["tx"]["packets"]

    def send(self, frame, seconds):
        """Nanoseconds of a frame, from the sender's call until it is gone; how many of them r1 has passed on."""
        before = self.passed_on()
        said = sh("ip", "netns", "exec", self.source, sys.executable, "-c", SENDER, "s0", frame, str(seconds)).stdout.split()
        sent, took = int(said[0]), float(said[1])
        return took / sent * 1e9, (self.passed_on() - before) / sent

    def close(self):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def kernels(seconds):
    """{"router": ns, "bridge": ns} of a frame of 60 bytes that Linux passes on to the other pair and drops behind it, on the sender's
    processor, without what the same frame costs whose EtherType nobody takes (sending it, and the first pair): medians of turns."""
    try:
        middle = Middle()
    except subprocess.CalledProcessError as error:
        return print(f"  Linux as a router and as a bridge is not measured: {' '.join(error.cmd)}: {error.stderr.strip()}")
    found = {}
    try:
        for kind, station in (("router", middle.route), ("bridge", middle.bridge)):
            to = station()
            # The bridge would pass on any type: what it takes no further is for itself.
            nowhere = frame(middle.address("r0" if kind == "router" else "b0"), 0x88b5)
            costs = []
            for _ in range(TURNS):
                (whole, share), (sender, none) = middle.send(frame(to, 0x0800), seconds), middle.send(nowhere, seconds)
                if share < 0.99 or none > 0.01:
                    return print(f"  not measured: Linux as a {kind} passed on {share:.2f} of what it should have, {none:.2f} of what it should not")
                costs.append(whole - sender)
            found[kind] = statistics.median(costs)
            print(f"  Linux as a {kind} between two veth pairs: {found[kind]:.0f} ns ({min(costs):.0f} .. {max(costs):.0f})", flush=True)
        return found
    finally:
        middle.close()
