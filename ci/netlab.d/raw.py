"""Raw and ping sockets in unmodified programs: ping, and what they see of ICMP."""
import json
import shutil
import subprocess

from lab import BIN, HOST, HOST6, IFACE, STACK, STACK6, Lab, check, until
from routing import FAR, FAR6, FAR_STACK, FAR_STACK6

NOBODY = "198.18.77.77"

HEARS = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(10)
print("ready", flush=True)
packet, (sender, port) = s.recvfrom(2048)
print(sender, port, packet[20], len(packet), flush=True)
six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
six.setsockopt(socket.IPPROTO_ICMPV6, 1, struct.pack("8I", *[0xffffffff] * 4, 0xfffffffe, *[0xffffffff] * 3))
six.settimeout(10)
print("ready", flush=True)
message, (sender, port, flow, scope) = six.recvfrom(2048)
print(sender, port, message[0], len(message), flush=True)
"""


# As ping(8) does it.
ASKS6 = """
import os, socket, sys
for kind in socket.SOCK_DGRAM, socket.SOCK_RAW:
    s = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
    s.settimeout(5)
    for size in 0, 56, 1452, 4000:
        text = os.urandom(size)
        s.sendto(bytes([128, 0, 0, 0, 0, 7, 0, 1]) + text, (sys.argv[1], 0))
        while True:
            message, sender = s.recvfrom(9000)
            if message[0] == 129: break
        assert message[8:] == text and sender[:2] == (sys.argv[1], 0), (kind, size, sender, message[:8])
print("all answered")
"""

# A host that is not there: who is connected is told, and who listens to ICMP hears of it as of a router's word.
UNANSWERED = """
import errno, socket, sys
hears = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
for s in hears, asks: s.settimeout(8)
asks.connect((sys.argv[1], 0))
asks.send(bytes([8, 0, 0, 0, 0, 0, 0, 1]))
try: asks.recv(100)
except OSError as error: assert error.errno == errno.EHOSTUNREACH, error
packet = hears.recv(2048)
assert packet[20:22] == bytes([3, 1]) and packet[28 + 9] == 1, packet
print("told")
"""


def plain_ping(lab):
    """ping without the capability of its file: a user's program that has one is the kernel's, as the loader lets nobody preload anything into it."""
    ping = lab.dir / "ping"
    if not ping.exists():
        shutil.copyfile("/usr/bin/ping", ping)
        ping.chmod(0o755)
    return ping


def pings(lab, who):
    """Unmodified ping, as root and as somebody else."""
    for to, size in ((HOST, 56), (HOST, 0), (HOST, 1472), (HOST, 4000), (HOST, 65000), (STACK, 56)):
        # For the last one ping waits as long as the interval, or for two round trips.
        said = lab.iopkt("run", "--", *who, plain_ping(lab), "-n", "-c", 3, "-i", "0.2", "-W", 2, "-s", size, to, ok=False).stdout
        check("3 received" in said and "ttl=64" in said, f"{who} {to} {size}: {said[-400:]}")


def raw_sockets():
    """ping as root and as a user in all sizes, echoes of IPv6 over both kinds of socket; raw sockets hear requests that the stack answers. With two workers."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"], args=["-t", "2"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{HOST6}/64", "dev", IFACE, "nodad")
        lab.settled()
        lab.capture()
        pings(lab, [])
        sent = lambda: sum(row["value"] for row in lab.table("netstat", "-s") if (row["subsystem"], row["name"]) == ("ipv4", "packets_sent"))
        before = sent()
        pings(lab, ["setpriv", "--reuid=65534", "--clear-groups"])
        check(sent() > before + 18, "a user's pings are not the stack's")
        said = lab.iopkt("run", "--", "python3", "-c", ASKS6, HOST6)
        check("all answered" in said.stdout, said.stderr)
        log = lab.dir / "hears.log"
        hears = lab.client("python3", "-c", HEARS, log=log)
        for ready, to in ((1, STACK), (2, STACK6)):
            until("the listener", lambda: log.exists() and log.read_text().count("ready") == ready or hears.poll() is not None)
            said = lab.exec("ping", "-n", "-c", 1, "-W", 2, to).stdout
            check("1 received" in said, said)
        hears.wait(10)
        heard = [line for line in log.read_text().splitlines() if line != "ready"]
        check(heard == [f"{HOST} 0 8 84", f"{HOST6} 0 128 64"], heard)
        said = lab.iopkt("run", "--", "python3", "-c", UNANSWERED, NOBODY)
        check("told" in said.stdout, said.stderr)
        judged = lab.judge()
        return judged


class FarLab(Lab):
    """The stack is a host; the kernel's end of its wire is a router to another host.

    io-pkt tap0 ══ iop0  kernel  veth0 ══ veth1  kernel (`far`)
    """

    def __init__(self):
        super().__init__(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"])

    def lay(self):
        self.far = self.ns + "f"
        self.add_namespace(self.far)
        self.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", self.far)
        self.give(IFACE, f"{HOST6}/64")
        self.give("veth0", f"{FAR_STACK}/24", f"{FAR_STACK6}/64")
        self.give("veth1", f"{FAR}/24", f"{FAR6}/64", ns=self.far)
        self.ip("route", "add", "default", "via", FAR_STACK, ns=self.far)
        self.ip("-6", "route", "add", "default", "via", FAR_STACK6, ns=self.far)
        self.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        self.exec("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0", ns=self.far)
        self.iopkt("route", "add", "default", HOST)
        self.iopkt("route", "add", "-inet6", "default", HOST6)
        self.settled()


def errors_in_full(lab):
    """Programs that read errors from the socket's queue: ping of IPv6, Debian's traceroute, tracepath."""
    user = ["setpriv", "--reuid=65534", "--clear-groups"]
    def says(*argv):
        done = lab.iopkt("run", "--", *argv, ok=False)
        return done.stdout or done.stderr

    for who in [], user:
        said = says(*who, plain_ping(lab), "-6", "-n", "-c", 3, "-i", "0.2", "-s", 1400, FAR6)
        check("3 received" in said and "ttl=63" in said, said)
    for family, to, near, words in (("-4", FAR, HOST, "Time to live exceeded"), ("-6", FAR6, HOST6, "Time exceeded: Hop limit")):
        said = says("ping", family, "-n", "-c", 1, "-t", 1, "-W", 3, to)
        check(f"From {near}" in said and words in said, said)
        for method in ["-U"], ["-I"], [*user]:
            argv = [*method, "traceroute.db"] if method == user else ["traceroute.db", *method]
            said = says(*argv, family, "-n", "-q", 2, "-w", "3,0,0", to)
            hops = [line.split()[1] for line in said.splitlines()[1:]]
            check(hops == [near, to], f"{argv}: {said}")
    lab.ip("link", "set", "veth0", "mtu", 1400)
    for family, to, near in (("-4", FAR, HOST), ("-6", FAR6, HOST6)):
        said = says("tracepath", family, "-n", to)
        check(near in said and "pmtu 1500" in said and "pmtu 1400" in said and "Resume: pmtu 1400 hops 2" in said, said)
    lab.ip("link", "set", "veth0", "mtu", 1500)


def host_tools():
    """iopkt ping, ping6, traceroute and sockstat, and unmodified ping, traceroutes, tracepath and mtr, over a router to another host."""
    with FarLab() as lab:
        for tool, to in (("ping", HOST), ("ping", FAR), ("ping6", HOST6), ("ping6", FAR6)):
            said = lab.table(tool, "-c", 3, "-i", "0.02", "-s", 1400, to)
            ttl = 64 if to in (HOST, HOST6) else 63
            check((said["sent"], said["received"]) == (3, 3) and all(row["ttl"] == ttl for row in said["replies"]), said)
        said = lab.iopkt("ping", "-f", "-q", "-c", 500, FAR).stdout
        check("500 packets transmitted, 500 packets received" in said, said)
        # Ctrl-C ends it with its summary; a request that cannot be sent does not.
        said = json.loads(lab.exec("timeout", "-s", "INT", 0.5, BIN / "iopkt", "ping", "--json", "-i", "0.02", HOST, ok=False).stdout)
        check(5 < said["sent"] < 30 and said["received"] >= said["sent"] - 1, said)
        ping = lab.spawn([BIN / "iopkt", "ping", "-c", 30, "-i", "0.02", "-W", "0.1", "203.0.113.1"], stdout=subprocess.PIPE)
        check(b"PING" in ping.stdout.readline(), "no ping")
        # The router's word: the first request is away, and one that could not be sent would end it.
        check(HOST.encode() in ping.stdout.readline(), "not a word of the router")
        lab.iopkt("route", "add", "-net", "203.0.113.0/24", "-reject")
        said = ping.stdout.read().decode()
        check("to 203.0.113.1: No route to host" in said and "30 packets transmitted, 0 packets received" in said, said)
        # What routers and the stack itself say of requests.
        for argv, words in (((FAR, "-T", 1), f"from {HOST}: Time to live exceeded"), (("198.18.77.77",), f"from {STACK}: Destination Host Unreachable"),
                            ((FAR6, "-6", "-T", 1), f"from {HOST6}: Hop limit exceeded")):
            said = lab.iopkt("ping", "-c", 1, "-W", 6, *argv, ok=False)
            check(said.returncode == 1 and words in said.stdout, f"{argv}: {said.stdout}")
        for to, near in ((FAR, HOST), (FAR6, HOST6)):
            for options in ([], ["-I"]):
                way = lab.table("traceroute", *options, to)
                hops = [{answer["from"] for answer in hop["answers"]} for hop in way["hops"]]
                check(way["reached"] and hops == [{near}, {to}], way)
        said = lab.iopkt("traceroute", "-w", 1, "-q", 1, "-m", 2, "198.18.78.77").stdout
        check(f" 1  {HOST}" in said and (" *" in said or "!H" in said), said)
        said = lab.iopkt("run", "--", "inetutils-traceroute", "-q", 1, "-w", 2, FAR).stdout.split()
        check(said.count(HOST) == 1 and FAR in said[said.index(HOST):], said)
        errors_in_full(lab)
        said = lab.iopkt("run", "--", "mtr", "-n", "-r", "-c", 2, "-i", "0.2", FAR).stdout
        check(HOST in said and FAR in said, said)
        user = ["setpriv", "--reuid=65534", "--clear-groups", BIN / "iopkt"]
        check("1 packets received" in lab.exec(*user, "ping", "-c", 1, HOST).stdout, "a user may not ask for echoes")
        refused = lab.exec(*user, "traceroute", HOST, ok=False)
        check(refused.returncode == 77 and "only root" in refused.stderr, refused)
        lab.client("python3", "-c", "import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 89); time.sleep(60)")
        lab.client("ping", "-i", "1", HOST, log=lab.dir / "ping.log")
        shown = lambda: {(row["user"], row["program"], row["protocol"]) for row in lab.table("sockstat")}
        until("the sockets", lambda: shown() == {("root", "python3", "raw"), ("root", "ping", "icmp")})
        check("raw6" in lab.iopkt("sockstat", "-6").stdout, lab.iopkt("sockstat", "-6").stdout)
        return "2 hops, both families, UDP and ICMP"
