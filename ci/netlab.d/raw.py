"""Raw and ping sockets in unmodified programs: ping, and what they see of ICMP."""
from lab import HOST, HOST6, IFACE, STACK, STACK6, Lab, check, until

NOBODY = "198.18.77.77"

HEARS = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(10)
print("ready", flush=True)
packet, (sender, port) = s.recvfrom(2048)
print(sender, port, packet[20], len(packet), flush=True)
six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
six.setsockopt(socket.IPPROTO_ICMPV6, 1, struct.pack("8I", *[0xffffffff] * 4, 0xfffffffe, *[0xffffffff] * 3))
six.settimeout(10)
print("ready", flush=True)
message, (sender, port, flow, scope) = six.recvfrom(2048)
print(sender, port, message[0], len(message), flush=True)
"""


# As ping(8) does it, which cannot do without IPV6_RECVERR.
ASKS6 = """
import os, socket, sys
for kind in socket.SOCK_DGRAM, socket.SOCK_RAW:
    s = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
    s.settimeout(5)
    for size in 0, 56, 1452, 4000:
        text = os.urandom(size)
        s.sendto(bytes([128, 0, 0, 0, 0, 7, 0, 1]) + text, (sys.argv[1], 0))
        while True:
            message, sender = s.recvfrom(9000)
            if message[0] == 129: break
        assert message[8:] == text and sender[:2] == (sys.argv[1], 0), (kind, size, sender, message[:8])
print("all answered")
"""

# A host that is not there: who is connected is told, and who listens to ICMP hears of it as of a router's word.
UNANSWERED = """
import errno, socket, sys
hears = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
for s in hears, asks: s.settimeout(8)
asks.connect((sys.argv[1], 0))
asks.send(bytes([8, 0, 0, 0, 0, 0, 0, 1]))
try: asks.recv(100)
except OSError as error: assert error.errno == errno.EHOSTUNREACH, error
packet = hears.recv(2048)
assert packet[20:22] == bytes([3, 1]) and packet[28 + 9] == 1, packet
print("told")
"""


def pings(lab, who):
    """Unmodified ping, as root and as somebody else."""
    for to, size in ((HOST, 56), (HOST, 0), (HOST, 1472), (HOST, 4000), (HOST, 65000), (STACK, 56)):
        said = lab.iopkt("run", "--", *who, "ping", "-n", "-c", 3, "-i", "0.02", "-W", 2, "-s", size, to, ok=False).stdout
        check("3 received" in said and "ttl=64" in said, f"{who} {to} {size}: {said[-400:]}")


def raw_sockets():
    """ping as root and as a user in all sizes, echoes of IPv6 over both kinds of socket; raw sockets hear requests that the stack answers. With two workers."""
    with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,address={STACK6}/64"], args=["-t", "2"]) as lab:
        lab.exec("ip", "-6", "addr", "add", f"{HOST6}/64", "dev", IFACE, "nodad")
        lab.settled()
        lab.capture()
        pings(lab, [])
        pings(lab, ["setpriv", "--reuid=65534", "--clear-groups"])
        said = lab.iopkt("run", "--", "python3", "-c", ASKS6, HOST6)
        check("all answered" in said.stdout, said.stderr)
        log = lab.dir / "hears.log"
        hears = lab.client("python3", "-c", HEARS, log=log)
        for ready, to in ((1, STACK), (2, STACK6)):
            until("the listener", lambda: log.exists() and log.read_text().count("ready") == ready or hears.poll() is not None)
            said = lab.exec("ping", "-n", "-c", 1, "-W", 2, to).stdout
            check("1 received" in said, said)
        hears.wait(10)
        heard = [line for line in log.read_text().splitlines() if line != "ready"]
        check(heard == [f"{HOST} 0 8 84", f"{HOST6} 0 128 64"], heard)
        said = lab.iopkt("run", "--", "python3", "-c", UNANSWERED, NOBODY)
        check("told" in said.stdout, said.stderr)
        judged = lab.judge()
        return judged

