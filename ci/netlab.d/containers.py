"""Clients in containers: mount, process, user and network namespaces of their own, none of them the daemon's."""
import os
import signal

from lab import BIN, HOST, STACK, Lab, check, until

# The daemon's folder is at another path, and not where it is outside; then the program, as the container's root.
INSIDE = """
set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/run
mount --bind "$IOPKT_RUN" /mnt/run
mount -t tmpfs tmpfs "$(dirname "$IOPKT_RUN")"
test ! -e "$IOPKT_RUN"
export IOPKT_RUN=/mnt/run HOME=/mnt PYTHONDONTWRITEBYTECODE=1
exec "$@"
"""
# argv: own port, the other's port or 0. Serves echoes; is served by the host, and by the other container over the stack.
PROGRAM = f"""
import os, socket, subprocess, sys, threading, time
own, other = map(int, sys.argv[1:3])
assert os.getuid() == 0 and os.getpid() < 20, (os.getuid(), os.getpid())
s = socket.socket()
try: s.bind(("0.0.0.0", 80)); print("port 80 is root's of any container")
except PermissionError: pass
down = subprocess.run(["{BIN}/iopkt", "ifconfig", "tap0", "down"], capture_output=True, text=True)
if down.returncode == 0: print("any container's root takes an interface down")
l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("0.0.0.0", own)); l.listen(8)
def echo(c):
    while data := c.recv(65536): c.sendall(data)
    c.close()
def serve():
    while True: threading.Thread(target=echo, args=(l.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
def asked(address, port, size=100_000):
    c = socket.create_connection((address, port), timeout=10); data = os.urandom(size)
    threading.Thread(target=c.sendall, args=(data,), daemon=True).start()
    got = b""
    while len(got) < size and (part := c.recv(65536)): got += part
    assert got == data, (address, port, len(got))
    return c
print("serves", flush=True)
held = [asked("{STACK}", other)] if other else []
while True:
    asked("{HOST}", 9000).close()
    print("served", flush=True)
    time.sleep(0.05)
"""
ECHO = f"""
import socket, threading
l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("{HOST}", 9000)); l.listen(8)
def echo(c):
    while data := c.recv(65536): c.sendall(data)
    c.close()
while True: threading.Thread(target=echo, args=(l.accept()[0],), daemon=True).start()
"""


def contained(lab, uid, *argv, log):
    """A program as root of a container that an ordinary user makes."""
    return lab.spawn(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", "unshare", "--user", "--map-root-user", "--mount", "--net",
         "--pid", "--fork", "--kill-child", "--mount-proc", "--", "bash", "-c", INSIDE, "inside", "env", f"LD_PRELOAD={BIN}/libiopkt_preload.so",
         *argv], log=log)


def containers():
    """Two clients in containers of their own, of two users: served, told apart, no more than users; one is killed, the other lives."""
    users, ports = (65533, 65532), (8081, 8082)
    with Lab() as lab:
        before = lab.usage()
        lab.spawn(["python3", "-c", ECHO])
        until("the echo", lambda: ":9000" in lab.exec("ss", "-ltn").stdout)
        logs = [lab.dir / f"container{number}.log" for number in (1, 2)]
        inside = []
        for number, (uid, port, log) in enumerate(zip(users, ports, logs)):
            inside.append(contained(lab, uid, "python3", "-c", PROGRAM, port, 0 if number == 0 else ports[0], log=log))
            until(f"container {number + 1}", lambda: "served" in log.read_text() or inside[-1].poll() is not None)
        said = [set(log.read_text().split("\n")) for log in logs]
        check(all(words == {"serves", "served", ""} for words in said), said)
        rows = lab.table("clients")
        check(sorted(row["uid"] for row in rows) == sorted(users), rows)
        # As this host numbers processes, not as the containers do.
        spaces = [[os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "pid", "user", "net")]
                  for pid in (lab.pid(), *(row["pid"] for row in rows))]
        check(all(len(set(kind)) == 3 for kind in zip(*spaces)), f"namespaces that are shared: {spaces}")
        inside[0].send_signal(signal.SIGKILL)
        until("one is gone", lambda: [row["uid"] for row in lab.table("clients")] == [users[1]])
        count = logs[1].read_text().count("served")
        until("the other is served", lambda: logs[1].read_text().count("served") > count + 5)
        echoes = [log.read_text().count("served") for log in logs]
        check(inside[1].poll() is None, logs[1].read_text()[-500:])
        inside[1].send_signal(signal.SIGKILL)
        until("everything is back", lambda: all(lab.usage()[name] <= before[name] for name in before), 30)
        return f"uids {users}, processes {[row['pid'] for row in rows]}; {echoes} echoes of the host, 100 kB from one to the other; {before} again"
