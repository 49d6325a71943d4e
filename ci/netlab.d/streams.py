"""Streams that protocol modules bring: between programs of this machine in C, and from a module of Rust to itself."""
import hashlib
import os
import subprocess
import time

from families import FamilyLab
from lab import ROOT, check, run, until
from modules import SDK

# A family of streams alone.
DATAGRAMS = """
import errno, socket
try:
    socket.socket(61, socket.SOCK_DGRAM)
except OSError as error:
    print(errno.errorcode[error.errno])
"""

# A peer of a module's that waits when the program begins to listen.
WAITED = """
import ctypes, socket
s = socket.socket(62, socket.SOCK_STREAM)
s.listen(1)
# Python's own knows no addresses of the family.
c = socket.socket(62, socket.SOCK_STREAM, 0, fileno=ctypes.CDLL(None).accept(s.fileno(), None, None))
c.settimeout(10)
c.sendall(b"text")
print(c.recv(10).decode())
"""


class StreamLab(FamilyLab):
    """A lab with modules that bring streams, and a program that uses them, unmodified and with the library's own calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", SDK / "include", "-I", ROOT / "stack/include",
            "-o", self.modules / "lsm-pipe.so", ROOT / "stack/template/stream.c")
        self.programs = {native: self.build_client(native, "stream_client.c") for native in (True, False)}
        self.logs = 0

    def begin(self, what, port, native=False, **kwargs):
        """A program, and what it says."""
        self.logs += 1
        log = self.dir / f"{what}-{self.logs}.log"
        process = self.spawn([*self.programs[native], what, port], log=log, **kwargs)
        return process, log

    def said(self, process, log, words=None, code=0, patience=20):
        process.wait(patience)
        text = log.read_text()
        check(process.returncode == code and (words is None or words in text), f"{process.returncode}: {text}")
        return text

    def listening(self, what, port, **kwargs):
        process, log = self.begin(what, port, **kwargs)
        until("it listens", lambda: "ready" in log.read_text() or process.poll() is not None)
        check(process.poll() is None, log.read_text())
        return process, log

    def streams(self):
        """All that the daemon has, by state."""
        return sorted(row["state"] for row in self.table("netstat", "-a") if row["protocol"] == "module")


def bytes_arrive(lab, port, native):
    text = os.urandom(8 << 20)
    (lab.dir / "text").write_bytes(text)
    sink, log = lab.listening("sink", port, native=native)
    with open(lab.dir / "text", "rb") as source:
        there = lab.begin("source", port, native=not native, stdin=source)
    lab.said(*there, words=f"{len(text)}\n")
    sink.wait(20)
    check(hashlib.sha256(log.read_bytes().removeprefix(b"ready\n")).digest() == hashlib.sha256(text).digest(), "other bytes have arrived")


def who_does_not_read_is_not_sent_to(lab, port):
    """Until he reads: then all of it is there, also what was sent before the other end closed."""
    stall, log = lab.listening("stall", port, stdin=subprocess.PIPE)
    flood, sent = lab.begin("flood", port, stdin=subprocess.PIPE)
    until("there is no room", lambda: sent.read_text() or flood.poll() is not None)
    count = int(sent.read_text())
    check(100_000 < count < 8 << 20, f"{count} bytes had room")
    flood.communicate(b"\n")
    lab.said(flood, sent)
    check(lab.streams() == ["CONNECTED", "CONNECTED", "LISTEN"], lab.streams())
    stall.communicate(b"\n")
    lab.said(stall, log, words=f"{count}\n")
    return count


def ends(lab, port):
    """Whoever goes on sending to somebody who has closed, was killed or is not there is told so."""
    for what in ("drop", "stall"):
        there, _ = lab.listening(what, port, stdin=subprocess.PIPE)
        pour = lab.begin("pour", port)
        if what == "stall":
            until("they are connected", lambda: lab.streams().count("CONNECTED") == 2)
            there.kill()
        said = lab.said(*pour, code=1)
        check("Connection reset" in said or "Broken pipe" in said, said)
        if what == "drop":
            there.communicate(b"\n")
    lab.said(*lab.begin("source", port), words="Connection refused", code=1)
    until("nothing is left", lambda: lab.streams() == [])


def module_streams():
    """Streams of modules: 8 MiB each way, no room, ends of all kinds, ioctl; unloaded or failed, the programs are told."""
    with StreamLab(args=["-t", "2"]) as lab:
        lab.said(*lab.begin("source", 5), words="not supported", code=1)
        # What the C library keeps of two modules' threads at a time is there already.
        lab.mount(lab.modules / "lsm-pipe.so")
        lab.settled()
        lab.iopkt("umount", "pipe")
        before = lab.resources()
        lab.mount(lab.modules / "lsm-pipe.so")
        check("ESOCKTNOSUPPORT" in lab.iopkt("run", "--", "python3", "-c", DATAGRAMS).stdout, "datagrams of the family")
        for native in (True, False):
            bytes_arrive(lab, 5, native)
        count = who_does_not_read_is_not_sent_to(lab, 6)
        ends(lab, 7)
        lab.mount("faulty")
        lab.said(*lab.begin("echo", 1), words=f"{8 << 20}\n")
        lab.said(*lab.begin("echo", 1, native=True), words=f"{8 << 20}\n")
        waited = lab.iopkt("run", "--", "python3", "-c", WAITED, ok=False)
        check(waited.stdout == "text\n", waited.stderr)
        # Unloaded, and failed: who waits in accept, recv or send is told at once.
        accept = lab.listening("accept", 8)
        wait = lab.listening("wait", 8)
        stall = lab.listening("stall", 9, stdin=subprocess.PIPE)
        pour = lab.listening("pour", 9)
        until("there is no room", lambda: lab.streams() == ["CONNECTED"] * 4 + ["LISTEN"] * 2)
        time.sleep(0.2)
        lab.iopkt("umount", "pipe")
        for told in (accept, wait, pour):
            lab.said(*told, words="Network is down", code=1)
        stall[0].communicate(b"\n")
        lab.said(*stall, words="Network is down", code=1)
        check(not lab.is_loaded("pipe"), "the module is still loaded")
        lab.iopkt("umount", "faulty")
        lab.mount("faulty", "fail=stream")
        lab.said(*lab.begin("echo", 1), words="Network is down", code=1)
        lab.iopkt("umount", "faulty")
        until("nothing is left", lambda: lab.streams() == [])
        lab.nothing_grew(before)
        return f"8 MiB four times with equal sha256; {count} bytes before who does not read; told of each end"
