"""Datagrams, and programs that wait for many sockets at once."""
import os
import pathlib
import resource
import signal
import tempfile
import time

from lab import BIN, HOST, IFACE, QUICK, ROOT, STACK, Lab, check, random_file, run, until
from processes import echo, served

UDP_ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 7))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data, peer)
"""


def udp():
    """Datagrams of all sizes come back from an unmodified python3; a closed port answers ICMP."""
    with Lab(capture=True) as lab:
        lab.client("python3", "-c", UDP_ECHO)
        probe = f"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.2); s.connect(("{STACK}", 7))
import time
for i in range(50):
    try:
        s.send(b"hello")
        if s.recv(100) == b"hello": break
    except OSError: time.sleep(0.1)
else: sys.exit("no answer")
s.settimeout(2)
for size in [0, 1, 2, 3, 100, 1000, 1471, 1472]:
    data = bytes(range(256)) * 6
    s.send(data[:size]); got = s.recv(2000)
    if got != data[:size]: sys.exit("size %d came back as %d" % (size, len(got)))
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); c.settimeout(2); c.connect(("{STACK}", 9999)); c.send(b"x")
try: c.recv(10); sys.exit("closed port answered")
except ConnectionRefusedError: pass
"""
        lab.exec("python3", "-c", probe)
        back = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.connect(("{HOST}", 9)); s.send(b"x")
try: s.recv(10)
except ConnectionRefusedError: print("refused")
"""
        got = lab.iopkt("run", "--", "python3", "-c", back).stdout
        check("refused" in got, f"ICMP port unreachable did not reach the client: {got}")
        return lab.judge()


POLLER = """
import select, socket, os, threading, time
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 80)); listener.listen(64); listener.setblocking(False)
r, w = os.pipe()
threading.Thread(target=lambda: [(time.sleep(0.05), os.write(w, b"x")) for _ in range(10**6)], daemon=True).start()
ep = select.epoll(); ep.register(listener.fileno(), select.EPOLLIN); ep.register(r, select.EPOLLIN)
conns = {}
pipes = 0
while True:
    for fd, ev in ep.poll():
        if fd == r: os.read(r, 1); pipes += 1
        elif fd == listener.fileno():
            while True:
                try: c, _ = listener.accept()
                except BlockingIOError: break
                c.setblocking(False); conns[c.fileno()] = c; ep.register(c.fileno(), select.EPOLLIN | select.EPOLLET)
        else:
            c = conns[fd]
            while True:
                try: data = c.recv(4096)
                except BlockingIOError: break
                if not data:
                    ep.unregister(fd); c.close(); del conns[fd]; break
                poll = select.poll(); poll.register(fd, select.POLLOUT)
                while data:
                    poll.poll()
                    if not select.select([], [fd], [], 5)[1]: raise SystemExit("select")
                    try: data = data[c.send(data):]
                    except BlockingIOError: pass
"""


def serve_in_place(lab):
    """examples/zerocopy.c at port 7."""
    server = lab.dir / "zerocopy"
    run("cc", "-Wall", "-Werror", "-D_GNU_SOURCE", "-I", ROOT / "ipc/libiopkt/include", "-o", server,
        ROOT / "ipc/libiopkt/examples/zerocopy.c", "-L", BIN, "-liopkt")
    lab.env["LD_LIBRARY_PATH"] = str(BIN)
    lab.spawn([server, 7], log=lab.dir / "zerocopy.log")
    served(lab, 7)


def zero_copy():
    """examples/zerocopy.c reads and writes where the bytes are: 100 connections echo 1 MiB each to the kernel."""
    with Lab() as lab:
        serve_in_place(lab)
        before = lab.usage()
        echo(lab, 7, 100, 1 << 20)
        until("sockets are gone", lambda: lab.usage()["sockets"] <= before["sockets"], 20)
        until("mbufs are back", lambda: lab.usage()["mbufs"] <= before["mbufs"], 20)
        return "100 MiB each way, sockets and mbufs are back"


# Connects and does not read; as nobody, if there is a word more.
DEAF = "import encodings.idna, os, socket, sys, time\nif sys.argv[2:]: os.setuid(65534)\nc = socket.create_connection((sys.argv[1], 8080))\nc.sendall(b'GET /big HTTP/1.0\\r\\n\\r\\n')\ntime.sleep(600)"


def loans():
    """Packets lent to root's programs: examples/zerocopy.c and curl get the right bytes, who is killed gives back what he has, nobody is shown none."""
    with tempfile.TemporaryDirectory(prefix="iopkt-lab-") as folder:
        path = pathlib.Path(folder) / "io-pkt.toml"
        path.write_text(f"[quota.user.root]\nloans = 4096\n[[interface]]\ndriver='net_tap'\noptions='iface={IFACE}'\naddress='{STACK}/24'\n")
        with Lab(drivers=["-c", path]) as lab:
            def counted(*names):
                return [int(lab.metric(f"iopkt_loans_{name}_total")) for name in names]

            serve_in_place(lab)
            url, _ = lab.serve_from_kernel()
            want = random_file(lab.dir / "big", 32 << 20)
            before = lab.usage()
            echo(lab, 7, 20, 1 << 20)
            in_place, = counted("lent")
            check(in_place > 2000, f"{in_place} packets lent of 20 MiB")
            check(lab.fetched(f"{url}/big") == want, "sha256 differs")
            lent, = counted("lent")
            check(lent > in_place + 2000, f"{lent - in_place} packets lent of 32 MiB")

            until("all is back", lambda: lab.usage()["mbufs"] <= before["mbufs"], 20)
            taken, = counted("taken_back")
            holder, stranger = (lab.client("python3", "-c", DEAF, HOST, *more) for more in ((), ("as nobody",)))

            def holds(uid):
                rows = [row for row in lab.table("clients") if row["uid"] == uid and row["rx_memory_bytes"] > 0]
                return rows and rows[0]

            row = until("somebody holds packets", lambda: (holds(0) or {}).get("packets_lent") and holds(0))
            maps = [line for line in open(f"/proc/{row['pid']}/maps") if "io-pkt-packets" in line]
            check(maps and all(" r--s " in line for line in maps), maps)
            other = until("nobody has got something", lambda: holds(65534), 20)
            check(other["packets_lent"] is None and "io-pkt-packets" not in open(f"/proc/{other['pid']}/maps").read(), other)
            lab.stop(holder, signal.SIGKILL)
            lab.stop(stranger, signal.SIGKILL)
            until("mbufs are back", lambda: lab.usage()["mbufs"] <= before["mbufs"], 20)
            lent, returned, taken_back = counted("lent", "returned", "taken_back")
            check(lent == returned + taken_back and taken_back > taken, f"{lent} lent, {returned} returned, {taken_back} taken back")
            return f"{lent} packets lent, {returned} returned, {taken_back - taken} taken back from one that was killed"


def event_loop():
    """An epoll server (edge triggered, with a pipe beside), poll and select: 50 connections echo 1 MiB each."""
    with Lab() as lab:
        server = lab.client("python3", "-c", POLLER)
        probe = f"""
import socket, threading, os, sys
size, count, bad = {1 << 18 if QUICK else 1 << 20}, 50, []
def one():
    s = socket.create_connection(("{STACK}", 80), timeout=60); data = os.urandom(size)
    t = threading.Thread(target=lambda: s.sendall(data)); t.start()
    got = bytearray()
    while len(got) < size:
        part = s.recv(65536)
        if not part: break
        got += part
    t.join(); s.close()
    if got != data: bad.append(len(got))
threads = [threading.Thread(target=one) for _ in range(count)]
[t.start() for t in threads]; [t.join() for t in threads]
sys.exit("%d connections got other bytes" % len(bad) if bad else 0)
"""
        lab.exec("python3", "-c", probe, timeout=180)
        check(server.poll() is None, "the server ended")
        before = lab.usage()
        lab.stop(server, signal.SIGKILL)
        until("the client's things are back", lambda: lab.usage()["clients"] == 0)
        return f"{before}"


# Reads what comes and answers nothing; says how much it has read. argv: port, bytes in all.
READER = """
import resource, selectors, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
l = socket.socket(); l.bind(("0.0.0.0", int(sys.argv[1]))); l.listen(1024)
events = selectors.DefaultSelector(); events.register(l, selectors.EVENT_READ)
print("ready", flush=True)
total = 0
while total < int(sys.argv[2]):
    for key, _ in events.select():
        if key.fileobj is l:
            c = l.accept()[0]; events.register(c, selectors.EVENT_READ)
        else: total += len(key.fileobj.recv(65536))
print("read", total, flush=True)
"""
WRITER = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
for i in range(int(sys.argv[3])):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10); s.sendall(b"x" * 1000); held.append(s)
for s in held: s.sendall(b"y" * 1000)
print("sent", flush=True)
time.sleep(60)
"""


def quiet_readers():
    """3000 connections of one program, each read empty and then idle, leave it memory to read more."""
    count = 3000
    with Lab() as lab:
        reader, writer = lab.dir / "reader.txt", lab.dir / "writer.txt"
        process = lab.client("python3", "-c", READER, 9000, 2000 * count, log=reader)
        until("the reader listens", lambda: "ready" in reader.read_text())
        lab.spawn(["python3", "-c", WRITER, STACK, 9000, count], log=writer)
        until("all is read", lambda: "read" in reader.read_text().replace("ready", "") or process.poll(), 40)
        check(process.wait(10) == 0, reader.read_text())
        dropped = lab.drops("tcp_receive_buffer")
        return f"{2 * count} pieces to {count} connections, {dropped:.0f} segments found no memory"


FAR = "203.0.113.5"
AUTOCONNECT = f"""
import socket, sys
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: print(u.sendto(b"x", ("{FAR}", 9)))
except OSError as error: print(error.errno)
t = socket.create_connection(("{FAR}", 7), timeout=5)
t.sendall(b"over there"); print(t.recv(100))
"""


def autoconnect():
    """A program without a way to its peer has a script add one, once, and goes on."""
    with Lab() as lab:
        lab.ip("addr", "add", f"{FAR}/32", "dev", "lo")
        lab.spawn(["socat", f"TCP-LISTEN:7,bind={FAR},fork", "PIPE"])
        until("the kernel's echo", lambda: FAR + ":7" in lab.exec("ss", "-ltn").stdout)
        script, log = lab.dir / "autoconnect", lab.dir / "autoconnect.log"
        script.write_text(f"#!/bin/sh\necho run >> {log}\nexec {BIN}/iopkt route add 203.0.113.0/24 {HOST}\n")
        script.chmod(0o755)
        program = ("run", "--", "env", f"IOPKT_AUTOCONNECT={script}", "python3", "-c", AUTOCONNECT)
        refused = lab.iopkt(*program, ok=False)
        check(refused.returncode != 0 and refused.stdout == "101\n" and not log.exists(), f"unasked: {refused}")
        said = lab.iopkt("run", "--", "env", "AUTOCONNECT=1", *program[2:]).stdout
        check(said == "1\nb'over there'\n", said)
        check(log.read_text() == "run\n", f"the script ran not once: {log.read_text()}")
        return "a datagram and a connection, one run"


SLEEPERS = f"""
import socket, sys, threading, time
first, count = int(sys.argv[1]), int(sys.argv[2])
threading.stack_size(65536)
lock, came, left = threading.Lock(), [], threading.Semaphore(0)
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
for number, s in enumerate(sockets): s.bind(("{STACK}", first + number))
def wait(s):
    data, port = s.recv(16), s.getsockname()[1]
    s.close()
    with lock: came.append(data == b"%d" % port)
    left.release()
for s in sockets: threading.Thread(target=wait, args=(s,), daemon=True).start()
print("blocked", flush=True)
for _ in range(count): left.acquire()
print("all", sum(came), flush=True)
"""
WAKER = f"""
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number, port in enumerate(range(int(sys.argv[1]), int(sys.argv[2]))):
    s.sendto(b"%d" % port, ("{STACK}", port))
    if number % 20 == 0: time.sleep(0.002)
"""


def blocked_receivers():
    """Ten thousand threads, each blocked in a recv() of its own socket, cost the daemon no thread and nobody any time; each is woken."""
    with Lab() as lab:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Two programs, and the daemon has a descriptor for each socket of both.
        each = min(5000, (hard - 500) // 2)
        tasks = lambda: len(os.listdir(f"/proc/{lab.pid()}/task"))
        before, programs = tasks(), []
        for first in (10_000, 20_000):
            log = lab.dir / f"{first}.log"
            argv = ["prlimit", f"--nofile={hard}:{hard}", "python3", "-c", SLEEPERS, first, each]
            programs.append((lab.client(*argv, log=log), log))
        for process, log in programs:
            until("all block", lambda: "blocked" in log.read_text() or process.poll(), 60)
        blocked = sum(s["protocol"] == "udp" and s["pid"] > 0 for s in lab.table("netstat", "-a"))
        check(blocked >= 2 * each, f"{blocked} sockets of {2 * each}: {programs[0][1].read_text()[-300:]}")
        check(tasks() == before, f"{before} threads of the daemon became {tasks()}")
        time.sleep(1)
        spent = cpu_seconds(lab.pid(), *(process.pid for process, _ in programs))
        time.sleep(1)
        spent = cpu_seconds(lab.pid(), *(process.pid for process, _ in programs)) - spent
        check(spent < 0.2, f"{spent:.2f} s of processor in a second of waiting")
        # Datagrams may be lost on their way, where so many come at once.
        for _ in range(5):
            for (process, _), first in zip(programs, (10_000, 20_000)):
                if process.poll() is None:
                    lab.exec("python3", "-c", WAKER, first, first + each)
        for process, log in programs:
            check(process.wait(30) == 0 and f"all {each}" in log.read_text(), log.read_text()[-300:])
        return f"{2 * each} threads, {before} of the daemon, {spent:.2f} s of processor a second"


ANSWERER = f"""
import socket
listener = socket.socket(); listener.bind(("0.0.0.0", 7000)); listener.listen()
print("listens", flush=True)
s, _ = listener.accept()
while data := s.recv(100): s.send(data)
"""
ASKER = f"""
import socket, time
s = socket.create_connection(("{STACK}", 7000))
for _ in range(300): s.send(bytes(64)); assert s.recv(100); time.sleep(0.001)
"""


def system_calls():
    """A recv() that blocks is two system calls: the sleep, and taking the token out; a send() is none."""
    with Lab() as lab:
        log, calls = lab.dir / "answerer.log", lab.dir / "calls"
        traced = "trace=network,fcntl,poll,ppoll,write"
        answerer = lab.client("strace", "-f", "-e", traced, "-o", calls, "python3", "-c", ANSWERER, log=log)
        until("the answerer listens", lambda: "listens" in log.read_text())
        lab.exec("python3", "-c", ASKER)
        check(answerer.wait(20) == 0, log.read_text())
        made = calls.read_text().rsplit("listens", 1)[1].splitlines()
        each = len(made) / 300
        # The doorbell of a worker that sleeps, and a look now and then for a daemon that is gone, are beside them.
        received = sum("recvfrom(" in line for line in made) / 300
        check(received < 2.2 and each < 4, f"{received:.2f} and {each:.2f} in all: {made[-20:]}")
        return f"{received:.2f} for a recv that blocks, {each - received:.2f} others"


def cpu_seconds(*pids):
    """What processes have used so far."""
    fields = [open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")
