"""Bridges between kernel hosts."""
import signal
import sys
import time

from lab import HOST, IFACE, STACK, Lab, check, until
from links import CUSTOMER, answered, tagged_host

FAR, FAR_IFACE, THIRD_IFACE = "198.18.77.3", "iop1", "iop2"
# Frames by a raw socket: how many, how far apart in ms, and each as hex; XX becomes something new in each.
SENDER = """
import os, socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
for number in range(int(sys.argv[2])):
    for frame in sys.argv[4:]:
        wire.send(bytes.fromhex(frame.replace("XX", os.urandom(4).hex())))
    time.sleep(int(sys.argv[3]) / 1000)
"""
TAIL = "88b5" + "00" * 46
EVERYBODY = "ff" * 6


class BridgedLab(Lab):
    """Two hosts of one network, each in a namespace of its own, and the daemon between them; a third tap.

    namespace   `ns`                                          `far`
                host  iop0 ══ tap0 ─ bridge0 ─ tap1 ══ iop1  host          iop2 ══ tap2
    """

    def __init__(self, *args):
        drivers = [word for iface in (IFACE, FAR_IFACE, THIRD_IFACE) for word in ("-d", "net_tap", f"iface={iface}")]
        super().__init__(drivers=drivers, args=args)

    def lay(self):
        self.far = self.add_host(self.ns + "f", FAR_IFACE, f"{FAR}/24")
        self.give(THIRD_IFACE)
        self.iopkt("ifconfig", "bridge0", "create", f"{STACK}/24")
        self.iopkt("brconfig", "bridge0", "add", "tap0", "add", "tap1", "up")

    def stations(self):
        return {row["address"]: row for row in self.table("brconfig", "bridge0", "addr")}

    def send(self, *frames, count=1, every_ms=0, ns=None, iface=IFACE):
        self.exec(sys.executable, "-c", SENDER, iface, count, every_ms, *frames, ns=ns)


def rate(lab, to, *argv, port=5201):
    said = lab.iperf3(to, "-p", port, "-t", 1, *argv)
    mbits = said["end"]["sum_received"]["bits_per_second"] / 1e6
    check(mbits > 20, f"{mbits:.0f} Mbit/s")
    return mbits


def crossed(lab):
    """Echoes of the hosts and of the stack to each other, iperf3 both ways, and where the bridge has seen them."""
    for ns, peer in ((lab.ns, FAR), (lab.far, HOST)):
        for size in (0, 1472):
            answered(lab, peer, 5, "-s", size, ns=ns)
        answered(lab, STACK, 3, ns=ns)
    lab.spawn(["iperf3", "-s"], ns=lab.far)
    rates = rate(lab, FAR), rate(lab, FAR, "-R")
    there = lab.stations()
    places = {lab.host_mac(IFACE): "tap0", lab.host_mac(FAR_IFACE, lab.far): "tap1"}
    check({mac: there[mac]["interface"] for mac in places if mac in there} == places, there)
    check(lab.metric("iopkt_bridge_frames_forwarded_total") > 1000, "not counted")
    return rates


def bridge():
    """Two kernel hosts at one bridge, the stack at it too: echo, iperf3, curl; ageing, static, limits, floods, span, a VLAN as port; each drop by name; two workers."""
    with BridgedLab() as lab:
        rates = crossed(lab)
        (lab.dir / "page").write_bytes(b"x" * 200_000)
        lab.serve(lab.dir)
        lab.curl(f"http://{STACK}/page", ns=lab.far)
        url, _ = lab.serve_from_kernel()
        lab.fetched(f"{url}/page")
        check("max 100 timeout 1200" in lab.iopkt("brconfig", "bridge0").stdout, "not BSD's defaults")
        forgotten(lab)
        refused(lab)
        flooded(lab)
        others(lab)
        lab.iopkt("ifconfig", "bridge0", "destroy")
        check("0 received" in lab.ping(FAR, "-c", 1), "what is gone passes frames on")
        check(not lab.table("brconfig"), "it is still there")
    with BridgedLab("-t", "2") as lab:
        crossed(lab)
        busy = [row["busy_breaths"] for row in lab.table("workers")]
        check(all(busy), busy)
    return f"{rates[0]:.0f} and {rates[1]:.0f} Mbit/s"


def forgotten(lab):
    """A silent station is forgotten after its time; flush forgets those that were learned, flushall all."""
    lab.iopkt("brconfig", "bridge0", "timeout", 1)
    lab.send(EVERYBODY + "0200000000aa" + TAIL)
    check(lab.stations()["02:00:00:00:00:aa"]["expires_s"] <= 1, "no time")
    until("it is forgotten", lambda: "02:00:00:00:00:aa" not in lab.stations(), 3)
    lab.iopkt("brconfig", "bridge0", "timeout", 1200, "static", "tap1", "02:00:00:00:00:bb")
    lab.send(EVERYBODY + "0200000000aa" + TAIL)
    lab.iopkt("brconfig", "bridge0", "flush")
    check("02:00:00:00:00:aa" not in lab.stations() and lab.stations()["02:00:00:00:00:bb"]["fixed"], lab.stations())
    lab.iopkt("brconfig", "bridge0", "flushall")
    check("02:00:00:00:00:bb" not in lab.stations(), lab.stations())


def refused(lab):
    """What a bridge does not pass on, each for its own reason."""
    us, far = lab.host_mac(IFACE), lab.host_mac(FAR_IFACE, lab.far)
    answered(lab, FAR, 1)

    def dropped(reason, least, act):
        before = lab.drops(reason)
        act()
        until(f"drops as {reason}", lambda: lab.drops(reason) >= before + least, 2)

    plain = lambda mac: mac.replace(":", "")
    dropped("bridge_same_port", 1, lambda: lab.send(plain(us) + "0200000000aa" + TAIL))
    dropped("bridge_reserved", 1, lambda: lab.send("0180c200000e" + "0200000000aa" + TAIL))
    lab.iopkt("brconfig", "bridge0", "-discover", "tap1")
    dropped("bridge_nowhere", 1, lambda: lab.send("0200000000ee" + "0200000000aa" + TAIL))
    lab.iopkt("brconfig", "bridge0", "discover", "tap1", "static", "tap1", us)
    dropped("bridge_static", 1, lambda: check("0 received" in lab.ping(FAR, "-c", 1), "a static station has moved"))
    lab.iopkt("brconfig", "bridge0", "deladdr", us)
    answered(lab, FAR, 1)
    lab.iopkt("ifconfig", "tap0", "mtu", 1000)
    lab.ip("link", "set", IFACE, "mtu", 1500)
    dropped("bridge_too_big", 1, lambda: check("0 received" in lab.ping(HOST, "-c", 1, "-s", 1400, ns=lab.far), "longer than the port takes"))
    lab.iopkt("ifconfig", "tap0", "mtu", 1500)
    lab.iopkt("ifconfig", "bridge0", "down")
    dropped("interface_down", 1, lambda: check("0 received" in lab.ping(FAR, "-c", 1), "a bridge that is down"))
    lab.iopkt("ifconfig", "bridge0", "up")

    def both():
        claim = [sys.executable, "-c", SENDER]
        words = [50, 5, EVERYBODY + "0200000000cc" + TAIL]
        there = lab.spawn([*claim, FAR_IFACE, *words], ns=lab.far)
        lab.exec(*claim, IFACE, *words)
        there.wait()

    dropped("bridge_moving", 10, both)


def flooded(lab):
    """A flood of new sources takes no more than maxaddr, and who is known is not forgotten for it; frames for all ports have a limit."""
    answered(lab, FAR, 1)
    far = lab.host_mac(FAR_IFACE, lab.far)
    flood = lab.spawn([sys.executable, "-c", SENDER, IFACE, 20_000, 0, "0200000000ee02eeXX" + TAIL])
    before = lab.metric("iopkt_bridge_frames_forwarded_total")
    said = lab.exec("ping", "-n", "-c", 100, "-i", "0.005", "-W", 1, FAR).stdout
    check("100 received" in said or "99 received" in said, said[-200:])
    check(lab.metric("iopkt_bridge_frames_forwarded_total") - before >= 198, "known stations are flooded to")
    flood.wait()
    there = lab.stations()
    check(len(there) == 100 and far in there, f"{len(there)} stations")
    check(lab.metric("iopkt_bridge_stations_refused_total") > 10_000, "not counted")
    lab.iopkt("brconfig", "bridge0", "flush", "flood", 100)
    before = lab.drops("bridge_flood")
    lab.send(EVERYBODY + "0200000000aa" + TAIL, count=1000)
    until("drops as bridge_flood", lambda: lab.drops("bridge_flood") >= before + 700, 2)
    lab.iopkt("brconfig", "bridge0", "flush", "flood", 10_000, "maxaddr", 3, "ifmaxaddr", 2)
    lab.send(EVERYBODY + "02eeXX" + TAIL, count=5)
    check(len(lab.stations()) <= 3 and sum(row["interface"] == "tap0" for row in lab.stations().values()) == 2, lab.stations())
    lab.iopkt("brconfig", "bridge0", "flush", "maxaddr", 100, "ifmaxaddr", 0)


def others(lab):
    """A copy of everything at a span port; without learn nobody is learned; a VLAN is a port like others."""
    sent = lambda: lab.table("ifconfig", "tap2")[0]["tx_packets"]
    lab.iopkt("brconfig", "bridge0", "span", "tap2", "-learn", "tap0", "flush")
    before = sent()
    answered(lab, FAR, 10)
    check(sent() - before >= 20, f"{sent() - before} copies of 20")
    check(all(row["interface"] != "tap0" for row in lab.stations().values()), "learned all the same")
    lab.iopkt("brconfig", "bridge0", "-span", "tap2", "learn", "tap0")
    lab.iopkt("ifconfig", "vlan5", "create", "vlan", 5, "vlanif", "tap2")
    lab.iopkt("brconfig", "bridge0", "add", "vlan5")
    host, _ = tagged_host(lab, "acc5", "198.18.77.5/24", (CUSTOMER, 5), iface=THIRD_IFACE)
    for to in (FAR, HOST, STACK):
        answered(lab, to, 3, "-s", 1472, ns=host)
    said = lab.iopkt("ifconfig", "vlan6", "create", "vlan", 6, "vlanif", "bridge0")
    check(lab.iopkt("brconfig", "bridge0", "add", "vlan6", ok=False).returncode != 0, "a bridge is a port of itself")
    check(lab.iopkt("brconfig", "bridge0", "add", "tap0", ok=False).returncode != 0, said.stdout)


def echoes(log):
    """When each echo came back, by ping's words so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [float(line[1:line.index("]")]) for line in lines if line.startswith("[") and "bytes from" in line and line.endswith(" ms")]


def longest_gap(log, act, left):
    """Does something that makes echoes stay away until another way is taken, which left() tells: for how long none came back. However long that takes; whoever
    stays silent has not come back."""
    until("echoes", lambda: len(echoes(log)) > 10, 20)
    act()
    until("another way", left, 30)
    came = len(echoes(log))
    until("echoes by it", lambda: len(echoes(log)) > came + 25, 30)
    at = echoes(log)
    return max(later - sooner for sooner, later in zip(at, at[1:]))


def outage(lab, to, act, left):
    """For how long no echo comes back when something is done: seconds."""
    every = 0.02
    log = lab.dir / "outage.log"
    log.unlink(missing_ok=True)
    ping = lab.spawn(["ping", "-n", "-D", "-i", every, "-W", 1, to], log=log)
    took = longest_gap(log, act, left)
    lab.stop(ping, signal.SIGINT)
    return took - every


def ports(lab, **where):
    row = lab.table("brconfig", "bridge0", **where)[0]
    return {member["interface"]: (member["role"], member["state"]) for member in row["members"]}, row["tree"]


def stp():
    """Two links to a kernel bridge that speaks 802.1D: without the protocol a storm within its limit, with it one port rests; the other link takes over."""
    drivers = [word for iface in (IFACE, FAR_IFACE) for word in ("-d", "net_tap", f"iface={iface}")]
    with Lab(drivers=drivers, up=False) as lab:
        lab.iopkt("ifconfig", "bridge0", "create", f"{STACK}/24")
        lab.iopkt("brconfig", "bridge0", "add", "tap0", "add", "tap1")
        lab.ip("link", "add", "kbr", "type", "bridge", "stp_state", 0)
        for iface in (IFACE, FAR_IFACE):
            lab.exec("sysctl", "-qw", f"net.ipv6.conf.{iface}.disable_ipv6=1")
            lab.ip("link", "set", iface, "master", "kbr", "up")
        lab.ip("addr", "add", f"{HOST}/24", "dev", "kbr")
        lab.ip("link", "set", "kbr", "up")
        storm = stormy(lab)
        lab.ip("link", "set", "kbr", "type", "bridge", "stp_state", 1, "forward_delay", 400, "hello_time", 100, "max_age", 600, "priority", 4096)
        lab.iopkt("brconfig", "bridge0", "hellotime", 1, "fwddelay", 4, "maxage", 6, "stp", "tap0", "stp", "tap1", "up")
        roles = lambda: sorted(ports(lab)[0].values())
        until("one port of two rests", lambda: roles() == [("alternate", "discarding"), ("root", "forwarding")], 20)
        until("echoes", lambda: "1 received" in lab.exec("ping", "-n", "-c", 1, "-W", 1, STACK, ok=False).stdout, 20)
        said, tree = ports(lab)
        check(tree["root_priority"] == 4096 and tree["root_port"] in said, tree)
        before = lab.metric("iopkt_bridge_frames_flooded_total")
        send(lab, EVERYBODY + "0200000000aa" + TAIL, count=20)
        time.sleep(1)
        went = lab.metric("iopkt_bridge_frames_flooded_total") - before
        check(went < 100, f"{went} frames flooded of 20: they go round")
        check(lab.drops("bridge_blocked") > 0, "the port that rests passes frames on")
        before = lab.drops("bpdu_format")
        send(lab, "0180c2000000" + "0200000000aa" + "0026424203" + "00" * 35)
        until("a message that is none is dropped", lambda: lab.drops("bpdu_format") > before, 2)
        broken = IFACE if tree["root_port"] == "tap0" else FAR_IFACE
        other = {"tap0": "tap1", "tap1": "tap0"}[tree["root_port"]]
        took = outage(lab, STACK, lambda: lab.ip("link", "set", broken, "down"), lambda: ports(lab)[0][other] == ("root", "forwarding"))
        check(took <= 3, f"{took:.2f} s without the link")
        check("designated" not in [role for role, _ in ports(lab)[0].values()], ports(lab))
        return f"{storm}; the other link after {took:.2f} s"


def send(lab, *frames, count=1):
    lab.exec(sys.executable, "-c", SENDER, IFACE, count, 0, *frames)


def stormy(lab):
    """A loop without the protocol: what the bridge passes on a second is its limit, and the daemon answers."""
    lab.iopkt("brconfig", "bridge0", "flood", 2000, "up")
    send(lab, EVERYBODY + "0200000000aa" + TAIL, count=10)
    time.sleep(1.2)
    flooded, began = lab.metric("iopkt_bridge_frames_flooded_total"), time.monotonic()
    time.sleep(2)
    rate = (lab.metric("iopkt_bridge_frames_flooded_total") - flooded) / (time.monotonic() - began)
    stopped = lab.drops("bridge_flood") + lab.drops("bridge_moving")
    check(stopped > 0, "there is no storm")
    # Two ports, each with its limit; a second may begin within another.
    check(rate <= 2 * 2000 * 1.5, f"{rate:.0f} frames a second")
    lab.iopkt("brconfig", "bridge0", "down", "flood", 10_000)
    return f"a storm of {rate:.0f} frames/s at most 4000"


def rstp():
    """Two daemons with two links between them speak 802.1w: one link rests; one that dies in silence is replaced within 3 s, one that is taken down at once."""
    with Lab(drivers=["-d", "net_null", "--metrics", "off"], up=False) as lab:
        lab.stop(lab.daemon)
        # In namespaces of their own: two of DPDK's af_packet would take each other's frames.
        near, far = lab.ns, lab.ns + "f"
        lab.add_namespace(far)
        for link in (0, 1):
            # Each link through a bridge of the kernel's without a tree, which passes all on until it is taken apart.
            lab.ip("link", "add", f"wire{link}", "type", "bridge", "mcast_snooping", 0)
            lab.ip("link", "add", f"va{link}", "type", "veth", "peer", "name", f"wa{link}")
            lab.ip("link", "add", f"wb{link}", "type", "veth", "peer", "name", f"vb{link}", "netns", far)
            for port in ("wa", "wb"):
                lab.ip("link", "set", f"{port}{link}", "master", f"wire{link}", "up")
            for interface in ("wire", "va"):
                lab.ip("link", "set", f"{interface}{link}", "up")
            lab.ip("link", "set", f"vb{link}", "up", ns=far)
        runs = {}
        for end, tap, address, priority in (("a", IFACE, STACK, 4096), ("b", FAR_IFACE, FAR, 8192)):
            path = lab.dir / f"{end}.toml"
            links = "".join(f'[[interface]]\ndriver = "net_af_packet"\noptions = "iface=v{end}{link}"\n' for link in (0, 1))
            path.write_text(f'metrics = "off"\n[[interface]]\ndriver = "net_tap"\noptions = "iface={tap}"\n{links}[bridge.bridge0]\nadd = ["tap0", "af_packet0", "af_packet1"]\n'
                            f'stp = ["af_packet0", "af_packet1", "tap0"]\nhellotime = 1\npriority = {priority}\naddress = "{address}/24"\n')
            runs[end] = lab.env["IOPKT_RUN"] = str(lab.dir / f"run-{end}")
            lab.drivers = ["-c", path]
            lab.ns = near if end == "a" else far
            lab.start_daemon(up=False)
        lab.ns = near

        def of(end):
            lab.env["IOPKT_RUN"] = runs[end]
            return ports(lab)

        lab.ip("addr", "add", f"{HOST}/24", "dev", IFACE)
        lab.ip("link", "set", IFACE, "up")
        resting = [("alternate", "discarding"), ("root", "forwarding")]
        until("one link of two rests", lambda: sorted(of("b")[0][f"af_packet{link}"] for link in (0, 1)) == resting, 15)
        until("echoes through both", lambda: "1 received" in lab.exec("ping", "-n", "-c", 1, "-W", 1, FAR, ok=False).stdout, 10)
        root_port = of("b")[1]["root_port"]
        other = {"af_packet0": "af_packet1", "af_packet1": "af_packet0"}[root_port]
        replaced = lambda: of("b")[0][other] == ("root", "forwarding")
        at_once = outage(lab, FAR, lambda: (of("b"), lab.iopkt("ifconfig", root_port, "down")), replaced)
        check(at_once <= 1, f"{at_once:.2f} s after a link was taken down")
        of("b")
        lab.iopkt("ifconfig", root_port, "up")
        until("it leads to the root again", lambda: of("b")[1]["root_port"] == root_port and "discarding" in str(of("b")), 10)
        number = root_port[-1]
        # Frames are lost, and no carrier says so.
        silent = outage(lab, FAR, lambda: lab.ip("link", "set", f"wa{number}", "nomaster"), replaced)
        check(silent <= 3.2, f"{silent:.2f} s after a link died")
        return f"{at_once:.2f} s after a link is taken down, {silent:.2f} s after one dies in silence"
