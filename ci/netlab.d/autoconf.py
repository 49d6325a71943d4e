"""Interfaces that configure themselves: duplicate addresses, radvd, dnsmasq."""
import re
import shutil
import signal

from lab import HOST, IFACE, STACK, STACK6, Lab, Skipped, check, random_file, until

PREFIX, GATEWAY = "2001:db8:5:", "2001:db8:5::1"
FAR = "2001:db8:ff::1"

RADVD = """interface %s {
  AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime %d; AdvLinkMTU 1400; AdvDefaultPreference high;
  prefix 2001:db8:5::/64 { AdvOnLink on; AdvAutonomous on; AdvValidLifetime %d; AdvPreferredLifetime %d; };
};
"""


# An advertisement that a router has passed on: its hop limit is not 255.
FORGED = '''
import socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 254)
prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xc0, 600, 600, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:bad::"))
s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 600, 0, 0) + prefix, ("ff02::1", 0, 0, socket.if_nametoindex(sys.argv[1])))
'''


def rows(lab):
    """The IPv6 addresses of tap0 with what is said of them."""
    found = [row for row in lab.table("ifconfig", "tap0")[0]["addresses"] if ":" in row["address"]]
    return {row["address"]: set(row["flags"]) for row in found}


def default_route(lab):
    return [row for row in lab.table("route", "show") if (row["destination"], row["prefix_len"]) == ("::", 0)]


def radvd(lab, name, router, valid, preferred):
    conf = lab.dir / f"{name}.conf"
    conf.write_text(RADVD % (IFACE, router, valid, preferred))
    return lab.spawn(["radvd", "-n", "-C", conf, "-p", lab.dir / f"{name}.pid", "-m", "stderr", "-u", "root"],
                     log=lab.dir / f"{name}.log")


def dad():
    """An address that the kernel has is not used: log, ifconfig and a counter say so. One that nobody has is, after a probe as RFC 4862 wants it."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{STACK6}/64", "dev", IFACE, "nodad")
        lab.capture("icmp6")
        lab.iopkt("ifconfig", "tap0", "inet6", f"{STACK6}/64")
        until("the duplicate to be found", lambda: "duplicated" in rows(lab)[STACK6])
        counted = {row["name"]: row["value"] for row in lab.table("netstat", "-s") if row["subsystem"] == "autoconf"}
        check(counted.get("duplicate_addresses") == 1, counted)
        check(f"{STACK6} is not used" in lab.log.read_text(), "the log is silent")
        refused = lab.iopkt("run", "--", "python3", "-c",
                            f"import socket; socket.socket(socket.AF_INET6).bind(('{STACK6}', 80))", ok=False)
        check("Cannot assign" in refused.stderr, refused.stderr)
        free = "2001:db8:77::9"
        lab.iopkt("ifconfig", "tap0", "inet6", f"{free}/64")
        until("the address", lambda: not rows(lab)[free])
        said = lab.exec("ping", "-6", "-c", 1, "-W", 2, free).stdout
        check("1 received" in said, said)
        # A station that comes later and wants it hears that it is taken.
        lab.exec("ip", "-6", "addr", "del", f"{STACK6}/64", "dev", IFACE)
        lab.exec("ip", "-6", "addr", "add", f"{free}/64", "dev", IFACE)
        until("the kernel to learn that the address is taken",
              lambda: "dadfailed" in lab.exec("ip", "-6", "addr", "show", "dev", IFACE).stdout)
        # Up again it asks again, and has the first one now.
        for way in ("down", "up"):
            lab.iopkt("ifconfig", "tap0", way)
        until("the address that is free now", lambda: rows(lab)[STACK6] == set())
        judged = lab.judge()
        probes = lab.frames(f"icmpv6.type == 135 && ipv6.src == :: && icmpv6.nd.ns.target_address == {free} && "
                            "eth.src != " + lab.host_mac() + " && ipv6.hlim == 255 && ipv6.dst == ff02::1:ff00:9 && icmpv6.opt.nonce")
        check(probes >= 1, f"{probes} probes")
        return f"{probes} probes for {free}; {judged}"


def radvd_host():
    """radvd gives an address, a default route and an MTU; TCP runs over them to a host behind; both end with their time. An advertisement from beyond the link changes nothing."""
    if not shutil.which("radvd"):
        raise Skipped("radvd is missing: apt-get install radvd")
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,accept_rtadv"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{GATEWAY}/64", "dev", IFACE, "nodad")
        lab.exec("ip", "-6", "addr", "add", f"{FAR}/128", "dev", "lo", "nodad")
        lab.exec("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        lab.capture("ip6")
        router = radvd(lab, "radvd", 30, 60, 40)
        own = until("an address", lambda: [a for a, flags in rows(lab).items() if a.startswith(PREFIX) and flags == {"autoconf"}])
        check(len(own) == 1 and "ff:fe" not in own[0], f"not stable and private: {own}")
        until("the default route", lambda: default_route(lab))
        check("D" in default_route(lab)[0]["flags"], default_route(lab))
        invalid = lambda: sum(row["value"] for row in lab.table("netstat", "-s") if row["name"] == "dropped_ndp_invalid")
        before = invalid()
        lab.exec("python3", "-c", FORGED, IFACE)
        until("the forged advertisement to be dropped", lambda: invalid() == before + 1)
        check(not [a for a in rows(lab) if a.startswith("2001:db8:bad")], rows(lab))
        want = random_file(lab.dir / "big", 4 << 20)
        url, heard = lab.serve_from_kernel(FAR)
        check(lab.fetched(f"{url}/big") == want, "sha256 differs")
        check(f"{own[0]} - -" in heard.read_text(), "the server has heard from somebody else")
        judged = lab.judge()
        asked = lab.frames("icmpv6.type == 133 && ipv6.dst == ff02::2 && ipv6.hlim == 255 && eth.src != " + lab.host_mac())
        check(asked >= 1, "no router solicitation")
        larger = lab.frames(f"ipv6.src == {own[0]} && ipv6.plen > 1360")
        check(larger == 0, f"{larger} packets larger than the MTU that the router told")
        # What radvd says when it ends: it is no router any more. Its prefix lives on.
        lab.stop(router)
        until("the end of the default route", lambda: not default_route(lab))
        check(own[0] in rows(lab), "the address went with the router")
        # The last word of another: an address for a moment, after which it is gone with its route.
        lab.iopkt("ifconfig", "tap0", "inet6", "-accept_rtadv")
        until("the end of the address", lambda: own[0] not in rows(lab))
        lab.iopkt("ifconfig", "tap0", "inet6", "accept_rtadv")
        short = radvd(lab, "short", 5, 8, 3)
        until("the same address", lambda: rows(lab).get(own[0]) == {"autoconf"})
        lab.stop(short, signal.SIGKILL)
        until("it to be deprecated", lambda: rows(lab).get(own[0]) == {"autoconf", "deprecated"}, 15)
        until("it to expire", lambda: own[0] not in rows(lab) and not default_route(lab), 15)
        return f"{own[0]}; {judged}"


# Asks for a page in two parts; between them it waits until a file is there.
SLOW = """
import os, socket, sys, time
address, path = sys.argv[1:3]
s = socket.create_connection((address, 8080))
s.sendall(b"GET /small HTTP/1.0\\r\\n")
print(s.getsockname()[0], flush=True)
while not os.path.exists(path):
    time.sleep(0.02)
s.sendall(b"\\r\\n")
print(s.recv(100).split(b"\\r\\n")[0].decode(), flush=True)
"""


def temporary_addresses():
    """Beside the stable address of radvd's prefix is one that changes: what begins here comes from it, the next one comes before its end, and what goes on keeps its own."""
    if not shutil.which("radvd"):
        raise Skipped("radvd is missing: apt-get install radvd")
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24"]) as lab:
        for setting in ("use_tempaddr=1", "temppltime=15", "tempvltime=60", "dad_count=0"):
            lab.iopkt("sysctl", f"net.inet6.ip6.{setting}")
        lab.exec("ip", "-6", "addr", "add", f"{GATEWAY}/64", "dev", IFACE, "nodad")
        lab.exec("ip", "-6", "addr", "add", f"{FAR}/128", "dev", "lo", "nodad")
        lab.exec("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        random_file(lab.dir / "small", 1000)
        url, heard = lab.serve_from_kernel(FAR)
        radvd(lab, "radvd", 60, 60, 40)
        lab.iopkt("ifconfig", "tap0", "inet6", "accept_rtadv")
        made = lambda *flags: [a for a, said in rows(lab).items() if a.startswith(PREFIX) and said == {"autoconf", *flags}]
        first = until("a temporary address", lambda: made("temporary"))[0]
        [stable] = made()
        check(first != stable and "ff:fe" not in first, f"{first} beside {stable}")
        until("the default route", lambda: default_route(lab))
        said, go = lab.dir / "slow.log", lab.dir / "go"
        lab.client("python3", "-c", SLOW, FAR, go, log=said)
        until("a connection from it", lambda: first in said.read_text())
        second = until("the next one", lambda: [a for a in made("temporary") if a != first], 30)[0]
        until("the end of the first one's use", lambda: first in made("temporary", "deprecated"), 30)
        lab.fetched(f"{url}/small")
        later = {second, *made("temporary"), *made("temporary", "deprecated")} - {first}
        check(any(f"{address} - -" in heard.read_text() for address in later), heard.read_text())
        go.touch()
        until("the rest of the page", lambda: "200 OK" in said.read_text())
        lab.iopkt("sysctl", "net.inet6.ip6.prefer_tempaddr=0")
        until("the stable address's turn", lambda: lab.fetched(f"{url}/small") and f"{stable} - -" in heard.read_text())
        return f"{first}, then {second} beside {stable}"


DNSMASQ = ["--no-daemon", "--conf-file=/dev/null", "--port=0", "--bind-interfaces", f"--interface={IFACE}", "--log-dhcp",
           "--dhcp-option=option:router,198.18.77.1", "--dhcp-option=option:mtu,1400", "--dhcp-option-force=option:T1,3",
           "--dhcp-authoritative"]


def dnsmasq(lab, name, addresses):
    log = lab.dir / f"{name}.log"
    process = lab.spawn(["dnsmasq", *DNSMASQ, f"--dhcp-range={addresses},255.255.255.0,2m", f"--dhcp-leasefile={lab.dir}/{name}.leases",
                         f"--pid-file={lab.dir}/{name}.pid", "--user=root"], log=log)
    until("dnsmasq", lambda: "DHCP, IP range" in log.read_text() or process.poll() is not None)
    check(process.poll() is None, log.read_text()[-300:])
    return process, log


# An announcement of an address that is somebody else's, from the kernel's station.
CLAIM = """
import socket, sys
iface, mac, address = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), socket.inet_aton(sys.argv[3])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((iface, 0x806))
s.send(b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + address + bytes(6) + address)
"""


def ipv4_link_local():
    """Without a server an interface has an IPv4 address of the link's own, not the one that the kernel has; it is defended once, then another is taken; with a server's it goes."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE}"]) as lab:
        log = lab.dir / "arp.txt"
        lab.spawn(["tcpdump", "-l", "-n", "-i", IFACE, "--immediate-mode", "arp"], log=log)
        until("tcpdump", lambda: "listening" in log.read_text())
        has = lambda: [a["address"] for a in lab.table("ifconfig", "tap0")[0]["addresses"] if a["address"].startswith("169.254.")]
        lab.iopkt("ifconfig", "tap0", "ipv4ll")
        probe = r"who-has (169\.254\.\d+\.\d+).* tell 0\.0\.0\.0"
        first = until("a probe", lambda: re.search(probe, log.read_text())).group(1)
        lab.ip("addr", "add", f"{first}/16", "dev", IFACE)
        second = until("another address", has, 20)[0]
        check(second != first, second)
        until("its three probes", lambda: len(re.findall(f"who-has {re.escape(second)} .*tell 0.0.0.0", log.read_text())) == 3)
        random_file(lab.dir / "small", 1000)
        url, heard = lab.serve_from_kernel(first)
        lab.fetched(f"{url}/small")
        check(f"{second} - -" in heard.read_text(), heard.read_text())
        check("1 received" in lab.ping(second, "-c", 1), "the kernel does not reach it")
        announced = lambda: len(re.findall(f"who-has {re.escape(second)} .*tell {re.escape(second)},", log.read_text()))
        until("two announcements", lambda: announced() == 2)
        for said in (4, 5):
            lab.exec("python3", "-c", CLAIM, IFACE, lab.host_mac(), second)
            # What the kernel's station says, and what the stack says to that, but once.
            until("the claim and its answer", lambda: announced() >= said)
        until("the end of the address", lambda: second not in has())
        if shutil.which("dnsmasq"):
            dnsmasq(lab, "server", "198.18.77.50,198.18.77.59")
            lab.iopkt("ifconfig", "tap0", "dhcp")
            given = lambda: [a["address"] for a in lab.table("ifconfig", "tap0")[0]["addresses"] if a["address"].startswith("198.18.77.5")]
            until("a server's address", given, 20)
            until("the end of the link's own", lambda: not has())
        return f"not {first}, which the kernel has, but {second}"


# A tap interface that stays when nobody has it open any longer (TUNSETIFF, TUNSETPERSIST).
STAYS = """
import fcntl, struct, sys
tap, flags = open("/dev/net/tun", "r+b", buffering=0), int(open(f"/sys/class/net/{sys.argv[1]}/tun_flags").read(), 16)
fcntl.ioctl(tap, 0x400454ca, struct.pack("16sH22x", sys.argv[1].encode(), flags))
fcntl.ioctl(tap, 0x400454cb, 1)
"""


def dhcp():
    """dnsmasq gives address, netmask, router and MTU, and makes the lease longer; a refusal ends it, and the daemon gives it back."""
    if not shutil.which("dnsmasq"):
        raise Skipped("dnsmasq is missing: apt-get install dnsmasq-base")
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},dhcp"]) as lab:
        lab.capture("udp port 67 or udp port 68 or tcp or icmp")
        server, log = dnsmasq(lab, "first", "198.18.77.50,198.18.77.59")
        has = lambda: [(a["address"], a["prefix_len"]) for a in lab.table("ifconfig", "tap0")[0]["addresses"] if "." in a["address"]]
        given = until("an address", lambda: [a for a in has() if a[0].startswith("198.18.77.5") and a[1] == 24], 20)[0][0]
        looked = log.read_text().count("DHCPDISCOVER")
        check(lab.table("ifconfig", "tap0")[0]["mtu"] == 1400, "the MTU is another")
        routes = [row for row in lab.table("route", "show") if (row["destination"], row["gateway"]) == ("0.0.0.0", HOST)]
        check(routes and "D" in routes[0]["flags"], routes)
        said = lab.exec("ping", "-c", 2, "-i", "0.1", "-W", 2, given).stdout
        check("2 received" in said, said)
        # A host behind the router.
        lab.exec("ip", "addr", "add", "203.0.113.1/32", "dev", "lo")
        url, _ = lab.serve_from_kernel("203.0.113.1")
        fetch = ["run", "--", "curl", "-fsS", "--max-time", 10, "-o", "/dev/null", url]
        until("the way through the router", lambda: lab.iopkt(*fetch, ok=False).returncode == 0)
        until("the lease to be made longer", lambda: log.read_text().count("DHCPACK") >= 2)
        check(has()[0][0] == given and log.read_text().count("DHCPDISCOVER") == looked, f"not made longer but asked for anew: {has()}")
        # Another server has other addresses: it refuses ours and gives one of its own.
        lab.stop(server)
        second, log2 = dnsmasq(lab, "second", "198.18.77.150,198.18.77.160")
        until("a refusal", lambda: "DHCPNAK" in log2.read_text(), 20)
        other = until("another address", lambda: [a for a in has() if a[0].startswith(("198.18.77.15", "198.18.77.160"))], 20)
        check(len(has()) == 1, has())
        lab.iopkt("ifconfig", "tap0", "-dhcp")
        until("the lease to be given back", lambda: "DHCPRELEASE" in log2.read_text())
        check(not has() and lab.table("ifconfig", "tap0")[0]["mtu"] == 1500, has())
        lab.iopkt("ifconfig", "tap0", "dhcp")
        until("an address again", has, 20)
        # Else what is the last to be said by it is lost with the interface, if dnsmasq has no time to read at once.
        lab.exec("python3", "-c", STAYS, IFACE)
        lab.stop(lab.daemon)
        until("the daemon to give it back at its end", lambda: log2.read_text().count("DHCPRELEASE") >= 2)
        return f"{given}, then {other[0][0]}"
