"""Packets in pieces: between the kernel and the stack, and from someone who means harm."""
from lab import HOST, HOST6, STACK, STACK6, Lab, check, until

# A client of the stack: sends back what comes, as long as nobody says stop.
ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 4000))
while True:
    text, peer = s.recvfrom(70000)
    s.sendto(text, peer)
"""

# The kernel's side: each length goes there and back.
ASK = """
import os, socket, sys
family, host, lengths = sys.argv[1], sys.argv[2], [int(n) for n in sys.argv[3:]]
s = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.settimeout(5)
for length in lengths:
    text = os.urandom(length)
    s.sendto(text, (host, 4000))
    back, _ = s.recvfrom(70000)
    assert back == text, length
print("same")
"""

# As a kernel would never cut them: frames by hand.
HARM = """
import socket, struct, sys, time
iface, mac, stack, host, stack6, host6 = sys.argv[1:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((iface, 0))
ends = bytes.fromhex(mac.replace(":", "")) + wire.getsockname()[4]
raw = bytes(range(256)) * 8
def checksum(head):
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def four(id, *pieces):
    for offset, length, more in pieces:
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, id, offset // 8 | more << 13, 64, 17, 0, socket.inet_aton(host), socket.inet_aton(stack))
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        wire.send(ends + b"\\x08\\x00" + head + raw[:length])
def six(id, *pieces):
    for offset, length, more in pieces:
        head = struct.pack("!IHBB", 6 << 28, 8 + length, 44, 64) + socket.inet_pton(socket.AF_INET6, host6) + socket.inet_pton(socket.AF_INET6, stack6)
        wire.send(ends + b"\\x86\\xdd" + head + struct.pack("!BBHI", 17, 0, offset | more, id) + raw[:length])
for send in (four, six):
    send(1, (0, 64, True), (56, 64, True), (120, 8, False))     # overlap (teardrop)
    send(2, (0, 64, True), (0, 64, True))                       # twice
    send(3, (8, 7, True))                                       # nothing can follow
    send(4, (65528, 64, False))                                 # ping of death
    send(5, *((8 * n, 8, True) for n in range(129)))            # in too many pieces
for n in range(2000):                                           # never complete, no faster than a busy stack takes them
    four(100 + n, (0, 64, True))
    time.sleep(0.002 if n % 50 == 0 else 0)
print("sent")
"""


def fragments():
    """Datagrams and echoes up to 64 KiB both ways in both versions of IP, by two workers; overlapping, tiny, endless and never complete packets made by hand."""
    with Lab(args=["-t", "2"]) as lab:
        lab.iopkt("ifconfig", "tap0", "inet6", f"{STACK6}/64")
        lab.ip("addr", "add", f"{HOST6}/64", "dev", "iop0", "nodad")
        lab.settled()
        for to in (STACK, STACK6):
            for size in (1472, 1473, 8000, 60000, 65507 if to == STACK else 65000):
                lab.echoes(to, 3, "-s", size)
        lengths = [1, 1472, 1473, 2960, 9000, 40000]
        for family, to, longest in (("4", STACK, 65507), ("6", STACK6, 65487)):
            server = lab.client("python3", "-c", ECHO, family)
            until("the echo server", lambda: "4000" in lab.iopkt("netstat", "-a").stdout)
            said = lab.exec("python3", "-c", ASK, family, to, *lengths, longest, ok=False)
            check("same" in said.stdout, f"IPv{family}: {said.stderr[-400:]}")
            lab.stop(server)
        whole = [int(lab.metric(f"iopkt_ipv{v}_packets_reassembled_total")) for v in "46"]
        check(min(whole) >= 16, f"{whole} packets were made whole")
        mac = next(row["mac"] for row in lab.table("ifconfig", "-a") if row["name"] == "tap0")
        said = lab.exec("python3", "-c", HARM, "iop0", mac, STACK, HOST, STACK6, HOST6, timeout=120, ok=False)
        check("sent" in said.stdout, said.stderr[-400:])
        for reason, least in (("fragment_overlap", 6), ("fragment_duplicate", 2), ("fragment_tiny", 2), ("fragment_length", 2), ("fragment_count", 258), ("fragment_limit", 1000)):
            until(reason, lambda: lab.drops(reason) >= least, 3)
        # Beside what never ends others get through.
        lab.echoes(STACK, 3, "-s", 60000)
        return f"{whole[0]} and {whole[1]} packets made whole, {lab.drops('fragment_limit')} fragments made room"
