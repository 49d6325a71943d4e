"""io-pkt as a router between two kernel hosts."""
import re

from lab import HOST, HOST6, IFACE, QUICK, STACK, STACK6, Lab, check, until

FAR, FAR_STACK, FAR_IFACE = "198.18.78.1", "198.18.78.2", "iop1"
FAR6, FAR_STACK6 = "2001:db8:78::1", "2001:db8:78::2"


class RoutedLab(Lab):
    """Two hosts, each in a namespace of its own, and the daemon between them.

    namespace   `ns`                                 `far`
                host  iop0 ══ tap0 io-pkt tap1 ══ iop1  host
    """

    def __init__(self, *args):
        drivers = ["-d", "net_tap", f"iface={IFACE},address={STACK}/24", "-d", "net_tap", f"iface={FAR_IFACE},address={FAR_STACK}/24"]
        super().__init__(drivers=drivers, args=args)

    def lay(self):
        self.far = self.add_host(self.ns + "f", FAR_IFACE, f"{FAR}/24")
        self.ip("route", "add", "default", "via", STACK)
        self.ip("route", "add", "default", "via", FAR_STACK, ns=self.far)


def iperf3(lab, to, *argv):
    """Mbit/s as the receiver counts them."""
    said = lab.iperf3(to, "-t", 1 if QUICK else 2, *argv)
    return said["end"]["sum_received"]["bits_per_second"] / 1e6


def crossed(lab, near, far, routers, sizes, exceeded, counter):
    """Echoes of these sizes and iperf3 both ways, a flood; too few hops; iperf3 once more with a smaller MTU on one side."""
    for ns, to, router in ((lab.ns, far, routers[0]), (lab.far, near, routers[1])):
        for size in sizes:
            check("ttl=63" in lab.echoes(to, 3, "-s", size, ns=ns), "not one hop")
        # Each hop answers for itself, from its address on the asker's link.
        said = lab.ping(to, "-c", 1, "-t", 1, ns=ns)
        check(f"From {router}" in said and exceeded in said, said)
        check("1 received" in lab.ping(to, "-c", 1, "-t", 2, ns=ns), "one hop too many")
    check(lab.drops(counter) == 2, "not counted")
    count = 500 if QUICK else 5000
    said = lab.exec("ping", "-f", "-q", "-c", count, far, timeout=60).stdout
    check(f"{count} received" in said, said[-200:])
    lab.spawn(["iperf3", "-s"], ns=lab.far)
    there, back = iperf3(lab, far), iperf3(lab, far, "-R")
    check(min(there, back) > 20, f"{there:.0f} and {back:.0f} Mbit/s")
    # A smaller MTU behind us: who sends too much is told what fits, and TCP finds its way.
    lab.iopkt("ifconfig", "tap0", "mtu", "1400")
    lab.ip("link", "set", IFACE, "mtu", "1500")
    narrow = iperf3(lab, far, "-R")
    check(narrow > 20, f"{narrow:.0f} Mbit/s with a smaller MTU behind the router")
    return f"{there:.0f} and {back:.0f} Mbit/s, {narrow:.0f} with MTU 1400 behind"


def ipv4_forward():
    """Two kernel hosts reach each other through io-pkt: echo, TTL, iperf3 both ways, a smaller MTU on one side, spoofed sources."""
    with RoutedLab() as lab:
        check("0 received" in lab.ping(FAR, "-c", 2), "a host passes packets on that nobody told it to")
        check(lab.drops("ipv4_not_for_us") >= 2, "packets for others are not counted")
        lab.iopkt("sysctl", "-w", "net.inet.ip.forwarding=1")
        rates = crossed(lab, HOST, FAR, (STACK, FAR_STACK), (0, 56, 1472), "Time to live exceeded", "ipv4_ttl_exceeded")
        # Whoever must not be cut hears of it.
        lab.ip("route", "flush", "cache", ns=lab.far)
        said = lab.ping(HOST, "-c", 1, "-M", "do", "-s", 1400, ns=lab.far)
        check("0 received" in said, said)
        check(re.search(rf"From {FAR_STACK}.*mtu ?= ?1400", said), said)
        check("1 received" in lab.ping(HOST, "-c", 1, "-M", "do", "-s", 1372, ns=lab.far), "what fits does not pass")
        check(lab.drops("ipv4_too_big") >= 2, "not counted")
        # The sender is to forget what it has learned, else it would cut by itself.
        lab.ip("route", "flush", "cache", ns=lab.far)
        check("1 received" in lab.ping(HOST, "-c", 1, "-M", "dont", "-s", 1400, ns=lab.far), "what may be cut is not")
        check(lab.metric("iopkt_ipv4_fragments_sent_total") == 2, "not cut in two")
        lab.iopkt("ifconfig", "tap0", "mtu", "1500")
        # Nowhere, nobody, and from where nobody can be.
        said = lab.ping("203.0.113.1", "-c", 1)
        check(f"From {STACK}" in said and "Net Unreachable" in said, said)
        said = lab.exec("ping", "-n", "-c", 1, "-W", 6, "198.18.78.77", ok=False).stdout
        check(f"From {STACK}" in said and "Host Unreachable" in said, said)
        lab.ip("addr", "add", "10.66.0.1/32", "dev", "lo")
        lab.iopkt("sysctl", "-w", "net.inet.ip.rpfilter=1")
        before = lab.drops("ipv4_reverse_path")
        check("0 received" in lab.ping(FAR, "-c", 2, "-I", "10.66.0.1"), "a source without a way back gets through")
        check(lab.drops("ipv4_reverse_path") - before == 2, "not counted")
        lab.iopkt("route", "add", "10.66.0.1", HOST)
        lab.echoes(FAR, 2, "-I", "10.66.0.1")
        passed = int(lab.metric("iopkt_ipv4_packets_forwarded_total"))
        return f"{rates}; {passed} packets passed on"


def ipv6_forward():
    """The same with IPv6: echo, hop limit, iperf3 both ways, a smaller MTU on one side, no way, nobody, spoofed sources."""
    with RoutedLab() as lab:
        for interface, address in (("tap0", STACK6), ("tap1", FAR_STACK6)):
            lab.iopkt("ifconfig", interface, "inet6", f"{address}/64")
        for ns, host, iface, router in ((lab.ns, HOST6, IFACE, STACK6), (lab.far, FAR6, FAR_IFACE, FAR_STACK6)):
            lab.ip("addr", "add", f"{host}/64", "dev", iface, "nodad", ns=ns)
            lab.ip("-6", "route", "add", "default", "via", router, ns=ns)
        # Addresses are probed for before they are used, and so are the kernel's of the link.
        until("the stack's addresses", lambda: all("1 received" in lab.ping(to, "-c", 1, ns=ns) for ns, to in ((lab.ns, STACK6), (lab.far, FAR_STACK6))))
        check("0 received" in lab.ping(FAR6, "-c", 2), "a host passes packets on that nobody told it to")
        check(lab.drops("ipv6_not_for_us") >= 2, "packets for others are not counted")
        lab.iopkt("sysctl", "-w", "net.inet6.ip6.forwarding=1")
        rates = crossed(lab, HOST6, FAR6, (STACK6, FAR_STACK6), (0, 56, 1452, 8000), "Hop limit", "ipv6_hop_limit")
        lab.ip("-6", "route", "flush", "cache", ns=lab.far)
        said = lab.ping(HOST6, "-c", 1, "-M", "do", "-s", 1400, ns=lab.far)
        check("0 received" in said and re.search(r"mtu[ =:]*1400", said), said)
        check("1 received" in lab.ping(HOST6, "-c", 1, "-M", "do", "-s", 1352, ns=lab.far), "what fits does not pass")
        check(lab.drops("ipv6_too_big") >= 2, "not counted")
        lab.iopkt("ifconfig", "tap0", "mtu", "1500")
        said = lab.ping("2001:db8:dead::1", "-c", 1)
        check(f"From {STACK6}" in said and "No route" in said, said)
        said = lab.exec("ping", "-n", "-c", 1, "-W", 6, "2001:db8:78::77", ok=False).stdout
        check(f"From {STACK6}" in said and "Address unreachable" in said, said)
        lab.ip("addr", "add", "2001:db8:66::1/128", "dev", "lo")
        lab.iopkt("sysctl", "-w", "net.inet.ip.rpfilter=1")
        check("0 received" in lab.ping(FAR6, "-c", 2, "-I", "2001:db8:66::1"), "a source without a way back gets through")
        check(lab.drops("ipv6_reverse_path") == 2, "not counted")
        lab.iopkt("route", "add", "-inet6", "2001:db8:66::1", HOST6)
        lab.echoes(FAR6, 2, "-I", "2001:db8:66::1")
        passed = int(lab.metric("iopkt_ipv6_packets_forwarded_total"))
        return f"{rates}; {passed} packets passed on"


def router_advertisements():
    """A kernel host takes an address and a route from io-pkt, which is found again when it is asked, and goes when io-pkt is no router any more."""
    own = "2001:db8:5::1"
    with RoutedLab() as lab:
        lab.exec("sysctl", "-qw", f"net.ipv6.conf.{IFACE}.accept_ra=2")
        for interface, address in (("tap0", own), ("tap1", FAR_STACK6)):
            lab.iopkt("ifconfig", interface, "inet6", f"{address}/64")
        lab.ip("addr", "add", f"{FAR6}/64", "dev", FAR_IFACE, "nodad", ns=lab.far)
        lab.ip("-6", "route", "add", "default", "via", FAR_STACK6, ns=lab.far)
        lab.capture("icmp6")
        lab.iopkt("ifconfig", "tap0", "rtadv")
        default = lambda: lab.ip("-6", "route", "show", "default", "dev", IFACE).stdout
        address = lambda: re.search(r"inet6 (2001:db8:5:[0-9a-f:]+)/64 scope global dynamic", lab.ip("-6", "addr", "show", "dev", IFACE).stdout)
        lab.settled()
        check(not default() and not address(), "a host that passes nothing on calls itself a router")
        lab.iopkt("sysctl", "-w", "net.inet6.ip6.forwarding=1")
        until("an address and a route", lambda: address() and "via fe80" in default())
        lab.settled()
        check("ttl=63" in lab.echoes(FAR6, 3), "not one hop")
        neighbours = lab.ip("-6", "neigh", "show", "dev", IFACE).stdout
        check(" router " in neighbours, f"its neighbour advertisements do not say that it is a router: {neighbours}")
        # Who comes to the link asks, and need not wait for the next that is due.
        lab.ip("link", "set", IFACE, "down")
        check(not address(), "the address stays")
        lab.ip("link", "set", IFACE, "up")
        until("the answer to a solicitation", lambda: address() and default(), 8)
        lab.iopkt("ifconfig", "tap0", "-rtadv")
        until("the end of the route", lambda: not default())
        check(address(), "the address went with the router")
        lab.iopkt("ifconfig", "tap0", "rtadv")
        until("the route", default)
        lab.stop(lab.daemon)
        judged = lab.judge()
        ceased = lab.frames("icmpv6.type == 134 && icmpv6.nd.ra.router_lifetime == 0 && ipv6.hlim == 255 && ipv6.dst == ff02::1")
        check(ceased == 2, f"{ceased} times no router any more, not 2")
        return judged
