"""Socket options: what the stack answers is what the kernel answers."""

from lab import HOST, ROOT, STACK, Lab, check, run, until

PEER = """
import socket, sys, time
for _ in range(200):
    try: s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 1); break
    except OSError: time.sleep(0.05)
s.settimeout(20)
inbox = b""
def line():
    while s.recv(1) != b"\\n": pass
for _ in range(3):
    line()
    s.send(b"ab"); time.sleep(0.05); s.send(b"c!", socket.MSG_OOB); time.sleep(0.05); s.send(b"def")
whole = urgent = b""
while True:
    try: part = s.recv(1 << 16)
    except OSError as error: print("peer:", error); break
    if not part: break
    try: urgent += s.recv(1, socket.MSG_OOB)
    except OSError: pass
    whole += part
try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); print("peer: connected")
except OSError as error: print("peer, later:", error)
print("peer got", whole, "urgent", urgent)
"""

# What differs on purpose, by the beginning of the line, with the reason.
DIFFERENT = {
    "accepted: TCP_WINDOW_CLAMP": "the kernel takes over the listener's SO_RCVBUF into the clamp; we leave what was set",
}


# Status of the program if the machine did not run it while its text was held back, and how often it may say so.
LATE, TRIES = 75, 20


def answers(lab, program, over_stack):
    """The program's lines and those of its peer, which is the kernel's both times."""
    for attempt in range(TRIES):
        port, log = (7001, lab.dir / f"stack{attempt}.txt") if over_stack else (7002, lab.dir / f"kernel{attempt}.txt")
        argv = [program, port]
        process = lab.client(*argv, log=log) if over_stack else lab.spawn(argv, log=log)
        until("the program listens", lambda: "ready" in log.read_text())
        peer = lab.exec("python3", "-c", PEER, STACK if over_stack else HOST, port, timeout=60).stdout
        status = process.wait(30)
        if status != LATE:
            break
    check(status == 0, f"the program ended with {status}: {log.read_text()[-300:]}")
    return [line for line in log.read_text().splitlines() if line != "ready"] + peer.splitlines()


def tcp_options():
    """An unmodified program sets and reads TCP's options and handles urgent data as over the kernel."""
    with Lab(capture=True) as lab:
        program = lab.dir / "tcp_options"
        run("gcc", "-O1", "-Wall", "-pthread", "-o", program, ROOT / "ci/netlab.d/tcp_options.c")
        ours, kernel = answers(lab, program, True), answers(lab, program, False)
        differing = []
        for place, (mine, theirs) in enumerate(zip(ours, kernel)):
            if mine != theirs and not any(mine.startswith(known) for known in DIFFERENT):
                differing.append(f"{place}: {mine!r}, the kernel: {theirs!r}")
        listed = "\n".join(differing)
        check(not differing, f"{len(differing)} of {len(kernel)} answers differ:\n{listed}")
        check(len(ours) == len(kernel), f"{len(ours)} answers, the kernel gives {len(kernel)}")
        frames = lab.judge()
        return f"{len(kernel)} answers equal the kernel's but for {len(DIFFERENT)} known ones, {frames}"
