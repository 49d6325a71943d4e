"""Routes of a router: several gateways, such as let nothing pass, MTUs, and very many at once."""
import json
import os
import random
import re
import resource
import signal
import time

from lab import BIN, HOST, HOST6, IFACE, ROOT, STACK, STACK6, Lab, check, run, until

# Two routers behind the stack, each in a namespace of its own, and the host that both know.
LINKS = (("iop1", "198.18.78.", "2001:db8:78::"), ("iop2", "198.18.79.", "2001:db8:79::"))
BOTH, BOTH6, NET, NET6 = "203.0.113.1", "2001:db8:113::1", "203.0.113.0/24", "2001:db8:113::/48"
FLOWS = 200

# Says its name to whoever asks, from the address that was asked.
ANSWERS = """
import socket, sys
family, address, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
s = socket.socket(family, socket.SOCK_DGRAM)
s.bind((address, 7))
while True:
    _, whom = s.recvfrom(100)
    s.sendto(name.encode(), whom)
"""
# Who answers, of each of so many flows, three times.
ASKS = """
import json, socket, sys
family, address, flows = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
names = []
for flow in range(flows):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind(("", 20000 + flow))
    s.connect((address, 7))
    s.settimeout(5)
    said = []
    for _ in range(3):
        s.send(b"who?")
        said.append(s.recv(100).decode())
    names.append(said)
print(json.dumps(names))
"""


class TwoWays(Lab):
    """The host, the daemon, and two routers behind it, each with the same network behind itself."""

    def __init__(self):
        drivers = ["-d", "net_tap", f"iface={IFACE},address={STACK}/24"]
        for iface, net, _ in LINKS:
            drivers += ["-d", "net_tap", f"iface={iface},address={net}2/24"]
        super().__init__(drivers=drivers, args=["-p", "tcpip", "forward,forward6"])

    def lay(self):
        self.routers = []
        self.iopkt("ifconfig", "tap0", "inet6", f"{STACK6}/64")
        self.ip("addr", "add", f"{HOST6}/64", "dev", IFACE, "nodad")
        for version, router in (("-4", STACK), ("-6", STACK6)):
            self.ip(version, "route", "add", "default", "via", router)
        for number, (iface, net, net6) in enumerate(LINKS, 1):
            ns = self.add_host(f"{self.ns}r{number}", iface, f"{net}1/24", f"{net6}1/64")
            self.routers.append(ns)
            self.iopkt("ifconfig", f"tap{number}", "inet6", f"{net6}2/64")
            for version, via in (("-4", f"{net}2"), ("-6", f"{net6}2")):
                self.ip(version, "route", "add", "default", "via", via, ns=ns)
            self.ip("addr", "add", f"{BOTH}/32", "dev", "lo", ns=ns)
            self.ip("addr", "add", f"{BOTH6}/128", "dev", "lo", "nodad", ns=ns)
            for family, address in ((2, BOTH), (10, BOTH6)):
                self.spawn(["python3", "-c", ANSWERS, family, address, number], ns=ns)
        for link, _, net6 in LINKS:
            until("the stack's addresses", lambda: self.exec("ping", "-c", 1, "-W", 1, f"{net6}1", ok=False).returncode == 0)

    def answers(self, address):
        return json.loads(self.exec("python3", "-c", ASKS, 10 if ":" in address else 2, address, FLOWS).stdout)

    def lost(self, said):
        sent, got = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
        check(sent > 100, said)
        return sent - got


def one_each(names):
    """Each flow has one router; how many have the first."""
    check(all(len(set(said)) == 1 for said in names), "a flow changes its router")
    return [said[0] for said in names]


def equal_routes():
    """Two kernels as equal next hops, both versions: both are used, each flow has one; one that goes takes only its own flows along."""
    with TwoWays() as lab:
        found = []
        for net, address, at in ((NET, BOTH, 1), (NET6, BOTH6, 2)):
            six = ["-inet6"] if at == 2 else []
            ways = [link[at] + "1" for link in LINKS]
            for way in ways:
                lab.iopkt("route", "add", *six, net, way)
            check(len([row for row in lab.table("route", "show") if row["gateway"] in ways]) == 2, "not both are listed")
            check(len(lab.table("route", "get", address)) == 2, "not both are told")
            refused = lab.iopkt("route", "add", *six, net, ways[0], ok=False)
            check(refused.returncode == 1 and "there is one" in refused.stderr, refused.stderr)
            before = one_each(lab.answers(address))
            first = before.count("1")
            check(FLOWS * 0.3 < first < FLOWS * 0.7, f"{first} of {FLOWS} flows by the first")
            lab.iopkt("route", "delete", *six, net, ways[1])
            check(set(one_each(lab.answers(address))) == {"1"}, "the second is still used")
            lab.iopkt("route", "add", *six, net, ways[1])
            lab.iopkt("route", "delete", *six, net, ways[0])
            check(set(one_each(lab.answers(address))) == {"2"}, "the first is still used")
            lab.iopkt("route", "add", *six, net, ways[0])
            check(one_each(lab.answers(address)) == before, "flows have changed their router for good")
            found.append(first)
            lab.iopkt("route", "delete", *six, net)
        return f"of {FLOWS} flows {found[0]} by the first, of IPv6 {found[1]}" + refusals(lab)


def refusals(lab):
    """-blackhole, -reject and -mtu, as the host sees them."""
    ping = lambda *argv: lab.exec("ping", "-n", "-c", 1, "-W", 1, *argv, ok=False).stdout
    for address, net, way, router, said in (
            (BOTH, NET, LINKS[0][1] + "1", STACK, "Host Unreachable"), (BOTH6, NET6, LINKS[0][2] + "1", STACK6, "Reject route")):
        version = "ipv6" if ":" in address else "ipv4"
        lab.iopkt("route", "add", net, "-blackhole")
        text = ping(address)
        check("0 received" in text and "From" not in text and lab.drops(f"{version}_blackhole") == 1, text)
        lab.iopkt("route", "delete", net)
        lab.iopkt("route", "add", net, "-reject")
        text = ping(address)
        check("0 received" in text and f"From {router}" in text and lab.drops(f"{version}_reject") == 1, text)
        check(said in text or version == "ipv6", text)
        lab.iopkt("route", "delete", net)
        lab.iopkt("route", "add", net, way, "-mtu", "1400")
        text = ping("-M", "do", "-s", "1400", address)
        check("0 received" in text and re.search(r"mtu[ =:]*1400", text), text)
        head = 48 if version == "ipv6" else 28
        check("1 received" in ping("-M", "do", "-s", 1400 - head, address), "what fits does not pass")
        lab.iopkt("route", "delete", net)
    # A host behind the first router with an address of the near network: the stack answers for it.
    near = "198.18.77.50"
    lab.ip("addr", "add", f"{near}/32", "dev", "lo", ns=lab.routers[0])
    lab.iopkt("route", "add", near, LINKS[0][1] + "1")
    check("0 received" in ping(near), "somebody answers for it")
    lab.iopkt("arp", "-s", near, "auto", "pub")
    # The host asks again within a second or two.
    until("an answer for it", lambda: "1 received" in ping(near))
    check([row["state"] for row in lab.table("arp", "-an") if row["address"] == near][-1] == "published", "not listed")
    lab.iopkt("arp", "-d", near)
    again = lab.iopkt("arp", "-d", near, ok=False)
    check(again.returncode == 1 and f"{near} is not in the table" in again.stderr, again)
    lab.ip("neigh", "flush", "dev", IFACE)
    check("0 received" in ping(near), "still answered for")
    return "; refusals, MTUs and a host answered for as told"


class Listener:
    """`iopkt route monitor --json` and what it has said."""

    def __init__(self, lab):
        self.log = lab.dir / f"monitor{len(lab.processes)}.json"
        self.process = lab.spawn([lab.bin / "iopkt", "route", "monitor", "--json"], log=self.log)
        # Whether it listens already shows in what it hears.
        def heard():
            lab.iopkt("route", "add", "192.0.2.0/24", "-blackhole")
            lab.iopkt("route", "delete", "192.0.2.0/24")
            return self.events("route", "added", destination="192.0.2.0")

        until("a listener", heard, 20)

    def events(self, kind, change=None, **wanted):
        lines = self.log.read_text().rpartition("\n")[0].splitlines()
        events = [event[kind] for event in map(json.loads, lines) if kind in event]
        inner = lambda event: event[kind] if isinstance(event.get(kind), dict) else event
        return [event for event in events if change in (None, event.get("change")) and wanted.items() <= inner(event).items()]

    def hears(self, kind, change, **wanted):
        until(f"{kind} {change} {wanted}", lambda: self.events(kind, change, **wanted))


# Under iopkt run, without a word of iopkt_ but the first: a question by write, its answer by select and read of a copy.
PLAIN = """
import ctypes, os, select, struct
fd = ctypes.CDLL(None).iopkt_route_socket(0)
copy = os.dup(fd)
os.set_blocking(fd, False)
message = struct.pack("=HBBHHiiiiiiii", 136, 4, 4, 0, 0, 4, 1, 0, 9, 0, 0, 0, 0) + bytes(80) + bytes([16, 2, 0, 0, 198, 18, 77, 1]) + bytes(8)
print(os.get_inheritable(fd), os.write(fd, message))
told = bytes(4)
while told[3] != 4:
    select.select([copy], [], [])
    try: told = os.read(copy, 4096)
    except BlockingIOError: pass
print(len(told) > 136, struct.unpack_from("=i", told, 20))
"""


class Program:
    """examples/route.c: listens, and changes routes in processes of its own."""

    def __init__(self, lab):
        self.lab, self.path, self.log = lab, lab.dir / "route", lab.dir / "route.log"
        run("cc", "-Wall", "-Werror", "-D_GNU_SOURCE", "-I", ROOT / "ipc/libiopkt/include", "-o", self.path,
            ROOT / "ipc/libiopkt/examples/route.c", "-L", BIN, "-liopkt")
        lab.env["LD_LIBRARY_PATH"] = str(BIN)
        self.process = lab.spawn([self.path], log=self.log)

    def hears(self, pattern):
        until(pattern, lambda: re.search(pattern, self.log.read_text()))

    def does(self, *words, before=(), status=0, says):
        done = self.lab.exec(*before, self.path, *words, ok=False)
        check(done.returncode == status and re.search(says, done.stdout + done.stderr), f"{words}: {done.returncode} {done.stdout} {done.stderr}")

    def changes_routes(self):
        """Adds, gets, changes and deletes; the stack goes by it; who has no right to is told so."""
        lab, there = self.lab, lambda: [row["gateway"] for row in self.lab.table("route", "show") if row["destination"] == "203.0.113.0"]
        goes = lambda: lab.iopkt("ping", "-c", 1, "-W", 1, BOTH, ok=False).returncode == 0
        lab.ip("addr", "add", f"{BOTH}/32", "dev", "lo")
        check(not goes(), "there is a way already")
        ordinary = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        self.does("add", NET, HOST, before=ordinary, status=1, says=r"Operation not permitted|errno 1 ")
        check(there() == [], "an ordinary user adds routes")
        self.does("add", NET, HOST, says=f"RTM_ADD: if 0 flags 0x843 seq 7 errno 0 dst 203.0.113.0 gateway {HOST} netmask 255.255.255.0")
        check(there() == [HOST] and goes(), "the stack does not use it")
        self.hears(f"RTM_ADD: if 2 flags 0x803 seq 0 errno 0 dst 203.0.113.0 gateway {HOST}")
        self.does("get", "203.0.113.7", before=ordinary, says=f"RTM_GET: if 2 flags 0x843 seq 7 errno 0 dst 203.0.113.0 gateway {HOST}")
        self.does("add", NET, HOST, status=1, says="errno 17 ")
        self.does("change", NET, "198.18.77.77", says="RTM_CHANGE: .* errno 0 ")
        check(there() == ["198.18.77.77"], there())
        self.does("get", NET, says="gateway 198.18.77.77")
        self.does("delete", NET, says="RTM_DELETE: .* errno 0 ")
        self.does("delete", NET, status=1, says="errno 3 ")
        check(there() == [] and not goes(), "it is still there")
        self.hears("RTM_DELETE: .* seq 0 errno 0 dst 203.0.113.0")
        said = lab.iopkt("run", "python3", "-c", PLAIN).stdout
        check(said == "False 136\nTrue (9,)\n", said)


def route_monitor():
    """Listeners, one of them a program with a routing socket, hear of routes, addresses, interfaces, of carriers as the kernel's end goes and comes, of neighbours as the kernel answers; who does not read hears how much he has missed. A program adds, changes and deletes a route."""
    with Lab() as lab:
        listener, words = Listener(lab), lab.dir / "monitor.txt"
        lab.spawn([lab.bin / "iopkt", "route", "monitor"], log=words)
        second, program = Listener(lab), Program(lab)

        def told_in_words():
            lab.iopkt("route", "add", "192.0.2.0/24", "-blackhole")
            lab.iopkt("route", "delete", "192.0.2.0/24")
            return "192.0.2.0/24" in words.read_text() and "192.0.2.0" in program.log.read_text()

        until("the listener in words", told_in_words, 20)
        program.changes_routes()
        lab.iopkt("route", "add", NET, "198.18.77.1")
        listener.hears("route", "added", destination="203.0.113.0", prefix_len=24, gateway="198.18.77.1", interface="tap0")
        lab.iopkt("route", "delete", NET)
        listener.hears("route", "deleted", destination="203.0.113.0")
        lab.iopkt("ifconfig", "tap0", "alias", "198.18.77.9/24")
        listener.hears("address", "added", address="198.18.77.9", prefix_len=24)
        program.hears(r"RTM_NEWADDR: if 2 netmask 255.255.255.0 ifp link#2 ifa 198.18.77.9 brd 198.18.77.255")
        lab.iopkt("ifconfig", "vlan7", "create")
        listener.hears("interface", "added", name="vlan7")
        program.hears(r"RTM_IFANNOUNCE: if [1-9]\d* vlan7 arrival")
        lab.iopkt("ifconfig", "vlan7", "destroy")
        listener.hears("interface", "deleted", name="vlan7")
        program.hears(r"RTM_IFANNOUNCE: if [1-9]\d* vlan7 departure")
        lab.ip("link", "set", IFACE, "down")
        listener.hears("interface", "changed", name="tap0", up=True, running=False)
        program.hears(r"RTM_IFINFO: if 2 flags 0x1003 mtu 1500 link down")
        lab.ip("link", "set", IFACE, "up")
        listener.hears("interface", "changed", name="tap0", running=True)
        program.hears(r"link down[^$]*RTM_IFINFO: if 2 flags 0x1043 mtu 1500 link up")
        first, other = lab.host_mac(), "02:00:00:00:00:77"
        lab.iopkt("arp", "-d", HOST, ok=False)
        lab.ip("neigh", "flush", "dev", IFACE)
        lab.ping(STACK, "-c", 1)
        listener.hears("neighbor", "added", interface="tap0", address=HOST, mac=first)
        lab.ip("link", "set", IFACE, "address", other)
        lab.ip("neigh", "flush", "dev", IFACE)
        lab.ping(STACK, "-c", 1)
        listener.hears("neighbor", "changed", address=HOST, mac=other)
        lab.iopkt("arp", "-d", HOST)
        listener.hears("neighbor", "deleted", address=HOST, mac=other)
        program.hears(f"RTM_DELETE: if 2 flags 0x405 seq 0 errno 0 dst {HOST} gateway link#2={other}")
        lab.iopkt("arp", "-s", "198.18.77.7", first)
        listener.hears("neighbor", "added", address="198.18.77.7", mac=first)
        lab.iopkt("arp", "-d", "198.18.77.7")
        listener.hears("neighbor", "deleted", address="198.18.77.7", mac=first)
        for wanted in ("RTM_ADD: Add Route: 203.0.113.0/24 198.18.77.1 tap0 UGS", "RTM_LLINFO_UPD: neighbour changed"):
            until(wanted, lambda: wanted in words.read_text())
        # One who does not read: the others hear all of it, and he how much of it he did not.
        count, file = 30000, lab.dir / "routes"
        file.write_text("".join(f"10.{n >> 8}.{n & 255}.0/24 198.18.77.1\n" for n in range(count)))
        for slow in (second, program):
            slow.process.send_signal(signal.SIGSTOP)
        lab.iopkt("route", "load", file)
        told = lambda who: len([e for e in who.events("route", "added") if e["route"]["destination"].startswith("10.")])
        missed = lambda who: sum(e["count"] for e in who.events("missed"))
        until("all routes", lambda: told(listener) + missed(listener) == count, 90)
        for slow in (second, program):
            slow.process.send_signal(signal.SIGCONT)
        until("the rest", lambda: told(second) + missed(second) == count, 90)
        program.hears("some messages are missing")
        check(missed(second) > 0, "nothing was missed")
        return f"who did not read heard {told(second)} of {count} routes and that {missed(second)} are missing, the other {told(listener)}"


class TwoRouters(Lab):
    """The kernel's end of the wire is a port of a bridge; it is one router, and on the bridge there is another, in a namespace of its own."""

    def lay(self):
        self.other = f"{self.ns}r"
        self.add_namespace(self.other)
        self.ip("addr", "flush", "dev", IFACE)
        self.ip("link", "add", "br0", "type", "bridge")
        self.ip("link", "set", IFACE, "master", "br0")
        self.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", self.other)
        self.ip("link", "set", "veth0", "master", "br0", "up")
        self.give("br0", f"{HOST}/24", f"{HOST6}/64")
        self.give("veth1", "198.18.77.3/24", "2001:db8:77::3/64", ns=self.other)
        self.give("lo", f"{BOTH}/32", "203.0.113.2/32", f"{BOTH6}/128", ns=self.other)
        self.forwards(True)
        links = [self.link_local("br0"), self.link_local("veth1", self.other)]
        self.ways = {HOST: "198.18.77.3", links[0]: links[1]}
        self.ip("route", "add", NET, "via", "198.18.77.3")
        self.ip("-6", "route", "add", NET6, "via", links[1], "dev", "br0")
        self.iopkt("ifconfig", "tap0", "inet6", f"{STACK6}/64")
        self.iopkt("route", "add", "default", HOST)
        self.iopkt("route", "add", "-inet6", "default", links[0])

    def forwards(self, on):
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.exec("sysctl", "-qw", f"{name}={int(on)}")

    def link_local(self, iface, ns=None):
        def usable():
            shown = json.loads(self.exec("ip", "-6", "-j", "addr", "show", "dev", iface, "scope", "link", ns=ns).stdout)
            return [a["local"] for link in shown for a in link.get("addr_info", []) if "local" in a and not a.get("tentative")]
        return until(f"{iface}'s address of the link", usable)[0]

    def reaches(self, address):
        return self.iopkt("ping6" if ":" in address else "ping", "-c", 1, address, ok=False).returncode == 0


def host_redirects():
    """A kernel router that is not the nearest says so: the host goes by the nearer one from then on, in both versions, unless it is told not to believe it."""
    with TwoRouters() as lab:
        for address in (BOTH, BOTH6):
            until(f"the way to {address}", lambda: lab.reaches(address))
        by = lambda address: lab.table("route", "get", address)
        for (router, nearer), address in zip(lab.ways.items(), (BOTH, BOTH6)):
            until(f"the nearer way to {address}", lambda: by(address)["gateway"] == nearer)
            check("H" in by(address)["flags"] and "D" in by(address)["flags"] and by(address)["prefix_len"] in (32, 128), by(address))
        lab.forwards(False)
        check(lab.reaches(BOTH) and lab.reaches(BOTH6), "the router is still gone by")
        lab.forwards(True)
        lab.iopkt("sysctl", "net.inet.icmp.rediraccept=0")
        before = lab.drops("icmp_redirect")
        until("one that is not believed", lambda: lab.reaches("203.0.113.2") and lab.drops("icmp_redirect") > before)
        check(by("203.0.113.2")["gateway"] == HOST, by("203.0.113.2"))
        return f"to {BOTH} by {by(BOTH)['gateway']}, to {BOTH6} by {by(BOTH6)['gateway']}"


def file_of_routes(path, count, ways, seed):
    """So many random prefixes, most of 24 bits, by these routers in turn; the first leads to both's network."""
    chance = random.Random(seed)
    lines = {f"{NET} {ways[0]}"}
    while len(lines) < count:
        length = chance.choices((24, chance.randrange(16, 24), chance.randrange(25, 33)), (6, 3, 1))[0]
        bits = (chance.randrange(11, 127) << 24 | chance.getrandbits(24)) >> (32 - length) << (32 - length)
        address = ".".join(str(bits >> shift & 255) for shift in (24, 16, 8, 0))
        lines.add(f"{address}/{length} {ways[len(lines) % 2]}")
    path.write_text("\n".join(lines) + "\n")


def many_routes():
    """200 000 routes (IOPKT_ROUTES=1000000 for a million) are loaded and replaced while pings pass: none is lost, tools are served meanwhile."""
    count = int(os.environ.get("IOPKT_ROUTES", "200000"))
    with TwoWays() as lab:
        ways = [link[1] + "1" for link in LINKS]
        files = [lab.dir / "first", lab.dir / "second"]
        file_of_routes(files[0], count, ways, 1)
        file_of_routes(files[1], count, ways[::-1], 2)
        memory = lambda: int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{lab.pid()}/status").read()).group(1)) / 1024
        lab.iopkt("route", "add", NET, ways[0])
        lab.iopkt("route", "delete", NET)
        # Time of processors: how long it takes depends on who else wants them. The control thread is the process's first.
        ticks = lambda: sum(map(int, open(f"/proc/{lab.pid()}/task/{lab.pid()}/stat").read().rpartition(")")[2].split()[11:13]))
        spent = lambda: ticks() / os.sysconf("SC_CLK_TCK") + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        before, took, cost, slowest = memory(), [], [], 0.0
        lab.iopkt("route", "add", "203.0.112.0/23", ways[0])
        ping = lab.spawn(["ping", "-n", "-q", "-i", "0.002", BOTH], log=lab.dir / "ping.log")
        for file in (*files, files[0]):
            started, began = time.monotonic(), spent()
            load = lab.spawn([lab.bin / "iopkt", "route", "load", "-replace", file], log=lab.dir / "load.txt")
            while load.poll() is None:
                asked = time.monotonic()
                lab.iopkt("ifconfig", "tap0")
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.01)
            took.append(time.monotonic() - started)
            cost.append(spent() - began)
            said = (lab.dir / "load.txt").read_text()
            loaded = int(re.match(r"(\d+) routes taken, 0 refused", said).group(1))
            check(load.returncode == 0 and loaded >= count, said)
            row = lab.table("route", "get", BOTH)
            check(row["gateway"] == (ways[1] if file == files[1] else ways[0]) and row["prefix_len"] == 24, row)
        time.sleep(0.2)
        lab.stop(ping, 2)
        lost = lab.lost((lab.dir / "ping.log").read_text())
        check(lost <= 1, f"{lost} pings are lost")
        listed = sum("U" in line.split()[2:3][0] for line in lab.iopkt("route", "show", timeout=120).stdout.splitlines() if line[:1].isdigit())
        check(listed >= count, f"{listed} routes are listed")
        check(max(cost) <= 10, f"{cost} s of processors")
        return (f"{count} routes in {took[0]:.1f} s ({cost[0]:.1f} of processors), replaced in {took[1]:.1f} and {took[2]:.1f} s ({cost[1]:.1f}, {cost[2]:.1f}), {lost} pings lost; another tool waited {slowest * 1000:.0f} ms at most; "
                f"the daemon grew by {memory() - before:.0f} MiB")
