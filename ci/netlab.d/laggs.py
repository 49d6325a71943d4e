"""Several links that are used as one; the other end is the kernel's bonding driver, in a guest."""
import hashlib
import re
import signal
import sys
import time

from bridges import SENDER, TAIL, longest_gap
from lab import HOST, IFACE, STACK, STACK6, Lab, check, until
from links import answered
from uml import Guest

SECOND = "iop1"
SLOW, TYPE = "0180c2000002", "8809"


def lagg():
    """LACP with Linux's bonding: both links used by flow, TCP, a link that breaks, one that falls silent, markers, a VLAN over it; failover and loadbalance; each drop by name; two workers."""
    drivers = [word for iface in (IFACE, SECOND) for word in ("-d", "net_tap", f"iface={iface}")]
    with Lab(drivers=drivers, args=["-t", "2"], up=False) as lab:
        for iface in (IFACE, SECOND):
            lab.exec("sysctl", "-qw", f"net.ipv6.conf.{iface}.disable_ipv6=1")
            lab.ip("link", "set", iface, "up")
        lab.capture("ether", "proto", "0x8809")
        lab.iopkt("ifconfig", "lagg0", "create", "laggproto", "lacp", "laggport", "tap0", "laggport", "tap1", f"{STACK}/24")
        lab.iopkt("ifconfig", "lagg0", "inet6", f"{STACK6}/64")
        alone(lab)
        guest = Guest(lab, IFACE, SECOND)
        bond(guest, "802.3ad", "lacp_rate", "fast")
        both(lab, guest)
        used = spread(lab, guest)
        broken = breaks(lab, guest)
        silent = falls_silent(lab, guest)
        marked(lab)
        over(lab, guest)
        static(lab, guest)
        said = lab.judge()
        check(lab.frames("lacp && !_ws.malformed && lacp.version == 1 && lacp.actor.key == 1 || lacp.actor.key > 1") > 5, "no LACP on the wire")
        check(lab.frames("marker.tlvType == 2 && marker.requesterTransId == 0x01020304") == 1, "no answer to the marker")
        refused(lab)
        return f"{used}; a broken link after {broken:.2f} s, a silent one after {silent:.1f} s; {said}"


def state(lab):
    """The ports' flags, in their order."""
    return [set(port["flags"]) for port in lab.table("ifconfig", "lagg0")[0]["lagg"]["ports"]]


def sends(lab):
    return sum("distributing" in flags for flags in state(lab))


def bond(guest, mode, *options):
    guest.run(f"ip link del bond0 2>/dev/null; ip link add bond0 type bond mode {mode} miimon 50 {' '.join(options)} xmit_hash_policy layer3+4;"
              "for port in out0 out1; do ip link set $port down; ip link set $port master bond0; done;"
              f"ip addr add {HOST}/24 dev bond0; ip link set bond0 up")


def alone(lab):
    """Nobody speaks LACP yet: nothing is taken or sent."""
    until("two carriers", lambda: sum("active" in flags for flags in state(lab)) == 2)
    check(sends(lab) == 0, state(lab))
    send(lab, "ff" * 6 + "0200000000aa" + TAIL)
    until("drops as lagg_not_collecting", lambda: lab.drops("lagg_not_collecting") > 0, 20)
    lab.iopkt("ping", "-c", 1, "-W", 1, HOST, ok=False)
    until("drops as lagg_no_port", lambda: lab.drops("lagg_no_port") > 0, 20)
    check({tuple(a["flags"]) for a in own6(lab)} == {("tentative",)}, f"an address is used that nobody could be asked about: {own6(lab)}")


def own6(lab):
    return [address for address in lab.table("ifconfig", "lagg0")[0]["addresses"] if ":" in address["address"]]


def both(lab, guest):
    """Both ends use both links, and name each other."""
    until("both links", lambda: sends(lab) == 2, 20)
    until("addresses that nobody else has", lambda: not any(a["flags"] for a in own6(lab)), 20)
    row = lab.table("ifconfig", "lagg0")[0]
    check(row["running"] and row["mac"] == lab.table("ifconfig", "tap0")[0]["mac"], row)
    theirs = guest.run("cat /proc/net/bonding/bond0")
    check(f"Partner Mac Address: {row['mac']}" in theirs and "Number of ports: 2" in theirs, theirs)
    ours = row["lagg"]["ports"]
    check(len({port["partner"]["system"] for port in ours}) == 1 and all("sync" in port["partner"]["state"] for port in ours), ours)
    text = lab.iopkt("ifconfig", "lagg0").stdout
    check("laggport: tap0 flags=1d<MASTER,ACTIVE,COLLECTING,DISTRIBUTING>" in text, text)
    until("an echo", lambda: "1 received" in guest.run(f"ping -n -c 1 -W 1 {STACK}", ok=False), 20)


def spread(lab, guest):
    """Flows take both links, each flow one of them; bytes arrive whole over all."""
    page = bytes(range(256)) * 800
    (lab.dir / "page").write_bytes(page)
    lab.client("python3", "-m", "http.server", 80, "--directory", lab.dir, log=lab.dir / "http.log")
    sent = lambda: [lab.table("ifconfig", port)[0]["tx_packets"] for port in ("tap0", "tap1")]
    until("the web server", lambda: guest.run(f"curl -fsS --noproxy '*' -o /dev/null http://{STACK}/page && echo up", ok=False), 10)
    before, was = sent(), lab.table("ifconfig", "lagg0")[0]["tx_packets"]
    # Each a connection of its own: the server closes them.
    said = guest.run(f"curl -fsS --noproxy '*' {f'http://{STACK}/page ' * 32} | sha256sum").split()[0]
    shares = [after - was for after, was in zip(sent(), before)]
    check(said == hashlib.sha256(page * 32).hexdigest(), said)
    check(min(shares) * 8 > sum(shares), f"frames by each link: {shares}")
    row = lab.table("ifconfig", "lagg0")[0]
    # Beside them are the messages of LACP.
    check(0.9 * sum(shares) < row["tx_packets"] - was <= sum(shares) and row["rx_packets"] > 100, (shares, was, row))
    return f"32 downloads, {shares[0]} and {shares[1]} frames by the links"


def breaks(lab, guest):
    """A link is pulled out, at both ends: the other one carries on."""
    def pulled():
        lab.ip("link", "set", SECOND, "carrier", "off")
        guest.run("ip link set in1 down")

    log = lab.dir / "gap.log"
    ping = guest.run(f"ping -n -D -i 0.02 -W 1 {STACK} > {log} 2>&1 & echo $!").strip()
    took = longest_gap(log, pulled, lambda: sends(lab) == 1)
    check(took < 3, f"{took:.2f} s")
    guest.run(f"kill {ping}")
    check("active" not in state(lab)[1], state(lab))
    lab.ip("link", "set", SECOND, "carrier", "on")
    guest.run("ip link set in1 up")
    until("both links again", lambda: sends(lab) == 2, 20)
    return took


def falls_silent(lab, guest):
    """A link that has a carrier and brings nothing is left when nothing was heard for three seconds."""
    started = time.monotonic()
    guest.run("tc filter del dev in1 parent ffff:")
    until("one link", lambda: sends(lab) == 1, 20)
    took = time.monotonic() - started
    partner = lab.table("ifconfig", "lagg0")[0]["lagg"]["ports"][1]
    check(took > 1.5 and {"expired", "defaulted"} & set(partner["actor"]["state"]), (took, partner))
    answered_from(guest, 20)
    return took


def answered_from(guest, count):
    until("echoes", lambda: f"{count} received" in guest.run(f"ping -n -c {count} -i 0.05 -W 1 {STACK}", ok=False), 20)


def send(lab, *frames, count=1, iface=IFACE):
    lab.exec(sys.executable, "-c", SENDER, iface, count, 0, *frames)


def marked(lab):
    """Who sends a marker gets it back by the same link."""
    marker = "0201" + "0110" + "0007" + "0200000000aa" + "01020304" + "0000" + "0000" + "00" * 90
    send(lab, SLOW + "0200000000aa" + TYPE + marker)


def over(lab, guest):
    """A VLAN over it hears and answers. The guest's cards lose the tags of what they get, so it does not hear the answers."""
    lab.iopkt("ifconfig", "vlan5", "create", "vlan", 5, "vlanif", "lagg0", "198.18.5.2/24")
    text = "ip link add link bond0 name bond0.5 type vlan id 5 && ip addr add 198.18.5.1/24 dev bond0.5 && ip link set bond0.5 up"
    guest.run(text)
    guest.run("ping -n -c 1 -W 1 198.18.5.2", ok=False)
    row = until("questions and answers in the VLAN", lambda: next((r for r in lab.table("ifconfig", "vlan5") if r["rx_packets"]), None), 20)
    check(row["tx_packets"] > 0, row)


def static(lab, guest):
    """Without LACP: all links that have a carrier, or the first. When that is another one, whoever switches frames is told so by it."""
    lab.iopkt("ifconfig", "lagg0", "laggproto", "failover")
    until("the first link", lambda: [("distributing" in flags) for flags in state(lab)] == [True, False], 20)
    bond(guest, "active-backup")
    answered_from(guest, 20)
    log = lab.dir / "second.log"
    tcpdump = lab.spawn(["tcpdump", "-i", SECOND, "-n", "-l", "--immediate-mode", "arp"], log=log)
    until("tcpdump's start", lambda: "listening" in log.read_text(), 20)
    lab.iopkt("ifconfig", "tap0", "down")
    until("its announcement by the second link", lambda: re.search(f"(Announcement {STACK}|who-has {STACK}.* tell {STACK})", log.read_text()), 20)
    lab.stop(tcpdump, signal.SIGINT)
    lab.iopkt("ifconfig", "tap0", "up")
    lab.iopkt("ifconfig", "lagg0", "laggproto", "loadbalance", "-laggport", "tap0")
    check(lab.table("ifconfig", "lagg0")[0]["mac"] == lab.table("ifconfig", "tap1")[0]["mac"], "another port's address")
    until("the one that is left", lambda: sends(lab) == 1, 20)
    lab.iopkt("ifconfig", "lagg0", "laggport", "tap0")
    until("both", lambda: sends(lab) == 2, 20)


def refused(lab):
    """What is no message, and what can't be a port."""
    lab.iopkt("ifconfig", "lagg0", "laggproto", "lacp")
    before = lab.drops("lagg_format")
    send(lab, SLOW + "0200000000aa" + TYPE + "0101" + "0113" + "00" * 106, SLOW + "0200000000aa" + TYPE + "0301" + "00" * 108)
    until("drops as lagg_format", lambda: lab.drops("lagg_format") >= before + 2, 20)
    for words in (("laggport", "vlan5"), ("laggport", "tap0"), ("-laggport", "vlan5")):
        check(lab.iopkt("ifconfig", "lagg0", *words, ok=False).returncode != 0, words)
    lab.iopkt("ifconfig", "lagg0", "destroy")
    check("lagg0" not in [row["name"] for row in lab.table("ifconfig")], "it is still there")
