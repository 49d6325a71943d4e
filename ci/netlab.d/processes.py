"""Sockets that go from process to process: over fork, exec and unix sockets."""
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

from lab import BIN, HOST, QUICK, STACK, Lab, check, run, until

# What every server here does with a connection is echo; so one probe fits all.
ECHO = f"""
import os, socket, sys
count, size = int(sys.argv[1]), int(sys.argv[2])
for i in range(count):
    s = socket.create_connection(("{STACK}", int(sys.argv[3])), timeout=20); data = os.urandom(size)
    s.sendall(data); s.shutdown(socket.SHUT_WR); got = b""
    while part := s.recv(65536): got += part
    if got != data: sys.exit("connection %d: %d of %d bytes came back" % (i, len(got), size))
    s.close()
"""


def echo(lab, port, count=20, size=20_000):
    lab.exec("python3", "-c", ECHO, count, size, port)


def served(lab, port):
    """Waits until somebody listens at the port: nothing is refused from then on."""
    until(f"port {port}", lambda: any(s["local"].endswith(f":{port}") for s in lab.table("netstat", "-a")))


def nobody_left(lab, before):
    until("clients are gone", lambda: lab.usage()["clients"] == before["clients"])
    until("sockets are gone", lambda: lab.usage()["sockets"] <= before["sockets"], 90)
    until("descriptors are back", lambda: lab.usage()["descriptors"] <= before["descriptors"])


INETD = """
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
/* Each connection becomes standard input and output of a program; its own copy is closed at once. */
int main(int argc, char **argv)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
    int listener = socket(AF_INET, SOCK_STREAM, 0), connection;
    signal(SIGCHLD, SIG_IGN);
    if (argc < 3 || bind(listener, (void *)&any, sizeof any) || listen(listener, 64)) return 1;
    while ((connection = accept(listener, 0, 0)) >= 0) {
        pid_t child = argv[2][0] == 'v' ? vfork() : fork();
        if (child == 0) {
            dup2(connection, 0); dup2(connection, 1); close(connection); close(listener);
            execv(argv[3], argv + 3);
            _exit(127);
        }
        close(connection);
    }
    return 1;
}
"""


LINES = f"""
import socket, sys
with socket.create_connection(("{STACK}", int(sys.argv[1])), timeout=20) as s:
    stream = s.makefile("rw")
    for i in range(100):
        print(i, file=stream, flush=True)
        got = stream.readline()
        if got != f"{{i}}\\n": sys.exit(f"line {{i}} came back as {{got!r}}")
"""


def compiled(lab, name, source):
    path = lab.dir / name
    path.with_suffix(".c").write_text(source)
    subprocess.run(["cc", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o", path, path.with_suffix(".c")], check=True)
    return path


def exec_inetd():
    """The socket as standard input and output of an exec'd cat, by fork and by vfork; socat EXEC; bash's /dev/tcp."""
    with Lab() as lab:
        before = lab.usage()
        inetd = compiled(lab, "inetd", INETD)
        servers = [lab.client(inetd, 7001, "fork", "/bin/cat"), lab.client(inetd, 7002, "vfork", "/bin/cat"),
                   lab.client("socat", "TCP4-LISTEN:7003,fork,reuseaddr", "EXEC:/bin/cat"),
                   lab.client(inetd, 7006, "fork", "/bin/sh", "-c", "while read -r word; do echo $word; done"),
                   lab.client(inetd, 7007, "vfork", "/usr/bin/sed", "-u", ""),
                   lab.client("socat", "TCP4-LISTEN:7004,fork,reuseaddr", "EXEC:/bin/cat,nofork")]
        for port in range(7001, 7005):
            served(lab, port)
            echo(lab, port)
        # Programs that know streams only, and answer line by line.
        for port in (7006, 7007):
            served(lab, port)
            lab.exec("python3", "-c", LINES, port)
        check(all(server.poll() is None for server in servers), "a server ended")
        # The last copy was the exec'd program's: its end is the connection's.
        talk = f"exec 3<>/dev/tcp/{STACK}/7001; echo hello >&3; head -1 <&3"
        got = lab.exec("bash", "-c", talk).stdout
        check(got == "hello\n", f"a line through cat came back as {got!r}")
        lab.spawn(["socat", f"TCP4-LISTEN:7005,bind={HOST},fork,reuseaddr", "EXEC:/bin/cat"])
        until("the kernel's socat", lambda: ":7005" in lab.exec("ss", "-ltn").stdout)
        got = lab.iopkt("run", "--", "bash", "-c", f"exec 3<>/dev/tcp/{HOST}/7005; echo hello >&3; head -1 <&3").stdout
        check(got == "hello\n", f"bash on the stack got {got!r}")
        for server in servers:
            lab.stop(server)
        nobody_left(lab, before)
        return "80 connections of 20 kB"


ACTIVATOR = """
import os, socket, struct, sys
listener = socket.socket(); listener.bind(("0.0.0.0", 80)); listener.listen(64)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 7, 500000))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
os.dup2(listener.fileno(), 20); os.dup2(20, 3); os.close(20)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
ACTIVATED = """
import os, socket, struct, threading
assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
listener = socket.socket(fileno=3)
assert listener.getsockname() == ("0.0.0.0", 80) and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16) == struct.pack("ll", 7, 500000)
assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 3)
def echo(c):
    while data := c.recv(65536): c.sendall(data)
    c.close()
while True: threading.Thread(target=echo, args=(listener.accept()[0],)).start()
"""
PASSER = """
import array, os, select, socket, sys
# One process accepts; workers, programs of their own, get each connection over a unix socket.
workers = []
for i in range(2):
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        os.dup2(theirs.fileno(), 0); os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
    theirs.close(); workers.append(ours)
listener = socket.socket(); listener.bind(("0.0.0.0", 80)); listener.listen(64)
turn = 0
while True:
    connection, _ = listener.accept()
    # Some of it is read here, the rest there.
    first = connection.recv(100)
    worker = workers[turn % 2]; turn += 1
    worker.sendmsg([len(first).to_bytes(1, "little") + first], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
    connection.close()
"""
WORKER = """
import socket
channel = socket.socket(fileno=0)
while True:
    message, (control,), _, _ = channel.recvmsg(101, socket.CMSG_SPACE(4))
    if len(message) < 1 + message[0]: message += channel.recv(1 + message[0] - len(message))
    connection = socket.socket(fileno=int.from_bytes(control[2], "little"))
    assert connection.family == socket.AF_INET and connection.getpeername()[0] == %r
    data = message[1:]
    while data:
        connection.sendall(data); data = connection.recv(65536)
    connection.close()
"""


def socket_activation():
    """A listener handed over exec as LISTEN_FDS has it; who passed it on is gone."""
    with Lab() as lab:
        before = lab.usage()
        server = lab.client("python3", "-c", ACTIVATOR, ACTIVATED)
        served(lab, 80)
        echo(lab, 80, 100)
        check(server.poll() is None, "the server ended")
        lab.stop(server)
        nobody_left(lab, before)
        return "100 connections"


STRANGER = """
import array, os, socket, sys
ours, theirs = socket.socketpair()
if os.fork() == 0:
    os.setgid(65534); os.setuid(65534); os.dup2(theirs.fileno(), 0)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
theirs.close()
s = socket.socket(); s.bind(("0.0.0.0", 0))
ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))])
print(ours.recv(100).decode())
"""
# The kernel knows it as a unix socket; were it one of the stack's here, it would be of the other family.
RECEIVER = """
import socket
channel = socket.socket(fileno=0)
_, ((_, _, control),), _, _ = channel.recvmsg(1, socket.CMSG_SPACE(4))
given = socket.socket(fileno=int.from_bytes(control, "little"))
maps = open("/proc/self/maps").read()
channel.send(f"{given.family.name} {'io-pkt-' in maps}".encode())
"""


def scm_rights():
    """Connections accepted here and served there, each passed over a unix socket; another user's program gets no memory with it."""
    with Lab() as lab:
        before = lab.usage()
        server = lab.client("python3", "-c", PASSER, WORKER % HOST)
        served(lab, 80)
        echo(lab, 80, 100)
        # Three clients at most: whoever is given sockets uses the giver's memory.
        said = lab.table("clients")
        check(len(said) <= 3, said)
        lab.stop(server)
        # An ordinary user must be able to read the library.
        library = shutil.copy(BIN / "libiopkt_preload.so", lab.dir)
        os.chmod(library, 0o755)
        got = lab.exec("env", f"LD_PRELOAD={library}", "/usr/bin/python3", "-c", STRANGER, RECEIVER).stdout
        check(got == "AF_UNIX False\n", f"another user's program has {got!r}")
        got = lab.exec("env", f"LD_PRELOAD={library}", "/usr/bin/python3", "-c", STRANGER.replace("65534", "0"), RECEIVER).stdout
        check(got == "AF_INET True\n", f"the same user's program has {got!r}")
        nobody_left(lab, before)
        return "100 connections of 20 kB through 2 workers"


PREFORK = """
import os, socket
listener = socket.socket(); listener.bind(("0.0.0.0", 80)); listener.listen(64)
for i in range(4):
    if os.fork() == 0:
        while True:
            connection, _ = listener.accept()
            served = connection.recv(65536)
            while served:
                connection.sendall(served); served = connection.recv(65536)
            connection.close()
os.waitpid(-1, 0)
"""


def prefork():
    """Four children accept at one listener; one is killed, the others go on."""
    with Lab() as lab:
        before = lab.usage()
        server = lab.client("python3", "-c", PREFORK)
        served(lab, 80)
        echo(lab, 80, 200, 5000)
        children = children_of(lab, server)
        check(len(children) == 4, children)
        os.kill(children[0], signal.SIGSTOP)
        os.kill(children[1], signal.SIGKILL)
        os.kill(children[0], signal.SIGKILL)
        echo(lab, 80, 100, 5000)
        for pid in children[2:]:
            os.kill(pid, signal.SIGKILL)
        lab.stop(server)
        nobody_left(lab, before)
        return "300 connections"


def children_of(lab, parent):
    """Process ids of a client's children."""
    return [int(pid) for pid in lab.exec("ps", "-o", "pid=", "--ppid", parent.pid).stdout.split()]


def nginx_reload():
    """nginx with two workers: reloads, and the upgrade of the binary (exec with the listener), while wrk asks: no request fails."""
    seconds = 4 if QUICK else 8
    with Lab() as lab:
        before = lab.usage()
        (lab.dir / "www").mkdir()
        (lab.dir / "www").chmod(0o755)
        (lab.dir / "www" / "page").write_bytes(b"x" * 1000)
        conf = lab.dir / "nginx.conf"
        conf.write_text(f"""
daemon on; env LD_PRELOAD; env IOPKT_RUN; worker_processes 2; pid {lab.dir}/nginx.pid; error_log {lab.dir}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 100000; client_body_temp_path {lab.dir}/body; proxy_temp_path {lab.dir}/proxy;
    fastcgi_temp_path {lab.dir}/fastcgi; uwsgi_temp_path {lab.dir}/uwsgi; scgi_temp_path {lab.dir}/scgi;
    server {{ listen 80 backlog=512; root {lab.dir}/www; }}
}}
""")
        # Only one that has left its parent lets its binary be changed; it clears what `env` does not name.
        lab.iopkt("run", "--", shutil.which("nginx"), "-p", lab.dir, "-c", conf, "-e", lab.dir / "nginx-error.log", stdin=subprocess.DEVNULL)
        url = f"http://{STACK}/page"
        until("nginx", lambda: lab.curl(url, ok=False).returncode == 0)
        try:
            return reloaded(lab, url, seconds, before)
        finally:
            for pid in lab.exec("pgrep", "-f", f"nginx.*{conf}", ok=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)


def reloaded(lab, url, seconds, before):
    log = lab.dir / "wrk.log"
    wrk = lab.spawn(["wrk", "-t", 1, "-c", 20, "-d", f"{seconds}s", "--timeout", "10s", "-H", "Connection: close", url], log=log)
    pid = lambda: int((lab.dir / "nginx.pid").read_text())
    reloads = 0
    while wrk.poll() is None and reloads < seconds - 2:
        time.sleep(0.8)
        os.kill(pid(), signal.SIGHUP)
        reloads += 1
    old = pid()
    os.kill(old, signal.SIGUSR2)
    until("the new binary", lambda: (lab.dir / "nginx.pid.oldbin").exists() and (lab.dir / "nginx.pid").exists() and pid() != old)
    time.sleep(0.3)
    os.kill(old, signal.SIGQUIT)
    wrk.wait(seconds + 20)
    said = log.read_text()
    check("Socket errors" not in said and "Non-2xx" not in said, said)
    made = int(re.search(r"(\d+) requests in", said).group(1))
    check(made > 100, said)
    until("the old master is gone", lambda: not os.path.exists(f"/proc/{old}"), 20)
    lab.curl(url)
    os.kill(pid(), signal.SIGTERM)
    until("nginx is gone", lambda: not (lab.dir / "nginx.pid").exists(), 20)
    nobody_left(lab, before)
    return f"{made} requests over {reloads} reloads and an upgrade"


def haproxy_reload():
    """haproxy re-executes itself at each reload and gets its listener from the old process: no request fails."""
    seconds = 3 if QUICK else 5
    with Lab() as lab:
        before = lab.usage()
        conf = lab.dir / "haproxy.cfg"
        conf.write_text(f"""
global
    stats socket {lab.dir}/haproxy.sock level admin expose-fd listeners
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend front
    bind 0.0.0.0:80
    http-request return status 200 content-type text/plain string "hello"
""")
        server = lab.client("haproxy", "-W", "-f", conf, log=lab.dir / "haproxy.log")
        url = f"http://{STACK}/"
        until("haproxy", lambda: lab.curl(url, ok=False).returncode == 0)
        log = lab.dir / "wrk.log"
        wrk = lab.spawn(["wrk", "-t", 1, "-c", 10, "-d", f"{seconds}s", "--timeout", "10s", "-H", "Connection: close", url], log=log)
        for _ in range(seconds - 1):
            time.sleep(0.8)
            os.kill(server.pid, signal.SIGUSR2)
        wrk.wait(seconds + 20)
        said = log.read_text()
        check("Socket errors" not in said and "Non-2xx" not in said, said)
        reloads = (lab.dir / "haproxy.log").read_text().count("Reloading HAProxy")
        check(reloads == seconds - 1, f"{reloads} reloads of {seconds - 1}")
        lab.curl(url)
        lab.stop(server)
        nobody_left(lab, before)
        return f"{re.search(r'([0-9]+) requests in', said).group(1)} requests over {reloads} reloads"


CLOSER = """
import os, resource, socket, sys
listener = socket.socket(); listener.bind(("0.0.0.0", 80)); listener.listen(64)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
def closes_all(how):
    keep = listener.fileno()
    if how == "range":
        os.closerange(3, keep); os.closerange(keep + 1, limit)
    elif how == "loop":
        for fd in range(3, limit):
            if fd != keep:
                try: os.close(fd)
                except OSError: pass
    else:
        import ctypes; libc = ctypes.CDLL(None, use_errno=True)
        for fd in range(3, 5000):
            if fd not in (keep, 2000): libc.dup2(0, fd)
        libc.close_range(keep + 1, 0xffffffff, 0)
for how in ("range", "loop", "dup2"):
    closes_all(how)
    connection, _ = listener.accept()
    while data := connection.recv(65536): connection.sendall(data)
    connection.close()
    again = socket.socket(); again.bind(("0.0.0.0", 0)); again.listen(1)
    # Where descriptors have been closed, low numbers are free.
    assert again.fileno() < 32, again.fileno()
    again.close()
print("served", flush=True)
"""


def closefrom():
    """A program that closes every descriptor it can count to, in four ways, goes on serving."""
    with Lab() as lab:
        before = lab.usage()
        log = lab.dir / "closer.log"
        for limit in (1024, 20_000):
            server = lab.client("prlimit", f"--nofile={limit}", "python3", "-c", CLOSER, log=log)
            served(lab, 80)
            echo(lab, 80, 3)
            server.wait(10)
            check(log.read_text() == "served\n", log.read_text())
        nobody_left(lab, before)
        return "limits of 1024 and 20000 descriptors"


HOARDER = """
import errno, os, socket, sys, time
held = []
while True:
    try: held.append(socket.socket())
    except OSError as error: print(errno.errorcode[error.errno], len(held), flush=True); break
# The descriptor that is left, and thirty that are not.
path, turned_away, doors = os.environ["IOPKT_RUN"] + "/dev/socket", 0, []
for _ in range(31):
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); door.settimeout(0.2); door.connect(path); doors.append(door)
    # Nobody's answer: ENFILE.
    try: turned_away += door.recv(16) == bytes([0, 1, 2 * errno.ENFILE])
    except TimeoutError: pass
print(turned_away, flush=True)
time.sleep(60)
"""


def daemon_without_descriptors():
    """A daemon that may open no more descriptors says so, sleeps meanwhile, and serves on when some are free."""
    with Lab() as lab:
        log = lab.dir / "hoarder.log"
        pid, room = lab.pid(), 40
        most = len(os.listdir(f"/proc/{pid}/fd")) + room
        run("prlimit", "--pid", pid, f"--nofile={most}:{most}")
        ticks = lambda: sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        hoarder = lab.client("python3", "-c", HOARDER, log=log)
        said = until("everything is taken", lambda: len(log.read_text().split("\n")) == 3 and log.read_text().split(), 20)
        check(said[0] == "EMFILE" and 0 < int(said[1]) < room and int(said[2]) >= 28, said)
        before = ticks()
        time.sleep(1)
        busy = (ticks() - before) / os.sysconf("SC_CLK_TCK")
        check(busy < 0.2, f"the daemon is busy {busy:.0%} of the time")
        late = ("python3", "-c", "import socket; socket.socket()")
        # Whether the request or the refusal comes first is chance.
        for _ in range(10):
            told = lab.iopkt("run", "--", *late, ok=False)
            check(told.returncode != 0 and "no descriptor left" in told.stderr and "prlimit" in told.stderr, told.stderr)
            told = lab.exec("env", f"LD_PRELOAD={BIN}/libiopkt_preload.so", *late, ok=False).stderr
            check("Too many open files in system" in told and "start one" not in told, told)
        lab.stop(hoarder, signal.SIGKILL)
        until("a new socket", lambda: lab.iopkt("run", "--", "python3", "-c", "import socket; socket.socket()", ok=False).returncode == 0)
        return f"{said[0]} after {said[1]} sockets, {said[2]} connections turned away, {busy:.0%} of a core"


SHORT = """
import errno, os, resource, select, socket
listener = socket.socket(); listener.bind(("0.0.0.0", 80)); listener.listen(5); listener.settimeout(10)
print("ready", flush=True)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
select.select([listener], [], [], 10)
free = os.dup(0); os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
for what in (listener.accept, socket.socket):
    try: what(); print("not refused", flush=True)
    except OSError as error: print(errno.errorcode[error.errno], flush=True)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
connection, peer = listener.accept()
connection.sendall(connection.recv(100)); print("served", flush=True)
socket.socket()
"""


def client_without_descriptors():
    """A client that may open no more descriptors is told so; the connection it could not accept goes on waiting."""
    with Lab() as lab:
        log = lab.dir / "short.log"
        short = lab.client("python3", "-c", SHORT, log=log)
        until("the listener", lambda: "ready" in log.read_text())
        talk = f"exec 3<>/dev/tcp/{STACK}/80; echo hello >&3; head -1 <&3"
        got = lab.exec("bash", "-c", talk, timeout=30).stdout
        short.wait(10)
        said = log.read_text().split()
        check(got == "hello\n" and short.returncode == 0, f"the peer got {got!r}; {said}")
        check(said == ["ready", "EMFILE", "EMFILE", "served"], said)
        return "EMFILE twice, then the same connection served"


SHARERS = """
import array, os, random, select, signal, socket, sys, time
# Processes that share sockets in every way: forked, exec'd, and passed one. Each echoes and passes on.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(); listener.bind(("0.0.0.0", 80)); listener.listen(256)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); theirs.setblocking(False); ours.setblocking(False)
def start(exec_):
    if os.fork() == 0:
        # As programs of their own they know no more than their descriptors.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if exec_:
            os.dup2(listener.fileno(), 10); os.dup2(ours.fileno(), 11); os.dup2(theirs.fileno(), 12)
            os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
        exec(sys.argv[1], {})
for fd, number in ((listener, 10), (ours, 11), (theirs, 12)): os.dup2(fd.fileno(), number)
while True:
    with open("/proc/self/task/%d/children" % os.getpid()) as children: missing = 6 - len(children.read().split())
    for _ in range(missing): start(random.random() < 0.5)
    time.sleep(0.02)
"""
SHARER = """
import array, os, random, select, signal, socket
listener, give, take = socket.socket(fileno=10), socket.socket(fileno=11), socket.socket(fileno=12)
listener.setblocking(False)
open_ = {}
while True:
    try:
        for s in select.select([listener, take, *open_.values()], [], [], 1)[0]:
            if s is listener: c, _ = listener.accept(); c.setblocking(False); open_[c.fileno()] = c
            elif s is take:
                m, control, _, _ = take.recvmsg(10, socket.CMSG_SPACE(4))
                c = socket.socket(fileno=int.from_bytes(control[0][2], "little")); open_[c.fileno()] = c
            else:
                data = s.recv(30000)
                if data: s.setblocking(True); s.settimeout(2); s.sendall(data); s.setblocking(False)
                if data and random.random() < 0.5:
                    give.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))]); data = b""
                if not data: del open_[s.fileno()]; s.close()
    except OSError: pass
"""
CALLERS = f"""
import os, random, socket, threading, time
ok = [0]
def call():
    while True:
        try:
            s = socket.create_connection(("{STACK}", 80), timeout=2)
            for _ in range(8):
                data = os.urandom(random.randrange(1, 20000)); s.sendall(data); got = b""
                while len(got) < len(data):
                    part = s.recv(65536)
                    if not part: break
                    got += part
                # A process that was killed takes bytes along; none may come from elsewhere.
                if not data.startswith(got): print("other bytes", flush=True)
                if len(got) < len(data): break
                ok[0] += 1
            s.close()
        except OSError: time.sleep(0.01)
for _ in range(8): threading.Thread(target=call).start()
while True: time.sleep(0.5); print(ok[0], flush=True)
"""


def kill_sharers():
    """200 processes killed that share sockets over fork, exec and unix sockets: nothing is lost, no byte is another's."""
    count = 40 if QUICK else 200
    with Lab() as lab:
        before = lab.usage()
        server = lab.client("python3", "-c", SHARERS, SHARER)
        served(lab, 80)
        log = lab.dir / "callers.log"
        callers = lab.spawn(["python3", "-c", CALLERS], log=log)
        rng, killed = random.Random(7), 0
        while killed < count:
            children = children_of(lab, server)
            if children:
                os.kill(rng.choice(children), signal.SIGKILL)
                killed += 1
            check(server.poll() is None, "the server ended")
            time.sleep(rng.uniform(0.0, 0.08))
        said = until("echoes", lambda: [line for line in log.read_text().split("\n") if line])
        check("other bytes" not in said, "a connection got another's bytes")
        check(int(said[-1]) > count, f"only {said[-1]} echoes over {killed} kills")
        lab.stop(callers, signal.SIGKILL)
        lab.stop(server, signal.SIGKILL)
        for pid in lab.exec("pgrep", "-f", "listener, give, take", ok=False).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        nobody_left(lab, before)
        until("buffers are back", lambda: lab.usage()["mbufs"] <= before["mbufs"] + 8, 30)
        violations = lab.metric("iopkt_client_violations_total")
        check(violations == 0, f"{violations} violations")
        return f"{killed} kills, {said[-1]} echoes; before {before}, after {lab.usage()}"
