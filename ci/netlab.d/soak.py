"""Many requests through one server: nobody's memory grows."""
import os
import re
import time

from lab import STACK, Lab, check, until
from processes import children_of, served
from programs import nginx_on

# Each socket of a client has its turn before the first is used again: memory is touched by then.
CELLS = 8192
# After the warm-up.
GROWTH_MAX_KIB = 1024
# IOPKT_SOAK_REQUESTS=2000000 runs until so many have been answered.
REQUESTS = int(os.environ.get("IOPKT_SOAK_REQUESTS", 0))


def resident(daemon, clients):
    """KiB in use: of the daemon all, of the clients what is their own. What they share is the daemon's, too."""
    kinds = {daemon: ("RssAnon", "RssFile", "RssShmem"), **{pid: ("RssAnon", "RssFile") for pid in clients}}
    status = {pid: open(f"/proc/{pid}/status").read() for pid in kinds}
    return {pid: sum(int(re.search(rf"{kind}:\s+(\d+)", status[pid]).group(1)) for kind in kinds[pid]) for pid in kinds}


def ask(lab, seconds, *argv):
    """Requests that were answered; nginx ends each connection after a hundred."""
    said = lab.exec("wrk", "-t", 1, "-c", 50, "-d", f"{seconds}s", "--timeout", "10s", *argv, f"http://{STACK}:8001/page", timeout=seconds + 30).stdout
    check("Socket errors" not in said and "Non-2xx" not in said, said)
    return int(re.search(r"(\d+) requests in", said).group(1))


def soak():
    """nginx with two workers answers requests on changing connections: client and daemon grow by 1 MiB at most after warm-up."""
    with Lab() as lab:
        (lab.dir / "www").mkdir()
        (lab.dir / "www/page").write_bytes(b"x" * 1000)
        argv = nginx_on(lab, 8001)
        conf = lab.dir / "nginx8001.conf"
        conf.write_text(conf.read_text().replace("access_log off;", "access_log off; keepalive_requests 100;"))
        before = lab.usage()
        master = lab.client(*argv)
        served(lab, 8001)
        workers = until("nginx's workers", lambda: len(found := children_of(lab, master)) == 2 and found)
        pids = lab.pid(), [master.pid, *workers]
        warm = 0
        while warm < CELLS:
            warm += ask(lab, 3, "-H", "Connection: close")
        ask(lab, 2)
        first, count = resident(*pids), 0
        started = time.monotonic()
        while count == 0 or count < REQUESTS:
            count += ask(lab, 60 if REQUESTS else 12)
        growth = {pid: kib - first[pid] for pid, kib in resident(*pids).items()}
        check(max(growth.values()) <= GROWTH_MAX_KIB, f"KiB of growth by process: {growth}, daemon {pids[0]}")
        rate = count / (time.monotonic() - started)
        lab.stop(master)
        until("clients are gone", lambda: lab.usage()["clients"] == before["clients"])
        until("mbufs are back", lambda: lab.usage()["mbufs"] <= before["mbufs"], 20)
        daemon, *nginx = growth.values()
        return f"{count} requests after {warm} connections ({rate:.0f}/s): the daemon grew by {daemon} KiB, nginx's processes by {nginx} KiB"
