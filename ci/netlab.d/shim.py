"""Per-packet drivers (devn) through the shim: against the kernel, come and gone, misbehaving."""
import pathlib
import shutil
import struct
import tempfile
import time

from lab import BIN, IFACE, QUICK, ROOT, STACK, Lab, check, random_file, until
from modules import build_c, lost, ping

SDK = ROOT / "pmd-drivers"
# Another kernel interface, for what comes and goes beside the first.
OTHER = "198.18.96"


class ShimLab(Lab):
    """A lab whose daemon finds per-packet drivers."""

    def __init__(self, **kwargs):
        self.modules = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-devn-"))
        self.modules.chmod(0o755)
        build_c(SDK / "devn-tun/devn-tun.c", self.modules / "devn-tun.so")
        super().__init__(args=["--module-path", self.modules, *kwargs.pop("args", [])], **kwargs)

    def mount(self, driver, *options, ok=True):
        return self.iopkt("mount", *(word for option in options for word in ("-o", option)), driver, ok=ok)

    def row(self, name):
        return {row["name"]: row for row in self.table("ifconfig", "-a")}[name]

    def resources(self):
        """What must not grow."""
        proc = pathlib.Path(f"/proc/{self.pid()}")
        return {
            "descriptors": len(list((proc / "fd").iterdir())),
            "maps": len((proc / "maps").read_text().splitlines()),
            "threads": len(list((proc / "task").iterdir())),
            "mbufs": self.table("status")["daemon"]["mbufs_used"],
        }

    def wakeups(self):
        """How often threads of the daemon have gone to sleep."""
        tasks = pathlib.Path(f"/proc/{self.pid()}/task").glob("*/status")
        return sum(int(line.split()[1]) for task in tasks for line in task.read_text().splitlines() if line.startswith("voluntary"))

    def loaded(self, file):
        return str(file) in (pathlib.Path(f"/proc/{self.pid()}") / "maps").read_text()

    def close(self):
        super().close()
        shutil.rmtree(self.modules, ignore_errors=True)


def shim_tun():
    """devn-tun, a driver with a thread of its own: ping, TCP both ways, 100 times destroyed and mounted again."""
    size = (3 if QUICK else 30) << 20
    with ShimLab(drivers=["-d", "tun", f"iface={IFACE},address={STACK}/24"]) as lab:
        row, = lab.table("modules")
        check((row["name"], row["kind"], row["threading"], row["interfaces"]) == ("tun", "devnp-shim", "single", ["tun0"]), row)
        check("devnp-shim" in lab.iopkt("modules").stdout, "iopkt modules")
        check(lab.row("tun0")["driver"] == "devn-tun" and lab.row("tun0")["kernel_interface"] == IFACE, lab.row("tun0"))
        got = lab.exec("ping", "-q", "-c", 200, "-i", "0.002", STACK).stdout
        check("200 received" in got, got[-200:])
        before = lab.wakeups()
        time.sleep(0.5)
        slept = lab.wakeups() - before
        # A worker without a descriptor looks every millisecond, 500 times.
        check(slept < 150, f"{slept} times awake in half a second in which nothing arrives")
        digest = random_file(lab.dir / "page", size)
        lab.serve(lab.dir)
        got = lab.exec("bash", "-o", "pipefail", "-c", f"curl -fsS --noproxy '*' http://{STACK}/page | sha256sum").stdout[:64]
        check(got == digest, "what the kernel got of the stack differs")
        url, _ = lab.serve_from_kernel()
        check(lab.fetched(f"{url}/page") == digest, "what the stack got of the kernel differs")
        nic = lab.table("nicinfo", "tun0")[0]
        counters = {c["name"]: c["value"] for c in nic["counters"]}
        # The kernel asks for our address by broadcast and announces its own by multicast; before its end was up nothing could leave.
        check(nic["driver"] == "devn-tun" and counters["rxed_broadcast"] >= 1 and counters["rxed_multicast"] >= 1, nic)
        check(counters["no_carrier"] >= 1 and counters["internal_tx_errors"] == 0, nic)
        check(counters["rxed_ok"] > size // 1500 and counters["octets_rxed_ok"] > size, nic)
        lab.iopkt("ifconfig", "tun0", "lladdr", "02:00:00:00:00:77")
        lab.echoes(STACK, 3)
        rounds = 20 if QUICK else 100
        file = lab.modules / "devn-tun.so"
        # By name and by path, with a frame or two each way.
        script = (f"for i in $(seq $0); do [ $((i % 2)) = 0 ] && driver=tun || driver={file}; "
                  f"{BIN}/iopkt mount -o iface=iop7,address={OTHER}.2/24 $driver >/dev/null || exit 1; "
                  f"ip addr add {OTHER}.1/24 dev iop7 && ip link set iop7 up && ping -q -c 1 -W 2 {OTHER}.2 >/dev/null || exit 2; "
                  f"{BIN}/iopkt $([ $((i % 3)) = 0 ] && echo umount tun1 || echo ifconfig tun1 destroy) || exit 3; done")
        # What the C library keeps of as many threads as there are in a round is there after the first ones.
        lab.exec("bash", "-c", script, 4)
        before = lab.resources()
        process, log = ping(lab, STACK, 1500)
        done = lab.exec("bash", "-c", script, rounds, timeout=120, ok=False)
        check(done.returncode == 0, f"round ended with {done.returncode}: {done.stderr[-300:]}")
        check(lost(process, log) == 0, "pings of the other interface were lost")
        until("the buffers are back", lambda: lab.resources()["mbufs"] <= before["mbufs"] + 64)
        after = lab.resources()
        grown = {key: (before[key], after[key]) for key in ("descriptors", "maps", "threads") if after[key] > before[key] + 2}
        check(not grown, f"after {rounds} rounds: {grown}")
        # The kernel's end is deleted under the driver.
        lab.ip("link", "del", IFACE)
        until("an interface whose device is gone leaves", lambda: [row["name"] for row in lab.table("ifconfig", "-a")] == ["lo0"])
        check(not lab.loaded(file) and lab.table("modules") == [], "the driver is still loaded")
        return f"{size >> 20} MiB equal both ways ({counters['rx_missed']} frames dropped at the queue), {rounds} rounds: {after}"


def broken_copies(lab):
    """Files that are no driver, and what io-pkt says of each."""
    whole = (lab.modules / "devn-bad.so").read_bytes()
    at = whole.find(struct.pack("<II", 0x6E766564, 1))
    check(at > 0, "the driver has no table")
    for name, place, value in (("magic", 0, 1), ("abi", 4, 2), ("size", 8, 16), ("kind", 12, 9)):
        wrong = bytearray(whole)
        wrong[at + place:at + place + 4] = struct.pack("<I", value)
        (lab.modules / f"devn-{name}.so").write_bytes(wrong)
    (lab.modules / "devn-cut.so").write_bytes(whole[:len(whole) // 2])
    (lab.modules / "devn-open.so").write_bytes(whole)
    (lab.modules / "devn-open.so").chmod(0o666)
    (lab.dir / "empty.c").write_text("int nothing;\n")
    build_c(lab.dir / "empty.c", lab.modules / "devn-empty.so")
    return {"magic": "magic number", "abi": "ABI version is 2, not 1", "size": "size of its table", "kind": "kind is 9", "cut": "cut short",
            "open": "writable by others", "empty": "exports no devnp_module or devn_driver"}


def shim_faults():
    """Per-packet drivers that are broken or misbehave: refused by name or contained, counted, ping uninterrupted."""
    with ShimLab() as lab:
        faulty = ROOT / "ci/netlab.d/devn_faulty.c"
        build_c(faulty, lab.modules / "devn-bad.so")
        (lab.dir / "single.c").write_text(f'#define SINGLE 1\n#include "{faulty}"\n')
        build_c(lab.dir / "single.c", lab.modules / "devn-single.so")
        wanted = broken_copies(lab)
        # libc keeps the stacks of ended threads for the next ones.
        lab.mount("bad", "threads=8")
        lab.iopkt("umount", "bad0")
        before = lab.resources()
        process, log = ping(lab, STACK, 1000)
        for name, words in wanted.items():
            said = lab.mount(name, ok=False)
            check(said.returncode == 1 and words in said.stderr and ";" in said.stderr, f"{name}: {said.stderr}")
        for options, words in (("fail", "Input/output error"), ("colour=red", "no option colour")):
            said = lab.mount("bad", options, ok=False)
            check(said.returncode == 1 and words in said.stderr, f"{options}: {said.stderr}")
        # What a file exports decides, and of two files of one name the module's comes first.
        shutil.copy(lab.modules / "devn-tun.so", lab.modules / "devnp-renamed.so")
        shutil.copy(lab.modules / "devn-tun.so", lab.modules / "devn-both.so")
        build_c(SDK / "template/driver.c", lab.modules / "devnp-both.so")
        for name, interface, kind in (("renamed", "tun0", "devnp-shim"), ("both", "example0", "devnp"), (lab.modules / "devn-both.so", "tun0", "devnp-shim")):
            check(lab.mount(name).stdout.split() == [interface] and [row["kind"] for row in lab.table("modules")] == [kind], name)
            lab.iopkt("umount", interface)
        build_c(SDK / "template/devn.c", lab.modules / "devn-wire.so")
        check([lab.mount("wire", f"address=198.18.9{n}.1/24").stdout.split() for n in (7, 8)] == [["wire0"], ["wire1"]], "the template's interfaces")
        until("the template's wire carries a frame", lambda: lab.row("wire0")["rx_packets"] >= 1 and lab.row("wire0")["rx_errors"] == 0)
        said = lab.mount("wire", ok=False)
        check(said.returncode == 1 and "Device or resource busy" in said.stderr, said.stderr)
        for interface in ("wire0", "wire1"):
            lab.iopkt("umount", interface)
        lab.mount("single")
        said = lab.mount("single", ok=False)
        check(said.returncode == 1 and "one interface only" in said.stderr, said.stderr)
        lab.iopkt("umount", "bad0")

        def brought(frames, why, *options):
            """The frames that the stack got and those that were dropped, and why; each is one or the other, also by the driver's count."""
            lab.mount("bad", *options)
            counters = lambda: {c["name"]: c["value"] for c in lab.table("nicinfo", "bad0")[0]["counters"]}
            until("each frame is counted", lambda: counters()["rxed_ok"] + counters()[why] == frames)
            got, row = counters(), lab.row("bad0")
            check((got["rxed_ok"], got[why]) == (got["rxed_multicast"], got["rxed_broadcast"]) == (row["rx_packets"], row["rx_errors"]), got)
            lab.iopkt("ifconfig", "bad0", "destroy")
            return got["rxed_ok"], got[why]

        # A worker that stands still gets what the queue holds.
        stalled = brought(5001, "rx_missed", f"stall,flood=5000,address={OTHER}.2/24")
        check(stalled == (1024, 3977), f"{stalled[0]} received, {stalled[1]} dropped")
        taken, full = brought(200001, "rx_missed", "flood=200000")
        check(taken >= 1024, f"{taken} received, {full} dropped")
        many, _ = brought(8 * 5001, "rx_missed", "flood=5000,threads=8")
        check(many >= 1024, f"{many} received of eight threads")
        check(brought(1001, "oversized_packets", "flood=1000,long") == (1, 1000), "frames that are too long")
        check(brought(1001, "short_packets", "flood=1000,short") == (1, 1000), "frames that are too short")
        lab.mount("bad", f"address={OTHER}.2/24")
        check(lab.iopkt("ifconfig", "bad0", "drvspec", 256, "well").stdout == "well!\n", "a command of the driver's own")
        check(lab.iopkt("ifconfig", "bad0", "drvspec", 22, ok=False).returncode == 1, "the daemon's number by hand")
        until("what the driver does not send is counted", lambda: lab.row("bad0")["tx_errors"] >= 1)
        lab.iopkt("umount", "bad0")
        check(not lab.loaded(lab.modules / "devn-bad.so"), "the driver is still loaded")
        until("nothing is left", lambda: all(lab.resources()[key] <= before[key] + 2 for key in ("descriptors", "maps", "threads")))
        # A thread that goes on after close: its frames go nowhere and its code stays.
        lab.mount("bad", "late")
        lab.iopkt("umount", "bad0")
        said = lab.log.read_text()
        check("has not ended its threads: its code stays loaded" in said, "no word about the thread")
        until("a word about its calls", lambda: "which is no open interface: ignored" in lab.log.read_text())
        check(lab.loaded(lab.modules / "devn-bad.so"), "the code that the thread runs is gone")
        lab.mount("bad")
        lab.iopkt("umount", "bad0")
        check(lost(process, log) == 0, "pings were lost meanwhile")
        lab.stop(lab.daemon)
        lab.drivers = ["-d", lab.modules / "devn-tun.so", "iface=iop7", "-d", "tun", "iface=iop8"]
        lab.start_daemon(up=False)
        check(lab.table("modules")[0]["interfaces"] == ["tun0", "tun1"], "by path and by name, two units of one driver")
        return f"{len(wanted) + 4} refusals by name; {stalled[1]} of 5001 frames dropped while the worker stood, {full} of 200001 while it ran"
