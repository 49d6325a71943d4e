"""IPv6 against the kernel: addresses, neighbours, echo."""
import re
import time

from lab import HOST, HOST6, IFACE, STACK, STACK6, Lab, check, random_file, until
from web import RECEIVER


def ipv6():
    """The kernel finds the stack's IPv6 addresses and pings them in every size; ifconfig, ndp and route show and change them."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{HOST6}/64", "dev", IFACE, "nodad")
        shown = lab.iopkt("ifconfig", "tap0").stdout
        check(f"inet6 {STACK6} prefixlen 64" in shown, shown)
        link = re.search(r"inet6 (fe80::[0-9a-f:]+)%tap0 prefixlen 64", shown)
        check(link, f"no address of the link: {shown}")
        lab.settled()
        lab.capture()
        for size in (0, 1, 56, 1000, 1452):
            for to in (STACK6, f"{link.group(1)}%{IFACE}"):
                lab.echoes(to, 3, "-s", size)
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
        lab.settled()
        lab.echoes(other, 2)
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


CALLS6 = """
import errno, socket, struct, sys
STACK6, HOST6 = sys.argv[1:]
def refused(number, call, *args):
    try: call(*args)
    except OSError as error: assert error.errno == number, (errno.errorcode[error.errno], args)
    else: raise AssertionError(("no error", args))
tcp = lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
udp = lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s = tcp()
assert s.getsockname() == ("::", 0, 0, 0), s.getsockname()
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET6
refused(errno.EADDRNOTAVAIL, s.bind, ("2001:db8::bad", 0))
refused(errno.EINVAL, s.bind, ("fe80::1", 0))
s.bind((STACK6, 4000)); assert s.getsockname() == (STACK6, 4000, 0, 0)
refused(errno.EINVAL, s.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
refused(errno.ECONNREFUSED, s.connect, (HOST6, 4))
only = tcp(); only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
refused(errno.ENETUNREACH, only.connect, ("::ffff:198.18.77.1", 80))
only.bind(("::", 4001)); only.listen()
four = socket.socket(); four.bind(("0.0.0.0", 4001)); four.listen()
both = tcp(); both.bind(("::", 4002)); both.listen()
refused(errno.EADDRINUSE, socket.socket().bind, ("0.0.0.0", 4002))
refused(errno.ENETUNREACH, tcp().connect, ("2001:db9::1", 80))
mapped = tcp(); refused(errno.ECONNREFUSED, mapped.connect, ("::ffff:198.18.77.1", 4))
# This machine's own services are the kernel's, by either family's name.
for name in "::1", "::ffff:127.0.0.1":
    listener = tcp() if name == "::1" else socket.socket()
    listener.bind((name.removeprefix("::ffff:"), 0)); listener.listen()
    client = tcp(); client.connect((name, listener.getsockname()[1])); client.sendall(b"six")
    connection, _ = listener.accept()
    assert connection.recv(10) == b"six" and client.getpeername()[0] == name, name
u = udp(); u.bind(("::", 7000))
u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
u.settimeout(10)
print("ready", flush=True)
for family in range(2):
    data, control, flags, peer = u.recvmsg(100, 200)
    told = {kind: value for level, kind, value in control if level == socket.IPPROTO_IPV6}
    to = socket.inet_ntop(socket.AF_INET6, told[socket.IPV6_PKTINFO][:16])
    hops = struct.unpack("i", told[socket.IPV6_HOPLIMIT])[0] if socket.IPV6_HOPLIMIT in told else None
    print(data.decode(), peer[0], to, hops, flush=True)
    u.sendmsg([b"back"], [], 0, peer)
"""


def tcp6():
    """TCP and UDP over IPv6: 64 MiB each way with the kernel, sha256 equal; one listener for both families; calls answer as the kernel's."""
    size = 64 << 20
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{HOST6}/64", "dev", IFACE, "nodad")
        want = random_file(lab.dir / "big", size)
        lab.settled()
        lab.client("python3", "-c", RECEIVER, "::", lab.dir)
        url = f"http://[{STACK6}]"
        until("the server", lambda: lab.curl(f"{url}/who", ok=False).returncode == 0)
        lab.capture()
        started = time.monotonic()
        got = lab.exec("bash", "-o", "pipefail", "-c", f"curl -fsS -6 --max-time 60 {url}/big | sha256sum", timeout=70)
        check(got.stdout.split()[0] == want, "download: sha256 differs")
        down = time.monotonic() - started
        got = lab.exec("curl", "-fsS", "-6", "--max-time", 60, "-T", lab.dir / "big", f"{url}/", timeout=70).stdout
        check(got.strip() == want, f"upload: sha256 differs: {got[:80]}")
        judged = lab.judge()
        # One listener, both families, each seen as it is.
        who = lambda url: lab.exec("curl", "-fsS", "--noproxy", "*", "--max-time", 10, f"{url}/who").stdout
        check(who(url) == f"{HOST6} {STACK6}", who(url))
        four = who(f"http://{STACK}")
        check(four == f"::ffff:{HOST} ::ffff:{STACK}", four)
        shown = lab.iopkt("ifconfig", "tap0").stdout
        link = re.search(r"inet6 (fe80::[0-9a-f:]+)%tap0", shown).group(1)
        local = who(f"http://[{link}%25{IFACE}]")
        check(local.startswith("fe80::") and link in local, local)
        # The stack's own client, and the kernel's server.
        kernel, heard = lab.serve_from_kernel(HOST6)
        check(lab.fetched(f"{kernel}/big") == want, "client: sha256 differs")
        check(f"{STACK6} - -" in heard.read_text(), "the kernel's server has heard from somebody else")
        # An address of the link, which needs the link's number: the stack's 1, and so 2 for programs.
        lab.spawn(["python3", "-m", "http.server", "--bind", "::", "--directory", lab.dir, "8081"])
        near = re.search(r"inet6 (fe80::[0-9a-f:]+)", lab.ip("-6", "addr", "show", "dev", IFACE).stdout).group(1)
        until("the kernel's other server", lambda: lab.exec("curl", "-fsS", "-o", "/dev/null", f"http://[{HOST6}]:8081/", ok=False).returncode == 0)
        asks = (f"import socket; s = socket.socket(socket.AF_INET6); s.connect(('{near}', 8081, 0, 2)); assert s.getpeername()[3] == 2, s.getpeername(); "
                "s.send(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(12))")
        got = lab.iopkt("run", "--", "python3", "-c", asks).stdout
        check("HTTP/1.0 200" in got, got)
        # What calls answer, and datagrams of both families at one socket.
        log = lab.dir / "calls"
        calls = lab.client("python3", "-c", CALLS6, STACK6, HOST6, log=log)
        until("the calls", lambda: log.exists() and "ready" in log.read_text() or calls.poll() is not None)
        for to, kind in ((f"[{STACK6}]", "UDP6"), (STACK, "UDP4")):
            back = lab.exec("bash", "-c", f"echo -n hello | socat -t 3 - {kind}:{to}:7000").stdout
            check(back == "back", f"{kind}: {back!r}; {log.read_text()}")
        said = log.read_text().split("\n")[1:3]
        check(said == [f"hello {HOST6} {STACK6} 64", f"hello ::ffff:{HOST} ::ffff:{STACK} None"], said)
        # A port in the middle of nowhere tells the peer at once.
        gone = lab.curl(f"http://[{STACK6}]:9/", ok=False)
        check(gone.returncode == 7, f"{gone.returncode}")
        return f"{size >> 20} MiB down in {down:.1f} s; {judged}"
