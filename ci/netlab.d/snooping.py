"""A bridge that passes groups on to those who listen."""
import sys
import time

from bridges import SENDER, BridgedLab, FAR_IFACE, THIRD_IFACE
from groups import SEND
from lab import HOST, IFACE, STACK, check, until

GROUP, GROUP6, UNKNOWN = "239.1.2.3", "ff15::7", "239.9.9.9"
# A kernel host that listens to groups, says what it hears and leaves when its input ends.
LISTENER = """
import socket, struct, sys, threading
index = socket.if_nametoindex(sys.argv[1])
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 7000))
for group in sys.argv[2:]:
    if ":" in group: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack("=i", index))
    else: s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + bytes(4) + struct.pack("=i", index))
print("ready", flush=True)
while True: print(s.recv(2000).decode(), flush=True)
"""


class SnoopedLab(BridgedLab):
    """Three kernel hosts at one bridge. The first asks who listens, as a router would: it is a kernel bridge with an address."""

    def lay(self):
        super().lay()
        self.third = self.add_host(self.ns + "t", THIRD_IFACE, "198.18.77.4/24")
        self.ip("link", "add", "kbr", "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1", "mcast_query_use_ifaddr", "1", "mcast_igmp_version", "3",
                "mcast_mld_version", "2", "mcast_startup_query_interval", "50", "mcast_query_interval", "200", "mcast_query_response_interval", "50",
                "mcast_last_member_interval", "20", "mcast_last_member_count", "2")
        self.ip("link", "set", IFACE, "master", "kbr")
        # It snoops, too: here it is to send what nobody listens to.
        self.ip("link", "set", IFACE, "type", "bridge_slave", "mcast_router", "2")
        self.ip("addr", "flush", "dev", IFACE)
        self.ip("addr", "add", f"{HOST}/24", "dev", "kbr")
        self.exec("sysctl", "-qw", "net.ipv6.conf.kbr.accept_dad=0")
        self.iopkt("brconfig", "bridge0", "add", "tap2", "snoop")
        self.ip("link", "set", "kbr", "up")
        self.exec("ip", "route", "add", "224.0.0.0/4", "dev", "kbr")

    def listens(self):
        rows = self.table("brconfig", "bridge0", "groups")
        return {(row["group"], row["interface"]) for row in rows}

    def stream(self, group, text, count=1):
        via = "kbr" if ":" in group else HOST
        for _ in range(count):
            self.exec(sys.executable, "-c", SEND, group, 7000, text, 4, via, 0)

    def listener(self, ns, iface, *groups):
        log = self.dir / f"listener-{iface}.log"
        process = self.spawn([sys.executable, "-c", LISTENER, iface, *groups], log=log, ns=ns)
        until("the listener", lambda: "ready" in log.read_text())
        return process, lambda: log.read_text().splitlines()

    def watch(self, ns, iface, what):
        """Frames of a kind that come by there."""
        log = self.dir / f"watch-{iface}.log"
        self.spawn(["tcpdump", "-n", "-l", "-i", iface, "--immediate-mode", "-Q", "in", what], log=log, ns=ns)
        until("tcpdump's start", lambda: "listening on" in log.read_text())
        return lambda word: sum(word in line for line in log.read_text().splitlines())


def snooping():
    """IGMP and MLD snooping: a stream goes to the listener's port and the router's, not to the third; unknown groups go to all; who leaves is forgotten; the stack listens too; limits; two workers."""
    with SnoopedLab("-t", "2") as lab:
        seen = lab.watch(lab.third, THIRD_IFACE, "udp port 7000 or igmp or (ip6 and ip6[6] == 0)")
        until("the routers' port", lambda: (None, "tap0") in lab.listens(), 10)
        listener, heard = lab.listener(lab.far, FAR_IFACE, GROUP, GROUP6)
        until("both groups at the listener's port", lambda: {(GROUP, "tap1"), (GROUP6, "tap1")} <= lab.listens(), 10)
        # Until everybody has had the time to answer, nothing is kept from anybody.
        time.sleep(3)
        reports = seen("igmp v3 report")
        for group, text in ((GROUP, "four"), (GROUP6, "six")):
            lab.stream(group, text, 5)
            until(f"{group} at the listener", lambda: heard().count(text) == 5, 20)
        check(seen(f"{GROUP}.7000") == 0 and seen(f"{GROUP6}.7000") == 0, "the third host gets what it does not listen to")
        check(lab.metric("iopkt_bridge_frames_to_listeners_total") >= 10, "not counted")
        lab.stream(UNKNOWN, "unknown", 3)
        until("an unknown group everywhere", lambda: seen(f"{UNKNOWN}.7000") == 3, 20)
        stack_listens(lab)
        check(seen("igmp v3 report") == reports, "reports of others come to who is no router")
        text = lab.iopkt("brconfig", "bridge0", "groups").stdout
        check(f"\t{GROUP} tap1 " in text and "\trouter tap0 " in text, text)
        left(lab, listener, seen)
        broken(lab)
        many(lab)
        lab.iopkt("brconfig", "bridge0", "-snoop")
        until("nothing is known", lambda: not lab.listens(), 20)
        return f"{reports} reports seen by all before a router was known, none after"


def stack_listens(lab):
    """A client of the stack listens at the bridge, and the kernel's bridge learns it from the stack's report."""
    log = lab.dir / "own.log"
    code = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7001));"
            f"s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('239.7.7.7') + socket.inet_aton('{STACK}'));"
            "print('ready', flush=True); print(s.recv(100).decode(), flush=True)")
    lab.client("python3", "-c", code, log=log)
    until("the client", lambda: "ready" in log.read_text())
    until("the router's knowledge", lambda: "239.7.7.7" in lab.exec("bridge", "mdb", "show").stdout, 10)
    lab.exec(sys.executable, "-c", SEND, "239.7.7.7", 7001, "own", 4, HOST, 0)
    until("what the client hears", lambda: "own" in log.read_text(), 20)


def left(lab, listener, seen):
    """The last listener leaves, the router asks for others, and nobody answers: the group is an unknown one."""
    lab.stop(listener)
    until("the group to be forgotten", lambda: (GROUP, "tap1") not in lab.listens(), 10)
    lab.stream(GROUP, "again")
    until("the stream everywhere", lambda: seen(f"{GROUP}.7000") == 1, 20)


def send(lab, *frames):
    lab.exec(sys.executable, "-c", SENDER, THIRD_IFACE, 1, 0, *(frame.hex() for frame in frames), ns=lab.third)


def checksum(data):
    total = sum(int.from_bytes(data[at:at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def report(records, wrong=False):
    """A frame with a report of IGMP version 3."""
    body = bytes(2) + len(records).to_bytes(2, "big") + b"".join(bytes([4, 0, 0, 0]) + group for group in records)
    sum_ = checksum(b"\x22\x00\x00\x00" + body)
    igmp = b"\x22\x00" + (b"\x00\x01" if wrong else sum_) + body
    ip = bytes.fromhex("46c0") + (24 + len(igmp)).to_bytes(2, "big") + bytes.fromhex("000040000102") + b"\x00\x00" + bytes([198, 18, 77, 4, 224, 0, 0, 22, 148, 4, 0, 0])
    ip = ip[:10] + checksum(ip) + ip[12:]
    return bytes.fromhex("01005e000016" + "0200000000aa" + "0800") + ip + igmp


def broken(lab):
    """Reports with wrong checksums say nothing and go nowhere."""
    before = lab.drops("igmp_format")
    send(lab, report([bytes([239, 5, 5, 5])], wrong=True))
    until("a drop as igmp_format", lambda: lab.drops("igmp_format") == before + 1, 20)
    check(("239.5.5.5", "tap2") not in lab.listens(), "believed")


def many(lab):
    """Somebody listens to more groups than there may be."""
    groups = [bytes([239, 64, number >> 8, number & 255]) for number in range(1200)]
    send(lab, *(report(groups[at:at + 150]) for at in range(0, 1200, 150)))
    until("refused groups", lambda: lab.metric("iopkt_bridge_groups_refused_total") >= 150, 20)
    check(1000 < len(lab.listens()) <= 1100, f"{len(lab.listens())} groups")
