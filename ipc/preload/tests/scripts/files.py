# Calls that take any descriptor, on descriptors that are not sockets.
import fcntl, os, socket, tempfile

with tempfile.TemporaryFile() as f:
    f.write(b"z" * 100000)
    f.flush()
    f.seek(0)
    a, b = socket.socketpair()
    a.setblocking(False)
    sent = 0
    while sent < 100000:
        try:
            sent += os.sendfile(a.fileno(), f.fileno(), sent, 100000 - sent)
        except BlockingIOError:
            b.recv(65536)
    print("sendfile", sent)
    copy = os.dup(f.fileno())
    high = fcntl.fcntl(copy, fcntl.F_DUPFD_CLOEXEC, 100)
    assert high >= 100
    assert fcntl.fcntl(high, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    os.dup2(f.fileno(), high)
    print("fcntl ok")
    os.closerange(100, 200)
    try:
        os.fstat(high)
    except OSError as e:
        assert e.errno == 9
        print("closed ok")
