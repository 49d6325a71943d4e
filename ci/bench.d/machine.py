"""What the machine costs while the bench runs, and whether others were using it."""
import os
import pathlib
import platform
import subprocess

# Above this load average somebody else's work is in the figures.
QUIET_MAX = 1.2
# A line that takes so long from core to core means that one of the cores was somebody else's, ns.
DISTURBED_NS = 5000
# Between these the pair of cores shares a cache, or does not, ns.
NEAR_NS = 250


def calibrate(bin_dir):
    """{line_ns, memory_ns, syscall_ns, wake_ns, load}; the load is the one before we added to it."""
    load = os.getloadavg()[0]
    done = subprocess.run([bin_dir / "calibrate"], capture_output=True, text=True, timeout=120, check=True)
    words = done.stdout.split()
    return {"load": round(load, 2), **{k: float(v) for k, v in zip(words[::2], words[1::2])}}


def verdict(before, after):
    """near, far or mixed pair of cores; or noisy, and then why."""
    if before["load"] > QUIET_MAX:
        return f"noisy: load average {before['load']} before the first measurement"
    lines = before["line_ns"], after["line_ns"]
    if max(lines) > DISTURBED_NS:
        return "noisy: somebody else ran on one of the cores"
    near = [line < NEAR_NS for line in lines]
    return "near" if all(near) else "mixed: the cores moved during the run" if any(near) else "far"


def describe():
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.machine())
    mhz = next((float(line.split(":", 1)[1]) for line in info if line.startswith("cpu MHz")), 0.0)
    return {"processor": model, "mhz": mhz, "cores": os.cpu_count(), "kernel": platform.release()}


def process_seconds(pid):
    """Processor time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Processor time of everybody on this machine so far, without idling."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
