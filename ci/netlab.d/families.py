"""Sockets that protocol modules bring: UDP-Lite beside the kernel's, and a family of a module in C."""
import pathlib
import shutil
import time

from lab import BIN, HOST, IFACE, ROOT, STACK, check, run, until
from modules import SDK
from protocols import ProtocolLab

HERE = pathlib.Path(__file__).resolve().parent
UDPLITE = 136

# Echoes datagrams: arguments are the address and the port. The same program on both stacks.
ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
s.bind((sys.argv[1], int(sys.argv[2])))
assert s.getsockname() == (sys.argv[1], int(sys.argv[2])), s.getsockname()
print("ready", flush=True)
while True:
    text, peer = s.recvfrom(4000)
    s.sendto(text, peer)
"""
# Sends datagrams of many lengths and wants each back; poll, connect, errors.
ASK = """
import errno, os, select, socket, sys
to, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
s.settimeout(3)
for n in range(count):
    text = os.urandom(n % 1400)
    s.sendto(text, to)
    got, peer = s.recvfrom(4000)
    assert got == text and peer == to, (n, len(got), peer)
assert select.select([s], [], [], 0)[0] == []
s.connect(to)
assert s.getpeername() == to
s.send(b"connected")
assert select.select([s], [], [], 3)[0] == [s] and s.recv(100) == b"connected"
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136).bind(s.getsockname())
    raise SystemExit("one port twice")
except OSError as error:
    assert error.errno == errno.EADDRINUSE, error
print(count)
"""
# Of what it receives at least 24 bytes have to be covered; says how many bytes the first such datagram has.
WANTS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
s.setsockopt(136, 11, 3)
assert s.getsockopt(136, 11) == 8
s.setsockopt(136, 11, 24)
assert s.getsockopt(136, 11) == 24
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True: s.sendto(str(len(s.recv(100))).encode(), s.recvfrom(100)[1])
"""
# Sends with less coverage than is wanted, then with enough, then with all; only these are answered.
COVERS = """
import errno, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
s.settimeout(3)
s.connect((sys.argv[1], int(sys.argv[2])))
try:
    s.setsockopt(136, 99, 1)
    raise SystemExit("an option that is none")
except OSError as error:
    assert error.errno == errno.ENOPROTOOPT, error
for coverage, size in ((16, 31), (8, 30), (24, 32), (0, 33)):
    s.setsockopt(136, 10, coverage)
    assert s.getsockopt(136, 10) == coverage
    s.send(bytes(size))
print(s.recv(100).decode())
"""
# The station at the other end of the wire, by the kernel: frames go back with the ports exchanged.
MIRROR = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b6))
s.bind((sys.argv[1], 0x88b6))
mine = s.getsockname()[4]
print("ready", flush=True)
while True:
    frame = s.recv(2000)
    if frame[:6] == mine:
        s.send(frame[6:12] + mine + frame[12:14] + frame[16:18] + frame[14:16] + frame[18:])
"""


def seconds_until(what, condition):
    """A program that is not told waits for ever; a busy machine makes it wait for its turn."""
    started = time.monotonic()
    until(what, condition)
    return time.monotonic() - started


class FamilyLab(ProtocolLab):
    """A lab with modules that bring sockets."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        shutil.copy(BIN / "liblsm_udplite.so", self.modules / "lsm-udplite.so")
        run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", SDK / "include", "-I", ROOT / "stack/include",
            "-o", self.modules / "lsm-link.so", ROOT / "stack/template/family.c")

    def start(self, program, *args, stack=False):
        """A program that says when it is ready."""
        log = self.dir / f"{'stack' if stack else 'kernel'}.log"
        argv = ["python3", "-u", "-c", program, *args]
        process = self.client(*argv, log=log) if stack else self.spawn(argv, log=log)
        until("it is ready", lambda: "ready" in log.read_text() or process.poll() is not None)
        check(process.poll() is None, log.read_text())
        return process

    def build_client(self, native, source="family_client.c"):
        """A program in C: for `iopkt run`, or with the library's own calls."""
        to = self.dir / ("native" if native else "unmodified")
        library = ["-DNATIVE", "-I", ROOT / "ipc/libiopkt/include", f"-L{BIN}", f"-Wl,-rpath,{BIN}", "-liopkt"] if native else []
        run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", to, HERE / source, *library)
        return [to] if native else [BIN / "iopkt", "run", "--", to]

    def dropped(self, reason):
        return sum(row["value"] for row in self.table("netstat", "-s") if reason in row["name"])


def module_sockets():
    """UDP-Lite by a module: unmodified programs talk with the kernel's, both ways, two workers; unloaded, they are told."""
    with FamilyLab(args=["-t", "2"]) as lab:
        refused = lab.iopkt("run", "--", "python3", "-c", ASK, HOST, "7000", "1", ok=False)
        check("OSError" in refused.stderr or "Timeout" in refused.stderr, refused.stderr)
        before = lab.settled()
        lab.mount("udplite")
        kernel = lab.start(ECHO, HOST, "7000")
        check(lab.iopkt("run", "--", "python3", "-c", ASK, HOST, "7000", "1400").stdout == "1400\n", "not all came back")
        echo = lab.start(ECHO, STACK, "7001", stack=True)
        check(lab.exec("python3", "-c", ASK, STACK, "7001", "1400").stdout == "1400\n", "not all came back to the kernel")
        row = next(row for row in lab.protocol("udplite")[0]["attachments"] if row["to"] == f"sockets of family 2 protocol {UDPLITE}")
        check(row["consumed"] >= 2800 and row["passed"] >= 2800 and row["dropped"] == 0, row)
        lab.iopkt("sysctl", "udplite.coverage=8")
        check(lab.iopkt("run", "--", "python3", "-c", ASK, HOST, "7000", "50").stdout == "50\n", "partial coverage")
        # Options of the module's own, beside the kernel's: who wants more covered than is sent gets nothing.
        lab.iopkt("sysctl", "udplite.coverage=0")
        for here, there in ((True, False), (False, True)):
            to = STACK if here else HOST
            wants = lab.start(WANTS, to, "7003", stack=here)
            argv = ["python3", "-c", COVERS, to, "7003"]
            said = lab.iopkt("run", "--", *argv) if there else lab.exec(*argv)
            check(said.stdout == "32\n", said)
            lab.stop(wants)
        # Nobody else's sockets count, and a full queue drops and counts.
        listed = [row for row in lab.table("netstat", "-a") if row["protocol"] == "module"]
        check(len(listed) == 1 and listed[0]["local"].endswith(":7001"), listed)
        deaf = lab.start("import socket,time\ns=socket.socket(2,2,136)\ns.bind(('0.0.0.0',7002))\nprint('ready',flush=True)\ntime.sleep(60)", stack=True)
        flood = f"import socket\ns=socket.socket(2,2,136)\nfor _ in range(3000): s.sendto(b'x'*1000,('{STACK}',7002))"
        until("what does not fit is counted", lambda: lab.exec("python3", "-c", flood) and lab.dropped("module_socket_full") > 100)
        lab.stop(deaf)
        # Unload under the program's feet: it is told at once.
        lab.iopkt("umount", "udplite")
        told = seconds_until("the program has ended", lambda: echo.poll() is not None)
        check("Network is down" in (lab.dir / "stack.log").read_text(), (lab.dir / "stack.log").read_text())
        lab.stop(kernel)
        check(not lab.is_loaded("udplite"), "the module is still loaded")
        lab.nothing_grew(before)
        return f"{row} beside the kernel's UDP-Lite; a full queue counted; told after {told:.2f} s"


def module_family():
    """A family of a module in C, straight over Ethernet: a program with the library's calls and one by `iopkt run`."""
    with FamilyLab() as lab:
        mac = (lab.exec("cat", f"/sys/class/net/{IFACE}/address").stdout).strip()
        index = next(i for i, row in enumerate(lab.table("ifconfig")) if row["name"] == "tap0")
        programs = {native: lab.build_client(native) for native in (True, False)}
        for argv in programs.values():
            said = lab.exec(*argv, mac, index, "9", "1", ok=False)
            check(said.returncode == 1 and "not supported by protocol" in said.stderr, said.stderr)
        before = lab.settled()
        lab.mount(lab.modules / "lsm-link.so")
        mirror = lab.start(MIRROR, IFACE)
        count = 500
        for argv in programs.values():
            check(lab.exec(*argv, mac, index, "9", count).stdout == f"{count}\n", "not all came back")
        row = next(row for row in lab.protocol("link")[0]["attachments"] if row["to"] == "sockets of family 60 protocol 0")
        check(row["consumed"] == row["passed"] and row["passed"] >= 2 * count, row)
        # The module says how many it takes; killed programs leave none.
        crowd = lab.exec(*programs[False], "crowd", ok=False)
        check(crowd.stdout == "64\n", f"{crowd.stdout}{crowd.stderr}")
        killed = lab.spawn([*programs[False], "sleep"])
        until("it has its socket", lambda: any(row["protocol"] == "module" for row in lab.table("netstat", "-a")))
        killed.kill()
        until("its socket is gone", lambda: not any(row["protocol"] == "module" for row in lab.table("netstat", "-a")))
        waiting = lab.spawn([*programs[True], "sleep"], log=lab.dir / "sleep.log")
        until("it waits", lambda: any(row["protocol"] == "module" for row in lab.table("netstat", "-a")))
        time.sleep(0.2)
        lab.iopkt("umount", "link")
        told = seconds_until("the program has ended", lambda: waiting.poll() is not None)
        check(waiting.returncode == 1 and "Network is down" in (lab.dir / "sleep.log").read_text(), (lab.dir / "sleep.log").read_text())
        lab.stop(mirror)
        lab.nothing_grew(before)
        return f"{count} datagrams there and back, natively and by iopkt run; told after {told:.2f} s; {row}"
