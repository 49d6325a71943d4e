"""Clients and daemons that are killed at work."""
import concurrent.futures
import os
import random
import signal
import subprocess
import sys
import time

from lab import BIN, HOST, QUICK, STACK, Failed, Lab, check, until

TRAFFIC = """
import socket, sys, threading, os, random
peer = sys.argv[1]
def push():
    while True:
        try:
            s = socket.create_connection((peer, 9000), timeout=5)
            for _ in range(random.randrange(1, 50)): s.sendall(os.urandom(random.randrange(1, 30000)))
            s.close()
        except OSError: pass
def pull():
    while True:
        try:
            s = socket.create_connection((peer, 9001), timeout=5)
            for _ in range(random.randrange(1, 50)):
                if not s.recv(20000): break
            s.close()
        except OSError: pass
def serve():
    l = socket.socket(); l.bind(("0.0.0.0", 0)); l.listen(5)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 0))
    while True:
        u.sendto(b"x" * random.randrange(1400), (peer, 9)); 
        try: u.recvfrom(2000)
        except OSError: pass
for f in (push, pull, serve): threading.Thread(target=f).start()
"""
PEERS = f"""
import socket, threading, os
def sink():
    l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("{HOST}", 9000)); l.listen(500)
    while True:
        c, _ = l.accept(); threading.Thread(target=lambda c=c: drain(c), daemon=True).start()
def drain(c):
    try:
        while c.recv(65536): pass
    except OSError: pass
    c.close()
def source():
    l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("{HOST}", 9001)); l.listen(500)
    while True:
        c, _ = l.accept(); threading.Thread(target=lambda c=c: pour(c), daemon=True).start()
def pour(c):
    c.settimeout(3)
    try:
        for _ in range(200): c.sendall(b"y" * 20000)
    except OSError: pass
    c.close()
threading.Thread(target=sink).start(); source()
"""


def kill_clients():
    """1000 clients killed at random under traffic: buffers, sockets, slots, descriptors all come back."""
    count = 60 if QUICK else 1000
    with Lab() as lab:
        (lab.dir / "page").write_bytes(b"z" * 100_000)
        lab.serve(lab.dir)
        lab.spawn(["python3", "-c", PEERS], log=lab.dir / "peers.log")
        lab.capture("-c", "200000")
        before = lab.usage()
        rng = random.Random(7)
        alive, killed = [], 0
        others = 0
        while killed < count:
            while len(alive) < 8:
                client = lab.spawn(["env", f"LD_PRELOAD={BIN}/libiopkt_preload.so", "python3", "-c", TRAFFIC, HOST])
                alive.append((client, time.monotonic() + rng.uniform(0.05, 0.6)))
            now = time.monotonic()
            for entry in [e for e in alive if e[1] <= now]:
                entry[0].kill()
                entry[0].wait()
                alive.remove(entry)
                killed += 1
                if killed % 50 == 0:
                    lab.curl(f"http://{STACK}/page", timeout=20)
                    others += 1
                    print(f"    {killed} of {count} killed", file=sys.stderr, flush=True)
            time.sleep(0.005)
        for process, _ in alive:
            process.kill()
            process.wait()
        # The peers may take their time to acknowledge the last bytes of the dead.
        until("the slots are back", lambda: lab.usage()["clients"] == before["clients"])
        until("sockets are back", lambda: lab.usage()["sockets"] <= before["sockets"], 90)
        until("buffers are back", lambda: lab.usage()["mbufs"] <= before["mbufs"] + 8, 30)
        until("descriptors are back", lambda: lab.usage()["descriptors"] <= before["descriptors"], 10)
        after = lab.usage()
        violations = lab.metric("iopkt_client_violations_total")
        check(violations == 0, f"{violations} violations")
        lab.curl(f"http://{STACK}/page", timeout=10)
        said = lab.judge()
        return f"{killed} kills, {others} fetches by another client meanwhile; before {before}, after {after}; {said}"


BLOCKED = """
import socket, sys, threading
peer = sys.argv[1]
results = []
def attempt(name, f):
    try: f(); results.append(name + ": returned")
    except OSError as e: results.append("%s: %s" % (name, e.strerror))
l = socket.socket(); l.bind(("0.0.0.0", 0)); l.listen(5)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 0))
a = socket.create_connection((peer, 9002)); b = socket.create_connection((peer, 9002))
def fill():
    while True: b.send(b"x" * 65536)
threads = [threading.Thread(target=attempt, args=x) for x in
    (("accept", l.accept), ("recvfrom", lambda: u.recvfrom(10)), ("recv", lambda: a.recv(10)), ("send", fill))]
[t.start() for t in threads]
print("ready", flush=True)
[t.join() for t in threads]
try: socket.socket()
except OSError as e: results.append("socket: " + e.strerror)
print("; ".join(results), flush=True)
"""
HOLD = f"""
import socket
l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("{HOST}", 9002)); l.listen(50); held = []
while True: held.append(l.accept())
"""


def killed_daemons(count):
    """Kills so many daemons, one after the other; the longest that a client took to end."""
    with Lab() as lab:
        worst = 0.0
        lab.spawn(["python3", "-c", HOLD])
        until("the holder", lambda: "9002" in lab.exec("ss", "-ltn").stdout)
        for i in range(count):
            log = lab.dir / f"blocked{i}.log"
            client = lab.client("python3", "-c", BLOCKED, HOST, log=log)
            until("the client is blocked", lambda: "ready" in log.read_text())
            time.sleep(random.uniform(0.0, 0.05))
            pid = lab.pid()
            os.kill(pid, signal.SIGKILL)
            started = time.monotonic()
            lab.daemon.wait(5)
            try:
                client.wait(5)
            except subprocess.TimeoutExpired:
                raise Failed(f"run {i}: the client hangs after the daemon's death: {log.read_text()}") from None
            worst = max(worst, time.monotonic() - started)
            said = log.read_text()
            for call in ("accept", "recvfrom", "recv", "send"):
                check(f"{call}: " in said and f"{call}: returned" not in said, f"run {i}: {said}")
            log.unlink()
            lab.start_daemon()
            if i % 10 == 9:
                print(f"    {i + 1} of {count} killed", file=sys.stderr, flush=True)
        return worst


def kill_daemon():
    """100 daemons killed: every blocked call of their clients returns, and a new daemon serves at once."""
    # Most of it is programs that start: two namespaces use two cores.
    each, labs = (3, 2) if QUICK else (50, 2)
    with concurrent.futures.ThreadPoolExecutor(labs) as pool:
        worst = max(pool.map(killed_daemons, [each] * labs))
    return f"{each * labs} daemons killed, clients told within {worst * 1000:.0f} ms including python's exit"


def dead_listener():
    """A web server whose daemon was killed leaves the processor to others."""
    with Lab() as lab:
        (lab.dir / "page").write_bytes(b"x")
        server = lab.serve(lab.dir)
        os.kill(lab.pid(), signal.SIGKILL)
        lab.daemon.wait(5)
        time.sleep(0.5)

        def ticks():
            fields = open(f"/proc/{server.pid}/stat").read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        time.sleep(2)
        used = (ticks() - before) / os.sysconf("SC_CLK_TCK") / 2
        check(server.poll() is None, "the web server has ended")
        check(used < 0.1, f"{used:.0%} of a core for nothing")
        return f"{used:.1%} of a core"


CROWD = """
import os, socket, time
held = []
try:
    while True:
        held.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)); held[-1].setblocking(False)
        held[-1].connect(os.environ["IOPKT_RUN"] + "/dev/socket")
except BlockingIOError: print("full", flush=True)
time.sleep(60)
"""


def silent_daemon():
    """A stopped daemon: who comes to it is told so within the time it has to answer, and what to do."""
    with Lab() as lab:
        pid = lab.pid()
        attempt = ("python3", "-c", "import socket; socket.socket()")
        preload = ("env", f"LD_PRELOAD={BIN}/libiopkt_preload.so")

        def told(crowd):
            logs = [lab.dir / f"{name}{crowd}.log" for name in ("run", "preload")]
            started = time.monotonic()
            clients = [lab.client(*attempt, log=logs[0]), lab.spawn([*preload, *attempt], log=logs[1])]
            for client in clients:
                client.wait(20)
            seconds = time.monotonic() - started
            said = [log.read_text() for log in logs]
            check(4 < seconds < 9, f"they waited {seconds:.1f} s")
            check(all("5 s" in text and "kill -CONT" in text for text in said), said)
            check("TimeoutError" in said[1], said[1])
            return seconds

        os.kill(pid, signal.SIGSTOP)
        alone = told(0)
        # More of them than its queue of newcomers takes.
        crowd = lab.spawn(["python3", "-c", CROWD], log=lab.dir / "crowd.log")
        until("the crowd", lambda: "full" in (lab.dir / "crowd.log").read_text())
        crowded = told(1)
        os.kill(pid, signal.SIGCONT)
        lab.stop(crowd)
        lab.iopkt("run", "--", *attempt)
        return f"told after {alone:.1f} s, and after {crowded:.1f} s when its queue was full; it serves on"
