"""Routing daemons: FRR's on the kernel's side of the stack, another FRR at the far end of the wire."""
import json
import shutil
import signal
import time

from lab import BIN, HOST, IFACE, STACK, Lab, Skipped, check, until

DAEMONS = "/usr/lib/frr"
# Networks behind the peer.
COUNT = 200


class Frr:
    """zebra and bgpd in a namespace."""

    def __init__(self, lab, ns, zebra="", bgp="", modules=()):
        self.lab, self.ns = lab, ns
        self.dir = lab.dir / f"frr-{ns}"
        self.dir.mkdir()
        shutil.chown(self.dir, "frr", "frr")
        self.zebra = self.start("zebra", f"{zebra}\n", *modules)
        until("zebra's socket", (self.dir / "zserv.api").exists)
        self.start("bgpd", f"{bgp}\n")

    def start(self, name, config, *argv):
        file = self.dir / f"{name}.conf"
        file.write_text(f"log stdout\n{config}")
        shutil.chown(file, "frr", "frr")
        common = ["-f", file, "-i", self.dir / f"{name}.pid", "-z", self.dir / "zserv.api", "--vty_socket", self.dir, "-P", 0]
        return self.lab.spawn([f"{DAEMONS}/{name}", *common, *argv], ns=self.ns, log=self.lab.dir / f"{name}-{self.ns}.log")

    def ask(self, *commands):
        argv = [word for command in commands for word in ("-c", command)]
        return self.lab.exec("vtysh", "--vty_socket", self.dir, *argv, ns=self.ns, ok=False).stdout

    def established(self, neighbor):
        said = self.ask(f"show bgp neighbors {neighbor} json")
        return '"bgpState":"Established"' in said.replace(" ", "")


def bgp(own, neighbor, router, *more):
    lines = [f"router bgp {own}", f" bgp router-id {router}", " no bgp ebgp-requires-policy", " no bgp network import-check",
             " timers bgp 1 3", f" neighbor {neighbor[0]} remote-as {neighbor[1]}", f" neighbor {neighbor[0]} timers connect 1", *more]
    return "\n".join(lines)


class RouterLab(Lab):
    """The daemon's FRR, and a peer of its own at the other end of the wire.

    namespace   `ns`                                            `peer`
                bgpd ── kernel's tap0 ⇄ stack's tap0 ══ iop0 ── bgpd
    """

    def __init__(self):
        super().__init__(up=False)

    def lay(self):
        self.peer = self.add_host(self.ns + "p", IFACE, f"{HOST}/24")


def prefix(number):
    return f"10.{number // 256}.{number % 256}.0/24"


def loaded(lab):
    """How many routes the stack has from elsewhere."""
    return sum(row["destination"].startswith("10.") for row in lab.table("route", "show"))


def learned(frr):
    """How many routes came by BGP."""
    return len(json.loads(frr.ask("show ip route bgp json") or "{}"))


def exception_path(lab):
    """A session by the stack's interface, while the stack serves the same address: both FRRs."""
    lab.iopkt("mount", "-T", "io-pkt", "-o", "interface=tap0", "exception")
    shown = json.loads(lab.exec("ip", "-j", "addr", "show", "dev", "tap0").stdout)[0]
    check(STACK in [a["local"] for a in shown["addr_info"]], f"the kernel's end has no address: {shown}")
    networks = [f"  network {prefix(n)}" for n in range(COUNT)]
    peer = Frr(lab, lab.peer, bgp=bgp(65001, (STACK, 65002), HOST, " address-family ipv4 unicast", *networks, " exit-address-family"))
    ours = Frr(lab, lab.ns, "fpm address 127.0.0.1", bgp(65002, (HOST, 65001), STACK), ["-M", "dplane_fpm_nl"])
    until("the session", lambda: ours.established(HOST), 30)
    until("its routes", lambda: learned(ours) == COUNT, 30)
    said = lab.exec("ping", "-c", 3, "-i", "0.1", STACK, ns=lab.peer).stdout
    check("3 received" in said, said)
    lab.serve(lab.dir, peer=lab.peer)
    return peer, ours


def become_the_stacks(lab, peer):
    """What bgpd learns is the stack's, packets go there, and it goes when it is withdrawn."""
    until("the stack's routes", lambda: loaded(lab) == COUNT, 30)
    # A host behind the peer, in the last of its networks.
    far = prefix(COUNT - 1).replace(".0/24", ".1")
    lab.ip("addr", "add", f"{far}/32", "dev", "lo", ns=lab.peer)
    url = f"http://{far}:8080"
    lab.spawn(["python3", "-m", "http.server", "--bind", far, "--directory", lab.dir, 8080], ns=lab.peer, log=lab.dir / "far.log")
    until("the far web server", lambda: lab.curl(f"{url}/", ns=lab.peer, ok=False).returncode == 0)
    check(len(lab.fetched(f"{url}/")) == 64, "nothing comes from behind the peer")
    peer.ask("configure terminal", "router bgp 65001", "address-family ipv4 unicast", f"no network {prefix(0)}")
    until("the withdrawal", lambda: loaded(lab) == COUNT - 1)
    peer.ask("configure terminal", "router bgp 65001", "address-family ipv4 unicast", f"network {prefix(0)}")
    until("its return", lambda: loaded(lab) == COUNT)


def strangers(lab):
    """Only a routing daemon's user gives routes, and one at a time."""
    said = lambda: (lab.dir / "fpm.log").read_text()
    call = "import socket; s = socket.create_connection(('127.0.0.1', 2620)); s.settimeout(5); print(len(s.recv(1)))"
    check(lab.exec("python3", "-c", call).stdout == "0\n" and "zebra is here already" in said(), said())
    lab.spawn([BIN / "iopkt", "fpm", "--listen", "127.0.0.1:2621"], log=lab.dir / "fpm2.log")
    until("another one", lambda: "waiting" in (lab.dir / "fpm2.log").read_text())
    lab.exec("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", call.replace("2620", "2621"))
    check("it is uid 65534's" in (lab.dir / "fpm2.log").read_text(), (lab.dir / "fpm2.log").read_text())


def frr():
    """FRR's bgpd speaks to another by the stack's interface; what it learns is the stack's, by FPM, and goes with zebra; nothing is left."""
    if not shutil.which("vtysh"):
        raise Skipped("FRR is missing: apt-get install frr")
    with RouterLab() as lab:
        lab.iopkt("route", "add", "-net", "192.0.2.0/24", HOST)
        manager = lab.spawn([BIN / "iopkt", "fpm", "--hold", 2], log=lab.dir / "fpm.log")
        peer, ours = exception_path(lab)
        become_the_stacks(lab, peer)
        strangers(lab)
        # Without zebra its routes stay for a while; the operator's own stay for good.
        lab.stop(ours.zebra, signal.SIGKILL)
        time.sleep(0.5)
        check(loaded(lab) == COUNT, "routes go at once with zebra")
        until("their end", lambda: loaded(lab) == 0, 10)
        check(any(row["destination"] == "192.0.2.0" for row in lab.table("route", "show")), "the operator's own route is gone")
        check(manager.poll() is None, (lab.dir / "fpm.log").read_text())
        lab.stop(manager)
        counted = {name: int(lab.iopkt("sysctl", "-n", f"exception.{name}").stdout) for name in ("taken", "sent", "lost")}
        check(counted["taken"] > 10 and counted["sent"] > 10 and counted["lost"] == 0, counted)
        lab.iopkt("umount", "exception")
        check(lab.exec("ip", "link", "show", "dev", "tap0", ok=False).returncode != 0, "the kernel's end stays")
        before = lab.usage()
        for _ in range(20):
            lab.iopkt("mount", "-T", "io-pkt", "-o", "interface=tap0", "exception")
            lab.iopkt("umount", "exception")
        after = lab.usage()
        check(after["descriptors"] <= before["descriptors"], f"{before} before, {after} after 20 loads")
        return f"{COUNT} routes over BGP; {counted['taken']} packets taken, {counted['sent']} sent"
