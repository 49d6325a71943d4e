# Datagrams over loopback by each of the calls.
import socket

a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind(("127.0.0.1", 0))
a.settimeout(10)
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b.sendto(b"a", a.getsockname())
print(a.recvfrom(10)[0].decode())
b.sendmsg([b"b"], [], 0, a.getsockname())
print(a.recvmsg(10)[0].decode())
b.connect(a.getsockname())
b.send(b"c")
print(a.recv(10).decode())
