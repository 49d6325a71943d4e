# Sockets that turn to 127.0.0.0/8 move to the kernel, with all they are.
import fcntl, os, socket

l = socket.socket()
copy = os.dup(l.fileno())
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.setblocking(False)
l.bind(("127.0.0.1", 0))
l.listen(5)
assert fcntl.fcntl(l, fcntl.F_GETFL) & os.O_NONBLOCK
assert fcntl.fcntl(l, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
assert l.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
assert socket.socket(fileno=copy).getsockname() == l.getsockname()
port = l.getsockname()[1]
listening = {line.split()[1] for line in open("/proc/net/tcp")}
assert f"0100007F:{port:04X}" in listening, "the kernel has it"
print("bound", flush=True)

l.setblocking(True)
c = socket.socket()
number = c.fileno()
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
c.connect(l.getsockname())
assert c.fileno() == number and c.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
d, _ = l.accept()
c.sendall(b"hello")
assert d.recv(10) == b"hello"
print("connected", flush=True)

u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
for v in (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)):
    v.sendto(b"hello", u.getsockname())
    data, name = u.recvfrom(10)
    assert data == b"hello" and name[0] == "127.0.0.1"
print("sent", flush=True)

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.0.0.1", 7200))
try:
    s.sendto(b"x", u.getsockname())
    raise SystemExit("sent to the kernel from an address of the stack")
except OSError as e:
    assert e.errno == 101
print("bound elsewhere")
