"""What ci/install puts where works from there, and goes away again."""
import os
import pathlib
import shutil
import socket
import tempfile

from lab import ROOT, STACK, Lab, check, random_file, run, until

MANUAL = {"man8/io-pkt.8": "net_tap", "man1/iopkt.1": "ifconfig", "man3/iopkt.3": "iopkt_recv", "man3/iopkt_route_socket.3": "RTM_ADD"}


def compiled(prefix, folder):
    """An example, built as a stranger would."""
    env = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "iopkt", env=env).stdout.split()
    run("cc", "-o", folder / "echo", ROOT / "ipc/libiopkt/examples/echo.c", *flags)
    return folder / "echo"


def serves(lab, prefix):
    """The service of the installed configuration, its module, its tools, its libraries."""
    sha = random_file(lab.dir / "file", 1 << 20)
    url, _ = lab.serve_from_kernel()
    check(lab.fetched(f"{url}/file") == sha, "the fetched file differs")
    lab.exec("ping", "-c", 1, "-W", 2, STACK)
    lab.iopkt("mount", "-T", "io-pkt", "noping")
    loaded = [row["path"] for row in lab.table("modules")]
    check(str(prefix / "lib/io-pkt/lsm-noping.so") in loaded, f"not the installed module: {loaded}")
    check(lab.exec("ping", "-c", 1, "-W", 1, STACK, ok=False).returncode == 1, "the installed module does nothing")
    lab.env["LD_LIBRARY_PATH"] = str(prefix / "lib")
    lab.spawn([compiled(prefix, lab.dir), 7], log=lab.dir / "echo.log")
    echoed = lambda: lab.exec("bash", "-c", f"exec 3<>/dev/tcp/{STACK}/7 && echo hello >&3 && head -1 <&3", ok=False).stdout
    until("an echo", lambda: echoed() == "hello\n")


def installation():
    """ci/install: daemon, tools, libraries, modules and service work from where they are; --uninstall leaves the configuration."""
    # Modules are taken only from folders that root alone writes to.
    place = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-lab-", dir="/opt"))
    place.chmod(0o755)
    prefix = place / "usr"
    try:
        env = {**os.environ, "IOPKT_BUILT": "1"}
        run(ROOT / "ci/install", "--prefix", prefix, env=env, timeout=300)
        files = [path for path in place.rglob("*") if path.is_file()]
        for page, word in MANUAL.items():
            check(word in (prefix / "share/man" / page).read_text().replace("\\", ""), f"{page} has no {word}")
        unit = prefix / "lib/systemd/system/io-pkt.service"
        check("@" not in unit.read_text() and str(prefix / "bin/io-pkt") in unit.read_text(), unit.read_text())
        if shutil.which("systemd-analyze"):
            said = run("systemd-analyze", "verify", "--man=no", unit, ok=False)
            check(str(unit) not in said.stderr, said.stderr)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(place / "notify"))
            manager.settimeout(20)
            drivers = ["-c", prefix / "etc/io-pkt/io-pkt.toml"]
            with Lab(drivers, bin=prefix / "bin", env={"NOTIFY_SOCKET": str(place / "notify")}) as lab:
                check(b"READY=1" in manager.recv(256), "the service manager is not told of the start")
                serves(lab, prefix)
                lab.stop(lab.daemon)
                check(b"STOPPING=1" in manager.recv(256), "the service manager is not told of the end")
        run(ROOT / "ci/install", "--prefix", prefix, "--uninstall", env=env)
        left = [path.name for path in prefix.rglob("*") if path.is_file()]
        check(left == ["io-pkt.toml"], f"left after --uninstall: {left}")
    finally:
        shutil.rmtree(place)
    return f"{len(files)} files"
