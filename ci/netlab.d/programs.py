"""The table of programs: each unmodified under `iopkt run`, with the kernel as its peer. `ipc/programs.md` is made here."""
import hashlib
import os
import re
import shutil
import subprocess

from lab import HOST, QUICK, ROOT, STACK, Failed, Lab, check, random_file, run, until
from processes import echo, served

TABLE = ROOT / "ipc/programs.md"
HEAD = """# Programs over io-pkt

Each ran unmodified under `iopkt run`, with a program over the kernel's sockets at the other end of a tap. `ci/netlab programs` runs
them all, and fails if a row is missing here; `IOPKT_WRITE_PROGRAMS=1 ci/netlab programs` writes this file. Reloads under load, exec'd
and forked servers and passed descriptors have cases of their own: `nginx_reload`, `haproxy_reload`, `exec_inetd`, `prefork`, `scm_rights`.

| program | version | what was run | result |
|---|---|---|---|
"""
PROGRAMS = []
# What is 1 GiB in the table; a short run moves less of it.
GIB = 64 << 20 if QUICK else 1 << 30


def program(name, what, version):
    """One row: the function gets the lab and returns what came of it."""
    def add(function):
        PROGRAMS.append((name, what, version, function))
        return function
    return add


def kernel(lab, *argv, port=None, **kwargs):
    """A server over the kernel's sockets."""
    process = lab.spawn(argv, **kwargs)
    if port:
        until(f"the kernel's port {port}", lambda: re.search(rf"{HOST}:{port}\b|[*]:{port}\b|0[.]0[.]0[.]0:{port}\b", lab.exec("ss", "-ltnu").stdout))
    return process


def on_stack(lab, *argv, **kwargs):
    """A client of the stack, to its end."""
    return lab.iopkt("run", "--", *argv, **kwargs).stdout


def same(lab, text):
    check(hashlib.sha256(text.encode("latin-1") if isinstance(text, str) else text).hexdigest() == lab.digest, "other bytes came")


def asked(lab, url, count=2000):
    """Keep-alive requests by ab; none may fail."""
    said = lab.exec("ab", "-q", "-k", "-n", count, "-c", 20, url, timeout=60).stdout
    failed = re.search(r"Failed requests: +(\d+)", said).group(1)
    check(failed == "0" and "Non-2xx" not in said, said[-800:])
    return f"{count} requests, none failed"


def fetched(lab, url, *argv):
    """A file of 4 MiB by a client of the stack."""
    out = lab.dir / "fetched"
    on_stack(lab, *argv, str(out), url)
    same(lab, out.read_bytes())
    return "sha256 equal"


NGINX = """
daemon off; worker_processes 2; pid {dir}/nginx{port}.pid; error_log {dir}/nginx-error.log; events {{ worker_connections 256; }}
http {{ access_log off; sendfile {sendfile}; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
       server {{ listen {port}; root {dir}/www; }} }}
"""


def nginx_on(lab, port, sendfile="off"):
    conf = lab.dir / f"nginx{port}.conf"
    conf.write_text(NGINX.format(dir=lab.dir, port=port, sendfile=sendfile))
    return [shutil.which("nginx"), "-p", lab.dir, "-c", conf, "-e", lab.dir / "nginx-error.log"]


@program("nginx", "2 workers; 2000 keep-alive requests, a file of 1 GiB with and without `sendfile`", ("nginx", "-v"))
def nginx(lab):
    want = random_file(lab.dir / "www/big", GIB)
    for port, sendfile in ((8001, "on"), (8009, "off")):
        lab.client(*nginx_on(lab, port, sendfile))
        served(lab, port)
        got = lab.exec("bash", "-o", "pipefail", "-c", f"curl -fsS --max-time 200 http://{STACK}:{port}/big | sha256sum", timeout=210).stdout
        check(got.split()[0] == want, f"sha256 differs, sendfile {sendfile}")
    (lab.dir / "www/big").unlink()
    return asked(lab, f"http://{STACK}:8001/page") + "; sha256 equal"


@program("lighttpd", "2000 keep-alive requests", ("lighttpd", "-v"))
def lighttpd(lab):
    conf = lab.dir / "lighttpd.conf"
    conf.write_text(f'server.document-root = "{lab.dir}/www"\nserver.port = 8002\nserver.bind = "0.0.0.0"\n')
    lab.client("lighttpd", "-D", "-f", conf)
    served(lab, 8002)
    return asked(lab, f"http://{STACK}:8002/page")


@program("haproxy", "before a kernel's server: both its sides over the stack; 1000 keep-alive requests", ("haproxy", "-v"))
def haproxy(lab):
    conf = lab.dir / "haproxy.cfg"
    conf.write_text(f"defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
                    f"frontend f\n bind 0.0.0.0:8003\n default_backend b\nbackend b\n server s {HOST}:8080\n")
    lab.client("haproxy", "-f", conf, "-db")
    served(lab, 8003)
    return asked(lab, f"http://{STACK}:8003/page", 1000)


@program("redis-server", "redis-benchmark over the kernel: SET, GET, LPUSH, 20 connections, pipelines of 4", ("redis-server", "--version"))
def redis_server(lab):
    lab.client("redis-server", "--port", 6379, "--bind", "0.0.0.0", "--save", "", "--appendonly", "no", "--protected-mode", "no", "--dir", lab.dir)
    served(lab, 6379)
    said = lab.exec("redis-benchmark", "-h", STACK, "-n", 4000, "-c", 20, "-P", 4, "-t", "set,get,lpush", "--csv", timeout=60).stdout
    check(said.count("\n") >= 4 and "Error" not in said, said)
    return "12000 commands"


@program("redis-benchmark", "a kernel's redis-server: SET, GET, 20 connections", ("redis-benchmark", "--version"))
def redis_benchmark(lab):
    kernel(lab, "redis-server", "--port", 6380, "--bind", HOST, "--save", "", "--protected-mode", "no", "--dir", lab.dir, port=6380)
    said = on_stack(lab, "redis-benchmark", "-h", HOST, "-p", 6380, "-n", 4000, "-c", 20, "-t", "set,get", "--csv")
    check(said.count("\n") >= 3 and "Error" not in said, said)
    return "8000 commands"


MEMCACHE = f"""
import os, socket
s = socket.create_connection(("{STACK}", 11211), timeout=10); f = s.makefile("rwb")
for i in range(200):
    value = os.urandom(5000).hex().encode()
    f.write(b"set k%d 0 60 %d\\r\\n%s\\r\\nget k%d\\r\\n" % (i, len(value), value, i)); f.flush()
    assert f.readline() == b"STORED\\r\\n"
    assert f.readline() == b"VALUE k%d 0 %d\\r\\n" % (i, len(value)) and f.read(len(value)) == value
    assert f.readline() + f.readline() == b"\\r\\nEND\\r\\n"
"""


@program("memcached", "4 threads; 200 values of 10 kB set and read", ("memcached", "-V"))
def memcached(lab):
    lab.client("memcached", "-u", "root", "-t", 4, "-l", "0.0.0.0", "-p", 11211)
    served(lab, 11211)
    lab.exec("python3", "-c", MEMCACHE)
    return "200 of 200"


@program("iperf3", "as server, 20 MB both ways", ("iperf3", "--version"))
def iperf3(lab):
    lab.client("iperf3", "-s", "-4", "-p", 5201)
    served(lab, 5201)
    for way in ((), ("-R",)):
        until("iperf3's server is free", lambda: lab.exec("iperf3", "-c", STACK, "-n", "20M", *way, ok=False).returncode == 0)
    return "40 MB"


@program("iperf3", "as client, 20 MB both ways, 4 streams", ("iperf3", "--version"))
def iperf3_client(lab):
    kernel(lab, "iperf3", "-s", "-B", HOST, "-p", 5202, port=5202)
    for way in ((), ("-R",)):
        until("iperf3's server is free", lambda: lab.iopkt("run", "--", "iperf3", "-c", HOST, "-p", 5202, "-n", "20M", "-P", 4, *way, ok=False).returncode == 0)
    return "40 MB"


@program("curl", "a file of 4 MiB from a kernel's nginx", ("curl", "--version"))
def curl(lab):
    return fetched(lab, f"http://{HOST}:8080/file", "curl", "-fsS", "--noproxy", "*", "-o")


@program("wget", "a file of 4 MiB from a kernel's nginx", ("wget", "--version"))
def wget(lab):
    return fetched(lab, f"http://{HOST}:8080/file", "wget", "-q", "--no-proxy", "-O")


@program("wrk", "2 threads, 20 connections for 2 s at a kernel's nginx", ("wrk", "-v"))
def wrk(lab):
    said = on_stack(lab, "wrk", "-t", 2, "-c", 20, "-d", "2s", f"http://{HOST}:8080/page")
    count = int(re.search(r"(\d+) requests in", said).group(1))
    check(count > 100 and "Socket errors" not in said and "Non-2xx" not in said, said)
    return "no error"


@program("ab", "1000 requests with a connection each at a kernel's nginx", ("ab", "-V"))
def apache_bench(lab):
    said = on_stack(lab, "ab", "-q", "-n", 1000, "-c", 10, f"http://{HOST}:8080/page")
    check(re.search(r"Failed requests: +0\n", said) and re.search(r"Complete requests: +1000\n", said), said[-500:])
    return "none failed"


ASYNC_SERVER = """
import asyncio
async def echo(reader, writer):
    while data := await reader.read(65536): writer.write(data); await writer.drain()
    writer.close()
async def main():
    async with await asyncio.start_server(echo, "0.0.0.0", 8004) as server: await server.serve_forever()
asyncio.run(main())
"""
ASYNC_CLIENT = f"""
import asyncio, os
async def one():
    reader, writer = await asyncio.open_connection("{HOST}", 8005); data = os.urandom(100_000)
    writer.write(data); writer.write_eof(); got = await reader.read(-1); writer.close(); assert got == data
async def main(): await asyncio.gather(*(one() for _ in range(50)))
asyncio.run(main())
"""


@program("python3 asyncio", "a server; 20 connections echo 100 kB", ("python3", "--version"))
def asyncio_server(lab):
    lab.client("python3", "-c", ASYNC_SERVER)
    served(lab, 8004)
    echo(lab, 8004, 20, 100_000)
    return "all came back"


@program("python3 asyncio", "a client: 50 connections at once to a kernel's socat", ("python3", "--version"))
def asyncio_client(lab):
    kernel(lab, "socat", f"TCP4-LISTEN:8005,bind={HOST},fork,reuseaddr,backlog=64", "EXEC:/bin/cat", port=8005)
    on_stack(lab, "python3", "-c", ASYNC_CLIENT)
    return "all came back"


@program("socat", "TCP4-LISTEN,fork to EXEC:cat; 20 connections echo 100 kB", ("socat", "-V"))
def socat(lab):
    lab.client("socat", "TCP4-LISTEN:8006,fork,reuseaddr", "EXEC:/bin/cat")
    served(lab, 8006)
    echo(lab, 8006, 20, 100_000)
    return "all came back"


@program("netcat-openbsd", "receives a file of 4 MiB, and sends one", ("nc", "-h"))
def netcat(lab):
    out = lab.dir / "nc.out"
    receiver = lab.client("sh", "-c", f"nc -l 8007 > {out}")
    served(lab, 8007)
    lab.exec("sh", "-c", f"nc -N {STACK} 8007 < {lab.dir}/www/file")
    receiver.wait(20)
    same(lab, out.read_bytes())
    kernel(lab, "sh", "-c", f"nc -l {HOST} 8008 > {out}", port=8008)
    on_stack(lab, "sh", "-c", f"nc -N {HOST} 8008 < {lab.dir}/www/file")
    until("all of the file", lambda: out.stat().st_size == 4 << 20)
    same(lab, out.read_bytes())
    return "sha256 equal, both ways"


DNS = f"""
import socket, struct
def ask(name, tcp):
    question = b"".join(bytes([len(part)]) + part for part in name.encode().split(b".")) + b"\\0" + struct.pack(">HH", 1, 1)
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + question
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM); s.settimeout(5); s.connect(("{STACK}", 53))
    if tcp: s.sendall(struct.pack(">H", len(query)) + query); answer = s.makefile("rb").read(struct.unpack(">H", s.recv(2))[0])
    else: s.send(query); answer = s.recv(2000)
    assert answer[:2] == query[:2] and answer.endswith(bytes([10, 9, 8, 7])), answer
for i in range(200): ask("n%d.test" % i, i % 10 == 0)
"""


UNBOUND = """
server:
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{dir}"
  pidfile: "{dir}/unbound.pid"
  interface: 0.0.0.0
  do-ip6: no
  access-control: 0.0.0.0/0 allow
  module-config: "iterator"
  use-syslog: no
  local-zone: "test." redirect
  local-data: "test. A 10.9.8.7"
remote-control:
  control-enable: no
"""


@program("unbound", "200 questions by UDP and TCP", ("unbound", "-V"))
def unbound(lab):
    conf = lab.dir / "unbound.conf"
    conf.write_text(UNBOUND.format(dir=lab.dir))
    lab.client("unbound", "-d", "-c", conf, log=lab.dir / "unbound.log")
    served(lab, 53)
    lab.exec("python3", "-c", DNS)
    return "200 answers"


@program("dnsmasq", "200 questions by UDP and TCP", ("dnsmasq", "--version"))
def dnsmasq(lab):
    # It asks netlink for interfaces, which are the kernel's; so it is told its address.
    lab.client("dnsmasq", "-k", "-C", "/dev/null", "-R", "-h", "-u", "root", "-x", "", "-z", "-a", STACK, "-A", "/test/10.9.8.7")
    served(lab, 53)
    lab.exec("python3", "-c", DNS)
    return "200 answers"


def ssh_server(lab, port, start):
    """A dropbear that knows one key, in a mount namespace where root's home is the lab's."""
    home = lab.dir / "home"
    if not home.exists():
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        home.chmod(0o700)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", lab.dir / "key")
        run("dropbearkey", "-t", "ed25519", "-f", lab.dir / "hostkey")
        shutil.copy(lab.dir / "key.pub", home / ".ssh/authorized_keys")
        (lab.dir / "passwd").write_text(f"root:x:0:0:root:{home}:/bin/sh\n")
    script = f"mount --bind {lab.dir}/passwd /etc/passwd && exec dropbear -F -E -r {lab.dir}/hostkey -P {lab.dir}/dropbear{port}.pid -p {port}"
    start("unshare", "-m", "sh", "-c", script)


def ssh_command(lab, address, port):
    return ["ssh", "-F", "/dev/null", "-i", lab.dir / "key", "-p", port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
            f"root@{address}", f"cat > {lab.dir}/ssh.out; sha256sum {lab.dir}/ssh.out"]


def ssh_copies(lab, said):
    check(said.split()[0] == lab.digest, f"other bytes came: {said}")
    return "4 MiB, sha256 equal"


@program("dropbear", "a command with 4 MiB of input over ssh, by key", ("dropbear", "-V"))
def dropbear(lab):
    ssh_server(lab, 2222, lambda *argv: lab.client(*argv, log=lab.dir / "dropbear.log"))
    served(lab, 2222)
    with open(lab.dir / "www/file", "rb") as file:
        return ssh_copies(lab, lab.exec(*ssh_command(lab, STACK, 2222), stdin=file).stdout)


@program("ssh", "a command with 4 MiB of input over a kernel's dropbear, by key", ("ssh", "-V"))
def ssh(lab):
    ssh_server(lab, 2223, lambda *argv: kernel(lab, *argv, port=2223))
    with open(lab.dir / "www/file", "rb") as file:
        return ssh_copies(lab, on_stack(lab, *ssh_command(lab, HOST, 2223), stdin=file))


def certificate(lab):
    if not (lab.dir / "tls.crt").exists():
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2, "-subj", f"/CN={STACK}",
            "-keyout", lab.dir / "tls.key", "-out", lab.dir / "tls.crt")
    return ["openssl", "s_server", "-WWW", "-cert", lab.dir / "tls.crt", "-key", lab.dir / "tls.key"]


@program("openssl s_server", "a file of 4 MiB by https", ("openssl", "version"))
def openssl_server(lab):
    lab.client(*certificate(lab), "-4", "-accept", 4433, cwd=lab.dir / "www")
    served(lab, 4433)
    out = lab.dir / "tls.out"
    lab.exec("curl", "-fsSk", "--noproxy", "*", "-o", out, f"https://{STACK}:4433/file")
    same(lab, out.read_bytes())
    return "sha256 equal"


@program("openssl s_client", "a request to a kernel's s_server", ("openssl", "version"))
def openssl_client(lab):
    kernel(lab, *certificate(lab), "-accept", f"{HOST}:4434", cwd=lab.dir / "www", port=4434)
    ask = f"printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -ign_eof -connect {HOST}:4434 2>/dev/null"
    check(on_stack(lab, "sh", "-c", ask).endswith("x" * 1000), "the page did not come")
    return "the page came"


def version_of(argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=20)
    found = re.search(r"\d+(\.\d+)+[\w.-]*", done.stdout + done.stderr)
    if argv[0] == "nc":
        return run("dpkg-query", "-W", "-f", "${Version}", "netcat-openbsd", ok=False).stdout or "unknown"
    return found.group(0) if found else "unknown"


def programs():
    """The programs of ipc/programs.md, unmodified, with the kernel as their peer."""
    rows, missing = [], []
    with Lab() as lab:
        (lab.dir / "www").mkdir()
        lab.digest = random_file(lab.dir / "www/file", 4 << 20)
        (lab.dir / "www/page").write_bytes(b"x" * 1000)
        kernel(lab, *nginx_on(lab, 8080), port=8080)
        for name, what, version, function in PROGRAMS:
            if not shutil.which(version[0]):
                missing.append(name)
                continue
            clients = len(lab.processes)
            try:
                rows.append(f"| {name} | {version_of(version)} | {what} | {function(lab)} |")
            except (Failed, subprocess.SubprocessError, AttributeError, OSError) as error:
                raise Failed(f"{name}, {what}: {error}") from error
            for process in lab.processes[clients:]:
                lab.stop(process)
        until("clients are gone", lambda: lab.usage()["clients"] == 0, 20)
    if os.environ.get("IOPKT_WRITE_PROGRAMS"):
        check(not missing, f"not installed: {missing}")
        TABLE.write_text(HEAD + "\n".join(rows) + "\n")
    written = TABLE.read_text()
    unsaid = [f"{name}: {what}" for name, what, _, _ in PROGRAMS if not re.search(rf"^\| {re.escape(name)} \| .* \| {re.escape(what)} \|", written, re.M)]
    check(not unsaid and written.count("\n| ") == len(PROGRAMS) + 1, f"ipc/programs.md is not of this day ({unsaid}): IOPKT_WRITE_PROGRAMS=1 ci/netlab programs")
    return f"{len(rows)} rows" + (f"; not installed: {', '.join(missing)}" if missing else "")
