"""The same calls over the kernel and over the stack: what differs has to be explained."""
import re

from lab import BIN, HOST, IFACE, ROOT, STACK, Lab, check, run, until

SOURCES = ROOT / "ci/netlab.d/socketdiff"
NOBODY = "198.18.77.9"


def explained():
    """Patterns of differences.md: `area/case` or `area/case: beginning of the line`."""
    rows = re.findall(r"^\| `([^`]+)` \|", (SOURCES / "differences.md").read_text(), re.M)
    return [re.compile(re.escape(row).replace(r"\*", ".*")) for row in rows]


def build(folder):
    program = folder / "socketdiff"
    # Wrong arguments are what some cases are about.
    lax = ("-Wno-nonnull", "-Wno-stringop-overflow", "-Wno-stringop-overread")
    run("gcc", "-O1", "-Wall", "-Wextra", "-Werror", *lax, "-pthread", "-o", program, *sorted(SOURCES.glob("*.c")))
    return program


def two_ends(lab):
    """For the kernel's run: a namespace of its own with the stack's address, and the peer's across a veth."""
    here, there = f"{lab.ns}k", f"{lab.ns}p"
    for name in (here, there):
        lab.add_namespace(name)
    run("ip", "link", "add", "tap0", "netns", here, "type", "veth", "peer", "name", IFACE, "netns", there)
    for name, link, address in ((here, "tap0", STACK), (there, IFACE, HOST)):
        lab.ip("addr", "add", f"{address}/24", "dev", link, "brd", "+", ns=name)
        lab.ip("link", "set", link, "up", ns=name)
    # As Debian has it, but not for new namespaces: everybody may ask for echoes.
    lab.exec("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647", ns=here)
    for name in (there, lab.ns):
        # Servers take text on SYNs, too, and every datagram that nobody wants is told of.
        lab.exec("sysctl", "-qw", "net.ipv4.tcp_fastopen=3", "net.ipv4.icmp_ratelimit=0", ns=name)
    return here, there


def start(lab, program, side, ns, peer_ns, patterns):
    """Both sides run at the same time: they have nothing in common but the machine."""
    name = f"{side}{len(lab.processes)}"
    path, log = lab.dir / f"{name}.peer", lab.dir / f"{name}.txt"
    lab.spawn([program, "--peer", path], log=lab.dir / f"{name}.peer.log", ns=peer_ns)
    until("the peer", path.exists)
    argv = [program, path, STACK, HOST, NOBODY, *patterns]
    if side == "stack":
        argv = [BIN / "iopkt", "run", "--", *argv]
    return lab.spawn(argv, log=log, ns=ns), log


def by_case(text):
    cases = {}
    for line in text.splitlines():
        name, _, said = line.partition(": ")
        cases.setdefault(name, []).append(said)
    return cases


def answers(lab, program, patterns=()):
    """What the cases say, over the kernel and over the stack."""
    here, there = lab.kernel_ends
    runs = [start(lab, program, "kernel", here, there, patterns), start(lab, program, "stack", lab.ns, lab.ns, patterns)]
    for process, log in runs:
        check(process.wait(300) == 0, f"{log.name}: the program ended with {process.returncode}: {log.read_text()[-300:]}")
    return [by_case(log.read_text(errors="replace")) for _, log in runs]


def differences(kernel, stack, known):
    """Lines that differ without explanation, by case; the patterns that were of use."""
    found, used = {}, set()
    for name in sorted(kernel.keys() | stack.keys()):
        theirs, ours = kernel.get(name, []), stack.get(name, [])
        size = max(len(theirs), len(ours))
        for a, b in zip(theirs + [None] * (size - len(theirs)), ours + [None] * (size - len(ours))):
            if a == b:
                continue
            why = [p for p in known if p.match(f"{name}: {b if a is None else a}")]
            used.update(why)
            if not why:
                found.setdefault(name, []).append(f"kernel: {a}\n      stack:  {b}")
    return found, used


def socketdiff():
    """Some hundred cases of socket calls: results, errors and data over the stack as over the kernel."""
    with Lab() as lab:
        program = build(lab.dir)
        names = run(program, "--list").stdout.split()
        lab.kernel_ends = two_ends(lab)
        known = explained()
        kernel, stack = answers(lab, program)
        found, used = differences(kernel, stack, known)
        if found:
            # A machine under load may be late once; what differs twice differs.
            again = answers(lab, program, sorted(found))
            late = found.keys() - differences(*again, known)[0].keys()
            found = {name: lines for name, lines in found.items() if name not in late}
        for name, lines in found.items():
            print(f"    {name}\n      " + "\n      ".join(lines))
        useless = [p.pattern for p in known if p not in used]
        print(f"    {len(names) - len(found)} passed, {len(found)} failed")
        check(not found, f"{len(found)} of {len(names)} cases differ")
        check(not useless, f"differences.md explains what is no difference: {useless}")
        lines = sum(map(len, kernel.values()))
        return f"{len(names)} cases, {lines} lines, {len(used)} explained differences"
