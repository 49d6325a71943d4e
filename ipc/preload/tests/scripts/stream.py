# Streams over the stack, between this program's own sockets: what kernel and library say of them.
import fcntl, os, select, signal, socket, struct, tempfile, termios, threading, time

A = "10.0.0.1"

def pair(port):
    """A listener's accepted socket and the one that connected to it."""
    l = socket.socket()
    l.bind((A, port))
    l.listen(5)
    c = socket.create_connection((A, port))
    assert select.select([l], [], [], 5)[0], "a waiting connection makes the listener readable"
    d, name = l.accept()
    assert name == c.getsockname()
    l.close()
    return d, c

a, b = pair(7000)
assert a.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
assert a.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
assert fcntl.fcntl(a, fcntl.F_GETFD) == fcntl.FD_CLOEXEC and not os.get_inheritable(a.fileno())
print("accepted", flush=True)

a.sendall(b"hello")
assert select.select([b], [], [], 5)[0]
waiting = bytearray(4)
fcntl.ioctl(b, termios.FIONREAD, waiting)
assert struct.unpack("i", waiting)[0] == 5
assert b.recv(2, socket.MSG_PEEK) == b"he"
assert os.readv(b.fileno(), [bytearray(2), bytearray(8)]) == 5
b.setblocking(False)
try:
    b.recv(1)
    raise SystemExit("nothing was to be read")
except BlockingIOError:
    b.setblocking(True)
print("read", flush=True)

# Copies share the socket; the last one closes it.
copy = os.dup(a.fileno())
high = fcntl.fcntl(copy, fcntl.F_DUPFD_CLOEXEC, 200)
os.dup2(copy, 201)
a.close()
os.close(copy)
os.close(high)
epoll = select.epoll()
epoll.register(b, select.EPOLLIN | select.EPOLLRDHUP)
assert epoll.poll(0.1) == []
os.write(201, b"still here")
assert b.recv(100) == b"still here"
os.close(201)
assert epoll.poll(5)[0][1] & select.EPOLLIN
assert b.recv(100) == b""
b.close()
print("copies", flush=True)

# A file over the socket's number ends the socket and takes the number.
a, b = pair(7001)
null = os.open("/dev/null", os.O_RDWR)
os.dup2(null, a.fileno())
assert os.write(a.fileno(), b"gone") == 4
assert b.recv(10) == b""
a.close()
b.close()
print("replaced", flush=True)

a, b = pair(7002)
data = os.urandom(300_000)
with tempfile.TemporaryFile() as f:
    f.write(data)
    f.flush()
    def send():
        done = 0
        while done < len(data):
            done += os.sendfile(a.fileno(), f.fileno(), done, len(data) - done)
        a.shutdown(socket.SHUT_WR)
    thread = threading.Thread(target=send)
    thread.start()
    got = b.recv(len(data), socket.MSG_WAITALL)
    thread.join()
assert got == data and b.recv(1) == b""
print("sendfile", flush=True)

heard = []
signal.signal(signal.SIGPIPE, lambda *_: heard.append(1))
for flags, times in ((socket.MSG_NOSIGNAL, 0), (0, 1)):
    try:
        a.send(b"x", flags)
        raise SystemExit("sent after shutdown")
    except BrokenPipeError:
        time.sleep(0.01)  # Python runs its handlers a little later.
        assert len(heard) == times, (flags, heard)
print("sigpipe", flush=True)

try:
    b.setsockopt(socket.SOL_SOCKET, socket.SO_TYPE, b"x" * 2000)
    raise SystemExit("an option of 2000 bytes")
except OSError as e:
    assert e.errno == 22
try:
    fcntl.ioctl(b, 0x8922, bytearray(40))  # SIOCSIFMTU: interfaces are not changed by programs
    raise SystemExit("an interface's MTU")
except OSError as e:
    assert e.errno == 25
print("refused")
