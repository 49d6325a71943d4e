"""Groups of both families: through a kernel bridge that snoops, with the kernel as the other listener and sender."""
import json
import time

from lab import IFACE, STACK, STACK6, Lab, check, until

GROUP, GROUP6 = "239.1.2.3", "ff05::123"
PEER, PEER6 = "198.18.77.3", "2001:db8:77::3"

# Listens as it is told, says what it hears.
LISTEN = """
import socket, struct, sys
port, stack, joins = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::", port))
index = socket.if_nametoindex("tap0")
ip = socket.inet_aton
def storage(a):
    return struct.pack("=HH4s", socket.AF_INET, 0, ip(a)).ljust(128, b"\\0")
for join in joins:
    kind, group, *source = f"{join},".split(",")
    if kind == "any": s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, ip(group) + ip(stack))
    if kind == "drop": s.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, ip(group) + ip(stack))
    if kind == "mreqn": s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, ip(group) + bytes(4) + struct.pack("=i", index))
    if kind == "six": s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack("=i", index))
    if kind == "source": s.setsockopt(socket.IPPROTO_IP, 46, struct.pack("=I4x", index) + storage(group) + storage(source[0]))
    if kind == "own": s.setsockopt(socket.IPPROTO_IP, 49, 0); s.setsockopt(socket.IPPROTO_IPV6, 29, 0)
print("ready", flush=True)
while True:
    data, who = s.recvfrom(2000)
    print(data.decode(), who[0].removeprefix("::ffff:"), flush=True)
    if data == b"leave":
        for join in joins:
            kind, group = f"{join},".split(",")[:2]
            if kind == "any": s.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, ip(group) + ip(stack))
            if kind == "six": s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack("=i", index))
        print("left", flush=True)
"""

SEND = """
import socket, struct, sys
group, port, text, ttl, via, loop = sys.argv[1:]
six = ":" in group
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
if six:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(via))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, int(ttl))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, int(loop))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(via))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, int(ttl))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, int(loop))
    assert s.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == int(ttl)
s.sendto(text.encode(), (group, int(port)))
s.close()
"""


class Switch:
    """A snooping bridge that asks for itself, with the stack's wire and a kernel host at it."""

    def __init__(self, lab):
        self.lab = lab
        self.peer = f"{lab.ns}m"
        lab.add_namespace(self.peer)
        lab.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1", "mcast_igmp_version", "3",
               "mcast_mld_version", "2", "mcast_startup_query_interval", "100", "mcast_query_interval", "200",
               "mcast_query_response_interval", "100", "mcast_last_member_interval", "50", "mcast_membership_interval", "500")
        lab.ip("link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", self.peer)
        for link in ("up0", IFACE):
            lab.ip("link", "set", link, "master", "br0", "up")
        lab.ip("addr", "flush", "dev", IFACE)
        lab.ip("link", "set", "br0", "up")
        lab.ip("addr", "add", f"{PEER}/24", "dev", "eth0", ns=self.peer)
        lab.ip("link", "set", "eth0", "up", ns=self.peer)
        lab.exec("ip", "-6", "addr", "add", f"{PEER6}/64", "dev", "eth0", "nodad", ns=self.peer)
        lab.exec("ip", "route", "add", "224.0.0.0/4", "dev", "eth0", ns=self.peer)

    def groups(self, port=IFACE):
        said = json.loads(self.lab.exec("bridge", "-j", "-d", "mdb", "show").stdout)
        return {row["grp"] for row in said[0]["mdb"] if row["port"] == port}

    def send(self, group, port, text, ttl=4):
        via = "eth0" if ":" in group else PEER
        self.lab.exec("python3", "-c", SEND, group, port, text, ttl, via, 1, ns=self.peer)


def listener(lab, port, *joins, name="listener"):
    log = lab.dir / f"{name}.log"
    process = lab.client("python3", "-c", LISTEN, port, STACK, *joins, log=log)
    until("the listener", lambda: (log.exists() and "ready" in log.read_text()) or process.poll() is not None)
    check(process.poll() is None, log.read_text())
    return lambda: log.read_text().splitlines()[1:], process


def multicast(args=()):
    """Groups through a snooping bridge: it learns who listens from our IGMPv3 and MLDv2, keeps asking, and forgets who left; sources, sharing, loop and older routers."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"], args=args) as lab:
        switch = Switch(lab)
        lab.settled()
        lab.capture("igmp or icmp6 or udp or ip6")
        heard, one = listener(lab, 7000, f"any,{GROUP}", f"six,{GROUP6}")
        also, two = listener(lab, 7000, f"mreqn,{GROUP}", name="also")
        deaf, three = listener(lab, 7000, "own", name="deaf")
        until("the bridge to learn of both groups", lambda: {GROUP, GROUP6} <= switch.groups())
        rows = {(row["interface"], row["group"]): row for row in lab.table("ifmcstat")}
        check(rows[("tap0", GROUP)]["sockets"] == 2 and rows[("tap0", GROUP)]["mode"] == "exclude", rows)
        check(lab.table("netstat", "-g") == lab.table("ifmcstat"), "netstat -g says something else")
        for group, from_whom in ((GROUP, PEER), (GROUP6, PEER6)):
            switch.send(group, 7000, "hello")
            until(f"{group} to be heard", lambda: f"hello {from_whom}" in heard())
        until("the other member", lambda: f"hello {PEER}" in also())
        # The bridge asks every 2 s, and forgets after 5 s whom it has not heard of.
        time.sleep(6)
        check({GROUP, GROUP6} <= switch.groups(), f"forgotten: {switch.groups()}")
        # One source only: another is not heard, and the bridge knows.
        only, four = listener(lab, 7001, f"source,239.9.9.9,{PEER}", "own", name="only")
        until("the bridge to learn of the source's group", lambda: "239.9.9.9" in switch.groups())
        lab.ip("addr", "add", "198.18.77.4/24", "dev", "eth0", ns=switch.peer)
        lab.exec("python3", "-c", SEND, "239.9.9.9", 7001, "wrong", 4, "198.18.77.4", 0, ns=switch.peer)
        switch.send("239.9.9.9", 7001, "right")
        until("the source to be heard", lambda: f"right {PEER}" in only())
        check(not [line for line in only() if "wrong" in line], only())
        # What the stack sends goes out with its hops, and is heard by members here unless they are left out.
        log = lab.dir / "peer.log"
        peer = lab.spawn(["socat", "-u", f"UDP4-RECVFROM:7000,reuseaddr,ip-add-membership={GROUP}:{PEER},fork", "STDOUT"], log=log, ns=switch.peer)
        until("the peer to join", lambda: GROUP in switch.groups("up0"))
        lab.iopkt("run", "--", "python3", "-c", SEND, GROUP, 7000, "looped", 3, STACK, 1)
        until("the kernel to hear us", lambda: "looped" in log.read_text())
        until("our own members to hear us", lambda: f"looped {STACK}" in heard() and f"looped {STACK}" in also())
        lab.iopkt("run", "--", "python3", "-c", SEND, GROUP, 7000, "outside", 3, STACK, 0)
        until("the kernel to hear us again", lambda: "outside" in log.read_text())
        lab.iopkt("run", "--", "python3", "-c", SEND, GROUP6, 7000, "six", 3, "tap0", 1)
        until("our own member of IPv6", lambda: f"six {STACK6}" in heard())
        check(not [line for line in heard() + also() if "outside" in line], "looped without leave")
        check(not deaf(), f"a socket without groups and IP_MULTICAST_ALL has heard {deaf()}")
        # An unmodified program as listener.
        log2 = lab.dir / "socat.log"
        lab.client("socat", "-u", f"UDP4-RECVFROM:7002,reuseaddr,ip-add-membership=239.1.2.4:{STACK}", "STDOUT", log=log2)
        until("socat's group", lambda: "239.1.2.4" in switch.groups())
        switch.send("239.1.2.4", 7002, "for socat")
        until("socat to hear", lambda: "for socat" in log2.read_text())
        # Who leaves, and who is killed, is forgotten.
        lab.stop(two)
        switch.send(GROUP, 7000, "leave")
        until("the bridge to forget who has left", lambda: not {GROUP, GROUP6} & switch.groups())
        lab.stop(four)
        until("the bridge to forget whose program ended", lambda: "239.9.9.9" not in switch.groups())
        judged = lab.judge("igmp || eth.src != " + lab.table("ifconfig", "tap0")[0]["mac"])
        for what, wanted in (("IGMPv3 reports", "igmp.type == 0x22 && ip.ttl == 1 && ip.dst == 224.0.0.22"),
                             ("MLDv2 reports", "icmpv6.type == 143 && ipv6.hlim == 1 && ipv6.dst == ff02::16"),
                             # Said, and not only let be forgotten: no source is wanted any more, or not this one.
                             ("IGMPv3 leave", f"igmp.record_type == 3 && igmp.maddr == {GROUP}"),
                             ("IGMPv3 leave of a source", "igmp.record_type == 6 && igmp.maddr == 239.9.9.9"),
                             ("MLDv2 leave", f"icmpv6.mldr.mar.record_type == 3 && icmpv6.mldr.mar.multicast_address == {GROUP6}"),
                             ("datagrams with 3 hops", f"ip.ttl == 3 && ip.dst == {GROUP}")):
            check(lab.frames(wanted) >= 1, f"no {what}")
        bad = lab.frames("igmp && igmp.checksum.status == 0")
        check(not bad, f"{bad} wrong IGMP checksums")
        return judged


def multicast_workers():
    """The same with two workers: members on both hear what either takes in or sends."""
    return multicast(args=("-t", "2"))


def multicast_older():
    """Beside routers of IGMPv2 and MLDv1 their language is spoken."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"]) as lab:
        switch = Switch(lab)
        lab.ip("link", "set", "br0", "type", "bridge", "mcast_igmp_version", "2", "mcast_mld_version", "1")
        lab.settled()
        lab.capture("igmp or icmp6 or ip6")
        heard, one = listener(lab, 7000, f"any,{GROUP}", f"six,{GROUP6}")
        until("the bridge to learn of both groups", lambda: {GROUP, GROUP6} <= switch.groups())
        time.sleep(4)
        switch.send(GROUP, 7000, "leave")
        until("the bridge to forget who has left", lambda: not {GROUP, GROUP6} & switch.groups())
        lab.judge("igmp || icmpv6")
        mac = lab.table("ifconfig", "tap0")[0]["mac"]
        counts = [lab.frames(f"eth.src == {mac} && {what}") for what in
                  ("igmp.type == 0x16 && ip.ttl == 1", "igmp.type == 0x17", "icmpv6.type == 131", "icmpv6.type == 132")]
        check(all(counts), f"v2 reports, leaves, v1 reports, dones: {counts}")
        return f"v2 reports, leaves, v1 reports, dones: {counts}"
