# Datagrams over the stack by each of the calls, in batches too.
import ctypes, socket

A = "10.0.0.1"
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind((A, 7300))
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b.bind((A, 7301))
b.sendto(b"one", (A, 7300))
assert a.recvfrom(10) == (b"one", (A, 7301))
b.sendmsg([b"t", b"wo"], [], 0, (A, 7300))
data, control, flags, name = a.recvmsg(2)
assert (data, control, flags, name) == (b"tw", [], socket.MSG_TRUNC, (A, 7301))
b.connect((A, 7300))
b.send(b"")
assert a.recv(10) == b""
b.sendmsg([b"x"], [(socket.IPPROTO_IP, socket.IP_TTL, (9).to_bytes(4, "little"))])
assert a.recv(10) == b"x"
try:
    b.sendmsg([b"x"], [(socket.IPPROTO_IP, socket.IP_TTL, (300).to_bytes(4, "little"))])
    raise SystemExit("a TTL of 300 was taken")
except OSError as e:
    assert e.errno == 22
print("single", flush=True)

class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]

class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.POINTER(Iovec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]

class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint)]

libc = ctypes.CDLL(None)
def batch(texts):
    vectors = [Iovec(text, len(text)) for text in texts]
    heads = [Mmsghdr(Msghdr(None, 0, ctypes.pointer(vector), 1)) for vector in vectors]
    return (Mmsghdr * len(texts))(*heads)

out = batch([b"x" * n for n in (1, 22, 333)])
assert libc.sendmmsg(b.fileno(), out, 3, 0) == 3
assert [message.len for message in out] == [1, 22, 333]
# When what was sent after them is there, they are.
last = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
last.bind((A, 7302))
b.sendto(b"last", (A, 7302))
assert last.recv(10) == b"last"
into = batch([b"-" * 400 for _ in range(5)])
assert libc.recvmmsg(a.fileno(), into, 5, 0x10000, None) == 3  # MSG_WAITFORONE
assert [message.len for message in into][:3] == [1, 22, 333]
assert libc.recvmmsg(a.fileno(), into, 5, socket.MSG_DONTWAIT, None) == -1
print("batch")
