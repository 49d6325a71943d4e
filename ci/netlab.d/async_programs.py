"""Programs in Rust on tokio, axum, mio and async-io, with the sockets of the client crate."""
import os

from lab import BIN, HOST, STACK, Lab, check, until

# Sends to all at once and reads them back, as any client over the kernel.
ECHO = f"""
import os, socket, sys, threading
port, count = int(sys.argv[1]), int(sys.argv[2]); data = os.urandom(100_000); wrong = []
def one():
    s = socket.create_connection(("{STACK}", port), timeout=20); got = bytearray()
    def send(): s.sendall(data); s.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send); sender.start()
    while piece := s.recv(65536): got += piece
    sender.join(); s.close()
    if got != data: wrong.append(len(got))
threads = [threading.Thread(target=one) for _ in range(count)]
[t.start() for t in threads]; [t.join() for t in threads]
assert not wrong, wrong
"""
DATAGRAM = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect(("{STACK}", 8202))
for size in (0, 1, 1400):
    s.send(bytes(size)); assert s.recv(2000) == bytes(size)
"""


def served(lab, verb, port):
    """Starts a program and waits until it listens."""
    log = lab.dir / f"{verb}.log"
    lab.spawn([BIN / "async-programs", verb, f"{STACK}:{port}"], log=log)
    until(f"{verb} listens", lambda: "ready" in log.read_text())


def async_programs():
    """Servers and clients of the Rust crate on tokio, axum, mio and async-io: none waits in a thread of its own."""
    with Lab() as lab:
        served(lab, "axum", 8201)
        page = f"http://{STACK}:8201"
        check(lab.exec("curl", "-fsS", "--noproxy", "*", page).stdout == "hello from axum\n", "axum's page")
        body = lab.dir / "body"
        body.write_bytes(os.urandom(1 << 20))
        back = lab.dir / "back"
        lab.exec("curl", "-fsS", "--noproxy", "*", page, "--data-binary", f"@{body}", "-o", back)
        check(back.read_bytes() == body.read_bytes(), "axum's echo of a mebibyte")
        said = lab.exec("ab", "-q", "-k", "-n", 3000, "-c", 30, f"{page}/zeros/5000").stdout
        check("Failed requests:        0\n" in said and "Complete requests:      3000\n" in said, said[-600:])

        served(lab, "tokio-echo", 8202)
        served(lab, "mio", 8203)
        for port in (8202, 8203):
            lab.exec("python3", "-c", ECHO, port, 30)
        lab.exec("python3", "-c", DATAGRAM)

        lab.spawn(["socat", f"TCP4-LISTEN:8204,bind={HOST},fork,reuseaddr,backlog=128", "EXEC:/bin/cat"])
        until("the kernel's echo", lambda: f"{HOST}:8204" in lab.exec("ss", "-ltn").stdout)
        said = lab.exec(BIN / "async-programs", "tokio", f"{HOST}:8204", 50).stdout
        check(said == "50 came back, and nobody at port 1: Err(ConnectionRefused)\n", said)
        said = lab.exec(BIN / "async-programs", "async-io", f"{HOST}:8204").stdout
        check(said == "100000 of 100000 bytes are the same\n", said)
        return "3000 requests to axum, 30 echoes by tokio and by mio each, 50 connections of tokio, one of async-io"
