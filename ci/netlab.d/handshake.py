"""How connections begin: Fast Open, groups of listeners, a flood of SYNs."""
import re

from lab import HOST, IFACE, QUICK, STACK, Lab, check, run, until

# argv: address, port, text that marks this server, 1 for SO_REUSEPORT.
SERVER = """
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if sys.argv[4] == "1": s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.setsockopt(socket.IPPROTO_TCP, 23, 5)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen(128)
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(sys.argv[3].encode() + c.recv(100))
    c.close()
"""

# Three connections, whose first text is sent while they open: by MSG_FASTOPEN, or by a deferred connect. A
# second MSG_FASTOPEN is one connection too many.
CLIENT = """
import select, socket, sys
for i in range(3):
    s = socket.socket()
    if sys.argv[3] == "MSG_FASTOPEN":
        s.sendto(b"hello", 0x20000000, (sys.argv[1], int(sys.argv[2])))
        try: s.sendto(b"more", 0x20000000, (sys.argv[1], int(sys.argv[2])))
        except OSError as error: assert error.errno == 106, error
    elif sys.argv[3] == "nonblocking":
        s.setblocking(False)
        try: said = s.sendto(b"hello", 0x20000000, (sys.argv[1], int(sys.argv[2])))
        except OSError as error: said = error.errno
        assert said == (115 if i == 0 else 5), (i, said)
        s.setblocking(True)
        select.select([], [s], [])
        if i == 0: s.send(b"hello")
    else:
        s.setsockopt(socket.IPPROTO_TCP, 30, 1)
        s.connect((sys.argv[1], int(sys.argv[2])))
        s.sendall(b"hello")
    print(s.recv(100).decode())
"""

MANY = """
import socket, sys
for i in range(int(sys.argv[3])):
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as s:
        s.sendall(b"\\n")
        print(s.recv(100).decode().strip())
"""

# SYNs from random addresses that nobody has, as fast as Python writes them, for some seconds.
FLOOD = """
import os, random, socket, struct, sys, time
def total(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words & 0xffff) + (words >> 16)
    return ~(words + (words >> 16)) & 0xffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
target, port = socket.inet_aton(sys.argv[1]), int(sys.argv[2])
end, sent = time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < end:
    source = socket.inet_aton(f"198.18.77.{random.randrange(100, 250)}")
    tcp = struct.pack("!HHIIBBHHH", random.randrange(1024, 65535), port, random.getrandbits(32), 0, 0x50, 2, 1024, 0, 0)
    check = total(source + target + struct.pack("!HH", 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source, target)
    try: raw.sendto(ip + tcp, (sys.argv[1], 0)); sent += 1
    except OSError: pass
print(sent)
"""


def listening(lab, process_log):
    until("the server listens", lambda: "ready" in process_log.read_text())


def fast_open():
    """Text goes with the SYN from the second connection on, to the kernel and from it."""
    with Lab(capture=True) as lab:
        lab.exec("sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
        ours, kernel = lab.dir / "ours.txt", lab.dir / "kernel.txt"
        lab.client("python3", "-c", SERVER, STACK, 8001, "stack: ", 0, log=ours)
        lab.spawn(["python3", "-c", SERVER, HOST, 8002, "kernel: ", 0], log=kernel)
        listening(lab, ours)
        listening(lab, kernel)
        to_us = lab.exec("python3", "-c", CLIENT, STACK, 8001, "MSG_FASTOPEN").stdout
        check(to_us == "stack: hello\n" * 3, to_us)
        for how in ("nonblocking", "MSG_FASTOPEN", "deferred"):
            from_us = lab.dir / f"{how}.txt"
            process = lab.client("python3", "-c", CLIENT, HOST, 8002, how, log=from_us)
            check(process.wait(20) == 0 and from_us.read_text() == "kernel: hello\n" * 3, from_us.read_text())
        received = lab.metric("iopkt_tcp_fast_opens_received_total")
        sent = lab.metric("iopkt_tcp_fast_opens_sent_total")
        check((received, sent) == (2, 8), f"{received} received, {sent} sent")
        # The kernel's way out holds a SYN with text and not the ACK behind it, which waits for 60 ms.
        lab.exec("tc", "qdisc", "add", "dev", IFACE, "root", "tbf", "rate", "8kbit", "burst", "95", "latency", "10s")
        slow = lab.exec("python3", "-c", CLIENT, STACK, 8001, "MSG_FASTOPEN").stdout
        check(slow == "stack: hello\n" * 3, slow)
        frames = lab.judge()
        syns = "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.len > 0"
        with_text = run("tshark", "-n", "-r", lab.pcap, "-Y", syns).stdout.splitlines()
        check(len(with_text) == 13, f"{len(with_text)} SYNs with text")
        early = early_answers(lab.pcap)
        check(early == 3, f"{early} of 3 answers came before the handshake's third segment")
        return f"5 of 6 to us and 8 of 9 from us with text on the SYN, {early} of 3 answers before a slow ACK, {frames}"


def early_answers(pcap):
    """How many of the last three connections to us had their answer before the client's second segment."""
    fields = [word for name in ("stream", "srcport", "len") for word in ("-e", f"tcp.{name}")]
    listing = run("tshark", "-n", "-r", pcap, "-Y", "tcp.port == 8001", "-T", "fields", *fields).stdout
    streams = {}
    for line in listing.splitlines():
        stream, source, length = map(int, line.split())
        streams.setdefault(stream, []).append((source == 8001, length))
    early, whole = 0, False
    for segments in list(streams.values())[-3:]:
        client = [at for at, (ours, _) in enumerate(segments) if not ours]
        answers = [at for at, (ours, length) in enumerate(segments) if ours and length > 0]
        # The third segment may be held still when the capture ends, but not that of all.
        early += len(client) < 2 or answers[0] < client[1]
        whole |= len(client) > 1
    check(whole, "no handshake was recorded to its end")
    return early


def reuse_port():
    """Two programs listen at one port; both get connections, and one alone when the other has gone."""
    count = 20 if QUICK else 200
    with Lab() as lab:
        servers = []
        for name in ("one", "two"):
            log = lab.dir / f"{name}.txt"
            servers.append(lab.client("python3", "-c", SERVER, "0.0.0.0", 8001, name, 1, log=log))
            listening(lab, log)
        answers = lab.exec("python3", "-c", MANY, STACK, 8001, count).stdout.split()
        shares = [answers.count(name) for name in ("one", "two")]
        check(sum(shares) == count and min(shares) > count // 5, f"shares {shares}")
        lab.stop(servers[0])
        until("the group has one member", lambda: len(lab.table("clients")) == 1)
        alone = lab.exec("python3", "-c", MANY, STACK, 8001, count).stdout.split()
        check(alone == ["two"] * count, f"{alone.count('one')} to the one that is gone")
        return f"{shares[0]} and {shares[1]} of {count}, then {count} to the one that is left"


def syn_flood():
    """SYNs from nowhere fill no table, and connections are served meanwhile."""
    seconds, count = (3, 20) if QUICK else (10, 100)
    with Lab() as lab:
        log = lab.dir / "server.txt"
        lab.client("python3", "-c", SERVER, STACK, 8001, "served", 0, log=log)
        listening(lab, log)
        flood_log = lab.dir / "flood.txt"
        flood = lab.spawn(["python3", "-c", FLOOD, STACK, 8001, seconds], log=flood_log)
        until("cookies", lambda: lab.metric("iopkt_tcp_syncookies_sent_total") > 0, seconds)
        answers = lab.exec("python3", "-c", MANY, STACK, 8001, count, timeout=60).stdout.split()
        check(answers == ["served"] * count, f"{len(answers)} of {count} served")
        validated = lab.metric("iopkt_tcp_syncookies_validated_total")
        half_open = len([s for s in lab.table("netstat", "-a") if s["state"] == "SYN_RCVD"])
        check(flood.wait(seconds + 10) == 0, flood_log.read_text())
        sent = int(re.search(r"\d+", flood_log.read_text()).group())
        check(half_open <= 256, f"{half_open} half-open connections")
        check(validated > 0, "no connection came by cookie")
        return f"{sent} SYNs in {seconds} s, {half_open} half-open, {count} of {count} served, {validated:.0f} by cookie"
