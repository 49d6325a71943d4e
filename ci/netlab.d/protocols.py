"""Protocol modules: loaded, filtering, failing, gone."""
import os
import pathlib
import shutil
import tempfile

from lab import BIN, STACK, Lab, check, until
from modules import lost, ping

QUICK = "--quick" in os.sys.argv


class ProtocolLab(Lab):
    """A lab whose daemon finds the protocol modules."""

    def __init__(self, **kwargs):
        self.modules = pathlib.Path(tempfile.mkdtemp(prefix="iopkt-protocols-"))
        self.modules.chmod(0o755)
        shutil.copy(BIN / "liblsm_noping.so", self.modules / "lsm-noping.so")
        args = ["--module-path", self.modules, *kwargs.pop("args", [])]
        super().__init__(args=args, **kwargs)

    def mount(self, name, *options, ok=True):
        words = [word for option in options for word in ("-o", option)]
        return self.iopkt("mount", "-T", "io-pkt", *words, name, ok=ok)

    def protocol(self, name):
        """Its row in `iopkt modules`, and its first attachment."""
        row = next(row for row in self.table("modules") if row["name"] == name)
        return row, row["attachments"][0] if row["attachments"] else None

    def close(self):
        super().close()
        shutil.rmtree(self.modules, ignore_errors=True)


def answered(lab, count):
    """Pings that were answered of `count`."""
    process, log = ping(lab, STACK, count, "0.005")
    return count - lost(process, log)


def protocol_filter():
    """A module drops echo requests by a filter: ping stops, TCP goes on; unloaded, ping is back."""
    with ProtocolLab() as lab:
        (lab.dir / "page").write_bytes(os.urandom(1 << 20))
        lab.serve(lab.dir)
        fetch = ["curl", "-fsS", "-o", "/dev/null", "--noproxy", "*", f"http://{STACK}/page"]
        check(answered(lab, 20) == 20, "ping does not work before")
        check(lab.mount("noping").stdout == "noping\n", "mount says something else")
        check(answered(lab, 20) == 0, "ping is answered with the filter")
        lab.exec(*fetch)
        row, filter_ = lab.protocol("noping")
        check(row["kind"] == "lsm" and row["state"] == "running" and row["abi"] == 1, row)
        check(filter_["to"] == "inet in" and filter_["dropped"] == 20 and filter_["passed"] > 100, row)
        drops = {row["name"]: row["value"] for row in lab.table("netstat", "-s")}
        check(any("filter_input" in name and value == 20 for name, value in drops.items()), drops)
        said = lab.mount("noping", ok=False)
        check(said.returncode == 1 and "loaded already" in said.stderr, said.stderr)
        lab.iopkt("umount", "noping")
        check("lsm-noping" not in (pathlib.Path(f"/proc/{lab.pid()}") / "maps").read_text(), "the module is still loaded")
        check(answered(lab, 20) == 20, "ping does not work afterwards")
        lab.exec(*fetch)
        return "20 of 20 pings dropped and counted, TCP passed, ping back after umount"
