"""A kernel host that is a process: user-mode Linux, for what the kernel here has not."""
import json
import os
import pathlib
import select
import shutil
import struct
import subprocess
import sys

from lab import Failed, Skipped, check, run

GUEST = pathlib.Path(__file__).resolve().parent / "uml_guest.py"
# Of what passes its interface the host is to hear what comes in (the type of a packet that goes out is 4).
INCOMING = [(0x20, 0, 0, 0xFFFFF004), (0x15, 1, 0, 4), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)]


class Guest:
    """A host whose network cards are interfaces of a namespace; its files are ours. out0, out1, … are its links."""

    def __init__(self, lab, *interfaces, ns=None):
        linux = shutil.which("linux.uml")
        if not linux:
            raise Skipped("no user-mode Linux: apt-get install user-mode-linux")
        filter = lab.dir / "incoming.bpf"
        filter.write_bytes(b"".join(struct.pack("<HBBI", *step) for step in INCOMING))
        cards = [f"vec{n}:transport=raw,ifname={name},depth=64,bpffile={filter}" for n, name in enumerate(interfaces)]
        xstate = lab.dir / "uml_xstate.so"
        run("gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", xstate, GUEST.with_name("uml_xstate.c"))
        argv = ["env", f"LD_PRELOAD={xstate}", linux, "root=/dev/root", "rootfstype=hostfs", "rw", "mem=96M", "con=null", "con0=fd:0,fd:1", f"uml_dir={lab.dir}", "quiet",
                *cards, f"init={os.path.realpath(sys.executable)}", "--", GUEST]
        self.process = lab.spawn(argv, ns=ns, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        check(self.answer(30)["out"] == "ready", "the guest did not start")

    def answer(self, seconds):
        """What it says next; the kernel's own words are between."""
        out, said = self.process.stdout, []
        while select.select([out], [], [], seconds)[0]:
            line = out.readline().decode(errors="replace")
            if not line:
                break
            if line.startswith("@"):
                return json.loads(line[1:])
            said.append(line)
        raise Failed(f"the guest does not answer: {''.join(said)[-500:]}")

    def run(self, text, ok=True, seconds=30):
        """What a command line prints there."""
        self.process.stdin.write(json.dumps(text).encode() + b"\n")
        self.process.stdin.flush()
        done = self.answer(seconds)
        check(done["code"] == 0 or not ok, f"{text}: {done['err'][-300:]}")
        return done["out"]
