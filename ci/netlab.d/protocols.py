"""Protocol modules: loaded, filtering, answering, failing, gone; in Rust and in C."""
import os
import pathlib
import re
import shutil
import struct
import tempfile
import time

from lab import BIN, HOST6, IFACE, QUICK, ROOT, STACK, STACK6, Lab, check, run, until
from modules import SDK, given_up, lost, ping

TEMPLATE = ROOT / "stack/template"

# The kernel's side: so many frames of an EtherType, or packets of protocol 253, out; how many come back the same?
FRAMES = """
import os, socket, sys
kind, mac, count = int(sys.argv[1], 16), bytes.fromhex(sys.argv[2].replace(":", "")), int(sys.argv[3])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
s.bind((sys.argv[4], kind))
s.settimeout(2)
mine, back = s.getsockname()[4], 0
for _ in range(count):
    text = os.urandom(100)
    s.send(mac + mine + kind.to_bytes(2, "big") + text)
    try:
        back += s.recv(2000) == mine + mac + kind.to_bytes(2, "big") + text
    except TimeoutError:
        break
print(back)
"""
PACKETS = """
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
s.settimeout(2)
back = 0
for _ in range(int(sys.argv[2])):
    text = os.urandom(int(sys.argv[3]))
    s.sendto(text, (sys.argv[1], 0))
    try:
        back += s.recv(2000)[20:] == text
    except TimeoutError:
        break
print(back)
"""
# As nobody: how many may have a path open, and how many still have after a message that is none.
CROWD = """
import os, socket, sys
os.setuid(65534)
held = []
while len(held) < 100:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    if s.recv(100)[0] != 0:
        break
    held.append(s)
for s in held:
    s.send(b"?" * 100)
print(len(held), sum(len(s.recv(100)) > 0 for s in held))
"""


def build_c(to):
    """As a stranger would: the compiler, the headers, the source."""
    run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", SDK / "include", "-I", ROOT / "stack/include",
        "-o", to, TEMPLATE / "protocol.c")
    return to


def build_rust(folder):
    """As a stranger would: the template copied out of the tree, and cargo."""
    shutil.copytree(TEMPLATE / "rust", folder)
    manifest = folder / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("../../lsm-sdk", str(ROOT / "stack/lsm-sdk")))
    env = {k: v for k, v in os.environ.items() if k != "CARGO_TARGET_DIR"}
    run("cargo", "build", "-q", "--offline", cwd=folder, env=env, timeout=300)
    return folder / "target/debug/liblsm_pong.so"


class ProtocolLab(Lab):
    """A lab whose daemon finds the protocol modules."""

    def __init__(self, **kwargs):
        self.modules = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-protocols-"))
        self.modules.chmod(0o755)
        shutil.copy(BIN / "liblsm_noping.so", self.modules / "lsm-noping.so")
        shutil.copy(BIN / "libfaulty_protocol.so", self.modules / "lsm-faulty.so")
        args = ["--module-path", self.modules, *kwargs.pop("args", [])]
        super().__init__(args=args, **kwargs)

    def mount(self, name, *options, ok=True):
        words = [word for option in options for word in ("-o", option)]
        return self.iopkt("mount", "-T", "io-pkt", *words, name, ok=ok)

    def protocol(self, name):
        """Its row in `iopkt modules`, and its first attachment."""
        row = next(row for row in self.table("modules") if row["name"] == name)
        return row, row["attachments"][0] if row["attachments"] else None

    def frames_back(self, kind, count):
        mac = next(row["mac"] for row in self.table("ifconfig", "-a") if row["name"] == "tap0")
        mac = mac if isinstance(mac, str) else ":".join(f"{byte:02x}" for byte in mac)
        return int(self.exec("python3", "-c", FRAMES, f"{kind:x}", mac, count, IFACE).stdout)

    def packets_back(self, count, length=100):
        return int(self.exec("python3", "-c", PACKETS, STACK, count, length).stdout)

    def tunable(self, name):
        return next((row["value"] for row in self.table("sysctl", "-a") if row["name"] == name), None)

    def is_loaded(self, name):
        return f"lsm-{name}.so" in (pathlib.Path(f"/proc/{self.pid()}") / "maps").read_text()

    def resources(self):
        """What must not grow: descriptors, mappings, threads, packet buffers."""
        proc = pathlib.Path(f"/proc/{self.pid()}")
        return {
            "descriptors": len(os.listdir(proc / "fd")),
            "maps": len((proc / "maps").read_text().splitlines()),
            "threads": len(os.listdir(proc / "task")),
            "mbufs": self.table("status")["daemon"]["mbufs_used"],
        }

    def settled(self, name="faulty"):
        """What there is when memory of threads that are gone, which the C library keeps, is there already."""
        for _ in range(5):
            self.mount(name)
            self.iopkt("umount", name)
        return self.resources()

    def nothing_grew(self, before):
        def grown():
            now = self.resources()
            slack = {"mbufs": 64}
            return {key: (before[key], now[key]) for key in before if now[key] > before[key] + slack.get(key, 2)}
        end = time.monotonic() + 5
        while grown() and time.monotonic() < end:
            time.sleep(0.05)
        check(not grown(), f"left behind: {grown()}")

    def close(self):
        super().close()
        shutil.rmtree(self.modules, ignore_errors=True)


def answered(lab, count):
    """Pings that were answered of `count`."""
    said = lab.exec("ping", "-q", "-c", count, "-i", "0.005", "-W", 1, STACK, ok=False).stdout
    return int(re.search(r"(\d+) received", said).group(1))


def protocol_filter():
    """A module drops echo requests by a filter: ping stops, TCP goes on; unloaded, ping is back."""
    with ProtocolLab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{HOST6}/64", "dev", IFACE, "nodad")
        (lab.dir / "page").write_bytes(os.urandom(1 << 20))
        lab.serve(lab.dir)
        fetch = ["curl", "-fsS", "-o", "/dev/null", "--noproxy", "*", f"http://{STACK}/page"]
        check(answered(lab, 20) == 20, "ping does not work before")
        # IPv6 has filters of its own.
        answered6 = lambda: "20 received" in lab.exec("ping", "-6", "-q", "-c", 20, "-i", "0.005", "-W", 1, STACK6, ok=False).stdout
        check(answered6(), "ping does not work over IPv6 before")
        check(lab.mount("noping").stdout == "noping\n", "mount says something else")
        check(answered(lab, 20) == 0, "ping is answered with the filter")
        lab.exec(*fetch)
        row, filter_ = lab.protocol("noping")
        check(not answered6(), "ping is answered over IPv6 with the filter")
        six_in = next(row for row in lab.protocol("noping")[0]["attachments"] if row["to"] == "inet6 in")
        check(six_in["dropped"] == 20 and six_in["passed"] > 0, six_in)
        check(row["kind"] == "lsm" and row["state"] == "running" and row["abi"] == 1, row)
        check(filter_["to"] == "inet in" and filter_["dropped"] == 20 and filter_["passed"] > 100, row)
        drops = {row["name"]: row["value"] for row in lab.table("netstat", "-s")}
        check(any("filter_input" in name and value == 40 for name, value in drops.items()), drops)
        packets = lambda verdict: lab.metric("iopkt_module_packets_total", f'module="noping",attachment="inet in",interface="",verdict="{verdict}"')
        until("metrics say what was dropped", lambda: packets("dropped") == 20 and packets("passed") > 100)
        loaded = lambda: lab.metric("iopkt_modules", 'kind="protocol",state="running"')
        check(loaded() == 1, "iopkt_modules")
        said = lab.mount("noping", ok=False)
        check(said.returncode == 1 and "loaded already" in said.stderr, said.stderr)
        lab.iopkt("umount", "noping")
        check(not lab.is_loaded("noping"), "the module is still loaded")
        until("metrics know that it is gone", lambda: loaded() == 0 and packets("dropped") == 0)
        check(answered(lab, 20) == 20 and answered6(), "ping does not work afterwards")
        lab.exec(*fetch)
        return "20 of 20 pings dropped and counted, TCP passed, ping back after umount"


def protocol_answers():
    """Frames of an EtherType and packets of an IP protocol come back from modules; their variables and paths."""
    with ProtocolLab(args=["-p", "faulty", "block=1000"]) as lab:
        check(lab.frames_back(0x88B5, 50) == 50, "frames do not come back")
        check(lab.packets_back(50) == 50, "packets do not come back")
        check(lab.tunable("faulty.echoes") == "100", lab.tunable("faulty.echoes"))
        until("metrics have its counter", lambda: lab.metric("iopkt_module_variable", 'module="faulty",variable="echoes"') == 100)
        lab.iopkt("sysctl", "faulty.limit=64")
        check(lab.packets_back(1, 100) == 0 and lab.packets_back(1, 40) == 1, "the module does not see its limit")
        for wrong, words in (("faulty.limit=1501", "from 0 to 1500"), ("faulty.echoes=1", "only be read"), ("faulty.x=1", "no such")):
            said = lab.iopkt("sysctl", wrong, ok=False)
            check(said.returncode == 1 and words in said.stderr, said.stderr)
        # Its own thread blocks for a second again and again: workers and paths do not care.
        text = "x" * 100_000
        (lab.dir / "text").write_text(text)
        lab.exec("bash", "-c", f"{BIN}/iopkt path write faulty < {lab.dir}/text")
        check(lab.iopkt("path", "read", "faulty").stdout == text, "the path says something else")
        check(lab.iopkt("path", "ioctl", "faulty", 7, "abc").stdout.split()[1:] == ["7", "3"], "ioctl")
        # A user gets so many places and no more; who talks nonsense, or takes no answer, loses theirs.
        got = lab.exec("python3", "-c", CROWD, lab.run_dir / "dev/faulty").stdout
        check(got == "16 0\n", f"a user got {got} places")
        check(lab.iopkt("path", "ioctl", "faulty", 7).returncode == 0, "no place is left for others")
        check(answered(lab, 100) == 100, "pings were lost while the module blocks")
        rows = {row["to"]: row for row in lab.protocol("faulty")[0]["attachments"]}
        check(rows["ethertype 0x88b5"]["consumed"] == 50 and rows["protocol 253"]["consumed"] == 52, rows)
        check(rows["interface in+out"]["passed"] > 200, rows)
        files = {"example": build_c(lab.modules / "lsm-example.so"), "pong": build_rust(lab.modules / "pong")}
        for (name, file), other in zip(files.items(), reversed(files.values())):
            check(lab.mount(file).stdout == f"{name}\n", "mount")
            check(lab.frames_back(0x88B6, 50) == 50, f"{name}: frames do not come back")
            check(lab.tunable(f"{name}.answered") == "50", lab.tunable(f"{name}.answered"))
            said = lab.mount(other, ok=False)
            check(said.returncode == 1 and f"EtherType 0x88b6, which {name} has" in said.stderr, said)
            lab.iopkt("umount", name)
        check(lab.frames_back(0x88B6, 1) == 0, "frames come back from nobody")
        # DPDK's drivers do not say when a link goes and comes; modules are told.
        for way in ("down", "up"):
            before = lab.tunable("faulty.events")
            lab.ip("link", "set", IFACE, way)
            until(f"the module knows that the link is {way}", lambda: lab.tunable("faulty.events") != before, 4)
        # Addresses of both families, when they may be used and when they go.
        for address, last in (("198.18.99.1/24", 32), (f"{HOST6[:-1]}9/64", 128)):
            for way in ("alias", "delete"):
                before = int(lab.tunable("faulty.events"))
                family = ["inet6"] if last == 128 else []
                lab.iopkt("ifconfig", "tap0", *family, address, way)
                until(f"the module knows of {way} {address}", lambda: int(lab.tunable("faulty.events")) > before, 5)
        lab.iopkt("umount", "faulty")
        check(not (lab.run_dir / "dev/faulty").exists(), "its path is still there")
        return "50 frames and 50 packets each way; C and Rust from outside the tree; sysctl and path"


def protocol_filters():
    """Both ways a filter drops, takes and changes packets in place; text in clients' memory goes through unharmed; a tap sees it all."""
    with ProtocolLab() as lab:
        page = lab.dir / "page"
        page.write_bytes(os.urandom(3 << 20))
        lab.serve(lab.dir)
        lab.mount("faulty")
        before = lab.settled("noping")
        seen = int(lab.tunable("faulty.seen"))
        fetch = f"curl -fsS --noproxy '*' http://{STACK}/page | sha256sum"
        lab.iopkt("sysctl", "faulty.ttl=7")
        check(lab.exec("bash", "-c", fetch).stdout[:64] == run("sha256sum", page).stdout[:64], "the page differs")
        check("ttl=7 " in lab.exec("ping", "-c", 1, STACK).stdout, "the filter changes nothing")
        check(answered(lab, 50) == 50, "what was changed does not arrive")
        lab.iopkt("sysctl", "faulty.drop=1")
        check(answered(lab, 20) == 0, "the filter does not drop")
        lab.iopkt("sysctl", "faulty.drop=0")
        lab.iopkt("sysctl", "faulty.take=1")
        check(answered(lab, 20) == 0, "the filter does not take")
        # Packets to ourselves pass both ways.
        lab.iopkt("sysctl", "faulty.take=0")
        lab.iopkt("sysctl", "faulty.drop=6")
        inside = ["curl", "-fsS", "-m", "2", "-o", "/dev/null", "--noproxy", "*", f"http://{STACK}/page"]
        check(lab.iopkt("run", "--", *inside, ok=False).returncode != 0, "TCP to ourselves passes the filter")
        lab.iopkt("sysctl", "faulty.drop=0")
        lab.iopkt("run", "--", *inside)
        rows = {row["to"]: row for row in lab.protocol("faulty")[0]["attachments"]}
        check(rows["inet in+out"]["dropped"] >= 21 and rows["inet in+out"]["consumed"] == 20, rows)
        check(int(lab.tunable("faulty.seen")) - seen > 2000 and rows["tap in+out"]["interface"] == "tap0", rows)
        lab.iopkt("umount", "faulty")
        lab.nothing_grew({**before, "descriptors": before["descriptors"] + 8})
        return f"3 MiB in segments with another TTL, {rows['inet in+out']}"


def protocol_faults():
    """Wrong, cut, untrusted, refusing and panicking modules: a named error each, the daemon as before, ping uninterrupted."""
    with ProtocolLab() as lab:
        whole = build_c(lab.modules / "lsm-example.so").read_bytes()
        at = whole.find(struct.pack("<II", 0x316D736C, 1))
        check(at > 0, "the template has no table")
        for name, place, value in (("magic", 0, 1), ("abi", 4, 2), ("size", 8, 16), ("kind", 12, 9), ("threads", 16, 7)):
            wrong = bytearray(whole)
            wrong[at + place:at + place + 4] = struct.pack("<I", value)
            (lab.modules / f"lsm-{name}.so").write_bytes(wrong)
        # A table that ends where an older header's did is one.
        older = bytearray(whole)
        older[at + 8:at + 12] = struct.pack("<I", 216)
        (lab.modules / "lsm-older.so").write_bytes(older)
        lab.mount("lsm-older")
        lab.iopkt("umount", "example")
        (lab.modules / "lsm-cut.so").write_bytes(whole[:len(whole) // 2])
        (lab.modules / "lsm-open.so").write_bytes(whole)
        (lab.modules / "lsm-open.so").chmod(0o666)
        empty = lab.dir / "empty.c"
        empty.write_text("int nothing;\n")
        run("cc", "-shared", "-fPIC", "-o", lab.modules / "lsm-empty.so", empty)
        wanted = {
            "lsm-magic": "magic number", "lsm-abi": "ABI version is 2, not 1", "lsm-size": "size of its table", "lsm-kind": "kind is 9",
            "lsm-threads": "threading is 7", "lsm-cut": "cut short", "lsm-empty": "exports no lsm_module", "lsm-open": "writable by others",
            "lsm-nothing": "no protocol module", str(lab.modules / "lsm-none.so"): "No such file",
        }
        # Two modules have threads at once below: what the C library keeps of both is there already.
        lab.mount(BIN / "liblsm_noping.so")
        lab.settled()
        lab.iopkt("umount", "noping")
        before = lab.settled()
        # One that does not come back from open: who mounts it hears that in time, and all that follows goes on meanwhile.
        release = lab.modules / "release"
        shutil.copy(lab.modules / "lsm-faulty.so", lab.modules / "lsm-late.so")
        late = lab.spawn([BIN / "iopkt", "mount", "-o", f"hang={release}", "late"], log=lab.dir / "late.log")
        process, log = ping(lab, STACK, 1500)
        for name, words in wanted.items():
            said = lab.mount(name, ok=False)
            check(said.returncode == 1 and words in said.stderr and ";" in said.stderr, f"{name}: {said.stderr}")
        for options, words in (("refuse", "No such device"), ("fail=open", "Input/output error"), ("colour=red", "no option colour")):
            said = lab.mount("faulty", options, ok=False)
            check(said.returncode == 1 and words in said.stderr, f"{options}: {said.stderr}")
        failed = lambda: lab.protocol("faulty")[0]["state"] == "failed" and lab.protocol("faulty")[0]["failures"] == 1
        provoke = {
            "filter": lambda: None, "timer": lambda: None, "work": lambda: None, "receive": lambda: lab.frames_back(0x88B5, 1),
            "event": lambda: lab.iopkt("ifconfig", "tap0", "198.18.99.1/24", "alias"),
            "path": lambda: lab.iopkt("path", "read", "faulty", ok=False),
        }
        for where, act in provoke.items():
            lab.mount("faulty", f"fail={where}")
            act()
            until(f"it fails in {where}", failed)
            lab.iopkt("umount", "faulty")
        failures = lambda: lab.metric("iopkt_module_failures_total", 'module="faulty",kind="protocol"')
        until("failures are published, also of what is unloaded", lambda: failures() == len(provoke))
        check(lost(process, log) == 0, "pings were lost meanwhile")
        for where in ("open", *provoke):
            check(lab.log.read_text().count(f"faulty: panic: asked for in {where} at ci/faulty-protocol/src/lib.rs:") == 1, f"the panic in {where} and its place in the log")
        given_up(lab, late, release)
        check("the protocol faulty has opened too late and is closed again" in lab.log.read_text(), "the log is silent about it")
        lab.mount("late")
        lab.iopkt("umount", "faulty")
        lab.nothing_grew(before)
        # One that never comes back from open does not keep the daemon from ending.
        lab.spawn([BIN / "iopkt", "mount", "-o", "hang", "faulty"])
        until("it opens", lambda: any(row["state"] == "opening" for row in lab.table("modules")))
        started = time.monotonic()
        check(lab.stop(lab.daemon) and lab.daemon.returncode == 0, f"the daemon's end: {lab.daemon.returncode}")
        check(time.monotonic() - started < 5, f"it took {time.monotonic() - started:.1f} s to end")
        return f"{len(wanted) + 3} refusals by name, panics in {len(provoke) + 1} places, 0 of 1500 pings lost"


def protocol_mount():
    """A filter comes and goes a thousand times under traffic: TCP loses nothing, nothing is left behind."""
    rounds = 100 if QUICK else 1000
    with ProtocolLab(args=["-t", "2"]) as lab:
        (lab.dir / "page").write_bytes(os.urandom(1 << 20))
        lab.serve(lab.dir)
        before = lab.settled()
        fetch = f"while [ ! -e {lab.dir}/stop ]; do curl -fsS -o /dev/null --noproxy '*' http://{STACK}/page || exit 1; done"
        traffic = lab.spawn(["bash", "-c", fetch])
        pings = lab.spawn(["ping", "-q", "-i", "0.002", STACK], log=lab.dir / "ping.log")
        started = time.monotonic()
        done = lab.exec("bash", "-c", f"for i in $(seq {rounds}); do {BIN}/iopkt mount noping >/dev/null && {BIN}/iopkt umount noping || exit 1; done",
                        timeout=300, ok=False)
        check(done.returncode == 0, done.stderr[-300:])
        took = time.monotonic() - started
        (lab.dir / "stop").touch()
        check(traffic.wait(60) == 0, "a transfer failed meanwhile")
        lab.stop(pings)
        lab.nothing_grew(before)
        check(not lab.is_loaded("noping"), "the module is still loaded")
        check(answered(lab, 20) == 20, "ping does not work afterwards")
        return f"{rounds} rounds in {took:.1f} s under TCP and ping: {lab.resources()}"
