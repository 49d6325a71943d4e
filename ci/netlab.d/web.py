"""Unmodified web servers and browsers, on either side."""
import concurrent.futures
import re
import shutil
import time

from lab import BIN, HOST, IFACE, QUICK, STACK, Lab, check, random_file, until


def ping():
    """ping -f -c 100000 loses none; ping of every size that fits; tshark is content."""
    count = 5000 if QUICK else 100_000
    with Lab() as lab:
        flood = lab.exec("ping", "-f", "-q", "-c", count, STACK, timeout=300).stdout
        check(f"{count} received" in flood, flood[-200:])
        lab.capture()
        for size in (0, 1, 56, 1000, 1471, 1472):
            lab.echoes(STACK, 3, "-s", size)
        said = lab.judge()
        after = lab.usage()
        check(after["clients"] == 0, after)
        return f"{count} of {count}; {re.search(r'rtt .*', flood).group(0)}; {said}"


def http_download():
    """curl fetches 1 GiB from an unmodified python3 -m http.server; sha256 equal; tshark is content."""
    size = 64 << 20 if QUICK else 1 << 30
    with Lab() as lab:
        want = random_file(lab.dir / "big", size)
        lab.serve(lab.dir)
        lab.capture()
        started = time.monotonic()
        got = lab.exec("bash", "-o", "pipefail", "-c", f"curl -fsS --max-time 300 http://{STACK}/big | sha256sum", timeout=310)
        seconds = time.monotonic() - started
        check(got.stdout.split()[0] == want, "sha256 differs")
        return f"{size >> 20} MiB in {seconds:.1f} s ({size * 8 / seconds / 1e9:.2f} Gbit/s while captured), sha256 equal; {lab.judge()}"


# argv: address, folder. What is put is answered with its digest; /who with the addresses of both ends.
RECEIVER = """
import hashlib, http.server, os, socket, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_PUT(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left > 0:
            data = self.rfile.read(min(left, 1 << 16))
            if not data: break
            digest.update(data); left -= len(data)
        self.say(digest.hexdigest())
    def do_GET(self):
        if self.path == "/who": self.say(self.client_address[0] + " " + self.connection.getsockname()[0])
        else: super().do_GET()
    def say(self, text):
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers()
        self.wfile.write(text.encode())
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
os.chdir(sys.argv[2])
Server((sys.argv[1], 80), Handler).serve_forever()
"""


def http_upload():
    """curl uploads 1 GiB to an unmodified python3 program; sha256 equal; tshark is content."""
    size = 64 << 20 if QUICK else 1 << 30
    with Lab() as lab:
        want = random_file(lab.dir / "big", size)
        lab.client("python3", "-c", RECEIVER, "0.0.0.0", lab.dir)
        until("the receiver", lambda: lab.curl(f"http://{STACK}/", ok=False).returncode == 0)
        lab.capture()
        started = time.monotonic()
        got = lab.exec("curl", "-fsS", "--max-time", 300, "-T", lab.dir / "big", f"http://{STACK}/", timeout=310).stdout
        seconds = time.monotonic() - started
        check(got.strip() == want, f"sha256 differs: {got[:80]}")
        return f"{size >> 20} MiB in {seconds:.1f} s ({size * 8 / seconds / 1e9:.2f} Gbit/s while captured), sha256 equal; {lab.judge()}"


def segmentation():
    """The tap's driver cuts what io-pkt sends (tso=on): sha256 equal, tshark is content; beside the stack's own cutting."""
    size = (16 if QUICK else 64) << 20
    said = []
    for tso in ("on", "off"):
        with Lab(drivers=["-d", "net_tap", f"iface={IFACE},address={STACK}/24,tso={tso}"]) as lab:
            want = random_file(lab.dir / "big", size)
            lab.serve(lab.dir)
            fetch = f"curl -fsS --max-time 100 http://{STACK}/big | sha256sum"
            started = time.monotonic()
            got = lab.exec("bash", "-o", "pipefail", "-c", fetch, timeout=110)
            seconds = time.monotonic() - started
            check(got.stdout.split()[0] == want, "sha256 differs")
            cut = lab.metric("iopkt_tcp_segments_cut_by_ports_total") / lab.metric("iopkt_tcp_segments_sent_total")
            check(cut > 0.5 if tso == "on" else cut == 0, f"tso={tso}: the port cut {cut:.0%} of the segments")
            said.append(f"tso={tso} {size * 8 / seconds / 1e9:.2f} Gbit/s, {cut:.0%} cut by the driver")
            if tso == "on":
                lab.capture()
                got = lab.exec("bash", "-o", "pipefail", "-c", fetch, timeout=110)
                check(got.stdout.split()[0] == want, "sha256 differs")
                # The driver writes a TCP checksum of 0 as 0xffff, which is as good.
                said.append(lab.judge(but="tcp.checksum == 0xffff"))
    return "; ".join(said)


def many_curls():
    """1000 sequential and 100 parallel curls succeed, and leave nothing behind."""
    count, parallel = (100, 20) if QUICK else (1000, 100)
    with Lab() as lab:
        (lab.dir / "page").write_bytes(b"x" * 5000)
        lab.serve(lab.dir)
        before = lab.usage()
        lab.capture()
        started = time.monotonic()
        url = f"http://{STACK}/page"
        # In one shell: a thousand of them wait for nothing but each other.
        one = f"curl -fsS --noproxy '*' --max-time 10 {url} -o /dev/null"
        lab.exec("bash", "-c", f"for i in $(seq {count}); do {one} || exit 1; done", timeout=120)
        seconds = time.monotonic() - started
        burst = lab.exec("curl", "-fsS", "-Z", "--parallel-immediate", "--parallel-max", parallel, "--max-time", 30,
                         *[arg for _ in range(parallel) for arg in (url, "-o", "/dev/null")], timeout=60)
        check(burst.returncode == 0, burst.stderr)
        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            results = list(pool.map(lambda _: lab.curl(url, timeout=30, ok=False).returncode, range(parallel)))
        check(not any(results), f"{sum(map(bool, results))} of {parallel} parallel curls failed")
        said = lab.judge()
        until("sockets closed", lambda: lab.usage()["sockets"] <= before["sockets"])
        after = lab.usage()
        check(after["mbufs"] <= before["mbufs"] + 64, (before, after))
        return f"{count} sequential in {seconds:.1f} s, 2 x {parallel} parallel; {said}"


def client_curl():
    """curl as client of the stack fetches from a kernel server, as root and as an ordinary user."""
    with Lab(capture=True) as lab:
        size = 8 << 20
        want = random_file(lab.dir / "file", size)
        url, _ = lab.serve_from_kernel()
        fetch = ["curl", "-fsS", "--noproxy", "*", "--max-time", 60, f"{url}/file"]
        check(lab.fetched(f"{url}/file") == want, "sha256 differs")
        # An ordinary user must be able to read the programs; a build folder below /root hides them.
        for name in ("iopkt", "libiopkt_preload.so"):
            shutil.copy(BIN / name, lab.dir / name)
            (lab.dir / name).chmod(0o755)
        user = ["setpriv", "--reuid", 65534, "--regid", 65534, "--clear-groups", "--inh-caps=-all"]
        got = lab.exec(*user, lab.dir / "iopkt", "run", "--", *fetch, "-o", "/dev/null", "-w", "%{size_download} %{http_code}").stdout
        check(got.strip() == f"{size} 200", got)
        refused = lab.exec(*user, lab.dir / "iopkt", "ifconfig", "tap0", "down", ok=False)
        check(refused.returncode == 77, f"an ordinary user changed an interface: {refused.returncode} {refused.stderr}")
        refused = lab.exec(*user, lab.dir / "iopkt", "run", "--", "python3", "-c",
                           "import socket; socket.socket().bind(('0.0.0.0', 80))", ok=False)
        check("Permission" in refused.stderr, f"an ordinary user bound port 80: {refused.stderr}")
        unreachable = lab.iopkt("run", "--", "curl", "-sS", "--max-time", 10, f"http://{HOST}:9/", ok=False)
        check(unreachable.returncode == 7, f"closed port: {unreachable.returncode} {unreachable.stderr}")
        return lab.judge()


def nginx(folder, address):
    """The configuration of a web server in one process; returns its command."""
    (folder / "www").mkdir(exist_ok=True)
    (folder / "www").chmod(0o755)
    (folder / "www" / "page").write_bytes(b"x" * 1000)
    path = folder / f"nginx-{address}.conf"
    path.write_text(f"""
daemon off; master_process off; pid {path}.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {address} backlog=512; root {folder}/www; }}
}}
""")
    return ["nginx", "-p", folder, "-c", path, "-e", "stderr"]


def short_connections(lab, count, url, *prefix):
    """wrk makes at least so many connections, one request on each; none may fail."""
    done, started = 0, time.monotonic()
    while done < count:
        said = lab.exec(*prefix, "wrk", "-t", 1, "-c", 50, "-d", "2s", "--timeout", "10s", "-H", "Connection: close", url).stdout
        check("Socket errors" not in said and "Non-2xx" not in said, said)
        made = int(re.search(r"(\d+) requests in", said).group(1))
        check(made > 0, said)
        done += made
    return f"{done} at {done / (time.monotonic() - started):.0f}/s"


def wrk_short():
    """10 000 short connections by wrk to nginx under iopkt run, and as many by wrk under iopkt run: no error."""
    count = 1000 if QUICK else 10_000
    with Lab() as lab:
        lab.client(*nginx(lab.dir, f"{STACK}:80"), log=lab.dir / "nginx.log")
        lab.spawn(nginx(lab.dir, f"{HOST}:8080"), log=lab.dir / "kernel-nginx.log")
        for url in (f"http://{STACK}/page", f"http://{HOST}:8080/page"):
            until("nginx", lambda: lab.curl(url, ok=False).returncode == 0)
        before = lab.usage()
        served = short_connections(lab, count, f"http://{STACK}/page")
        fetched = short_connections(lab, count, f"http://{HOST}:8080/page", BIN / "iopkt", "run", "--")
        until("sockets closed", lambda: lab.usage()["sockets"] <= before["sockets"])
        until("buffers are back", lambda: lab.usage()["mbufs"] <= before["mbufs"] + 64)
        return f"served {served}, fetched {fetched}"
