"""Nodes that speak qnet: they find each other and use each other's files; tshark reads what they say."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from lab import BIN, QUICK, Lab, check, random_file, run, until

# Of the files that cross; ci/test has smaller ones.
SIZE = 8 << 20 if QUICK else int(os.environ.get("IOPKT_QNET_MIB", "1024")) << 20
# Seconds for one to cross: 4 MB/s is little even for a bad link and a busy machine.
PATIENCE = 60 + SIZE / 4e6
LOCAL = {"alpha": "198.18.77.2", "beta": "198.18.77.3"}


class Node(Lab):
    """A daemon with the module, on as many tap interfaces as there are links; the kernel joins each with a veth.

    namespace  alpha                                            beta
               io-pkt tap0 ══ iop0 ─ br0 ─ w0 ══════════ w0 ─ br0 ─ iop0 ══ tap0 io-pkt
                      tap1 ══ iop1 ─ br1 ─ w1 ══════════ w1 ─ br1 ─ iop1 ══ tap1
    """

    def __init__(self, name, links, *options, args=(), own=()):
        self.name, self.links = name, links
        self.modules = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-qnet-"))
        self.modules.chmod(0o755)
        shutil.copy(BIN / "liblsm_qnet.so", self.modules / "lsm-qnet.so")
        drivers = [word for at in range(links) for word in
                   ("-d", "net_tap", f"iface=iop{at}" + (f",address={LOCAL[name]}/24" if at == 0 else ""))]
        drivers += own
        words = ",".join([f"host={name}", "mount=/net:.lab", *options])
        super().__init__(drivers=drivers, args=["--module-path", self.modules, "-p", "qnet", words, *args], up=False)

    def add_namespace(self, name):
        """With both nodes' names for the system's resolver: `ip netns exec` puts the file into its place."""
        self.names = pathlib.Path("/etc/netns") / name
        self.names.mkdir(parents=True)
        (self.names / "hosts").write_text("".join(f"{address} {node}.lab\n" for node, address in LOCAL.items()))
        super().add_namespace(name)

    def wire(self, other, bad=None):
        """All links to another node; `bad` says how bad they are, if they are."""
        for at in range(self.links):
            run("ip", "link", "add", f"w{at}", "netns", self.ns, "type", "veth", "peer", "name", f"w{at}", "netns", other.ns)
            for node in (self, other):
                node.exec("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
                names = [f"iop{at}", f"w{at}"]
                if node is other or not bad:
                    node.ip("link", "add", f"br{at}", "type", "bridge", "mcast_snooping", "0")
                    for name in names:
                        node.ip("link", "set", name, "master", f"br{at}")
                    names.append(f"br{at}")
                for name in names:
                    node.ip("link", "set", name, "txqueuelen", "10000", "up")
            if bad:
                log = self.dir / f"link{at}.log"
                self.spawn([BIN / "link", f"w{at}", f"iop{at}", "--both", bad, "--seed", at + 1], log=log)
                until("the link", lambda: "ready" in log.read_text())

    def report(self):
        return self.iopkt("path", "read", "qnet").stdout.splitlines()

    def knows(self, name, paths):
        """So many paths to the other node are up."""
        rows = [line.split() for line in self.report()]
        return sum(row[:2] == ["path", f"{name}.lab"] and row[-1] == "up" for row in rows) == paths

    def mount(self):
        """The nodes' files; outside the namespace, in which a mount would be seen by its own process alone."""
        self.net = self.dir / "net"
        self.net.mkdir()
        self.fuse = self.outside([BIN / "iopkt", "qnet", "mount", self.net], self.dir / "fuse.log")
        until("the mount", lambda: os.path.ismount(self.net) or self.fuse.poll() is not None)
        check(self.fuse.poll() is None, (self.dir / "fuse.log").read_text())
        device = os.stat(self.net).st_dev
        ahead = pathlib.Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        until("the kernel reads ahead", lambda: ahead.read_text() == "1024\n")

    def outside(self, argv, log):
        with open(log, "wb") as out:
            process = subprocess.Popen(list(map(str, argv)), env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.processes.append(process)
        return process

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
        if hasattr(self, "net"):
            run("umount", "-l", self.net, ok=False)
        super().close()
        shutil.rmtree(self.names, ignore_errors=True)
        shutil.rmtree(self.modules, ignore_errors=True)


@contextlib.contextmanager
def pair(*options, links=1, bad=None, find=True, **kwargs):
    """Two nodes, alpha and beta, that know each other and export a directory each."""
    folders = [pathlib.Path(tempfile.mkdtemp(prefix="iopkt-export-")) for _ in LOCAL]
    try:
        with two(folders, options, links, bad, find, kwargs) as nodes:
            yield nodes
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def two(folders, options, links, bad, find, kwargs):
    with (Node("alpha", links, f"export={folders[0]}", *options, **kwargs) as alpha,
          Node("beta", links, f"export={folders[1]}", *options, **kwargs) as beta):
        alpha.export, beta.export = folders
        alpha.wire(beta, bad)
        alpha.capture("ether", "proto", "0x8204", "or", "ip", "proto", "106")
        if find:
            until("the nodes' finding each other", lambda: alpha.knows("beta", links) and beta.knows("alpha", links), 15)
        yield alpha, beta


def qnet_discovery():
    """Two nodes on two links find each other; what they say is LWL4 to tshark; rubbish is counted by reason."""
    with pair("auto_add=9", links=2) as (alpha, beta):
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


def digest(path):
    return run("sha256sum", path).stdout.split()[0]


def qnet_files():
    """A node uses another one's files as its own by /net/NODE: a large one both ways, sha256 equal; nothing outside the exported directory."""
    size = SIZE
    with pair() as (alpha, beta):
        alpha.mount()
        far, here = alpha.net / "beta", alpha.dir / "file"
        check(sorted(os.listdir(alpha.net)) == ["alpha.lab", "beta.lab"], os.listdir(alpha.net))
        # What every program does with files.
        (far / "sub").mkdir()
        (far / "sub/note").write_text("one")
        with open(far / "sub/note", "a") as note:
            note.write("two")
        (far / "sub/note").rename(far / "note")
        check((beta.export / "note").read_text() == "onetwo" and os.stat(far / "note").st_size == 6, "the note")
        os.truncate(far / "note", 2)
        os.utime(far / "note", (1000, 1000))
        os.chmod(far / "note", 0o600)
        there = (beta.export / "note").stat()
        check((there.st_size, there.st_mtime, there.st_mode & 0o777) == (2, 1000, 0o600), there)
        (far / "note").unlink()
        (far / "sub").rmdir()
        check(os.listdir(beta.export) == [], os.listdir(beta.export))
        for at in range(300):
            (beta.export / f"{at:0200}").touch()
        check(len(os.listdir(far)) == 300, "a long directory")
        frames = alpha.judge()
        check(frames["kif"] > 20, frames)
        # Nothing outside is reached.
        secret = beta.dir / "secret"
        secret.write_text("secret")
        for name, to in (("absolute", secret), ("relative", f"../{beta.dir.name}/secret"), ("up", "..")):
            (beta.export / name).symlink_to(to)
        for path in ("absolute", "relative", f"up/{beta.dir.name}/secret", f"../{beta.dir.name}/secret", f"/{secret}"):
            said = alpha.iopkt("qnet", "get", f"beta/{path}", here, ok=False)
            check(said.returncode == 1 and not here.exists(), f"{path}: {said}")
            said = alpha.iopkt("qnet", "put", "/etc/hostname", f"beta/{path}", ok=False)
            check(said.returncode == 1 and secret.read_text() == "secret", f"{path}: {said}")
        for name in ("absolute", "relative"):
            try:
                check(not (far / name).read_text(), f"{name} was read")
            except OSError:
                pass
        # Large, both ways; and by the tools without FUSE.
        wanted = random_file(beta.export / "large", size)
        started = time.monotonic()
        shutil.copyfile(far / "large", here)
        read = time.monotonic() - started
        check(digest(here) == wanted, "the file read differs")
        started = time.monotonic()
        shutil.copyfile(here, far / "back")
        write = time.monotonic() - started
        check(digest(beta.export / "back") == wanted, "the file written differs")
        small = random_file(here, 3 << 20)
        alpha.iopkt("qnet", "put", here, "beta/small")
        alpha.iopkt("qnet", "get", "beta.lab/small", alpha.dir / "again")
        check(digest(alpha.dir / "again") == small and "small" in alpha.iopkt("qnet", "ls", "beta").stdout.split(), "get, put, ls")
        # A node that is nowhere; one that goes.
        said = alpha.iopkt("qnet", "ls", "gamma", ok=False)
        check(said.returncode == 1 and "No route to host" in said.stderr, said)
        beta.iopkt("umount", "qnet")
        said = alpha.iopkt("qnet", "ls", "beta", ok=False)
        check(said.returncode == 1, said)
        return f"{frames}; {size >> 20} MiB read at {size / read / 1e6:.0f} MB/s, written at {size / write / 1e6:.0f} MB/s"


def qnet_ip():
    """The same over IPv4: a node that is known by name is found by the resolver; tshark reads LWL4 behind protocol 106."""
    with pair("bind=ip", "resolve=dns", find=False) as (alpha, beta):
        wanted = random_file(alpha.dir / "file", 2 << 20)
        alpha.iopkt("qnet", "put", alpha.dir / "file", "beta/file")
        check(digest(beta.export / "file") == wanted, "the file written differs")
        beta.iopkt("qnet", "get", "alpha/none", beta.dir / "none", ok=False)
        alpha.iopkt("qnet", "get", "beta/file", alpha.dir / "again")
        check(digest(alpha.dir / "again") == wanted, "the file read differs")
        return alpha.judge()


def qnet_loss():
    """A large file over a link that loses 5 % both ways, and has others out of order: sha256 equal."""
    size = SIZE
    with pair(bad="delay=200us,loss=5%,reorder=2%,duplicate=1%,corrupt=0.5%,queue=4M") as (alpha, beta):
        # It would take as much time as the link.
        alpha.stop(alpha.tcpdump, signal.SIGINT)
        alpha.mount()
        wanted = random_file(beta.export / "large", size)
        started = time.monotonic()
        shutil.copyfile(alpha.net / "beta/large", alpha.dir / "file")
        shutil.copyfile(alpha.dir / "file", alpha.net / "beta/back")
        took = time.monotonic() - started
        check(digest(alpha.dir / "file") == wanted and digest(beta.export / "back") == wanted, "a file differs")
        return f"{size >> 20} MiB each way in {took:.1f} s, {alpha.counter('discarded.checksum')} frames with a wrong checksum"


def qnet_cut():
    """One of two links is cut during a transfer, by each policy: without a sign, and with loss of carrier; sha256 equal, then it is back."""
    size = SIZE
    said = []
    with pair(links=2) as (alpha, beta):
        alpha.stop(alpha.tcpdump, signal.SIGINT)
        alpha.mount()
        here = alpha.dir / "file"
        wanted = random_file(here, size)
        for policy, cut in (("loadbalance", "nomaster"), ("redundant", "nomaster"), ("preferred:tap0", "nomaster"), ("loadbalance", "down")):
            far = beta.export / "large"
            far.unlink(missing_ok=True)
            started = time.monotonic()
            copy = alpha.outside(["cp", here, alpha.net / f"beta~{policy}/large"], alpha.dir / "cp.log")
            until("a quarter is there", lambda: far.exists() and far.stat().st_size > size // 4, PATIENCE)
            name = "iop0" if cut == "down" else "w0"
            alpha.ip("link", "set", name, *cut.split())
            check(far.stat().st_size < size, "it was there before the cut")
            check(copy.wait(PATIENCE) == 0, (alpha.dir / "cp.log").read_text())
            said.append(f"{policy} {cut} {time.monotonic() - started:.1f} s")
            check(digest(far) == wanted, f"{policy}: the file differs")
            until("the path is down", lambda: alpha.knows("beta", 1), 15)
            alpha.ip("link", "set", name, *(["up"] if cut == "down" else ["master", "br0"]))
            until("the path is back", lambda: alpha.knows("beta", 2) and beta.knows("alpha", 2), 15)
        return ", ".join(said)


def qnet_options():
    """Two workers; do_crc=0, policy=exclusive and mapany do what they say: no checksums, one link and no other, one user's rights."""
    user, options = 65534, ("do_crc=0", "policy=exclusive:tap0", "mapany=65534", "auto_add=15")
    with pair(*options, links=2, args=["-t", "2"]) as (alpha, beta):
        os.chown(beta.export, user, user)
        here = alpha.dir / "file"
        wanted = random_file(here, 2 << 20)
        received = lambda name: next(row["rx_packets"] for row in beta.table("ifconfig", "-a") if row["name"] == name)

        def put(name):
            before = [received(f"tap{at}") for at in range(2)]
            alpha.iopkt("qnet", "put", here, f"beta/{name}")
            check(digest(beta.export / name) == wanted, f"{name} differs")
            return [received(f"tap{at}") - count for at, count in enumerate(before)]

        by = put("file")
        check(by[0] > 1000 and by[1] < 100, f"frames by link: {by}")
        check((beta.export / "file").stat().st_uid == user, "the file is somebody else's")
        secret = beta.export / "secret"
        secret.write_text("secret")
        secret.chmod(0o600)
        said = alpha.iopkt("qnet", "get", "beta/secret", alpha.dir / "secret", ok=False)
        check(said.returncode == 1 and "Permission denied" in said.stderr, said)
        said = alpha.iopkt("ifconfig", "tap0", "name", "lan0", ok=False)
        check(said.returncode == 1 and "in its options" in said.stderr, f"the module would lose its link: {said}")
        # The other link may go.
        alpha.ip("link", "set", "w1", "nomaster")
        put("again")
        frames = alpha.judge()
        # Who wants checksums does not take frames without.
        beta.iopkt("umount", "qnet")
        beta.iopkt("mount", "-o", "host=beta,mount=/net:.lab", "lsm-qnet")
        until("frames without a checksum are discarded", lambda: beta.counter("discarded.unchecked") > 2)
        return f"{frames}; {by} frames by the two links"


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
