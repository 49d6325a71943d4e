# Sockets that are none of a stack's business.
import socket

a, b = socket.socketpair()
a.sendall(b"over unix")
assert b.recv(100) == b"over unix"
print("unix ok")

try:
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.bind(("::1", 0))
    s.listen()
    c = socket.create_connection(s.getsockname()[:2])
    d, _ = s.accept()
    c.sendall(b"six")
    assert d.recv(10) == b"six"
except OSError as e:
    # A machine without IPv6 refuses in the kernel's own words.
    assert e.errno in (97, 99), e
print("inet6 ok")

n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
n.bind((0, 0))
print("netlink ok")
