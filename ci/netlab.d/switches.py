"""What [tcp] of the configuration file switches, as tshark and the kernel see it."""
import pathlib
import tempfile

from handshake import CLIENT, SERVER, listening
from lab import HOST, IFACE, STACK, Lab, check, run

FILE = f"""
metrics = "127.0.0.1:9478"
[tcp]
ecn = 1
pacing = true
user_timeout_option = true
syncookies = "always"
fast_open_key = "00112233-44556677-8899aabb-ccddeeff"
[[interface]]
driver = "net_tap"
options = "iface={IFACE}"
address = ["{STACK}/24"]
"""

# argv: address, port. A connection with a user timeout.
ASKS = """
import socket, sys
s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, 18, 30000)
s.connect((sys.argv[1], int(sys.argv[2])))
s.sendall(b"hello")
print(s.recv(100).decode())
"""


def tcp_switches():
    """ECN asked for, cookies for every SYN, the user timeout option, a Fast Open key that outlives the daemon."""
    with tempfile.TemporaryDirectory(prefix="iopkt-lab-") as folder:
        path = pathlib.Path(folder) / "io-pkt.toml"
        path.write_text(FILE)
        with Lab(drivers=["-c", path], capture=True) as lab:
            lab.exec("sysctl", "-qw", "net.ipv4.tcp_fastopen=3")
            ours, kernel, said = (lab.dir / f"{name}.txt" for name in ("ours", "kernel", "said"))
            lab.client("python3", "-c", SERVER, STACK, 8001, "stack: ", 0, log=ours)
            lab.spawn(["python3", "-c", SERVER, HOST, 8002, "kernel: ", 0], log=kernel)
            listening(lab, ours)
            listening(lab, kernel)
            process = lab.client("python3", "-c", ASKS, HOST, 8002, log=said)
            check(process.wait(20) == 0 and "kernel: hello" in said.read_text(), said.read_text())
            # A SYN cookie's SYN-ACK gives no Fast Open cookie: that comes from the daemons below, which have none.
            to_us = lab.exec("python3", "-c", CLIENT, STACK, 8001, "MSG_FASTOPEN").stdout
            check(to_us == "stack: hello\n" * 3, to_us)
            validated = lab.metric("iopkt_tcp_syncookies_validated_total")
            check(validated >= 1, f"{validated} connections by cookie")
            lab.judge()

            def frames(what):
                return len(run("tshark", "-n", "-r", lab.pcap, "-Y", what).stdout.splitlines())

            asked = frames(f"tcp.flags.syn == 1 && tcp.flags.ack == 0 && ip.src == {STACK} && "
                           "tcp.flags.ece == 1 && tcp.flags.cwr == 1")
            told = frames(f"ip.src == {STACK} && tcp.option_kind == 28")
            check(asked >= 1 and told >= 1, f"{asked} SYNs ask for ECN, {told} user timeout options")
            path.write_text(FILE.replace('"always"', '"off"'))
            restarted(lab, ours)
            check(lab.exec("python3", "-c", CLIENT, STACK, 8001, "MSG_FASTOPEN").returncode == 0, "no answer")
            restarted(lab, ours)
            opened = lab.exec("python3", "-c", CLIENT, STACK, 8001, "MSG_FASTOPEN").stdout
            check(opened == "stack: hello\n" * 3, opened)
            received = lab.metric("iopkt_tcp_fast_opens_received_total")
            sent = lab.metric("iopkt_tcp_syncookies_sent_total")
            check((received, sent) == (3, 0), f"{received} of 3 opened with the old daemon's cookie, {sent} SYN cookies")
            return f"{validated:.0f} by SYN cookie, {asked} SYNs with ECN, {told} user timeouts, 3 by the cookie of a daemon before"


def restarted(lab, log):
    """Another daemon with the same file, and the server at it."""
    lab.daemon.terminate()
    lab.daemon.wait(10)
    lab.start_daemon()
    lab.client("python3", "-c", SERVER, STACK, 8001, "stack: ", 0, log=log)
    listening(lab, log)
