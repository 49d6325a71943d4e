"""A bad link between io-pkt and the kernel, and the same between two kernel stacks."""
import contextlib
import statistics
import time

from lab import BIN, HOST, IFACE, QUICK, STACK, Lab, check, random_file, until
from web import RECEIVER

KERNEL = "198.18.78.2"


class LinkedLab(Lab):
    """The kernel's peer stands behind a link of our own.

    namespace   `far`          `ns`                            `near`
                peer k0 ══ k1 ─ link ─ iop0 ══ io-pkt
                     r0 ══ r1 ─ link ─ s1 ════════════════ s0 the kernel instead of io-pkt
    """

    def __init__(self):
        super().__init__(up=False)

    def lay(self):
        self.far, self.near = self.ns + "f", self.ns + "n"
        for name in (self.far, self.near):
            self.add_namespace(name)
        for pair, ns in (("k", self.far), ("r", self.far), ("s", self.near)):
            self.ip("link", "add", f"{pair}1", "type", "veth", "peer", "name", f"{pair}0")
            self.ip("link", "set", f"{pair}0", "netns", ns)
        self.ip("addr", "add", f"{HOST}/24", "dev", "k0", ns=self.far)
        self.ip("addr", "add", "198.18.78.1/24", "dev", "r0", ns=self.far)
        self.ip("addr", "add", f"{KERNEL}/24", "dev", "s0", ns=self.near)
        for ns, names in ((self.far, ("k0", "r0")), (self.near, ("s0",)), (self.ns, ("k1", "r1", "s1", IFACE))):
            # The kernel says nothing of its own on the interfaces that the link holds.
            self.exec("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", ns=ns)
            for name in names:
                self.exec("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off", ns=ns, ok=False)
                self.ip("link", "set", name, "txqueuelen", "10000", "up", ns=ns)

        # Like is compared with like, whatever congestion control this kernel takes by itself.
        for ns, net, name in ((self.far, "198.18.77.0/24", "k0"), (self.far, "198.18.78.0/24", "r0"), (self.near, "198.18.78.0/24", "s0")):
            self.ip("route", "replace", net, "dev", name, "scope", "link", "congctl", "cubic", ns=ns)

    @contextlib.contextmanager
    def link(self, spec, seed=1):
        """Both links, alike, for a while; what they did is in self.did afterwards."""
        logs = {way: self.dir / f"link-{way}.log" for way in (IFACE, "s1")}
        links = [self.spawn([BIN / "link", far, near, "--both", spec, "--seed", seed], log=logs[near])
                 for far, near in (("k1", IFACE), ("r1", "s1"))]
        try:
            for log in logs.values():
                until("the link", lambda: "ready" in log.read_text())
            yield
        finally:
            for process in links:
                self.stop(process)
        self.did = {}
        for log in logs.values():
            for line in log.read_text().splitlines():
                words = line.split()
                if words and words[0] == "from":
                    self.did[words[1]] = {k: int(v) for k, v in zip(words[2::2], words[3::2])}
        missed = {name: row["missed"] for name, row in self.did.items() if row["missed"]}
        check(not missed, f"the link itself lost frames: {missed}")


LINE = "delay=1ms,rate=500M,queue=512K"


def iperf3(lab, address, way, streams, seconds, control="cubic", under=(), ns=None):
    """Goodput in Mbit/s as the receiver counts it."""
    said = lab.iperf3(address, "-t", seconds, "-P", streams, "-C", control, *(["-R"] if way == "sends" else []), under=under, ns=ns or lab.far)
    return said["end"]["sum_received"]["bits_per_second"] / 1e6


def verify(lab, address, way, streams, mib):
    """Mbit/s of a transfer whose receiver checks every byte."""
    verb = "receive" if way == "sends" else "send"
    said = lab.exec(BIN / "load", "verify", f"{address}:9100", verb, "--streams", streams, "--mib", mib, ns=lab.far, timeout=120)
    return float(said.stdout.split()[1]) * 1000


def lossy_bulk():
    """iperf3 and checked transfers over a link that loses: both ways, 1 and 8 streams, beside the kernel over the same link."""
    # Of each cell; the middle of all is judged.
    seconds = 1
    sizes = {"0%": 64, "0.1%": 32, "1%": 8, "5%": 2}
    ratios = []
    with LinkedLab() as lab:
        lab.client("iperf3", "-4", "-s", log=lab.dir / "iperf3.log")
        lab.client(BIN / "load", "server", f"{STACK}:9100", log=lab.dir / "load.log")
        for ns in (lab.near, lab.far):
            lab.spawn(["iperf3", "-4", "-s"], ns=ns)
        print(f"    {'loss':>5} {'io-pkt':>9} {'streams':>7} {'control':>7} {'iperf3, Mbit/s':>15} {'kernel the same':>15} {'ratio':>6}   checked", flush=True)
        for loss, mib in sizes.items():
            cells = [("receives", 1, "cubic"), ("receives", 8, "cubic"), ("sends", 1, "cubic"), ("sends", 8, "cubic")]
            with lab.link(f"{LINE},loss={loss}"):
                if loss == "0%":
                    until("iperf3", lambda: lab.exec("iperf3", "-c", STACK, "-n", "1K", ns=lab.far, ok=False).returncode == 0)
                else:
                    cells.append(("sends", 1, "bbr"))
                for way, streams, control in cells:
                    ours, theirs = (iperf3(lab, address, way, streams, seconds, control) for address in (STACK, KERNEL))
                    ratios.append(ours / theirs)
                    checked = "-"
                    if control == "cubic":
                        checked = f"{mib} MiB equal at {verify(lab, STACK, way, streams, mib):.1f} Mbit/s"
                    print(f"    {loss:>5} {way:>9} {streams:>7} {control:>7} {ours:>15.1f} {theirs:>15.1f} {ratios[-1]:>6.2f}   {checked}", flush=True)
                if loss == "0.1%":
                    # The one under iopkt run as client instead: there -R means that it receives.
                    client = [f"{iperf3(lab, HOST, way, 8, seconds, under=(BIN / 'iopkt', 'run', '--'), ns=lab.ns):.0f}" for way in ("receives", "sends")]
        ratio = statistics.median(ratios)
        check(ratio > 0.5, f"io-pkt moves {ratio:.2f} of what the kernel does in the middle of all cells")
        return (f"{len(ratios)} cells, every checked byte right, {ratio:.2f} of the kernel's goodput in the middle; "
                f"as client at 0.1 % 8 streams send {client[0]} and receive {client[1]} Mbit/s")


def iperf3_short():
    """A server that trusts select and then reads without a time limit takes 100 tests in a row over a slow link."""
    count = 30 if QUICK else 100
    with LinkedLab() as lab:
        lab.client("iperf3", "-4", "-s", log=lab.dir / "iperf3.log")
        test = ["iperf3", "-c", STACK, "-n", "1K"]
        with lab.link(LINE):
            until("iperf3", lambda: lab.exec(*test, ns=lab.far, ok=False).returncode == 0)
            started = time.monotonic()
            for number in range(count):
                # One may come before the server is done with the last; it says so and the next will not.
                until(f"test {number}", lambda: lab.exec(*test, ns=lab.far, ok=False, timeout=10).returncode == 0)
        return f"{count} tests, {count / (time.monotonic() - started):.0f}/s"


def lossy_curl():
    """curl fetches from python3 and uploads to it over a link that loses 0.1 %; sha256 equal both times."""
    size = 16 << 20 if QUICK else 128 << 20
    with LinkedLab() as lab:
        want = random_file(lab.dir / "big", size)
        with lab.link(f"{LINE},loss=0.1%"):
            lab.serve(lab.dir, port=8000, peer=lab.far)
            lab.client("python3", "-c", RECEIVER, "0.0.0.0", lab.dir)
            until("the receiver", lambda: lab.curl(f"http://{STACK}/", ok=False, ns=lab.far).returncode == 0)
            said = []
            for what in (f"http://{STACK}:8000/big | sha256sum", f"-T {lab.dir}/big http://{STACK}/"):
                started = time.monotonic()
                got = lab.exec("bash", "-o", "pipefail", "-c", f"curl -fsS --noproxy '*' --max-time 100 {what}",
                               ns=lab.far, timeout=110).stdout
                check(got.split()[0] == want, f"sha256 differs: {got[:80]}")
                said.append(f"{size * 8 / (time.monotonic() - started) / 1e6:.0f}")
        lost = [lab.did[name]["lost"] for name in (IFACE, "k1")]
        check(all(lost), f"the link lost nothing one way: {lost}")
        return f"{size >> 20} MiB at {' and '.join(said)} Mbit/s, {' and '.join(map(str, lost))} frames lost, sha256 equal"


def bad_link():
    """Loss, duplicates, flipped bits, reordering and jitter at once: every byte right, spoiled frames counted."""
    mib = 4 if QUICK else 16
    with LinkedLab() as lab:
        lab.client(BIN / "load", "server", f"{STACK}:9100", log=lab.dir / "load.log")
        lab.spawn([BIN / "load", "server", f"{KERNEL}:9100"], ns=lab.near)
        before = lab.metric("iopkt_dropped_packets_total", "_checksum")
        with lab.link("delay=1ms,rate=500M,queue=512K,loss=0.5%,duplicate=1%,corrupt=0.5%,reorder=2%,jitter=300us", seed=7):
            for address in (STACK, KERNEL):
                probe = [BIN / "load", "verify", f"{address}:9100", "send"]
                until("the server", lambda: lab.exec(*probe, ns=lab.far, ok=False, timeout=10).returncode == 0)
            said = [f"{verify(lab, STACK, way, 4, mib):.0f} (kernel {verify(lab, KERNEL, way, 4, mib):.0f})" for way in ("receives", "sends")]
            dropped = lab.metric("iopkt_dropped_packets_total", "_checksum") - before
        did = lab.did["k1"]
        check(did["corrupted"] > 0 and did["duplicated"] > 0 and did["reordered"] > 0, did)
        # The others have their flipped bit in the Ethernet header, a fifth of an ACK.
        check(dropped >= did["corrupted"] * 0.6, f"{did['corrupted']} frames were spoiled, {dropped:.0f} found so by their checksums")
        return (f"2 x {mib} MiB equal at {' and '.join(said)} Mbit/s; towards io-pkt {did['lost']} lost, {did['duplicated']} doubled, "
                f"{did['reordered']} reordered, {did['corrupted']} spoiled of which {dropped:.0f} had a wrong checksum")
