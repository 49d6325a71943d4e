"""Other processes of DPDK beside the daemon (`[eal] multi_process`)."""
import contextlib
import os
import pathlib
import re
import subprocess

from lab import HOST, IFACE, STACK, Lab, Skipped, check, run, until

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


def secondary():
    """dpdk-proc-info and dpdk-dumpcap attach to a daemon that lets them, and see its packets; by default they can't."""
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
        config.write_text(text.replace("[[interface]]", "[eal]\nmulti_process = true\n[[interface]]", 1))
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
        # EAL's files stay until somebody starts under the same prefix.
        mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "hugetlbfs"]
        for file in (file for mount in mounts for file in pathlib.Path(mount).glob(f"io-pkt-{name[1:]}map_*")):
            file.unlink()
        return "statistics and a recording by DPDK's own tools"
