"""Clients and daemons that are killed at work."""
import concurrent.futures
import json
import os
import pathlib
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time

from lab import BIN, HOST, QUICK, STACK, Lab, check, until

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
# For an empty line a child, which is a client of its own from its first socket on; for the number of one, its end.
for line in sys.stdin:
    if line.strip():
        os.kill(int(line), 9)
        print(os.waitpid(int(line), 0)[1], flush=True)
        continue
    child = os.fork()
    if child == 0:
        random.seed()
        # Root is lent packets, nobody is not.
        if random.random() < 0.5: os.setuid(65534)
        for f in (push, pull, serve): threading.Thread(target=f).start()
        break
    print(child, flush=True)
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


def said_by(client):
    """The next line of a client, who may be in a call that never returns: then that is the failure."""
    check(select.select([client.stdout], [], [], 60)[0], "the client has said nothing for 60 s")
    return client.stdout.readline()


class Clients:
    """Clients with traffic of every kind, as many as are wanted."""

    def __init__(self, lab):
        self.parent = lab.spawn(["env", f"LD_PRELOAD={BIN}/libiopkt_preload.so", "python3", "-c", TRAFFIC, HOST],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.parent.stdin.write(f"{line}\n")
        self.parent.stdin.flush()
        return int(said_by(self.parent))

    def one_more(self):
        return self.ask("")

    def kill(self, client):
        """By its parent, for whom the number is nobody else's. What has ended by itself was no client that is killed."""
        status = self.ask(client)
        check(status == signal.SIGKILL, f"a client had ended by itself: {status}")

    def end(self):
        self.parent.stdin.close()
        self.parent.wait(10)


def rates(log):
    """Mbit/s of each whole second of an iperf3 that was interrupted."""
    intervals = [entry["sum"] for entry in json.loads(log.read_text())["intervals"]]
    return [entry["bits_per_second"] / 1e6 for entry in intervals if entry["seconds"] > 0.9]


# Of the client whose goodput is watched, in Mbit/s: little, as the others take what they get.
WATCHED = 20


def kill_clients():
    """Clients killed at random under traffic: buffers, sockets, slots, descriptors, mappings all come back. IOPKT_KILLS=N."""
    count = int(os.environ.get("IOPKT_KILLS", 100 if QUICK else 1000))
    with tempfile.TemporaryDirectory(prefix="iopkt-lab-") as folder:
        config = pathlib.Path(folder) / "io-pkt.toml"
        config.write_text("[quota.user.root]\nloans = 2048\n")
        with Lab(args=["-c", config]) as lab:
            return killed_at_random(lab, count)


def killed_at_random(lab, count):
    """Half of the clients are lent packets."""
    (lab.dir / "page").write_bytes(b"z" * 100_000)
    lab.serve(lab.dir)
    lab.spawn(["python3", "-c", PEERS], log=lab.dir / "peers.log")
    lab.spawn(["iperf3", "-s"])
    lab.capture("-c", "200000")
    clients, before = Clients(lab), lab.usage()
    log = lab.dir / "watched.log"
    watched = lab.client("iperf3", "-c", HOST, "-b", f"{WATCHED}M", "-t", 86_400, "-J", log=log)
    until("the watched client", lambda: lab.usage()["clients"] > before["clients"])
    time.sleep(1)
    rng = random.Random(7)
    alive, killed, others = [], 0, 0
    while killed < count:
        while len(alive) < 8:
            # From within the attach to a good deal of traffic: as many in each decade.
            alive.append((time.monotonic() + 10 ** rng.uniform(-3.5, -0.4), clients.one_more()))
        now = time.monotonic()
        for entry in [e for e in alive if e[0] <= now]:
            clients.kill(entry[1])
            alive.remove(entry)
            killed += 1
            if killed % 100 == 0:
                lab.curl(f"http://{STACK}/page", timeout=20)
                others += 1
                print(f"    {killed} of {count} killed", file=sys.stderr, flush=True)
        time.sleep(0.001)
    for _, client in alive:
        clients.kill(client)
    clients.end()
    lab.stop(watched, signal.SIGINT)
    # The peers may take their time to acknowledge the last bytes of the dead.
    until("the slots are back", lambda: lab.usage()["clients"] == before["clients"])
    until("sockets are back", lambda: lab.usage()["sockets"] <= before["sockets"], 90)
    until("buffers are back", lambda: lab.usage()["mbufs"] <= before["mbufs"] + 8, 30)
    until("descriptors are back", lambda: lab.usage()["descriptors"] <= before["descriptors"], 10)
    after = lab.usage()
    check(after["mappings"] == before["mappings"], f"before {before}, after {after}")
    violations = lab.metric("iopkt_client_violations_total")
    check(violations == 0, f"{violations} violations")
    lent, returned, taken_back = (int(lab.metric(f"iopkt_loans_{name}_total")) for name in ("lent", "returned", "taken_back"))
    check(lent == returned + taken_back and taken_back > 0, f"{lent} packets lent, {returned} returned, {taken_back} taken back")
    lab.curl(f"http://{STACK}/page", timeout=10)
    goodput = rates(log)
    mean = sum(goodput) / len(goodput)
    check(mean >= 0.95 * WATCHED, f"another client got {mean:.1f} of {WATCHED} Mbit/s")
    return (f"{killed} kills, {others} fetches by another client, a third one got {mean:.1f} of {WATCHED} Mbit/s, "
            f"{min(goodput):.1f} in its worst of {len(goodput)} s; {lent} packets lent, {taken_back} of them taken back; "
            f"before {before}, after {after}; {lab.judge()}")


# In each round: attaches anew, blocks in every kind of call, and says when each of them returned, and how.
RESTARTED = """
import select, socket, sys, threading, time
peer = sys.argv[1]
def attached():
    while True:
        try:
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 0)); return u
        except OSError: time.sleep(0.002)
def connected():
    # The new interface may not be up.
    while True:
        try: s = socket.create_connection((peer, 9002), timeout=0.1); s.settimeout(None); return s
        except OSError: pass
def attempt(name, call, results):
    try: call(); how = "returned"
    except OSError as error: how = error.strerror.replace(" ", "_")
    results.append((name, time.monotonic(), how))
def fill(s):
    while True: s.send(b"x" * 65536)
def polled(s):
    p = select.poll(); p.register(s, select.POLLIN); p.poll(); s.recv(10)
while True:
    u = attached(); since = time.monotonic()
    l = socket.socket(); l.bind(("0.0.0.0", 0)); l.listen(5)
    a, b, c = connected(), connected(), connected()
    results = []
    calls = dict(accept=l.accept, recvfrom=lambda: u.recvfrom(10), recv=lambda: a.recv(10), send=lambda: fill(b), poll=lambda: polled(c))
    threads = [threading.Thread(target=attempt, args=(name, call, results)) for name, call in calls.items()]
    [t.start() for t in threads]
    print("ready", since, flush=True)
    [t.join() for t in threads]
    print("ended", *(word for result in results for word in result), flush=True)
    for s in (u, l, a, b, c): s.close()
"""
HOLD = f"""
import socket
l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("{HOST}", 9002)); l.listen(50); held = []
while True: held.append(l.accept()); del held[:-20]
"""


def killed_daemons(count, ending):
    """Kills so many daemons, one after the other; how long each blocked call took to return, and each client to attach anew."""
    returned, attached = [], []
    with Lab() as lab:
        holder = lab.spawn(["python3", "-c", HOLD])
        until("the holder", lambda: "9002" in lab.exec("ss", "-ltn").stdout)
        client = lab.client("python3", "-c", RESTARTED, HOST, stdout=subprocess.PIPE, text=True)
        killed, start = None, 0.0
        for i in range(count + 1):
            word, since = said_by(client).split()
            check(word == "ready", f"run {i}: {word} {since}")
            if killed:
                attached.append((float(since) - killed, start))
            if i == count or ending.is_set():
                break
            time.sleep(random.uniform(0.0, 0.05))
            pid = lab.daemon.pid
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            word, *said = said_by(client).split()
            calls = {name: (float(at) - killed, how) for name, at, how in zip(said[::3], said[1::3], said[2::3])}
            check(sorted(calls) == ["accept", "poll", "recv", "recvfrom", "send"] and not any(how == "returned" for _, how in calls.values()),
                  f"run {i}: {calls}")
            returned += [seconds for seconds, _ in calls.values()]
            lab.daemon.wait(5)
            lab.start_daemon()
            start = lab.start_seconds
            if i % 20 == 19:
                print(f"    {i + 1} of {count} killed", file=sys.stderr, flush=True)
        for process in (client, holder):
            process.kill()
    return returned, attached


def kill_daemon():
    """Daemons killed: every blocked call of a client returns at once, and the client attaches to the next one. IOPKT_RESTARTS=N."""
    # Most of it is programs that start: two namespaces use two cores.
    labs = 2
    each = int(os.environ.get("IOPKT_RESTARTS", 6 if QUICK else 100)) // labs
    ending = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(labs) as pool:
        try:
            returned, attached = (sum(lists, []) for lists in zip(*pool.map(killed_daemons, [each] * labs, [ending] * labs)))
        finally:
            # Ended from outside, or by one that has failed: the others leave after the round they are in, and take their labs away.
            ending.set()
    # All of a client's hear of it at once; but a busy machine takes its time to end a process, and to run a thread.
    returned.sort()
    most = returned[int(0.95 * len(returned))]
    check(most < 0.2 and returned[-1] < 1, f"blocked calls took {returned[-10:]} s to return")
    # The daemon's own start is not the client's.
    late = max(seconds - start for seconds, start in attached)
    check(late < 2, f"a client attached {late:.1f} s after its daemon had started")
    worst, start = max(attached)
    return (f"{each * labs} daemons killed, {len(returned)} blocked calls returned, 95 % within {most * 1000:.0f} ms, "
            f"the last after {returned[-1] * 1000:.0f} ms; attached anew after {worst:.2f} s at most, of which the daemon took {start:.2f} s to start")


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
    """A stopped daemon: who comes to it, program or tool, is told so within the time it has to answer, and what to do."""
    with Lab() as lab:
        pid = lab.pid()
        attempt = ("python3", "-c", "import socket; socket.socket()")
        preload = ("env", f"LD_PRELOAD={BIN}/libiopkt_preload.so")

        def told(crowd):
            logs = [lab.dir / f"{name}{crowd}.log" for name in ("run", "preload", "status", "mount")]
            started = time.monotonic()
            clients = [lab.client(*attempt, log=logs[0]), lab.spawn([*preload, *attempt], log=logs[1])]
            clients += [lab.spawn([BIN / "iopkt", *words], log=log) for words, log in ((["status"], logs[2]), (["mount", "net_null"], logs[3]))]
            for client in clients:
                client.wait(20)
            seconds = time.monotonic() - started
            said = [log.read_text() for log in logs]
            check(4 < seconds < 9, f"they waited {seconds:.1f} s")
            check(all("5 s" in text and "kill -CONT" in text for text in said), said)
            check("TimeoutError" in said[1], said[1])
            codes = [client.returncode for client in clients]
            check(codes == [69, 1, 69, 69], codes)
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
