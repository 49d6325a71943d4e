"""What the operator decides: letters of the command line, options of the stack, tunables, several daemons."""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

from lab import BIN, IFACE, STACK, Lab, check, run, until

NOBODY = 65534

# argv: address, port. Prints what comes, one datagram.
LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.settimeout(10)
print("ready", flush=True)
while True:
    print(s.recv(100).decode(), flush=True)
"""


def status_of(pid, name):
    """Fields of /proc/PID/status."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return re.search(rf"^{name}:[ \t]*(.*)$", text, re.M).group(1).split()


def letters():
    """-U gives root up and later mounts work; -P, -r, -w, -u, -I and the stack's options do what they say."""
    modules = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-modules-"))
    modules.chmod(0o755)
    shutil.copy(BIN / "libfaulty_module.so", modules / "devnp-faulty.so")
    driver = ["-dnet_tap", f"iface={IFACE},address={STACK}/24", "--module-path", modules]
    words = ["-U", f"{NOBODY}:{NOBODY}", "-P", "20", "-r", "500", "-w1", "-u", "077", "-IDv", "stray",
             "-ptcpip", "min_fperms=0606,rx_prio=10,threads_max=300,prefx=/x,net.inet.tcp.ecn.enable=0"]
    with Lab(drivers=driver, args=words) as lab:
        pid = lab.pid()
        for name, want in (("Uid", [str(NOBODY)] * 4), ("Gid", [str(NOBODY)] * 4), ("Groups", [])):
            check(status_of(pid, name) == want, f"{name} is {status_of(pid, name)}")
        # CAP_NET_ADMIN, CAP_NET_RAW, and CAP_IPC_LOCK with hugepages.
        kept = int(status_of(pid, "CapEff")[0], 16)
        check(kept & ~(1 << 14) == 1 << 12 | 1 << 13, f"capabilities {kept:#x}")
        others = {int(status_of(f"{pid}/task/{task}", "CapPrm")[0], 16) for task in os.listdir(f"/proc/{pid}/task") if int(task) != pid}
        check(others == {0}, f"threads but the first have {others}")
        said = run("chrt", "-a", "-p", pid).stdout
        check(said.count("SCHED_RR") == 2 and re.search("priority: 20$", said, re.M) and re.search("priority: 10$", said, re.M), said)
        mode = stat.S_IMODE((lab.run_dir / "dev/socket").stat().st_mode)
        check(mode == 0o606, f"the path has {mode:o}")
        said = lab.log.read_text()
        for what in ("-r 500: ignored", "-D has no effect", "stray: belongs to no option", "threads_max=300: no effect here: a call that waits",
                     "did you mean prefix?"):
            check(what in said, f"'{what}' is not said: {said}")
        lab.exec("ping", "-c", 3, "-i", "0.05", STACK)
        check(lab.iopkt("mount", "-T", "io-pkt", "-o", "iface=iop1,address=198.18.78.2/24", "net_tap").stdout == "tap1\n", "no later mount")
        lab.ip("addr", "add", "198.18.78.1/24", "dev", "iop1")
        lab.ip("link", "set", "iop1", "up")
        lab.exec("ping", "-c", 3, "-i", "0.05", "198.18.78.2")
        lab.iopkt("ifconfig", "tap1", "destroy")
        done = lab.iopkt("mount", "03:00.0", ok=False)
        check(done.returncode == 1 and "without -I" in done.stderr, f"a PCI device with -I: {done.returncode} {done.stderr}")
        lab.iopkt("mount", "-o", "stall=2500", "faulty")
        for what in ("worker 0 has not breathed for 1 s", "worker 0 breathes again"):
            until(what, lambda: what in lab.log.read_text())
        check(lab.stop(lab.daemon) and lab.daemon.returncode == 0, f"exit code {lab.daemon.returncode}")
        check(not (lab.run_dir / "dev/socket").exists(), "the path is left")
    shutil.rmtree(modules)
    return "uid 65534, two capabilities in one thread, priorities 20 and 10, path 0606, tap1 mounted afterwards, a stall of 2.5 s reported"


def tunables():
    """iopkt sysctl reads and writes what -p tcpip has set; it reaches sockets and workers; strangers may only read, members of rgroup_allowed's group write."""
    with Lab(args=["-p", "tcpip", "kern.somaxconn=1000,rgroup_allowed=4242"]) as lab:
        def value(name):
            return lab.iopkt("sysctl", "-n", name).stdout.strip()

        check(value("kern.somaxconn") == "1000", "the option is not the tunable")
        said = lab.iopkt("sysctl", "net.inet.tcp.congctl.selected=bbr", "-w", "net.inet.ip.ttl=7").stdout
        check("congctl.selected: cubic -> bbr" in said and "ttl: 64 -> 7" in said, said)
        asks = "import socket; s = socket.socket(); print(s.getsockopt(6, 13, 16).rstrip(b'\\0'), s.getsockopt(0, 2))"
        got = lab.iopkt("run", "--", "python3", "-c", asks).stdout
        check(got == "b'bbr' 7\n", got)
        lab.capture("icmp", "or", "tcp")
        url, _ = lab.serve_from_kernel()
        lab.iopkt("run", "--", "curl", "-fsS", "--noproxy", "*", "-o", "/dev/null", url)
        lab.iopkt("sysctl", "net.inet.tcp.sack.enable=0", "net.inet.tcp.timestamps=0", "net.inet.tcp.ecn.enable=1")
        lab.iopkt("run", "--", "curl", "-fsS", "--noproxy", "*", "-o", "/dev/null", url)
        lab.judge()
        seen = run("tshark", "-n", "-r", lab.pcap, "-Y", f"tcp.flags.syn == 1 && tcp.flags.ack == 0 && ip.src == {STACK}",
                   "-T", "fields", "-e", "ip.ttl", "-e", "tcp.options.sack_perm", "-e", "tcp.options.timestamp.tsval", "-e", "tcp.flags.ece").stdout
        first, second = [line.split("\t") for line in seen.splitlines()]
        check(first[0] == second[0] == "7", f"time to live: {seen}")
        check(first[1] and first[2] and not second[1] and not second[2], f"SACK and timestamps are offered as before: {seen}")
        check(first[3] in ("0", "False") and second[3] in ("1", "True"), f"ECN is asked for as before: {seen}")
        for words, code, what in ((("kern.somaxconn=1",), 1, "from 128 to 65535"), (("kern.ident=x",), 1, "only be read"),
                                  (("net.inet.tcp.ecn.enabled=1",), 1, "did you mean net.inet.tcp.ecn.enable?")):
            done = lab.iopkt("sysctl", *words, ok=False)
            check(done.returncode == code and what in done.stderr, f"{words}: {done.returncode} {done.stderr}")
        key = "00112233445566778899aabbccddeeff"
        lab.iopkt("sysctl", f"net.inet.tcp.fastopen.setkey={key}")
        said = lab.log.read_text()
        check("net.inet.tcp.fastopen.setkey = 1" in said and key not in said, f"the key is in the log, or its change is not: {said}")
        # A stranger cannot reach the binary under /root, so the tool goes where he can.
        (lab.dir / "iopkt").write_bytes((BIN / "iopkt").read_bytes())
        (lab.dir / "iopkt").chmod(0o755)
        stranger = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        done = run(lab.dir / "iopkt", "sysctl", "kern.somaxconn=200", ok=False, env=lab.env, **stranger)
        check(done.returncode == 77, f"a stranger's write: {done.returncode} {done.stderr}")
        member = {**stranger, "extra_groups": [4241, 4242]}
        run(lab.dir / "iopkt", "sysctl", "kern.somaxconn=1001", env=lab.env, **member)
        run(lab.dir / "iopkt", "sysctl", "kern.somaxconn=1000", env=lab.env, user=NOBODY, group=4242, extra_groups=[])
        check(run(lab.dir / "iopkt", "sysctl", "-n", "kern.somaxconn", env=lab.env, **stranger).stdout == "1000\n", "a stranger's read")
        return f"{len(lab.table('sysctl'))} tunables"


def reuseport_unicast():
    """UDP to one address reaches all sockets that share its port with reuseport_unicast, one of them without."""
    with Lab() as lab:
        logs = [lab.dir / f"{n}.log" for n in (1, 2)]
        for log in logs:
            lab.client("python3", "-c", LISTEN, STACK, 9000, log=log)
            until("a listener", lambda: "ready" in log.read_text())

        def send(word):
            lab.exec("bash", "-c", f"echo -n {word} > /dev/udp/{STACK}/9000")
            until(f"{word} arrives", lambda: any(word in log.read_text() for log in logs))

        send("one")
        lab.iopkt("sysctl", "net.inet.udp.reuseport_unicast=1")
        send("both")
        until("both arrive", lambda: all("both" in log.read_text() for log in logs))
        ones = sum("one" in log.read_text() for log in logs)
        check(ones == 1, f"{ones} sockets got the first datagram")
        return "one, then both"


def instances():
    """-i 1, -i 2 and prefix=/alt side by side, each with its own drivers; clients choose by SOCK; ping and TCP across."""
    with Lab(drivers=["-i1", "-d", "net_tap", f"iface={IFACE},address={STACK}/24", "-d", "net_memif",
                      "role=server,socket=iopkt-lab-m,address=198.18.90.1/24", "--metrics", "off"],
             env={"SOCK": "/io-pkt1"}) as lab:
        lab.env["SOCK"] = "/io-pkt2"
        lab.drivers = ["-i2", "-d", "net_tap", "iface=iop2,address=198.18.80.2/24", "-d", "net_memif",
                       "role=client,socket=iopkt-lab-m,address=198.18.90.2/24", "--metrics", "off"]
        lab.start_daemon(up=False)
        lab.env["SOCK"] = "/alt"
        lab.drivers = ["-d", "net_tap", "iface=iop3,address=198.18.81.2/24", "-ptcpip", "stacksize=8192,prefix=/alt", "--metrics", "off"]
        lab.start_daemon(up=False)
        for iface, net in (("iop2", "80"), ("iop3", "81")):
            lab.ip("addr", "add", f"198.18.{net}.1/24", "dev", iface)
            lab.ip("link", "set", iface, "up")
        for address in (STACK, "198.18.80.2", "198.18.81.2"):
            lab.exec("ping", "-c", 3, "-i", "0.05", address)
        names = {}
        for sock in ("/io-pkt1", "/io-pkt2", "/alt"):
            names[sock] = [row["name"] for row in lab.table("--sock", sock, "ifconfig", "-a")]
        check(names["/io-pkt1"] == names["/io-pkt2"] == ["lo0", "tap0", "memif0"] and names["/alt"] == ["lo0", "tap0"], names)
        check(lab.iopkt("mount", "-T", "io-pkt2", "net_null").stdout == "null0\n", "-T io-pkt2")
        check("null0" not in lab.iopkt("--sock", "/io-pkt1", "ifconfig", "-l").stdout, "mounted into the wrong one")
        (lab.dir / "page").write_bytes(b"x" * 300_000)
        lab.env["SOCK"] = "/io-pkt2"
        lab.client("python3", "-m", "http.server", 80, "--bind", "198.18.90.2", "--directory", lab.dir, log=lab.dir / "http.log")
        lab.env["SOCK"] = "/io-pkt1"
        fetch = ["run", "--", "curl", "-fsS", "--noproxy", "*", "--max-time", 20, "-o", lab.dir / "got", "http://198.18.90.2/page"]
        until("the page over memif", lambda: lab.iopkt(*fetch, ok=False).returncode == 0)
        check((lab.dir / "got").read_bytes() == b"x" * 300_000, "other bytes")
        lab.env["SOCK"] = "/alt"
        away = lab.iopkt(*fetch, ok=False)
        check(away.returncode == 7, f"the stack without a wire there: {away.returncode} {away.stderr}")
        other = subprocess.run([BIN / "io-pkt", "-i", "x"], capture_output=True, text=True)
        check(other.returncode == 64, f"-i x: {other.returncode}")
        return "three daemons, three pings, 300 kB from the second to the first over memif"
