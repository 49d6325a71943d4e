"""SO_LINGER: a close that waits, the kernel's and ours side by side."""
from lab import HOST, Lab, check, run, until

# Reads nothing for a while and then everything. argv: port, seconds.
SLOW = """
import socket, sys, time, threading
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.bind(("0.0.0.0", int(sys.argv[1]))); s.listen(8)
def serve(c):
    time.sleep(float(sys.argv[2]))
    while c.recv(65536): pass
print("ready", flush=True)
while True: threading.Thread(target=serve, args=[s.accept()[0]], daemon=True).start()
"""

# argv: address. What close did, and whether it took as long as it should.
CLOSER = """
import os, socket, struct, sys, time
def sender(port, on, seconds, nonblocking=False):
    s = socket.socket()
    s.connect((sys.argv[1], port))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 19)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, seconds))
    s.setblocking(not nonblocking)
    s.send(b"x" * 60000)
    return s
def closing(what, s, least, most):
    began = time.monotonic(); s.close(); took = time.monotonic() - began
    print(what, "as it should" if least <= took <= most else f"took {took:.3f} s", flush=True)
closing("without", sender(1, 0, 0), 0, 0.3)
closing("until acknowledged", sender(1, 1, 5), 0.3, 2)
closing("until acknowledged, non-blocking", sender(1, 1, 5, True), 0.3, 2)
closing("until time is over", sender(2, 1, 1), 0.9, 2)
s = sender(2, 1, 5); other = s.dup()
closing("a copy", s, 0, 0.3)
if os.fork() == 0: time.sleep(0.5); os._exit(0)
closing("a copy in a child", other, 0, 0.3)
s = sender(2, 1, 0); s.close()
print("reset", flush=True)
"""


def close_lingers():
    """close() waits for the peer's acknowledgement as SO_LINGER says, or resets, as the kernel's does."""
    with Lab(capture=True) as lab:
        for port, seconds in ((1, 0.6), (2, 30)):
            log = lab.dir / f"slow{port}.txt"
            lab.spawn(["python3", "-c", SLOW, port, seconds], log=log)
            until("the server listens", lambda: "ready" in log.read_text())
        wanted = lab.exec("python3", "-c", CLOSER, HOST, timeout=30).stdout
        check("took" not in wanted, f"the kernel: {wanted}")
        ours = lab.dir / "ours.txt"
        process = lab.client("python3", "-c", CLOSER, HOST, log=ours)
        check(process.wait(30) == 0 and ours.read_text() == wanted, ours.read_text())
        resets = "tcp.flags.reset == 1 && ip.src != " + HOST
        frames = lab.judge()
        # A connection that was reset answers what was on its way to it with another RST (RFC 9293, 3.10.7.1).
        streams = set(run("tshark", "-n", "-r", lab.pcap, "-Y", resets, "-T", "fields", "-e", "tcp.stream").stdout.split())
        check(len(streams) == 1, f"{len(streams)} connections reset, one was asked for")
        return f"{len(wanted.splitlines())} closes as the kernel's, {frames}"
