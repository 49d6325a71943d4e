"""Driver modules: loaded, mounted, destroyed, broken; in Rust and in C."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import struct
import tempfile
import threading
import time

from lab import BIN, IFACE, ROOT, STACK, Lab, check, run, until

SDK = ROOT / "pmd-drivers"
QUICK = "--quick" in os.sys.argv


def build_c(source, to):
    """As a stranger would: the compiler, the header, the source."""
    run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", SDK / "include", "-o", to, source)
    return to


def build_rust(folder):
    """As a stranger would: the template copied out of the tree, and cargo."""
    shutil.copytree(SDK / "template/rust", folder)
    manifest = folder / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("../../devnp-sdk", str(SDK / "devnp-sdk")))
    env = {k: v for k, v in os.environ.items() if k != "CARGO_TARGET_DIR"}
    run("cargo", "build", "-q", "--offline", cwd=folder, env=env, timeout=300)
    return folder / "target/debug/libdevnp_mirror.so"


def modules_into(folder):
    """All modules under their names, in a directory that a daemon trusts."""
    folder.mkdir(mode=0o755)
    for crate in ("devnp_pair", "devnp_sim", "faulty_module"):
        name = {"faulty_module": "faulty"}.get(crate, crate.removeprefix("devnp_"))
        shutil.copy(BIN / f"lib{crate}.so", folder / f"devnp-{name}.so")
    build_c(SDK / "devnp-ktap/devnp-ktap.c", folder / "devnp-ktap.so")
    build_c(SDK / "template/driver.c", folder / "devnp-example.so")
    return folder


class ModuleLab(Lab):
    """A lab whose daemon finds the modules."""

    def __init__(self, args_more=(), **kwargs):
        self.modules = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-modules-"))
        self.modules.chmod(0o755)
        modules_into(self.modules / "so")
        super().__init__(args=["--module-path", self.modules / "so", *args_more], **kwargs)

    def start_daemon_that_ends(self):
        self.log = self.dir / "io-pkt.ends.log"
        self.daemon = self.spawn([BIN / "io-pkt", *self.drivers, *self.args], log=self.log)
        self.daemon.wait(10)

    def mount(self, driver, *options, ok=True):
        words = [word for option in options for word in ("-o", option)]
        return self.iopkt("mount", "-T", "io-pkt", *words, driver, ok=ok)

    def close(self):
        super().close()
        shutil.rmtree(self.modules, ignore_errors=True)

    def resources(self):
        """What must not grow: descriptors, mappings, threads, packet buffers."""
        pid = self.pid()
        proc = pathlib.Path(f"/proc/{pid}")
        return {
            "descriptors": len(os.listdir(proc / "fd")),
            "maps": len((proc / "maps").read_text().splitlines()),
            "threads": len(os.listdir(proc / "task")),
            "mbufs": self.table("status")["daemon"]["mbufs_used"],
        }


@contextlib.contextmanager
def meanwhile(what):
    """Does it again and again beside what happens inside; counts."""
    count, stop, failed = [0], threading.Event(), []

    def work():
        while what and not stop.is_set():
            try:
                what()
                count[0] += 1
            except Exception as error:  # told by the case's own thread
                failed.append(error)
                return

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield count
    finally:
        stop.set()
        worker.join()
    if failed:
        raise failed[0]
    check(not what or count[0] > 0, "nothing was mounted meanwhile")


def ping(lab, to, count, interval="0.002"):
    """A ping in the background; `lost` waits for it."""
    log = lab.dir / f"ping.{time.monotonic_ns()}.log"
    return lab.spawn(["ping", "-q", "-W", 1, "-c", count, "-i", interval, to], log=log), log


def lost(process, log):
    process.wait(120)
    said = re.search(r"(\d+) packets transmitted, (\d+) received", log.read_text())
    check(said, f"ping said: {log.read_text()[-300:]}")
    return int(said.group(1)) - int(said.group(2))


def module_ping():
    """Interfaces of modules talk: over a pair in one daemon, through sim, and a C module to the kernel."""
    with ModuleLab(drivers=["-d", "ktap", f"iface={IFACE},address={STACK}/24"]) as lab:
        got = lab.exec("ping", "-q", "-c", 200, "-i", "0.002", STACK).stdout
        check("200 received" in got, got[-200:])
        (lab.dir / "page").write_bytes(os.urandom(3 << 20))
        lab.serve(lab.dir)
        here = lab.exec("sha256sum", lab.dir / "page").stdout[:64]
        there = lab.exec("bash", "-o", "pipefail", "-c", f"curl -fsS --noproxy '*' http://{STACK}/page | sha256sum").stdout[:64]
        check(here == there, "the page differs")
        names = lab.mount("pair").stdout.split()
        check(names == ["pair0", "pair1"], names)
        # One station on each end: an ARP answer has crossed the wire and come back.
        lab.iopkt("ifconfig", "pair0", "198.18.90.1/24")
        lab.iopkt("ifconfig", "pair1", "198.18.91.1/24")
        rows = {row["name"]: row for row in lab.table("ifconfig", "-a")}
        check(rows["pair0"]["running"] and rows["pair1"]["running"], "the wire has no carrier")
        check(rows["pair1"]["rx_packets"] >= 1, f"pair1 has heard nothing of pair0's announcement: {rows['pair1']}")
        names = lab.mount("sim", "lower=net_tap,iface=iop9,loss=20,seed=5,address=198.18.92.2/24").stdout.split()
        check(names == ["sim0"], names)
        lab.ip("addr", "add", "198.18.92.1/24", "dev", "iop9")
        lab.ip("link", "set", "iop9", "up")
        process, log = ping(lab, "198.18.92.2", 500)
        gone = lost(process, log)
        # Lost on either way: 1 - 0.8^2.
        check(120 <= gone <= 240, f"{gone} of 500 lost, 180 expected")
        names = lab.mount(build_rust(lab.modules / "mirror"), "address=198.18.95.1/24").stdout.split()
        check(names == ["mirror0"], names)
        mirrored = lambda: {row["name"]: row for row in lab.table("ifconfig", "-a")}["mirror0"]
        until("the mirror gives back what it is sent", lambda: mirrored()["rx_packets"] >= 1 and mirrored()["tx_packets"] >= 1)
        rows = {row["name"]: row for row in lab.table("modules")}
        check(rows["ktap"]["abi"] == 1 and rows["ktap"]["threading"] == "queue", rows)
        check(rows["sim"]["interfaces"] == ["sim0"], rows)
        check("ktap" in lab.iopkt("modules").stdout, "iopkt modules")
        lab.iopkt("umount", rows["pair"]["path"])
        left = {row["name"] for row in lab.table("ifconfig", "-a")}
        check("sim0" in left and not {"pair0", "pair1"} & left, left)
        return f"C module with checksums left to the kernel, pair, sim lost {gone} of 500"


def mounts(lab, rounds):
    """A net_tap and both ends of a pair come and go."""
    for _ in range(rounds):
        lab.mount("net_tap", "iface=iop8,address=198.18.93.2/24")
        names = lab.mount("pair").stdout.split()
        lab.iopkt("ifconfig", names[0], "destroy")
        lab.iopkt("umount", names[1])
        lab.iopkt("ifconfig", "tap1", "destroy")


def loaded_mounts(lab):
    """Mounts under iperf3: nothing is lost on the interface, nor a datagram at a rate that holds without them."""
    seconds = 2 if QUICK else 4
    frames = lambda what: int(lab.exec("cat", f"/sys/class/net/{IFACE}/statistics/tx_{what}").stdout)
    counter = lambda what: {c["name"]: c["value"] for c in lab.table("nicinfo", "tap0")[0]["counters"]}[what]
    lab.client("iperf3", "-4", "-s", log=lab.dir / "iperf3.log")
    until("iperf3", lambda: lab.exec("iperf3", "-c", STACK, "-n", "1K", ok=False).returncode == 0)

    def datagrams(rate, seconds, busy=None):
        with meanwhile(busy):
            said = lab.iperf3(STACK, "-u", "-l", 1200, "-b", f"{rate}M", "-t", seconds)
        return said["end"]["sum"]["lost_packets"], said["end"]["sum"]["packets"]

    # Half of what arrives whole: what the machine does besides is not on trial.
    rate = next((rate for rate in (40, 20, 10) if datagrams(rate, 1)[0] == 0), None)
    check(rate, "datagrams are lost without mounts at any rate")
    rate //= 2
    before = {"kernel": frames("dropped"), "missed": counter("rx_missed"), "buffers": counter("rx_failed_allocs")}
    gone, sent = datagrams(rate, seconds, lambda: mounts(lab, 1))
    check(gone == 0 and sent > 0, f"{gone} of {sent} datagrams lost at {rate} Mbit/s")
    with meanwhile(lambda: mounts(lab, 1)) as count:
        said = lab.iperf3(STACK, "-t", seconds)
    idle = [each["sum"]["bytes"] for each in said["intervals"] if each["sum"]["bytes"] == 0]
    check(not idle, "TCP stood still for a second")
    until("all frames are taken", lambda: counter("rxed_ok") == frames("packets"))
    after = {"kernel": frames("dropped"), "missed": counter("rx_missed"), "buffers": counter("rx_failed_allocs")}
    check(after == before, f"lost on the interface: {before} {after}")
    return f"0 of {sent} datagrams lost at {rate} Mbit/s, TCP {said['end']['sum_received']['bits_per_second'] / 1e6:.0f} Mbit/s, {count[0]} mounts of tap and pair meanwhile"


def module_mount():
    """Mounting and destroying under traffic: nothing lost elsewhere, and after 1000 times nothing left behind."""
    rounds = 50 if QUICK else 1000
    with ModuleLab() as lab:
        maps = lambda: (pathlib.Path(f"/proc/{lab.pid()}") / "maps").read_text()
        pmds = lambda: set(re.findall(r"librte_(?:net|crypto|event|raw|dma|regex)_\w+", maps()))
        check(pmds() == {"librte_net_tap"}, f"drivers nobody asked for: {pmds()}")
        lab.mount("null")
        check(pmds() == {"librte_net_tap", "librte_net_null"}, f"drivers: {pmds()}")
        lab.iopkt("umount", "null0")
        lab.exec("ping", "-c", 3, "-i", "0.01", STACK)
        process, log = ping(lab, STACK, 1500)
        mounts(lab, 5)
        gone = lost(process, log)
        check(gone == 0, f"{gone} of 1500 pings lost on the other interface")
        check("devnp-pair" not in maps(), "the module is still loaded")
        loaded = loaded_mounts(lab)
        before = lab.resources()
        script = (f"for i in $(seq {rounds}); do {BIN}/iopkt mount -o lower=pair,delay=1 sim >/dev/null || exit 1; "
                  f"{BIN}/iopkt ifconfig sim0 destroy && {BIN}/iopkt ifconfig pair1 destroy || exit 1; done")
        started = time.monotonic()
        done = lab.exec("bash", "-c", script, timeout=300, ok=False)
        check(done.returncode == 0, done.stderr[-300:])
        took = time.monotonic() - started
        until("the buffers are back", lambda: lab.resources()["mbufs"] <= before["mbufs"] + 64)
        after = lab.resources()
        grown = {key: (before[key], after[key]) for key in ("descriptors", "maps", "threads") if after[key] > before[key] + 2}
        check(not grown, f"after {rounds} rounds: {grown}")
        check([row["name"] for row in lab.table("ifconfig", "-a")] == ["lo0", "tap0"], "interfaces left")
        return f"0 of 1500 pings lost; {loaded}; {rounds} rounds in {took:.1f} s: {after}"


def given_up(lab, late, release):
    """A module that does not come back from open: who mounts it is told, it is not mounted again, and is closed when it comes back."""
    late.wait(60)
    said = (lab.dir / "late.log").read_text()
    check(late.returncode == 1 and "late has not opened within 10 s and is given up; " in said, f"one that hangs: {said}")
    said = lab.mount("late", ok=False)
    check(said.returncode == 1 and "late of before has not ended yet; " in said.stderr, said.stderr)
    release.touch()
    until("what opens too late is closed", lambda: lab.table("modules") == [])


# Runs while the linker makes the module part of the daemon.
INITIALISER = """
#include <unistd.h>
static void __attribute__((constructor)) wait_for_it(void)
{
	while (access("%s", F_OK))
		usleep(10000);
}
"""


def module_faults():
    """Wrong, cut, untrusted and failing modules: a named error each, the daemon as before, ping uninterrupted."""
    with ModuleLab() as lab:
        so = lab.modules / "so"
        whole = (so / "devnp-example.so").read_bytes()
        # Further copies of a template, each wrong in one place of its table: magic, ABI version, size.
        at = whole.find(struct.pack("<II", 0x706E7664, 1))
        check(at > 0, "the template has no table")
        for name, place, value in (("magic", 0, 1), ("abi", 4, 2), ("size", 8, 16), ("kind", 12, 9), ("threads", 16, 7)):
            wrong = bytearray(whole)
            wrong[at + place:at + place + 4] = struct.pack("<I", value)
            (so / f"devnp-{name}.so").write_bytes(wrong)
        (so / "devnp-cut.so").write_bytes(whole[:len(whole) // 2])
        (so / "devnp-text.so").write_text("no module\n")
        empty = lab.dir / "empty.c"
        empty.write_text("int nothing;\n")
        run("cc", "-shared", "-fPIC", "-o", so / "devnp-empty.so", empty)
        unresolved = lab.dir / "unresolved.c"
        unresolved.write_text("extern int nobody_has_this(void); int f(void) { return nobody_has_this(); }\n")
        run("cc", "-shared", "-fPIC", "-Wl,-z,now", "-o", so / "devnp-unresolved.so", unresolved)
        (so / "devnp-open.so").write_bytes(whole)
        (so / "devnp-open.so").chmod(0o666)
        (so / "devnp-theirs.so").write_bytes(whole)
        os.chown(so / "devnp-theirs.so", 65534, 65534)
        shared = lab.modules / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        shutil.copy(so / "devnp-example.so", shared / "devnp-example.so")
        wanted = {
            "magic": "magic number", "abi": "ABI version is 2, not 1", "size": "size of its table", "kind": "kind is 9",
            "threads": "threading is 7", "cut": "cut short", "text": "cut short", "empty": "exports no devnp_module",
            "unresolved": "undefined symbol: nobody_has_this", "open": "writable by others", "theirs": "belongs to uid 65534",
            str(shared / "devnp-example.so"): "writable by others", "/nowhere/devnp-x.so": "No such file",
        }
        # DPDK's drivers stay loaded.
        lab.mount("null")
        lab.iopkt("umount", "null0")
        # Two modules open at once below: what the C library keeps of two threads is there already.
        release = lab.modules / "first"
        first = lab.spawn([BIN / "iopkt", "mount", "-o", f"hang={release}", "faulty"])
        until("it opens", lambda: [row["state"] for row in lab.table("modules")] == ["opening"])
        check(lab.mount("faulty").stdout.split() == ["faulty0"], "another one meanwhile")
        release.touch()
        check(first.wait(30) == 0, "one that takes its time")
        for name in "faulty0", "faulty1":
            lab.iopkt("umount", name)
        before = lab.resources()
        # One that does not come back from open: who mounts it hears that in time, and all that follows goes on meanwhile.
        release = lab.modules / "release"
        shutil.copy(so / "devnp-faulty.so", so / "devnp-late.so")
        late = lab.spawn([BIN / "iopkt", "mount", "-o", f"hang={release}", "late"], log=lab.dir / "late.log")
        until("it opens", lambda: [(row["name"], row["state"]) for row in lab.table("modules")] == [("late", "opening")])
        process, log = ping(lab, STACK, 1500)
        for name, words in wanted.items():
            said = lab.mount(name, ok=False)
            check(said.returncode == 1 and words in said.stderr and ";" in said.stderr, f"{name}: {said.stderr}")
        for options, words in (("fail", "Input/output error"), ("panic=open", "Input/output error"), ("panic=start", "did not start"), ("colour=red", "no option colour")):
            said = lab.mount("faulty", options, ok=False)
            check(said.returncode == 1 and words in said.stderr, f"{options}: {said.stderr}")
        lab.mount("faulty", "block=1000")
        os.mkfifo(so / "devnp-pipe.so")
        for endless in ("/dev/zero", "pipe"):  # a module is loaded: files are compared with it
            said = lab.mount(endless, ok=False)
            check(said.returncode == 1 and "not a file" in said.stderr, f"{endless}: {said.stderr}")
        lab.iopkt("umount", "faulty0")
        check(lab.mount("faulty", "panic=close").returncode == 0, "mount")
        lab.iopkt("umount", "faulty0")
        lab.mount("faulty", "gone")
        until("an unplugged device leaves", lambda: len(lab.table("ifconfig", "-a")) == 2)
        check(lost(process, log) == 0, "pings were lost meanwhile")
        said = lab.mount("sim", ok=False)
        check("lower=" in said.stderr, said.stderr)
        said = lab.mount("null", "address=300.1.1.1/24", ok=False)
        check(said.returncode == 1 and "not an address" in said.stderr, said.stderr)
        said = lab.mount("null", f"address={STACK}/24", ok=False)
        check(said.returncode == 1 and "null0: address" in said.stderr, said.stderr)
        lab.iopkt("umount", "null0")
        given_up(lab, late, release)
        check("has opened too late and is closed again" in lab.log.read_text(), "the log is silent about it")
        check(lab.mount("late").stdout.split() == ["faulty0"], "its name is not free")
        lab.iopkt("umount", "faulty0")
        grown = lambda: {k: (before[k], v) for k, v in lab.resources().items() if k != "mbufs" and v > before[k] + 2}
        maps = (pathlib.Path(f"/proc/{lab.pid()}") / "maps").read_text()
        check("/devnp-" not in maps, f"still loaded: {set(re.findall('devnp-.*', maps))}")
        check(not grown(), f"left behind: {grown()}")
        # One whose initialiser hangs: the linker is its own meanwhile, but what is loaded can go.
        source, release = lab.modules / "stuck.c", lab.modules / "loaded"
        source.write_text(f'#include "{SDK}/template/driver.c"\n' + INITIALISER % release)
        build_c(source, so / "devnp-stuck.so")
        lab.mount("faulty")
        stuck = lab.spawn([BIN / "iopkt", "mount", "stuck"])
        until("it is loaded", lambda: ("stuck", "opening") in [(row["name"], row["state"]) for row in lab.table("modules")])
        lab.iopkt("umount", "faulty0")
        lab.echoes(STACK, 1)
        release.touch()
        check(stuck.wait(30) == 0, "one that takes its time to load")
        lab.iopkt("umount", "example0")
        until("what could not be taken out then is gone", lambda: "devnp-faulty" not in (pathlib.Path(f"/proc/{lab.pid()}") / "maps").read_text())
        rounds = 50 if QUICK else 1000
        process, log = ping(lab, STACK, 1500, "0.005")
        lab.mount("faulty", "panic=rx")
        again = f"for i in $(seq 50); do until {BIN}/iopkt ifconfig faulty0 up 2>/dev/null; do :; done; done"
        while lab.table("modules")[0]["failures"] < rounds:
            lab.exec("bash", "-c", again, timeout=100)
        until("it is down", lambda: lab.table("modules")[0]["state"] == "failed")
        row = {row["name"]: row for row in lab.table("ifconfig", "-a")}["faulty0"]
        check(not row["up"] and not row["running"], row)
        check(lost(process, log) == 0, "pings were lost meanwhile")
        lab.iopkt("ifconfig", "faulty0", "destroy")
        # A panic with a packet in hand.
        lab.mount("faulty", "panic=tx,address=198.18.94.1/24")
        until("it is down", lambda: lab.table("modules")[0]["state"] == "failed")
        lab.iopkt("ifconfig", "faulty0", "destroy")
        lab.exec("ping", "-c", 3, "-i", "0.01", STACK)
        until("the packets in hand are back", lambda: lab.resources()["mbufs"] <= before["mbufs"] + 64)
        lab.stop(lab.daemon)
        # Another instance, which its number names.
        lab.env["SOCK"] = "/io-pkt3"
        lab.drivers = ["-d", "net_null", "-i", "3"]
        lab.start_daemon(up=False)
        del lab.env["SOCK"]
        names = lab.iopkt("mount", "-T", "io-pkt3", "pair").stdout.split()
        check(names == ["pair0", "pair1"], names)
        return f"{len(wanted) + 4} refusals by name, {rounds} panics, 0 of 3000 pings lost"


def module_crash():
    """SIGSEGV, sent or by a module that uses up its stack, stops the ports and is reported; with -S it is the system's."""
    with ModuleLab() as lab:
        mark = lab.dir / "stopped"
        lab.mount("faulty", f"stopped={mark}")
        pid = lab.pid()
        os.kill(pid, signal.SIGSEGV)
        check(lab.daemon.wait(10) == -signal.SIGABRT, f"the daemon ended with {lab.daemon.returncode}")
        check(mark.read_text() == "stopped\n", "panic_stop was not called, or more than once")
        report = next(line for line in lab.log.read_text().splitlines() if "SIGSEGV" in line)
        wanted = rf"io-pkt: SIGSEGV sent by process {os.getpid()}, in /.*\+0x[0-9a-f]+, thread io-pkt: 1 port\(s\) stopped by their modules, aborting"
        check(re.fullmatch(wanted, report), report)
        lab.drivers = ["-d", "faulty", f"overflow,stopped={mark}"]
        lab.start_daemon_that_ends()
        check(lab.daemon.returncode == -signal.SIGABRT, f"the daemon ended with {lab.daemon.returncode}")
        report = next(line for line in lab.log.read_text().splitlines() if "SIGSEGV" in line)
        check("/devnp-faulty.so+0x" in report and "SIGSEGV at address 0x" in report and "thread rte-worker-1" in report, report)
        check(mark.read_text() == "stopped\n", "panic_stop was not called")
        lab.drivers = ["-d", "net_null", "-S"]
        lab.start_daemon(up=False)
        os.kill(lab.pid(), signal.SIGSEGV)
        check(lab.daemon.wait(10) == -signal.SIGSEGV, f"with -S the daemon ended with {lab.daemon.returncode}")
        check("SIGSEGV" not in lab.log.read_text(), "with -S it has reported")
        return report


# What a program asks drivers by ioctl(): struct ifdrv with so many bytes of data, and what has become of it.
DRIVER_ASKS = r"""
import ctypes, fcntl, socket, struct
GET, SET, COM = 0xc028697b, 0x4028697b, 0xc02869f0
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def ask(request, name, command, data):
    space = ctypes.create_string_buffer(data, max(len(data), 1))
    asked = bytearray(struct.pack("16sLLP", name, command, len(data), ctypes.addressof(space)))
    try:
        fcntl.ioctl(s, request, asked)
    except OSError as error:
        return error.strerror
    return struct.unpack("16sLLP", asked)[2], space.raw
print(ask(GET, b"faulty0", 4, bytes(11)), ask(SET, b"faulty0", 4, b"same"), sep="; ")
for what in ((GET, b"faulty0", 3, b""), (GET, b"nobody0", 4, b""), (COM, b"faulty0", 3, b""), (GET, b"faulty0", 4, bytes(5000))):
    print(ask(*what))
length, stats = ask(COM, b"faulty0", 2, bytes(500))
words = struct.unpack_from("31Q", stats)
print(length, words[12], words[0] >> 11 & 3)
length, config = ask(COM, b"faulty0", 1, bytes(52))
print(length, config.split(b"\0")[0].decode(), config[32:38].hex())
"""


def module_control():
    """ifconfig lladdr, promisc, allmulti, drvspec and nicinfo reach the driver; counters of failures are published."""
    with ModuleLab(args_more=["--metrics", "127.0.0.1:9478"]) as lab:
        row = lambda name="tap0": {r["name"]: r for r in lab.table("ifconfig", "-a")}[name]
        nic = lambda name: lab.table("nicinfo", name)[0]
        counter = lambda name, what: {c["name"]: c["value"] for c in nic(name)["counters"]}.get(what)
        # The address changes under a connection, and the kernel hears of it at once.
        process, log = ping(lab, STACK, 500)
        lab.iopkt("ifconfig", "tap0", "lladdr", "02:00:00:00:12:34")
        check(lost(process, log) <= 5, "the neighbour was not told of the new address")
        check(row()["mac"] == "02:00:00:00:12:34" and "02:00:00:00:12:34" in lab.ip("neigh").stdout, lab.ip("neigh").stdout)
        refused = lab.iopkt("ifconfig", "tap0", "lladdr", "03:00:00:00:00:01", ok=False)
        check(refused.returncode == 1 and "one station" in refused.stderr, refused.stderr)
        frames = lambda: int(lab.exec("cat", f"/sys/class/net/{IFACE}/statistics/tx_packets").stdout)
        until("the counters agree with the kernel's", lambda: counter("tap0", "rxed_ok") == frames())
        check(nic("tap0")["driver"] == "net_tap" and nic("tap0")["link"], nic("tap0"))
        lab.mount("faulty")
        told = lambda: lab.iopkt("ifconfig", "faulty0", "drvspec", 1, "and").stdout.strip()
        for words, wanted in (("lladdr 02:00:00:00:00:07", "mac 7"), ("promisc", "promiscuous true"), ("-promisc", "promiscuous false"), ("-allmulti", "allmulticast false")):
            lab.iopkt("ifconfig", "faulty0", *words.split())
            check(told() == f"and: {wanted}", told())
        lab.iopkt("ifconfig", "faulty0", "promisc")
        check(row("faulty0")["promiscuous"] and not row("faulty0")["all_multicast"], row("faulty0"))
        check("PROMISC" in lab.iopkt("ifconfig", "faulty0").stdout, "ifconfig")
        for command, words in ((2, "Message too long"), (3, "not supported"), ("x", "NUMBER")):
            said = lab.iopkt("ifconfig", "faulty0", "drvspec", command, ok=False)
            check(said.returncode != 0 and words in said.stderr, said.stderr)
        check(counter("faulty0", "fcs_errors") == 3 and counter("faulty0", "align_errors") is None, nic("faulty0"))
        check("not supported" in lab.iopkt("ifconfig", "tap0", "drvspec", 1, ok=False).stderr, "drvspec of a DPDK driver")
        said = lab.iopkt("run", "--", "python3", "-c", DRIVER_ASKS).stdout.splitlines()
        check(said[0] == "(16, b'promiscuous'); (4, b'same')", said)
        check(said[1:5] == ["Operation not supported", "No such device or address", "Invalid argument", "Message too long"], said)
        check(said[5] == "248 3 1" and re.fullmatch("52 .*faulty.* 020000000007", said[6]), said)
        # Another name, also for what answers just now; the driver's next interface gets neither.
        for name, new in (("tap0", "lan0"), ("faulty0", "faulty1")):
            lab.iopkt("ifconfig", name, "name", new)
            check(nic(new)["interface"] == new and lab.iopkt("nicinfo", name, ok=False).returncode == 1, new)
        lab.echoes(STACK, 1)
        check("lan0" in lab.iopkt("route", "show").stdout and lab.metric("iopkt_interface_up", '"lan0"') == 1, "it is called tap0")
        check("has that name" in lab.iopkt("ifconfig", "lan0", "name", "faulty1", ok=False).stderr, "two of one name")
        check(lab.mount("faulty").stdout.split()[-1] == "faulty2", "the driver has given out a name twice")
        for name in "faulty2", "faulty1":
            lab.iopkt("umount", name)
        lab.iopkt("ifconfig", "lan0", "name", "tap0")
        lab.mount("faulty", "panic=rx")
        failures = lambda: lab.metric("iopkt_module_failures_total", 'module="faulty"')
        until("the failure is published", lambda: failures() == 1 and lab.metric("iopkt_module_interfaces_failed") == 1)
        lab.iopkt("umount", "faulty0")
        check(failures() == 1 and lab.metric("iopkt_module_interfaces", 'module="faulty"') == 0, "the failure is forgotten with its interface")
        check("panic: asked to, in rx_burst at ci/faulty-module/src/lib.rs:" in lab.log.read_text(), "where the panic was")
        # Every option of io-pkt's drivers is honoured or noted.
        plain = "mac=020000000055,mtu=1400,name=en,unit=7,promiscuous,nomulticast,speed=100,duplex=1,verbose=2,priority=21"
        noted = "irq=5,ioport=0x300,media=3,mru=1500,did=0x100e,vid=0x8086,pci=0,memrange=0xd0000000:4096"
        check(lab.mount("net_tap", f"iface=iop7,{plain},{noted}").stdout.split() == ["en7"], "name= and unit=")
        check((row("en7")["mac"], row("en7")["mtu"], row("en7")["promiscuous"], row("en7")["all_multicast"]) == ("02:00:00:00:00:55", 1400, True, False), row("en7"))
        check(" mtu 1400 " in lab.ip("link", "show", "iop7").stdout, "the kernel's end has another MTU")
        quiet = [option for option in noted.split(",") if f"en7: {option} is ignored" not in lab.log.read_text()]
        check(not quiet, f"ignored without a word: {quiet}")
        lab.iopkt("umount", "en7")
        for options, words in (("mtu=10", "not an MTU from 68 to 65535"), ("irq", "needs a value"), ("mac=1", "not the MAC address"), ("=1", "has no name")):
            said = lab.mount("net_tap", options, ok=False)
            check(said.returncode == 1 and words in said.stderr, f"{options}: {said.stderr}")
        said = lab.mount(str(lab.modules), ok=False)
        check("is no module: a directory; name the file in it" in said.stderr and said.stderr.count(str(lab.modules)) == 1, said.stderr)
        # sim's settings change while frames pass.
        lab.mount("sim", "lower=net_tap,iface=iop9,address=198.18.92.2/24")
        lab.ip("addr", "add", "198.18.92.1/24", "dev", "iop9")
        lab.ip("link", "set", "iop9", "up")
        check(lost(*ping(lab, "198.18.92.2", 100)) == 0, "lost without a loss")
        check(lab.iopkt("ifconfig", "sim0", "drvspec", 1, "loss=100").stdout.startswith("loss=100,"), "drvspec")
        check(lost(*ping(lab, "198.18.92.2", 100)) == 100, "arrived with a loss of 100 percent")
        lab.iopkt("ifconfig", "sim0", "drvspec", 1, "loss=0")
        check(lost(*ping(lab, "198.18.92.2", 100)) == 0, "lost without a loss")
        return "address, receive modes, commands, counters, metrics"
