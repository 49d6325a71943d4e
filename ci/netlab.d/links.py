"""Interfaces made of others: VLANs."""
import struct
import sys

from lab import IFACE, ROOT, STACK, Lab, check, until

TAGGER = ROOT / "ci/netlab.d/tagger.py"
CUSTOMER, SERVICE = 0x8100, 0x88A8


def tagged_host(lab, name, address, *tags, priority=0, iface=IFACE, mtu=1500):
    """A kernel host in a namespace of its own whose link is in a VLAN of the lab's wire: the namespace, what the tagger has said."""
    space = f"{lab.ns}{name}"
    lab.add_namespace(space)
    log = lab.dir / f"tagger-{name}.log"
    # The wire is the lab's, the tap goes to the host.
    lab.spawn([sys.executable, TAGGER, iface, name, priority, *(f"{kind}:{number}" for kind, number in tags)], log=log)
    until("the tagger's start", lambda: "ready" in log.read_text())
    lab.ip("link", "set", name, "netns", space)
    lab.ip("addr", "add", address, "dev", name, ns=space)
    if address.startswith("198."):
        lab.ip("addr", "add", six(address), "dev", name, "nodad", ns=space)
    lab.ip("link", "set", name, "mtu", mtu, "up", ns=space)
    return space, log


def six(address):
    """The IPv6 address beside 198.18.5.1/24."""
    net, host = address.split("/")[0].split(".")[2:]
    return f"2001:db8:{net}::{host}/64"


def rate(lab, ns, to, *argv):
    """Mbit/s to the stack's iperf3 at port 5202, as the receiver counts them: the tagger in between is a script."""
    said = lab.iperf3(to, "-p", 5202, "-t", 1, *argv, ns=ns)
    mbits = said["end"]["sum_received"]["bits_per_second"] / 1e6
    check(mbits > 5, f"{mbits:.1f} Mbit/s")
    return mbits


def answered(lab, to, count, *argv, ns=None):
    """All echoes come back. ping waits for the last one for two round trips only, which a busy machine may exceed once."""
    once = lambda: lab.exec("ping", "-n", "-c", count, "-i", "0.05", "-W", 1, *argv, to, ns=ns, ok=False).stdout
    until(f"{count} echoes from {to} {argv}", lambda: f"{count} received" in once(), 5)


def wire_is_wide(lab):
    """The wire takes frames with two tags, as links of such networks do."""
    lab.ip("link", "set", IFACE, "mtu", 1600)


def vlan():
    """A VLAN over a tap: echo, ARP, ND, UDP, TCP both ways, PCP, counters; another VLAN and untagged frames beside it; MTU; QinQ; destroy."""
    with Lab() as lab:
        wire_is_wide(lab)
        lab.iopkt("ifconfig", "vlan0", "create", "vlan", 5, "vlanif", "tap0", "vlanpcp", 3, "198.18.5.2/24")
        lab.iopkt("ifconfig", "vlan0", "inet6", six("198.18.5.2/24"))
        host, log = tagged_host(lab, "acc5", "198.18.5.1/24", (CUSTOMER, 5), priority=5)
        lab.capture()
        for size in (0, 56, 1472):
            answered(lab, "198.18.5.2", 3, "-M", "do", "-s", size, ns=host)
        until("the stack's IPv6 address", lambda: "1 received" in lab.exec("ping", "-n", "-c", 1, "-W", 1, "2001:db8:5::2", ns=host, ok=False).stdout)
        check(log.read_text().split() == ["ready", "priorities", "3"], f"priorities: {log.read_text()}")
        # The untagged link beside it is another network.
        answered(lab, STACK, 2)
        # Filters of modules judge what comes with a tag, too.
        lab.iopkt("mount", "-T", "io-pkt", "noping")
        check("0 received" in lab.exec("ping", "-n", "-c", 2, "-i", "0.1", "-W", 1, "198.18.5.2", ns=host, ok=False).stdout, "a tag leads round a filter")
        lab.iopkt("umount", "noping")
        answered(lab, "198.18.5.2", 1, ns=host)
        # TCP and UDP: an unmodified server and client of the stack.
        lab.serve(lab.dir)
        lab.curl("http://198.18.5.2/", ns=host)
        judged = lab.judge()
        check(lab.frames("vlan.id == 5 && vlan.priority == 3 && icmp.type == 0") >= 9, "no tagged answers on the wire")
        check(lab.frames("vlan.id == 5 && vlan.priority == 5 && icmp.type == 8") >= 9, "no tagged questions on the wire")
        check(lab.frames("ip.addr == 198.18.5.0/24 && !vlan") == 0, "frames of the VLAN without a tag")
        lab.client("iperf3", "-s", "-p", 5202)
        rates = [rate(lab, host, "198.18.5.2", *back) for back in ((), ("-R",))]
        said = lab.iperf3("198.18.5.2", "-p", 5202, "-u", "-b", "5M", "-t", 1, ns=host)
        check(said["end"]["sum"]["lost_percent"] < 5, said["end"]["sum"])
        row = lab.table("ifconfig", "vlan0")[0]
        check(row["vlan"] == {"parent": "tap0", "id": 5, "priority": 3, "service": False}, row)
        check(row["rx_packets"] > 100 and row["tx_packets"] > 100 and row["rx_bytes"] > 1_000_000, row)
        check(lab.metric("iopkt_interface_receive_packets_total", 'interface="vlan0"') >= row["rx_packets"], "not in the metrics")
        check("vlan: 5 vlanproto: 802.1q vlanpcp: 3 parent interface: tap0" in lab.iopkt("ifconfig", "vlan0").stdout, "not shown")
        stray(lab)
        double(lab)
        # A smaller link, a link that goes down, an interface that goes.
        lab.iopkt("ifconfig", "tap0", "mtu", 1400)
        check(lab.table("ifconfig", "vlan0")[0]["mtu"] == 1400, "longer packets than its link")
        check("1 received" in lab.exec("ping", "-n", "-c", 1, "-s", 1372, "198.18.5.2", ns=host).stdout, "1400 bytes")
        lab.iopkt("ifconfig", "tap0", "down")
        check("0 received" in lab.exec("ping", "-n", "-c", 1, "-W", 1, "198.18.5.2", ns=host, ok=False).stdout, "a link that is down answers")
        lab.iopkt("ifconfig", "tap0", "up")
        check("1 received" in lab.exec("ping", "-n", "-c", 1, "-W", 1, "198.18.5.2", ns=host, ok=False).stdout, "a link that is up again does not")
        lab.iopkt("ifconfig", "vlan0", "destroy")
        check("vlan0" not in [row["name"] for row in lab.table("ifconfig")], "it is still there")
        check("0 received" in lab.exec("ping", "-n", "-c", 1, "-W", 1, "198.18.5.2", ns=host, ok=False).stdout, "what is gone answers")
        answered(lab, STACK, 2)
        return f"{rates[0]:.0f} and {rates[1]:.0f} Mbit/s, {judged}"


def stray(lab):
    """Frames in no VLAN of ours, cut off, with too many tags: each has its reason. One that only says how urgent it is, is the link's."""
    mac = bytes.fromhex(lab.table("ifconfig", "tap0")[0]["mac"].replace(":", ""))
    ours = bytes.fromhex(lab.host_mac().replace(":", ""))
    tag = lambda number, kind=CUSTOMER: struct.pack(">HH", kind, number)
    tail = struct.pack(">H", 0x0800) + bytes(46)
    cases = [("vlan_unknown", tag(6) + tail), ("vlan_unknown", tag(5, SERVICE) + tail), ("vlan_too_short", tag(5)),
             ("vlan_depth", tag(0) * 3 + tail), ("ipv4_version", tag(0) + tail), ("ipv4_version", tag(5) + tail)]
    code = "import socket,sys; s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); s.bind((sys.argv[1],0)); [s.send(bytes.fromhex(f)) for f in sys.argv[2:]]"
    for reason, rest in cases:
        before = lab.drops(reason)
        lab.exec(sys.executable, "-c", code, IFACE, (mac + ours + rest).hex())
        until(f"a drop as {reason} of {rest.hex()}", lambda: lab.drops(reason) == before + 1, 2)


def double(lab):
    """Two tags: a customer's VLAN 7 in a provider's 100."""
    lab.iopkt("ifconfig", "vlan100", "create", "vlan", 100, "vlanif", "tap0", "vlanproto", "802.1ad")
    lab.iopkt("ifconfig", "vlan7", "create", "vlan", 7, "vlanif", "vlan100", "vlanpcp", 1, "198.18.7.2/24")
    host, log = tagged_host(lab, "acc7", "198.18.7.1/24", (SERVICE, 100), (CUSTOMER, 7), mtu=1496)
    check(lab.table("ifconfig", "vlan7")[0]["mtu"] == 1496, "the second tag takes nothing")
    for size in (56, 1468):
        answered(lab, "198.18.7.2", 2, "-M", "do", "-s", size, ns=host)
    check("priorities 0 1" in log.read_text(), log.read_text())
    lab.curl("http://198.18.7.2/", ns=host)
    for name in ("vlan7", "vlan100"):
        lab.iopkt("ifconfig", name, "destroy")


def vlan_veth():
    """VLANs of the configuration file over af_packet on a veth: one and two tags, echo, TCP both ways; a VLAN with two workers."""
    # Both of a customer's kind: DPDK's driver puts every outer tag that the kernel has taken out back as 0x8100.
    with Lab(drivers=["-d", "net_null", "--metrics", "off"], up=False) as lab:
        lab.ip("link", "add", "va", "type", "veth", "peer", "name", "vb")
        for name in ("va", "vb"):
            lab.ip("link", "set", name, "mtu", 1600, "up")
        path = lab.dir / "vlan.toml"
        path.write_text('[[interface]]\ndriver = "net_af_packet"\noptions = "iface=vb"\n'
                        '[vlan.vlan0]\nvlan = 9\nvlanif = "vlan1"\naddress = "198.18.9.2/24"\n'
                        '[vlan.vlan1]\nvlan = 90\nvlanif = "af_packet0"\naddress = "198.18.90.2/24"\n')
        lab.env["IOPKT_RUN"] = str(lab.dir / "run2")
        lab.drivers = ["-c", path]
        lab.start_daemon(up=False)
        inner, _ = tagged_host(lab, "acc9", "198.18.9.1/24", (CUSTOMER, 90), (CUSTOMER, 9), iface="va", mtu=1496)
        outer, _ = tagged_host(lab, "acc90", "198.18.90.1/24", (CUSTOMER, 90), iface="va")
        for host, to, size in ((inner, "198.18.9.2", 1468), (outer, "198.18.90.2", 1472)):
            answered(lab, to, 3, "-M", "do", "-s", size, ns=host)
        lab.client("iperf3", "-s", "-p", 5202)
        rates = [rate(lab, inner, "198.18.9.2", *back) for back in ((), ("-R",))]
    with Lab(args=["-t", "2"]) as lab:
        lab.iopkt("ifconfig", "vlan0", "create", "vlan", 5, "vlanif", "tap0", "198.18.5.2/24")
        host, _ = tagged_host(lab, "acc5", "198.18.5.1/24", (CUSTOMER, 5))
        (lab.dir / "page").write_bytes(b"x" * 100_000)
        lab.serve(lab.dir)
        for _ in range(10):
            lab.curl("http://198.18.5.2/page", ns=host)
        lab.client("iperf3", "-s", "-p", 5202)
        rate(lab, host, "198.18.5.2", "-P", 4)
        row = lab.table("ifconfig", "vlan0")[0]
        busy = [row["busy_breaths"] for row in lab.table("workers")]
        check(row["rx_packets"] > 100 and all(busy), f"{row}, {busy}")
    return f"two tags from the file, {rates[0]:.0f} and {rates[1]:.0f} Mbit/s; two workers"
