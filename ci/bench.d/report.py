"""One page of HTML with everything in it, for somebody who was not there, and the same as JSON."""
import html
import json
import math
import statistics

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid #e3e6ea; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
small { color: #68727d; } .good { color: #12703b; } .bad { color: #a3261b; }
.note { background: #fff7e0; border-left: 4px solid #e0a800; padding: .5rem 1rem; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: #333a42; }
"""
COLOURS = ("#1f6feb", "#d9730d", "#2da44e", "#8250df", "#bf3989")


def number(value):
    """Three digits that count, and no exponent; a dash for what is not known."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def cell(values):
    """The median and how far the others lie from it."""
    return f"{number(statistics.median(values))}<br><small>{number(min(values))} … {number(max(values))}</small>"


def ratio(values, base):
    return statistics.median(values) / (statistics.median(base) or math.nan)


def table(heads, rows):
    head = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def curve(title, unit, lines, width=860, height=300):
    """Lines of (x, y) over a logarithmic x; y starts at 0. `lines` is {name: [(x, y)]}."""
    points = [point for line in lines.values() for point in line]
    left, right, top, bottom = 70, width - 210, 30, height - 40
    low, high = (math.log10(f(x for x, _ in points)) for f in (min, max))
    most = max(y for _, y in points) or 1
    at_x = lambda x: left + (math.log10(x) - low) / ((high - low) or 1) * (right - left)
    at_y = lambda y: bottom - y / most * (bottom - top)
    parts = [f'<text x="{left}" y="16">{html.escape(title)}, {html.escape(unit)}</text>']
    for step in range(5):
        y = at_y(most * step / 4)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e3e6ea"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{number(most * step / 4)}</text>')
    for x in sorted({x for x, _ in points}):
        parts.append(f'<text x="{at_x(x):.1f}" y="{bottom + 18}" text-anchor="middle">{x:,}</text>')
    for place, (name, line) in enumerate(lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
        parts.append(f'<text x="{right + 10}" y="{top + 16 * place + 10}" style="fill:{colour}">{html.escape(name)}</text>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def bars(title, rows, width=860):
    """Ratios on a logarithmic scale around 1. `rows` is [(name, ratio)]."""
    height, middle, left = 22 * len(rows) + 50, (width + 330) / 2, 330
    reach = max([abs(math.log2(value)) for _, value in rows if value > 0] + [1])
    scale = (width - left - 120) / 2 / reach
    parts = [f'<text x="0" y="16">{html.escape(title)}</text>',
             f'<line x1="{middle}" y1="26" x2="{middle}" y2="{height - 12}" stroke="#68727d"/>']
    for place, (name, value) in enumerate(rows):
        y, length = 32 + 22 * place, math.log2(value) * scale if value > 0 else 0
        colour = "#2da44e" if value >= 1 else "#cf222e"
        start = middle if length >= 0 else middle + length
        anchor, text_x = ("start", middle + length + 5) if length >= 0 else ("end", middle + length - 5)
        parts.append(f'<text x="0" y="{y + 12}">{html.escape(name)}</text>'
                     f'<rect x="{start:.1f}" y="{y}" width="{abs(length):.1f}" height="15" fill="{colour}"/>'
                     f'<text x="{text_x:.1f}" y="{y + 12}" text-anchor="{anchor}">{value:.2f} ×</text>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def compared(found, rows):
    """The timed rows as a table and, for each wire, its advantage over the kernel as bars."""
    wires = list(next(iter(found.values())))
    others = [wire for wire in wires if wire != "kernel"]
    titles = {wire: wire if wire == "loopback" else f"io-pkt, {wire}" for wire in others}
    lines, gains = [], {wire: [] for wire in others}
    for name, unit, better, words, key in rows:
        got = {wire: found[words][wire].get(key) for wire in wires}
        if not all(got.values()):
            continue
        line = [f"{html.escape(name)}<br><small>{unit}, {better} is better</small>", cell(got["kernel"])]
        for wire in others:
            times = ratio(got[wire], got["kernel"])
            gain = times if better == "more" else 1 / times if times else math.nan
            line.append(f'{cell(got[wire])}<br><span class="{"good" if gain >= 1 else "bad"}">{times:.2f} ×</span>')
            gains[wire].append((name.strip() if key in ("rate", "gbit") else f"{' '.join(map(str, words))}: {key}", gain))
        lines.append(line)
    plots = "".join(bars(f"{titles[wire]}: how many times better than the kernel", gains[wire]) for wire in others)
    return table(["", "kernel", *titles.values()], lines) + plots


def page(result):
    """The whole report. Parts that were not measured are named as such."""
    machine, parts = result["machine"], []
    say = parts.append
    say(f"<h1>io-pkt: what a packet costs</h1><p>{html.escape(machine['processor'])}, {machine['cores']} cores, Linux {machine['kernel']}; "
        f"{result['when']}, commit {result['commit']}</p>")
    if result["verdict"].startswith(("noisy", "mixed")):
        say(f'<p class="note"><b>Times of this run are not to be quoted.</b> {html.escape(result["verdict"])}. Instruction counts are not touched by that.</p>')
    say("<h2>The machine during this run</h2><p>Everything below that is a time depends on these.</p>")
    names = {"line_ns": "a cache line from core to core and back, ns", "memory_ns": "a load that no cache answers, ns",
             "syscall_ns": "a system call, ns", "wake_ns": "waking a thread on the other core, ns", "load": "load average before"}
    say(table(["", "before", "after"], [[text, number(result["before"][key]), number(result["after"][key])] for key, text in names.items()]))
    if result.get("compared"):
        say("<h2>Beside the kernel, in the same minutes</h2><p>One client and one server program in plain Rust sockets. "
            "<b>kernel</b>: both on Linux, a veth pair with its offloads between them. <b>veth</b>: the server on io-pkt, which has the end of a veth "
            "pair by net_af_packet. <b>af_xdp</b>: the same by net_af_xdp. <b>tap</b>: the server on io-pkt over net_tap. <b>memif</b>: client and server on an io-pkt each, shared memory "
            "between them. On io-pkt the program is unmodified (LD_PRELOAD); <b>native</b>: it uses io-pkt's own crate; <b>in place</b>: and makes and reads bulk "
            "where it lies. <b>loopback</b>: both on Linux, in one namespace. <b>2 workers</b>: on two cores they have none left for the programs. "
            "Medians of interleaved turns; below them smallest and largest. "
            "With veth and tap each packet passes the kernel's stack on the client's side and its device code on the server's, so the kernel is part of io-pkt's figures.</p>")
        say(compared(result["compared"], result["rows"]))
        say("<h3>Daemons while nothing happens</h3>")
        say(table(list(result["idle"]), [[f"{share:.1f} % of a core" for share in result["idle"].values()]]))
    else:
        say("<h2>Beside the kernel</h2><p>Not measured: needs root for network namespaces.</p>")
    rows = result["connections"]
    cycles = {"32 at once": "cycles", "1 % are below": "cycles_low", "one at a time": "cycles_singly"}
    say("<h2>What was aimed at</h2>")
    classes = {"met": "good", "not met": "bad"}
    say("<p>The last column of a row that falls short says why, in its words; the profile is below.</p>")
    say(table(["", "aim", "found", "of the aim", "", "why not"],
              [[html.escape(row), html.escape(target), html.escape(found), times, f'<span class="{classes.get(verdict, "")}">{verdict}</span>', html.escape(why)]
               for row, target, found, times, verdict, why in result["targets"]]))
    say("<p>A request and its response are three packets in the worker. Where their instructions go, and the functions that cost most of themselves:</p>")
    say(table(["part", "share"], [[html.escape(name), f"{share:.0%}"] for name, share in result["profile"]["layers"]]))
    say(table(["function", "share"], [[html.escape(name), f"{share:.1%}"] for name, share in result["profile"]["functions"]]))
    say("<h2>A million connections</h2>")
    say(table(["connections", "bytes each, in all", *(f"cycles of a request, {name}" for name in cycles)],
              [[f"{r['connections']:,}", number(r["bytes"]), *(number(r[key]) for key in cycles.values())] for r in rows]))
    say(curve("A request and its response in the worker", "cycles", {name: [(r["connections"], r[key]) for r in rows] for name, key in cycles.items()}))
    say(curve("Memory of an idle connection", "bytes", {"worker and control thread": [(r["connections"], r["bytes"]) for r in rows]}))
    say("<h2>A router, a bridge</h2>")
    say(table(["", "how many", "cycles of a packet, median", "smallest", "largest", "aim"],
              [[f"{r['path']}, {r['of']}", f"{r['size']:,}", *(number(r[key]) for key in ("cycles", "low", "high")), r["aim"] or "–"] for r in result["forwarding"]]))
    if result.get("beside_linux"):
        say("<p>Linux beside them, between two veth pairs, without what sending the frame over the first of them costs; io-pkt is between two ports of "
            "net_ring, which are memory, too:</p>")
        say(table(["", "io-pkt, ns", "Linux, ns", "times ours"],
                  [[name, number(ours), number(linux), f"{linux / ours:.1f} ×"] for name, ours, linux in result["beside_linux"]]))
    lines = {}
    for r in result["forwarding"]:
        lines.setdefault(f"{r['path']}, {r['of']}", []).append((r["size"], r["cycles"]))
    say(curve("A packet passed on", "cycles", lines))
    say("<h2>Instructions</h2><p>Counted by callgrind, all that the worker does for one packet (request, connection) of a burst of 32 over net_ring. "
        "These gate: a change of more than 2 % has to be explained.</p>")
    say(table(["", "instructions", "checked in"], [[html.escape(name), number(count), number(result["known"].get(name))]
                                                    for name, count in result["counts"].items()]))
    say("<h2>Beside a library</h2><p>smoltcp is linked into its one program: no clients that don't trust one another, no memory shared with them, no descriptors. "
        "Its figures include the program's own calls; ours are the worker's. Instructions of one packet or request of a burst of 32.</p>")
    say(table(["", "io-pkt", "smoltcp"], [[html.escape(name), number(ours), number(theirs)] for name, ours, theirs in result["library"]]))
    say("<h2>What each technique is worth</h2><p>The same row with and without it.</p>")
    say(table(["technique", "row", "with", "without", "worth"],
              [[html.escape(a["technique"]), html.escape(a["row"]), number(a["with"]), number(a["without"]), f"{1 - a['with'] / a['without']:+.0%}"]
               for a in result["ablations"]]))
    if result.get("patience"):
        say("<p>An idle worker looks for work as long as waking it takes (adaptive), sleeps at once, or never. One request at a time over a veth:</p>")
        say(table(["idle", "requests a second", "median, us", "processor time of a million, s", "idle daemon, percent of a core"],
                  [[html.escape(idle), *map(number, values)] for idle, *values in result["patience"]]))
    say(curve("Packets that come at once", "instructions per packet", result["bursts"]))
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>io-pkt bench</title><style>{STYLE}</style>{''.join(parts)}</html>\n"


def write(folder, result):
    folder.mkdir(parents=True, exist_ok=True)
    plain = {**result, "compared": {" ".join(map(str, words)): wires for words, wires in (result.get("compared") or {}).items()}}
    (folder / "report.json").write_text(json.dumps(plain, indent=1) + "\n")
    (folder / "report.html").write_text(page(result))
    return folder / "report.html"
