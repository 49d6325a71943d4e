"""Sockets that are bound to an interface: two links with the same address behind each."""

from lab import IFACE, STACK, Lab, check, until

OTHER, OTHER_STACK = "198.18.79.1", "198.18.79.2"
TWICE = "203.0.113.7"

# Says who it is to whoever asks, over UDP and over TCP.
SAYS = """
import socket, sys, threading
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", 7000))
t = socket.create_server(("", 7000))
def udp():
    while True: u.sendto(sys.argv[1].encode(), u.recvfrom(100)[1])
threading.Thread(target=udp, daemon=True).start()
print("ready", flush=True)
while True:
    c = t.accept()[0]; c.sendall(sys.argv[1].encode()); c.close()
"""

# What a socket that is bound to each link hears from the one address.
ASKS = """
import socket, sys
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    for device in "tap0", "tap1", "tap0":
        s = socket.socket(socket.AF_INET, kind)
        s.settimeout(8)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        s.connect((sys.argv[1], 7000)) if kind == socket.SOCK_STREAM else s.sendto(b"?", (sys.argv[1], 7000))
        print(device, s.recv(100).decode(), s.getsockname()[0] if kind == socket.SOCK_STREAM else "-", flush=True)
"""

# What IP_UNICAST_IF does: datagrams leave by the link, with its address; streams go as ever.
CHOOSES = """
import socket, struct, sys
to = (sys.argv[1], 7000)
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    for device in "tap1", "tap0":
        s = socket.socket(socket.AF_INET, kind)
        s.settimeout(8)
        s.setsockopt(socket.IPPROTO_IP, 50, struct.pack("!I", socket.if_nametoindex(device)))
        if kind == socket.SOCK_DGRAM: s.sendto(b"?", to); said = s.recv(100).decode()
        s.connect(to)
        if kind == socket.SOCK_STREAM: said = s.recv(100).decode()
        print(device, said, s.getsockname()[0], flush=True)
"""

# The same for a socket that goes by each table of routes.
BY_TABLE = """
import errno, socket, sys
SO_SETFIB = 0x100a
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    for table in map(int, sys.argv[2:]):
        s = socket.socket(socket.AF_INET, kind)
        s.settimeout(8)
        s.setsockopt(socket.SOL_SOCKET, SO_SETFIB, table)
        try: s.connect((sys.argv[1], 7000)) if kind == socket.SOCK_STREAM else s.sendto(b"?", (sys.argv[1], 7000)); said = s.recv(100).decode()
        except OSError as e: said = errno.errorcode[e.errno]
        print(s.getsockopt(socket.SOL_SOCKET, SO_SETFIB), said, flush=True)
"""

# Two servers at one port, each at a link.
SERVES = """
import select, socket, threading
def serve(device):
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    t = socket.socket()
    for s in u, t:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        s.bind(("", 7001))
    t.listen(5)
    while True:
        for s in select.select([u, t], [], [])[0]:
            if s is u: u.sendto(device, u.recvfrom(100)[1])
            else:
                c = t.accept()[0]; c.sendall(c.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\\0")); c.close()
threads = [threading.Thread(target=serve, args=(d,), daemon=True) for d in (b"tap0", b"tap1")]
for t in threads: t.start()
print("ready", flush=True)
threads[0].join()
"""

HEARS = """
import socket, sys
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    s = socket.socket(socket.AF_INET, kind); s.settimeout(8); s.connect((sys.argv[1], 7001))
    if kind == socket.SOCK_DGRAM: s.send(b"?")
    print(s.recv(100).decode(), end=" ")
"""


def ready(lab, log):
    until("the server", lambda: log.exists() and "ready" in log.read_text(), 20)


def bound_sockets():
    """SO_BINDTODEVICE: an address that is behind both of two links answers by the link that a socket is bound to, whatever the route says, that IP_UNICAST_IF has chosen, or by the routes of the table that it has chosen (SO_SETFIB); two servers at one port hear one link each."""
    taps = ["-d", "net_tap", f"iface={IFACE},address={STACK}/24", "-d", "net_tap", f"iface=iop1,address={OTHER_STACK}/24"]
    with Lab(drivers=taps) as lab:
        other = lab.add_host(lab.ns + "o", "iop1", f"{OTHER}/24")
        for name, ns in (("near", lab.ns), ("other", other)):
            lab.ip("addr", "add", f"{TWICE}/32", "dev", "lo", ns=ns)
            log = lab.dir / f"{name}.log"
            lab.spawn(["python3", "-c", SAYS, name], log=log, ns=ns)
            ready(lab, log)
        # One has a router, the other nothing: what has no route is on the link.
        lab.iopkt("route", "add", "default", "198.18.77.1")
        said = lab.iopkt("run", "--", "python3", "-c", ASKS, TWICE)
        rows = said.stdout.split("\n")[:-1]
        check(rows == ["tap0 near -", "tap1 other -", "tap0 near -", f"tap0 near {STACK}", f"tap1 other {OTHER_STACK}", f"tap0 near {STACK}"], f"{rows} {said.stderr}")
        said = lab.iopkt("run", "--", "python3", "-c", CHOOSES, TWICE)
        rows = said.stdout.split("\n")[:-1]
        check(rows == [f"tap1 other {OTHER_STACK}", f"tap0 near {STACK}", f"tap1 near {STACK}", f"tap0 near {STACK}"], f"{rows} {said.stderr}")
        lab.iopkt("sysctl", "net.fibs=3")
        lab.iopkt("route", "-T", 1, "add", "default", OTHER)
        lab.iopkt("route", "-T", 2, "add", "default", "-reject")
        rows = lab.iopkt("run", "--", "python3", "-c", BY_TABLE, TWICE, 0, 1, 2).stdout.splitlines()
        check(rows[1:] == ["1 other", "2 EHOSTUNREACH"] + ["0 near", "1 other", "2 EHOSTUNREACH"] and rows[0] == "0 near", f"by tables: {rows}")
        gateways = [[row["gateway"] for row in lab.table("netstat", "-rn", "-T", table) if row["prefix_len"] == 0] for table in (0, 1)]
        check(gateways == [["198.18.77.1"], [OTHER]], f"{gateways}")
        log = lab.dir / "serves.log"
        lab.client("python3", "-c", SERVES, log=log)
        ready(lab, log)
        for ns, to, device in ((lab.ns, STACK, "tap0"), (other, OTHER_STACK, "tap1")):
            said = lab.exec("python3", "-c", HEARS, to, ns=ns)
            check(said.stdout.split() == [device, device], f"{to}: {said.stdout} {said.stderr} {log.read_text()}")
        return "two links, UDP and TCP, both ways"
