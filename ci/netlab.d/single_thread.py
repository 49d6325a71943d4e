"""Modules that are to be called by one thread, in a daemon of two workers."""

from lab import IFACE, ROOT, STACK, check, random_file, run, until
from protocols import TEMPLATE, ProtocolLab
from shim import SDK, ShimLab

# The template, called by one thread only, or it fails.
ONE_THREAD = """
#include <stdatomic.h>
static _Thread_local char mine;
static char *_Atomic whose;
static int other_thread(void) {
    char *nobody = 0;
    return !atomic_compare_exchange_strong(&whose, &nobody, &mine) && nobody != &mine;
}
"""
# A packet of protocol 253 from each of our addresses: how many come back within a second?
FROM_ALL = """
import select, socket, sys, time
waiting, back, end = [], 0, time.monotonic() + 1
for last in range(101, 133):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
    s.bind((f"198.18.77.{last}", 0))
    s.sendto(b"x" * 64, (sys.argv[1], 0))
    waiting.append(s)
while waiting and (left := end - time.monotonic()) > 0:
    for s in select.select(waiting, [], [], left)[0]:
        back += s.recv(2000)[20:] == b"x" * 64
        waiting.remove(s)
print(back)
"""


def single_thread_driver(lab):
    """A per-packet driver: the first worker's queue is for both."""
    row, = lab.table("modules")
    check((row["threading"], row["interfaces"]) == ("single", ["tun0"]), row)
    got = lab.exec("ping", "-q", "-c", 100, "-i", "0.002", STACK).stdout
    check("100 received" in got, got[-200:])
    digest = random_file(lab.dir / "page", 1 << 20)
    lab.serve(lab.dir)
    sha256 = lambda url: lab.exec("bash", "-o", "pipefail", "-c", f"curl -fsS --max-time 20 --noproxy '*' {url} | sha256sum").stdout[:64]
    url, _ = lab.serve_from_kernel()
    sockets = lambda: {row["worker"]: row["busy_breaths"] for row in lab.table("workers")}
    before = sockets()
    for _ in range(12):
        check(sha256(f"http://{STACK}/page") == digest, "what the kernel got of the stack differs")
        check(lab.fetched(f"{url}/page", 20) == digest, "what the stack got of the kernel differs")
    busy = {worker: count - before[worker] for worker, count in sockets().items()}
    check(len(busy) == 2 and min(busy.values()) > 100, f"both workers have connections: {busy}")
    handed = lab.metric("iopkt_worker_handoffs_total")
    check(handed > 1000, f"{handed} packets handed over")
    lab.iopkt("ifconfig", "tun0", "destroy")
    until("the driver is gone", lambda: lab.table("modules") == [])
    return f"12 MiB equal each way, busy breaths {busy}"


def single_thread_protocol(lab, folder):
    """A protocol: packets of both workers are brought to the first. A filter can't be."""
    text = (TEMPLATE / "protocol.c").read_text()
    text = text.replace("struct example {", ONE_THREAD + "struct example {", 1)
    text = text.replace(".threading = LSM_THREADING_WORKERS", ".threading = THREADING")
    check("    struct example *e = instance;\n    for" in text, "the template has another receive")
    text = text.replace("    struct example *e = instance;\n    for", "    struct example *e = instance;\n    if (other_thread()) {\n        e->api->packet->free(packets, count);\n        return LSM_FAILED;\n    }\n    for", 1)
    text = text.replace(".to = LSM_TO_ETHERTYPE, .value = ETHERTYPE}", ".to = WHAT}")
    # Packets to where they came from, with what they brought.
    text = text.replace("uint8_t *frame = e->api->packet->data(packets[i]), to[6];", "uint8_t *frame = e->api->packet->data(packets[i]), to[6];\n        answer(e, context, frame, e->api->packet->len(packets[i]));")
    answer = """
static void answer(struct example *e, struct lsm_context *context, const uint8_t *packet, uint32_t len) {
    struct lsm_destination back = {.size = sizeof back, .protocol = 253};
    struct devnp_mbuf *reply;
    uint32_t header = (packet[0] & 15) * 4u;
    memcpy(back.to, packet + 12, 4);
    if (e->api->alloc(e->host, &reply, 1) != 0)
        return;
    e->api->packet->set_len(reply, len - header);
    memcpy(e->api->packet->data(reply), packet + header, len - header);
    if (e->api->send_packets(context, &back, &reply, 1) != 1)
        e->api->packet->free(&reply, 1);
}

static int example_open("""
    text = text.replace("\nstatic int example_open(", answer, 1)
    text = text.replace("uint16_t sent = e->api->send_frames(context, arrival->interface, packets, count);", "uint16_t sent = 0;\n    (void)arrival;")
    text = text.replace("\nconst struct lsm_module", """
static int example_filter(void *instance, struct lsm_context *context, const struct lsm_arrival *arrival,
                          struct devnp_mbuf *const *packets, uint8_t *verdicts, uint16_t count) {
    return (void)instance, (void)context, (void)arrival, (void)packets, (void)verdicts, (void)count, 0;
}

const struct lsm_module""", 1).replace(".receive = example_receive,", ".receive = example_receive, .filter = example_filter,")
    (folder / "single.c").write_text(text)
    protocol, filter_ = "LSM_TO_PROTOCOL, .value = 253", "LSM_TO_FILTER_INET, .value = LSM_IN"
    for name, what, threading in (("one", protocol, "SINGLE"), ("each", protocol, "WORKERS"), ("filter", filter_, "SINGLE")):
        run("cc", "-O2", "-shared", "-fPIC", f"-DWHAT={what}", f"-DTHREADING=LSM_THREADING_{threading}", "-I", SDK / "include",
            "-I", ROOT / "stack/include", "-o", lab.modules / f"lsm-{name}.so", folder / "single.c")
    said = lab.mount("filter", ok=False)
    check(said.returncode == 1 and "has one thread and wants inet in, which each of the 2 workers has; start io-pkt with -t 1" in said.stderr, said.stderr)
    for last in range(101, 133):
        lab.ip("addr", "add", f"198.18.77.{last}/32", "dev", IFACE)
    answers = lambda: int(lab.exec("python3", "-c", FROM_ALL, STACK).stdout)
    # It notices when both workers call it: the packets do come by both.
    lab.mount("each")
    back = answers()
    check(back < 32, "all came back, and no other thread was seen")
    until("the module to go down", lambda: lab.protocol("example")[0]["state"] == "failed")
    lab.iopkt("umount", "example")
    lab.mount("one")
    back = answers()
    row, at = lab.protocol("example")
    check(row["threading"] == "single", row)
    check(back == 32 and row["state"] == "running" and at["consumed"] == 32, f"{back} of 32 came back: {row}")
    lab.iopkt("umount", "example")
    return f"{back} of 32 packets answered by one thread"


def single_thread():
    """Modules for one thread with -t 2: a driver's one queue serves both workers, a protocol gets the packets of both."""
    with ShimLab(args=["-t", "2"], drivers=["-d", "tun", f"iface={IFACE},address={STACK}/24"]) as lab:
        driver = single_thread_driver(lab)
    with ProtocolLab(args=["-t", "2"]) as lab:
        protocol = single_thread_protocol(lab, lab.dir)
    return f"{driver}; {protocol}"
