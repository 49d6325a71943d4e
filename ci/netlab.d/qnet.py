"""Nodes that speak qnet: they find each other, and tshark reads what they say."""
import contextlib
import pathlib
import shutil
import signal
import tempfile
import time

from lab import BIN, IFACE, Lab, check, run, until

LOCAL = {"alpha": "198.18.77.2", "beta": "198.18.77.3"}


class Node(Lab):
    """A daemon with the module, on as many tap interfaces as there are links; the kernel joins each with a veth.

    namespace  alpha                                            beta
               io-pkt tap0 ══ iop0 ─ br0 ─ w0 ══════════ w0 ─ br0 ─ iop0 ══ tap0 io-pkt
                      tap1 ══ iop1 ─ br1 ─ w1 ══════════ w1 ─ br1 ─ iop1 ══ tap1
    """

    def __init__(self, name, links, *options, args=()):
        self.name, self.links = name, links
        self.modules = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-qnet-"))
        self.modules.chmod(0o755)
        shutil.copy(BIN / "liblsm_qnet.so", self.modules / "lsm-qnet.so")
        drivers = [word for at in range(links) for word in
                   ("-d", "net_tap", f"iface=iop{at}" + (f",address={LOCAL[name]}/24" if at == 0 else ""))]
        words = ",".join([f"host={name}", "mount=/net:.lab", *options])
        super().__init__(drivers=drivers, args=["--module-path", self.modules, "-p", "qnet", words, *args], up=False)

    def wire(self, other):
        """All links to another node."""
        for at in range(self.links):
            run("ip", "link", "add", f"w{at}", "netns", self.ns, "type", "veth", "peer", "name", f"w{at}", "netns", other.ns)
            for node in (self, other):
                node.exec("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
                node.ip("link", "add", f"br{at}", "type", "bridge", "mcast_snooping", "0")
                for name in (f"iop{at}", f"w{at}"):
                    node.ip("link", "set", name, "master", f"br{at}")
                for name in (f"iop{at}", f"w{at}", f"br{at}"):
                    node.ip("link", "set", name, "txqueuelen", "10000", "up")

    def report(self):
        return self.iopkt("path", "read", "qnet").stdout.splitlines()

    def knows(self, name, paths):
        """So many paths to the other node are up."""
        rows = [line.split() for line in self.report()]
        return sum(row[:2] == ["path", f"{name}.lab"] and row[-1] == "up" for row in rows) == paths

    def counter(self, name):
        return int(next(row["value"] for row in self.table("sysctl", "-a") if row["name"] == f"qnet.{name}"))

    def judge(self):
        """tshark reads every frame as LWL4 and finds no fault in any."""
        time.sleep(0.3)
        self.stop(self.tcpdump, signal.SIGINT)
        shark = lambda what: run("tshark", "-n", "-r", self.pcap, "-Y", what, timeout=120).stdout.splitlines()
        ours = "(eth.type == 0x8204 || ip.proto == 106)"
        frames = shark(ours)
        strange = shark(f"{ours} && (_ws.malformed || _ws.expert.severity >= Warning || !lwl4)")
        check(frames and not strange, f"tshark objects to {len(strange)} of {len(frames)} frames, first: {strange[:1]}")
        return {"frames": len(frames), **{layer: len(shark(layer)) for layer in ("lr", "nr", "kif")}}

    def close(self):
        super().close()
        shutil.rmtree(self.modules, ignore_errors=True)


@contextlib.contextmanager
def pair(*options, links=1, **kwargs):
    """Two nodes, alpha and beta, that know each other."""
    with Node("alpha", links, *options, **kwargs) as alpha, Node("beta", links, *options, **kwargs) as beta:
        alpha.wire(beta)
        alpha.capture("ether", "proto", "0x8204", "or", "ip", "proto", "106")
        until("the nodes' finding each other", lambda: alpha.knows("beta", links) and beta.knows("alpha", links), 15)
        yield alpha, beta


def qnet_discovery():
    """Two nodes on two links find each other; what they say is LWL4 to tshark; rubbish is counted by reason."""
    with pair("auto_add=15", links=2) as (alpha, beta):
        until("both have spoken", lambda: alpha.counter("frames_in") > 4)
        frames = alpha.judge()
        check(frames["lr"] >= 2, frames)
        before = {reason: beta.counter(f"discarded.{reason}") for reason in ("version", "too_short", "checksum", "length")}
        mac = next(row["mac"] for row in beta.table("ifconfig", "-a") if row["name"] == "tap0")
        mac = mac if isinstance(mac, str) else ":".join(f"{byte:02x}" for byte in mac)
        said = alpha.exec("python3", "-c", RUBBISH, mac).stdout
        until("the rubbish is counted", lambda: beta.counter("frames_in") > int(said))
        rows = {reason: beta.counter(f"discarded.{reason}") - count for reason, count in before.items()}
        check(all(rows.values()), rows)
        check(alpha.knows("beta", 2) and beta.knows("alpha", 2), "they have forgotten each other")
        beta.stop(beta.daemon)
        until("the other node is forgotten", lambda: not any("beta" in line for line in alpha.report()), 15)
        return f"{frames}, {rows} discarded"


# Frames of random bytes; right ones with a flipped bit, cut, or with a length that is a lie.
RUBBISH = """
import random, socket, struct, sys
to = bytes.fromhex(sys.argv[1].replace(":", ""))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("br0", 0))
random.seed(1)
head = to + s.getsockname()[4] + b"\\x82\\x04"
good = struct.pack("<2x4B2H3I2H3I", 0x2a, 11, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0) + b"12345678"
sent = 0
for at in range(3000):
    frame = random.randbytes(random.randrange(1, 1400))
    if at % 3 == 1:
        frame = bytearray(good)
        frame[4] |= 4
        frame[random.randrange(6, len(frame) - 16)] ^= 1 << random.randrange(8)
    if at % 3 == 2:
        frame = bytearray(good)
        frame[30:34] = random.randbytes(4)
        frame = frame[:random.randrange(len(frame))] if at % 2 else frame
    s.send(head + frame)
    sent += 1
print(sent)
"""
