"""IPv6 against the kernel: addresses, neighbours, echo."""
import re

from lab import IFACE, STACK, Lab, check, until

STACK6, HOST6 = "2001:db8:77::2", "2001:db8:77::1"


def ipv6():
    """The kernel finds the stack's IPv6 addresses and pings them in every size; ifconfig, ndp and route show and change them."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{HOST6}/64", "dev", IFACE, "nodad")
        shown = lab.iopkt("ifconfig", "tap0").stdout
        check(f"inet6 {STACK6} prefixlen 64" in shown, shown)
        link = re.search(r"inet6 (fe80::[0-9a-f:]+)%tap0 prefixlen 64", shown)
        check(link, f"no address of the link: {shown}")
        lab.capture()
        for size in (0, 1, 56, 1000, 1452):
            for to in (STACK6, f"{link.group(1)}%{IFACE}"):
                said = lab.exec("ping", "-6", "-c", 3, "-i", "0.01", "-W", 2, "-s", size, to).stdout
                check("3 received" in said, said[-200:])
        count = 2000
        said = lab.exec("ping", "-6", "-f", "-q", "-c", count, STACK6, timeout=60).stdout
        check(f"{count} received" in said, said[-200:])
        judged = lab.judge()
        # Everybody on the link: we are among those who answer.
        said = lab.exec("ping", "-6", "-c", 1, "-W", 2, f"ff02::1%{IFACE}").stdout
        check("1 received" in said, said[-200:])
        rows = lab.table("ndp", "-a")
        check(any(row["address"] == HOST6 and row["state"] == "reachable" for row in rows), rows)
        neighbours = lab.exec("ip", "-6", "neigh", "show", STACK6).stdout
        check("lladdr" in neighbours, neighbours)
        # An address comes and goes while it runs, and its network's route with it.
        other = "2001:db8:78::2"
        lab.iopkt("ifconfig", "tap0", "inet6", f"{other}/64")
        check(any(row["destination"] == "2001:db8:78::" for row in lab.table("route", "show")), "no route")
        lab.exec("ip", "-6", "route", "add", "2001:db8:78::/64", "dev", IFACE)
        said = lab.exec("ping", "-6", "-c", 2, "-i", "0.01", "-W", 2, other).stdout
        check("2 received" in said, said[-200:])
        lab.iopkt("ifconfig", "tap0", "inet6", other, "-alias")
        said = lab.exec("ping", "-6", "-c", 1, "-W", 1, other, ok=False).stdout
        check("0 received" in said, said[-200:])
        lab.iopkt("route", "add", "-inet6", "default", HOST6)
        check(any(row["gateway"] == HOST6 for row in lab.table("route", "show")), "no default route")
        # A host that is not there wants our address: it hears that it is taken.
        lab.exec("ip", "-6", "addr", "add", f"{STACK6}/64", "dev", IFACE)
        taken = lambda: "dadfailed" in lab.exec("ip", "-6", "addr", "show", "dev", IFACE).stdout
        until("the kernel to learn that the address is taken", taken)
        return f"{count} of {count}; {judged}"
