# Children by fork, vfork (subprocess) and posix_spawn, and threads that use pipes meanwhile.
import os, subprocess, threading

pid = os.fork()
if pid == 0:
    os.closerange(3, 4096)
    os._exit(0)
print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

out = subprocess.run(["cat"], input=b"hello", capture_output=True, close_fds=True).stdout
print("vfork", out.decode(), flush=True)

pid = os.posix_spawn("/bin/true", ["true"], os.environ)
print("spawn", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

done = []
def work():
    r, w = os.pipe()
    os.write(w, b"x")
    if os.read(r, 1) == b"x":
        done.append(1)
    os.close(r)
    os.close(w)
threads = [threading.Thread(target=work) for _ in range(64)]
for t in threads: t.start()
for t in threads: t.join()
print("threads", len(done))
