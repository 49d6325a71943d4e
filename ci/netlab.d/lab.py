"""A namespace with one daemon in it, and the words the cases are written in."""
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
QUICK = "--quick" in sys.argv
HOST, STACK, IFACE = "198.18.77.1", "198.18.77.2", "iop0"
HOST6, STACK6 = "2001:db8:77::1", "2001:db8:77::2"
# All checksums; no joining of streams: a body of a gigabyte is no protocol message.
TSHARK = [arg for proto in ("ip", "tcp", "udp") for arg in ("-o", f"{proto}.check_checksum:TRUE")]
# Nothing above TCP and UDP: tshark's guesses find protocols in random bytes, and faults in those.
TSHARK += ["-o", "tcp.desegment_tcp_streams:FALSE", "-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data"]


class Failed(Exception):
    """A case found what should not be."""


class Skipped(Exception):
    """A case can't run here; the text says why."""


def check(ok, what):
    if not ok:
        raise Failed(what)


def run(*argv, timeout=60, ok=True, **kwargs):
    """Runs a command to its end and returns it; a failure ends the case unless ok=False."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, **kwargs)
    if ok and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))} gave {done.returncode}: {done.stderr.strip()[-500:]}")
    return done


def until(what, condition, seconds=10.0):
    """Waits until the condition holds and returns its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise Failed(f"{what}: not within {seconds} s")


class Lab:
    """A namespace with one daemon, and everything that was started in it."""

    # Also for labs in threads of their own.
    numbers = itertools.count(1)

    def __init__(self, drivers=None, args=(), capture=False, up=True, env=None, bin=BIN):
        self.ns = f"iopkt{os.getpid()}n{next(Lab.numbers)}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-lab-"))
        self.dir.chmod(0o755)
        self.run_dir = self.dir / "run"
        self.env = {**os.environ, "IOPKT_RUN": str(self.run_dir), "NO_COLOR": "1", **(env or {})}
        self.bin = bin
        self.processes = []
        # Until then a server of iperf3 may be busy with the end of a test.
        self.iperf3_closing = 0
        self.drivers = drivers or ["-d", "net_tap", f"iface={IFACE},address={STACK}/24"]
        # IOPKT_LAB_ARGS=--no-huge runs every case on ordinary pages.
        self.args = [*args, *os.environ.get("IOPKT_LAB_ARGS", "").split()]
        self.daemon = None
        self.tcpdump = None
        self.spaces = []
        try:
            self.add_namespace(self.ns)
            self.start_daemon(capture, up)
            self.lay()
        except BaseException:
            # Nobody else can: there is no lab to leave yet.
            self.close()
            raise

    def add_namespace(self, name):
        run("ip", "netns", "add", name)
        self.spaces.append(name)
        self.ip("link", "set", "lo", "up", ns=name)

    def lay(self):
        """What a lab has beside the daemon and its wire."""

    def add_host(self, name, iface, *addresses):
        """A kernel host in a namespace of its own, at the other end of one of the daemon's taps."""
        self.add_namespace(name)
        self.ip("link", "set", iface, "netns", name)
        self.give(iface, *addresses, ns=name)
        return name

    def give(self, iface, *addresses, ns=None):
        """The kernel's interface is up and has these addresses, at once."""
        self.ip("link", "set", iface, "up", ns=ns)
        for address in addresses:
            self.ip("addr", "add", address, "dev", iface, *(["nodad"] if ":" in address else []), ns=ns)

    def start_daemon(self, capture=False, up=True):
        self.log = self.dir / f"io-pkt.{time.monotonic_ns()}.log"
        started = time.monotonic()
        self.daemon = self.spawn([self.bin / "io-pkt", *self.drivers, *self.args], log=self.log, cwd=self.dir)
        until("the daemon's start", lambda: self.iopkt("status", ok=False).returncode == 0 or self.ended())
        self.start_seconds = time.monotonic() - started
        if up:
            self.bring_up()
        if capture:
            self.capture()

    def bring_up(self):
        self.ip("addr", "add", f"{HOST}/24", "dev", IFACE)
        self.ip("link", "set", IFACE, "up")

    def ended(self):
        if self.daemon.poll() is not None:
            raise Failed(f"the daemon ended: {self.log.read_text()[-800:]}")
        return False

    def capture(self, *expression):
        self.pcap = self.dir / "tap.pcap"
        self.tcpdump = self.spawn(
            ["tcpdump", "-i", IFACE, "-w", self.pcap, "-B", "65536", "-U", "-n", "--immediate-mode", *expression],
            log=self.dir / "tcpdump.log")
        until("tcpdump's start", lambda: "listening" in (self.dir / "tcpdump.log").read_text())

    def judge(self, but=""):
        """tshark finds no malformed packet and no wrong checksum in what tcpdump saw, but for what is excused."""
        time.sleep(0.3)
        self.stop(self.tcpdump, signal.SIGINT)
        said = (self.dir / "tcpdump.log").read_text()
        dropped = re.search(r"(\d+) packets dropped by kernel", said)
        count = int(re.search(r"(\d+) packets captured", said).group(1))
        check(count > 0, "tcpdump saw nothing")
        # The kernel's own frames are not on trial (it writes a TCP checksum of 0 as 0xffff).
        bad = (f"!(ip.src == {HOST} || ipv6.src == {HOST6}) && (_ws.malformed || _ws.expert.severity == Error || ip.checksum.status == 0 || "
               "tcp.checksum.status == 0 || udp.checksum.status == 0)" + (f" && !({but})" if but else ""))
        found = run("tshark", "-n", "-r", self.pcap, *TSHARK, "-Y", bad, timeout=600).stdout.splitlines()
        check(not found, f"tshark objects to {len(found)} of {count} frames, first: {found[:1]}")
        return f"{count} frames, {dropped.group(1) if dropped else 0} missed by tcpdump"

    def settled(self):
        """Waits until no IPv6 address is tentative, at neither end of the wire."""
        flags = lambda: [flag for row in self.table("ifconfig") for a in row["addresses"] for flag in a["flags"]]
        until("the end of duplicate address detection", lambda: "tentative" not in flags())
        theirs = lambda: self.exec("ip", "-6", "addr", "show", "dev", IFACE).stdout
        until("the end of the kernel's", lambda: "tentative" not in theirs())

    def frames(self, wanted):
        """How many of the frames that were judged are such."""
        return len(run("tshark", "-n", "-r", self.pcap, *TSHARK, "-Y", wanted, timeout=600).stdout.splitlines())

    def host_mac(self, iface=IFACE, ns=None):
        """The station at the kernel's end of a wire."""
        return json.loads(self.exec("ip", "-j", "link", "show", iface, ns=ns).stdout)[0]["address"]

    def spawn(self, argv, log=None, ns=None, **kwargs):
        argv = ["ip", "netns", "exec", ns or self.ns, *(str(a) for a in argv)]
        out = open(log, "wb") if log else subprocess.DEVNULL
        process = subprocess.Popen(argv, env=self.env, **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **kwargs})
        self.processes.append(process)
        return process

    def exec(self, *argv, ns=None, **kwargs):
        return run("ip", "netns", "exec", ns or self.ns, *argv, env=self.env, **kwargs)

    def ip(self, *argv, ns=None):
        return run("ip", "-n", ns or self.ns, *argv)

    def iopkt(self, *argv, **kwargs):
        return self.exec(self.bin / "iopkt", *argv, **kwargs)

    def table(self, *argv):
        return json.loads(self.iopkt(*argv, "--json").stdout)

    def client(self, *argv, log=None, **kwargs):
        return self.spawn([self.bin / "iopkt", "run", "--", *argv], log=log or self.dir / "client.log", **kwargs)

    def serve(self, folder, port=80, peer=None):
        """An unmodified web server as client of the stack; the peer is the namespace that can reach it."""
        server = self.client("python3", "-m", "http.server", port, "--directory", folder, log=self.dir / "http.log")
        until("the web server", lambda: self.curl(f"http://{STACK}:{port}/", ok=False, ns=peer).returncode == 0)
        return server

    def serve_from_kernel(self, address=HOST, port=8080):
        """The same at the other end of the wire, as the kernel's program, with the lab's folder: its address for curl, its log."""
        log = self.dir / "kernel-http.log"
        self.spawn(["python3", "-m", "http.server", "--bind", address, "--directory", self.dir, port], log=log)
        url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        until("the kernel's web server", lambda: self.curl(f"{url}/", ok=False).returncode == 0)
        return url, log

    def fetched(self, url, seconds=60):
        """The sha256 of what an unmodified client of the stack gets."""
        argv = ["bash", "-o", "pipefail", "-c", f"curl -fsS --noproxy '*' --max-time {seconds} '{url}' | sha256sum"]
        return self.iopkt("run", "--", *argv, timeout=seconds + 10).stdout.split()[0]

    def curl(self, url, *argv, timeout=120, ok=True, ns=None):
        return self.exec("curl", "-fsS", "--noproxy", "*", "--max-time", timeout, url, "-o", "/dev/null", *argv,
                         timeout=timeout + 10, ok=ok, ns=ns)

    def iperf3(self, address, *options, under=(), ns=None, timeout=90):
        """The report of one test."""
        def attempt():
            said = json.loads(self.exec(*under, "iperf3", "-c", address, "-J", *options, ns=ns, timeout=timeout, ok=False).stdout)
            # A server that is not done with the last test says so, then closes its listener, and with it whoever waits
            # there before a test has begun, and listens anew: right after a test, and at no other time.
            closing = time.monotonic() < self.iperf3_closing
            words = ("busy", "Connection refused", *(("Connection reset", "unable to send cookie", "unable to receive control message") if closing else ()))
            busy = any(word in said.get("error", "") for word in words)
            check(busy or "error" not in said, said.get("error"))
            return None if busy else said

        said = until("iperf3's server is free", attempt)
        self.iperf3_closing = time.monotonic() + 2
        return said

    def usage(self):
        """What must be back where it was when everybody has left."""
        return {
            "mbufs": self.table("status")["daemon"]["mbufs_used"],
            "clients": len(self.table("clients")),
            "sockets": len([s for s in self.table("netstat", "-a") if s["state"] not in ("TIME_WAIT",)]),
            "descriptors": len(os.listdir(f"/proc/{self.pid()}/fd")),
            # Of clients' memory.
            "mappings": sum("memfd:io-pkt" in line for line in open(f"/proc/{self.pid()}/maps")),
        }

    def pid(self):
        return self.table("status")["daemon"]["pid"]

    def metric(self, name, label=""):
        """The sum of a metric over all labels, or over those that have this text."""
        text = self.exec("curl", "-fsS", "http://127.0.0.1:9478/metrics").stdout
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith(name) and line[len(name)] in " {" and label in line)

    def ping(self, to, *argv, ns=None):
        """What the kernel's ping says."""
        return self.exec("ping", "-n", "-i", "0.01", "-W", 1, *argv, to, ns=ns, ok=False).stdout

    def echoes(self, to, count, *argv, ns=None):
        """The same of so many echoes, one by one: for the last of several ping waits two round trips only, which a busy machine may exceed."""
        said = [self.ping(to, "-c", 1, "-W", 2, *argv, ns=ns) for _ in range(count)]
        check(all("1 received" in each for each in said), f"{to} {argv}: {''.join(said)[-600:]}")
        return "".join(said)

    def all_drops(self):
        """For whoever looks for the reason of a failure: what the daemon and this namespace's kernel have dropped."""
        ours = self.exec("curl", "-sS", "-m", "2", "http://127.0.0.1:9478/metrics", ok=False).stdout.splitlines()
        lines = [line for line in ours if re.match("iopkt_.*(drop|miss|error|discard)", line) and not line.endswith(" 0")]
        kernel = self.exec("nstat", "-a", "-s", ok=False).stdout.splitlines()
        return "\n".join(lines + [line for line in kernel if re.search("Err|Drop|Discard|Fail|Overflow|Timeout", line)])

    def drops(self, reason):
        """Packets dropped for this reason."""
        return int(self.metric("iopkt_dropped_packets_total", f'reason="{reason}"'))

    def stop(self, process, how=signal.SIGTERM):
        if process and process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return False
        return True

    def close(self):
        for process in reversed(self.processes):
            self.stop(process)
        for name in self.spaces:
            # What processes of ours have started would keep the namespace and its interfaces.
            for pid in run("ip", "netns", "pids", name, ok=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name, ok=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None and issubclass(kind, Exception):
            for log in sorted(self.dir.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}", file=sys.stderr)
            print(f"--- dropped\n{self.all_drops()}", file=sys.stderr)
        self.close()


def random_file(path, size):
    digest = hashlib.sha256()
    with open(path, "wb") as out:
        while size > 0:
            chunk = random.randbytes(min(size, 1 << 20))
            digest.update(chunk)
            out.write(chunk)
            size -= len(chunk)
    return digest.hexdigest()
