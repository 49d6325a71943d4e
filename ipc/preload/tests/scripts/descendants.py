# Children of every kind beside open sockets of the stack.
import os, socket, subprocess

A = "10.0.0.1"
l = socket.socket()
l.bind((A, 7100))
l.listen(5)
c = socket.create_connection((A, 7100))
d, _ = l.accept()

# A forked child serves the connection and makes a socket of its own.
if (pid := os.fork()) == 0:
    l.close()
    c.close()
    d.sendall(d.recv(100).upper())
    d.close()
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind((A, 7101))
    own.close()
    os._exit(0)
d.close()
c.sendall(b"hello")
assert c.recv(100) == b"HELLO"
assert os.waitpid(pid, 0)[1] == 0
assert c.recv(100) == b"", "the last copy was the child's"
c.close()
print("fork", flush=True)

# Children that close everything: by fork, and by vfork in this program's own memory.
c = socket.create_connection((A, 7100))
d, _ = l.accept()
if (pid := os.fork()) == 0:
    os.closerange(3, 4096)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
for _ in range(20):
    subprocess.run(["true"], close_fds=True, check=True)
    subprocess.run(["true"], stdin=c, check=True)
c.sendall(b"as before")
assert d.recv(100) == b"as before"
print("closers", flush=True)

# Numbers closed in one go are closed.
numbers = sorted((c.fileno(), d.fileno()))
os.dup2(numbers[0], 900)
os.dup2(numbers[1], 901)
os.closerange(900, 902)
for number in (900, 901):
    try:
        os.read(number, 1)
        raise SystemExit("open")
    except OSError as e:
        assert e.errno == 9
c.sendall(b"again")
assert d.recv(100) == b"again"
print("range")
