"""Other processes of DPDK beside the daemon (`[eal] multi_process`)."""
import contextlib
import os
import pathlib
import re
import signal

from lab import BIN, HOST, IFACE, ROOT, STACK, Lab, Skipped, check, run, until

PAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")
WANTED = 96


@contextlib.contextmanager
def hugepages(folder):
    """So many 2 MiB pages are free, and a file system of theirs is there; afterwards it is as it was."""
    before = PAGES.read_text()
    mounted = False
    try:
        PAGES.write_text(f"{int(before) + WANTED}\n")
        free = int(re.search(r"HugePages_Free:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1))
        if free < WANTED:
            raise Skipped(f"{free} hugepages of {WANTED} can be had")
        if "hugetlbfs" not in pathlib.Path("/proc/mounts").read_text():
            folder.mkdir()
            run("mount", "-t", "hugetlbfs", "nodev", folder)
            mounted = True
        yield
    finally:
        PAGES.write_text(before)
        if mounted:
            run("umount", folder)


# Says back what it gets.
ECHOES = """
import select, socket
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
for s, port in zip(sockets, (7, 9, 10)): s.bind(("", port))
print("ready", flush=True)
while True:
    for s in select.select(sockets, [], [])[0]: s.sendto(*s.recvfrom(2000))
"""

ASKS = """
import socket, sys
for port in 7, 10, 9:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(8 if port != 9 else 0.3); s.connect((sys.argv[1], port))
    s.send(b"hello")
    try: print(s.recv(100).decode(), flush=True)
    except TimeoutError: print("nothing", flush=True)
"""

FLOODS = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(4000): s.sendto(b"x", (sys.argv[1], 10))
"""


def at_the_rings(lab):
    """An application sees, changes, drops and makes packets; one that stands still or dies holds up nobody, and leaves nothing."""
    program = lab.dir / "packet_app"
    flags = lambda what: run("pkg-config", what, "libdpdk").stdout.split()
    run("gcc", "-O1", *flags("--cflags"), "-o", program, ROOT / "dpdk-ffi/examples/packet_app.c", *flags("--libs"))
    log = lab.dir / "echoes.log"
    lab.client("python3", "-c", ECHOES, log=log)
    until("the server", lambda: log.exists() and "ready" in log.read_text(), 20)
    asked = lambda: lab.exec("python3", "-c", ASKS, STACK).stdout.split()
    count = lambda name: lab.metric(f"iopkt_packet_rings_{name}_total")
    check(asked() == ["hello", "hello", "hello"], "nobody is attached")
    before = lab.usage()["mbufs"]

    def start(number):
        log = lab.dir / f"packet_app{number}.log"
        app = lab.spawn([BIN / "iopkt", "rings", "tap0", "--", program], log=log)
        until("the application", lambda: "ready" in log.read_text() or app.poll() is not None, 20)
        check(app.poll() is None, log.read_text())
        return app

    greeting = lab.dir / "greeting.log"
    tcpdump = lab.spawn(["tcpdump", "-c", 1, "-i", IFACE, "-A", "ether", "proto", "0x88b5"], log=greeting)
    until("tcpdump", lambda: "listening on" in greeting.read_text(), 10)
    app = start(1)
    check(asked() == ["!ello", "hello", "nothing"], f"what it changes and drops: {asked()}")
    until("its frame", lambda: tcpdump.poll() is not None, 10)
    check("an application was here" in greeting.read_text(), greeting.read_text())
    check(count("dropped") >= 1 and count("injected") >= 1 and count("passed") >= 8, [count(n) for n in ("dropped", "injected", "passed")])
    check(lab.drops("application_dropped") >= 1, "the drop has its name")
    busy = lab.iopkt("rings", "tap0", "--", "true", ok=False)
    check(busy.returncode != 0 and "end it first" in busy.stderr, busy.stderr)
    app.send_signal(signal.SIGSTOP)
    lab.exec("python3", "-c", FLOODS, STACK)
    until("others' packets go on", lambda: lab.exec("ping", "-c", 1, "-W", 1, STACK, ok=False).returncode == 0, 30)
    check(count("unseen_passed") > 0, "it had as many as it may")
    app.kill()
    until("its buffers are back", lambda: lab.usage()["mbufs"] <= before + 8, 20)
    lab.exec("ping", "-q", "-c", 3, "-i", "0.05", STACK)
    again = start(2)
    check(asked()[0] == "!ello", "the next one")
    again.kill()
    until("its buffers are back, too", lambda: lab.usage()["mbufs"] <= before + 8, 20)


def secondary():
    """dpdk-proc-info and dpdk-dumpcap attach to a daemon that lets them, and see its packets; by default they can't. An application at an interface's packet rings. No hugepage's file stays."""
    name = f"/second{os.getpid()}"
    prefix = f"--file-prefix=io-pkt-{name[1:]}"
    asks = ("dpdk-proc-info", prefix, "--", "--stats")
    if "--no-huge" in os.environ.get("IOPKT_LAB_ARGS", ""):
        raise Skipped("others attach to hugepages only")
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(f"/tmp/iopkt-huge{os.getpid()}")
        stack.callback(lambda: folder.exists() and folder.rmdir())
        stack.enter_context(hugepages(folder))
        config = pathlib.Path(f"/tmp/iopkt-{name[1:]}.toml")
        stack.callback(config.unlink)
        text = f'prefix = "{name}"\n[[interface]]\ndriver = "net_tap"\noptions = "iface={IFACE}"\naddress = ["{STACK}/24"]\n'
        config.write_text(text)
        with Lab(drivers=["-c", config], env={"SOCK": name}) as lab:
            said = lab.exec(*asks, ok=False)
            check(said.returncode != 0, f"a daemon that was not asked to let others attach: {said.stdout[-400:]}")
        text = text.replace("[[interface]]", "[eal]\nmulti_process = true\n[[interface]]", 1)
        config.write_text(f'{text}packet_rings = "both"\n')
        with Lab(drivers=["-c", config], env={"SOCK": name}) as lab:
            check("multi_process: whoever" in lab.log.read_text(), lab.log.read_text())
            lab.exec("ping", "-q", "-c", 20, "-i", "0.01", STACK)
            said = lab.exec(*asks, timeout=60).stdout
            received = re.search(r"RX-packets:\s*(\d+)", said)
            check(received and int(received.group(1)) >= 20, said[-800:])
            pcap = lab.dir / "dumpcap.pcap"
            dump = lab.spawn(["dpdk-dumpcap", prefix, "-i", 0, "-c", 8, "-w", pcap], log=lab.dir / "dumpcap.log")
            ping = lab.spawn(["ping", "-q", "-i", "0.05", STACK])
            until("dpdk-dumpcap", lambda: dump.poll() is not None, 30)
            ping.terminate()
            said = run("tshark", "-r", pcap, "-Y", "icmp").stdout
            check(f"{HOST} → {STACK}" in said, (lab.dir / "dumpcap.log").read_text() + said)
            check(lab.exec("ping", "-q", "-c", 3, "-i", "0.05", STACK).returncode == 0, "the daemon after its guests")
            at_the_rings(lab)
        mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "hugetlbfs"]
        left = [file for mount in mounts for file in pathlib.Path(mount).glob(f"io-pkt-{name[1:]}map_*")]
        for file in left:
            file.unlink()
        check(not left and not pathlib.Path(f"/var/run/dpdk/io-pkt-{name[1:]}").exists(), f"{len(left)} files of hugepages stay")
        return "statistics and a recording by DPDK's own tools, an application that changes packets"
