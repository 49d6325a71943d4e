# Sockets that are none of a stack's business.
import socket

a, b = socket.socketpair()
a.sendall(b"over unix")
assert b.recv(100) == b"over unix"
print("unix ok")

n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
n.bind((0, 0))
print("netlink ok")
