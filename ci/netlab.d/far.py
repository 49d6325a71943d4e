"""SOCK=/net/NODE: unmodified programs at one node whose sockets are another node's."""
import contextlib
import os
import signal
import time

from lab import BIN, QUICK, check, random_file, until
from qnet import Node, digest

# What only beta reaches: a wire of its own with the kernel at the other end.
OWN, PEER = "198.18.78.3", "198.18.78.1"
SIZE = 8 << 20 if QUICK else 64 << 20


@contextlib.contextmanager
def nodes():
    """Alpha, and beta, whose sockets are for others; a broker at each."""
    own = ("-d", "net_tap", f"iface=own0,address={OWN}/24")
    # A connection that nothing is said by is over after a second, and with it the notice of its end.
    options = ("bind=tap0", "conn_up_idle=5")
    with Node("alpha", 1, *options) as alpha, Node("beta", 1, *options, own=own) as beta:
        alpha.wire(beta)
        beta.ip("addr", "add", f"{PEER}/24", "dev", "own0")
        beta.ip("link", "set", "own0", "up")
        for node, words in ((alpha, []), (beta, ["--serve"])):
            node.broker = node.spawn([BIN / "iopkt", "qnet", "sockets", *words], log=node.dir / "broker.log")
            until("the broker", lambda: (node.run_dir / "dev/net").exists())
        until("the nodes' finding each other", lambda: alpha.knows("beta", 1) and beta.knows("alpha", 1), 15)
        yield alpha, beta


def at_beta(alpha, *argv, **kwargs):
    return alpha.iopkt("run", "--sock", "/net/beta", "--", *argv, **kwargs)


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def sockets(node):
    return len(node.table("netstat", "-a"))


def qnet_sockets():
    """SOCK=/net/beta: curl, a web server, a program of all socket calls at alpha over beta's stack alone; beta dies: every call ends; nothing is left."""
    with nodes() as (alpha, beta):
        before = [descriptors(node.broker) for node in (alpha, beta)], sockets(beta)
        wanted = random_file(beta.dir / "large", SIZE)
        url, _ = beta.serve_from_kernel(PEER)
        # Out: what alpha's own stack has no way to.
        check(alpha.iopkt("run", "--", "curl", "-sS", "--max-time", 1, url, ok=False).returncode != 0, "alpha reaches it by itself")
        started = time.monotonic()
        at_beta(alpha, "curl", "-fsS", "--noproxy", "*", "--max-time", 100, f"{url}/large", "-o", alpha.dir / "got", timeout=110)
        took = time.monotonic() - started
        check(digest(alpha.dir / "got") == wanted, "the file differs")
        # In: a listener of alpha's at beta's address; the connection's file is alpha's.
        log = alpha.dir / "server.log"
        alpha.spawn([BIN / "iopkt", "run", "--sock", "/net/beta", "--", "python3", "-m", "http.server", "--directory", alpha.dir, "8000"], log=log)
        until("alpha's server at beta", lambda: beta.curl(f"http://{OWN}:8000/", ok=False).returncode == 0)
        beta.exec("curl", "-fsS", "--noproxy", "*", f"http://{OWN}:8000/got", "-o", beta.dir / "back", timeout=110)
        check(digest(beta.dir / "back") == wanted, "the file differs on its way back")
        # Every call.
        beta.spawn(["python3", "-c", ECHO, PEER], log=beta.dir / "echo.log")
        until("the echo", lambda: "ready" in (beta.dir / "echo.log").read_text())
        said = at_beta(alpha, "python3", "-c", CALLS, OWN, PEER, timeout=60)
        check(said.stdout.strip() == "all hold", said)
        beta.spawn(["iperf3", "-s", "-B", PEER, "--forceflush"], log=beta.dir / "iperf3.log")
        until("iperf3's server", lambda: "listening" in (beta.dir / "iperf3.log").read_text())
        under = (BIN / "iopkt", "run", "--sock", "/net/beta", "--")
        rates = [alpha.iperf3(PEER, "-t", 1, *way, under=under)["end"]["sum_received"]["bits_per_second"] for way in ((), ("-R",))]
        # Who may not.
        said = beta.iopkt("run", "--sock", "/net/alpha", "--", "true", ok=False)
        check(said.returncode != 0 and "not for others" in said.stderr, said)
        said = alpha.iopkt("run", "--sock", "/net/gamma", "--", "true", ok=False, timeout=30)
        check(said.returncode != 0 and "No route to host" in said.stderr, said)
        # A program is killed: beta's stack has nothing left of it.
        held = alpha.spawn([BIN / "iopkt", "run", "--sock", "/net/beta", "--", "python3", "-c", HELD, PEER], log=alpha.dir / "held.log")
        until("it holds some", lambda: "ready" in (alpha.dir / "held.log").read_text())
        alpha.stop(held, signal.SIGKILL)
        alone = before[1] + 1
        until("beta's sockets are as before", lambda: sum(row["state"] != "TIME_WAIT" for row in beta.table("netstat", "-a")) <= alone)
        # The node dies: who waits is told.
        waits = alpha.spawn([BIN / "iopkt", "run", "--sock", "/net/beta", "--", "python3", "-c", WAITS, OWN, PEER], log=alpha.dir / "waits.log")
        until("they wait", lambda: "ready" in (alpha.dir / "waits.log").read_text())
        time.sleep(2)
        beta.stop(beta.daemon, signal.SIGKILL)
        started = time.monotonic()
        check(waits.wait(15) == 0, (alpha.dir / "waits.log").read_text())
        told = time.monotonic() - started
        until("alpha's broker is as before", lambda: descriptors(alpha.broker) <= before[0][0], 20)
        check(beta.broker.wait(5) != 0 and "module" in (beta.dir / "broker.log").read_text(), "beta's broker goes on")
        return f"{SIZE >> 20} MiB in {took:.1f} s; iperf3 {rates[0] / 1e6:.0f} Mbit/s out, {rates[1] / 1e6:.0f} in; the node's death was told within {told:.1f} s"


# argv: address. TCP and UDP of port 7: what comes goes back.
ECHO = """
import socket, sys, threading
def serve(connection):
    while data := connection.recv(65536): connection.sendall(data)
    connection.shutdown(socket.SHUT_WR); connection.close()
def datagrams():
    while True: udp.sendto(*udp.recvfrom(65536))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind((sys.argv[1], 7))
listener = socket.create_server((sys.argv[1], 7))
threading.Thread(target=datagrams, daemon=True).start()
print("ready", flush=True)
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# argv: beta's address on its own wire, the kernel's there.
CALLS = """
import errno, os, select, socket, sys
own, peer = sys.argv[1:]
def refused(call, want, *args):
    try: call(*args)
    except OSError as error: assert error.errno == want, error
    else: assert False, want
s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
refused(s.getpeername, errno.ENOTCONN)
refused(s.bind, errno.EACCES, (own, 80))
refused(s.bind, errno.EADDRNOTAVAIL, ("198.18.99.9", 5000))
s.bind((own, 5000))
assert s.getsockname() == (own, 5000)
s.connect((peer, 7))
assert s.getpeername() == (peer, 7), s.getpeername()
refused(s.connect, errno.EISCONN, (peer, 7))
# All bytes, by a child and over a descriptor's copy.
data = os.urandom(1 << 20)
if os.fork() == 0:
    os.dup(s.fileno())
    s.sendall(data); s.shutdown(socket.SHUT_WR); os._exit(0)
got = b""
while piece := s.recv(65536): got += piece
assert got == data, (len(got), len(data))
os.wait(); s.close()
# A connection that is refused: waiting for it, and by poll.
refused(socket.create_connection, errno.ECONNREFUSED, (peer, 9))
for port, want in ((7, 0), (9, errno.ECONNREFUSED)):
    s = socket.socket(); s.setblocking(False)
    refused(s.connect, errno.EINPROGRESS, (peer, port))
    p = select.poll(); p.register(s, select.POLLOUT)
    assert p.poll(5000), "never decided"
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == want
    if want == 0:
        refused(s.recv, errno.EAGAIN, 1)
        s.send(b"x"); p.modify(s, select.POLLIN)
        assert p.poll(5000) and s.recv(9) == b"x"
    s.close()
# A timeout is the descriptor's own.
s = socket.create_connection((peer, 7))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, (0).to_bytes(8, "little") + (50000).to_bytes(8, "little"))
refused(s.recv, errno.EAGAIN, 1)
s.close()
# To itself: accepted, with names; readable before, not after.
l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l.bind((own, 0)); l.listen(3)
assert l.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
l.setblocking(False); refused(l.accept, errno.EAGAIN)
c = socket.create_connection(l.getsockname())
assert select.select([l], [], [], 5)[0]
a, who = l.accept()
assert who == c.getsockname() == a.getpeername() and a.getsockname() == c.getpeername()
assert not select.select([l], [], [], 0)[0]
a.setblocking(True); a.sendall(b"hello"); assert c.recv(9) == b"hello"
# Reset: the reader is told so.
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4)); c.close()
refused(a.recv, errno.ECONNRESET, 1)
a.close(); l.close()
# Datagrams, with and without a peer, empty ones, and their bounds.
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for data in (b"one", b"", os.urandom(1400), os.urandom(30000)):
    assert u.sendto(data, (peer, 7)) == len(data)
    assert u.recvfrom(65536) == (data, (peer, 7))
refused(u.sendto, errno.EMSGSIZE, bytes(60000), (peer, 7))
u.connect((peer, 7)); u.send(b"four")
assert select.select([u], [], [], 5)[0]
refused(u.recv, errno.EAGAIN, 9, socket.MSG_ERRQUEUE)
assert u.recv(2, socket.MSG_PEEK) == b"fo" and os.read(u.fileno(), 9) == b"four"
assert u.recvmsg is not None and u.getpeername() == (peer, 7)
os.write(u.fileno(), b"five")
data, _, _, who = u.recvmsg(9)
assert (data, who) == (b"five", (peer, 7))
u.close()
print("all hold")
"""

# argv: the kernel's address.
HELD = """
import socket, sys, time
held = [socket.create_connection((sys.argv[1], 7)) for _ in range(20)] + [socket.create_server(("", 0)) for _ in range(5)]
print("ready", flush=True)
time.sleep(100)
"""

# argv: beta's address, the kernel's.
WAITS = """
import errno, socket, sys, threading
own, peer = sys.argv[1:]
connection, listener, udp = socket.create_connection((peer, 7)), socket.create_server((own, 6000)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((own, 6000))
failed = []
def waits(call, *args):
    try: call(*args)
    except OSError as error: failed.append(error.errno)
threads = [threading.Thread(target=waits, args=what) for what in ((connection.recv, 1), (listener.accept,), (udp.recv, 1))]
for thread in threads: thread.start()
print("ready", flush=True)
for thread in threads: thread.join()
assert failed == [errno.EHOSTUNREACH] * 3, failed
"""
