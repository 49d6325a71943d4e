//! `sim`: what the TCP engine does in worlds that a seed determines.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use netsim::passive::PassiveCounts;
use netsim::random::Digest;
use netsim::synflood::{self, Flood};
use netsim::{example, payload, seeds, soak, table};

#[global_allocator]
static ALLOCATIONS: &stats_alloc::StatsAlloc<std::alloc::System> =
    &stats_alloc::INSTRUMENTED_SYSTEM;

/// The TCP engine in a deterministic world. No root, no network, no DPDK.
#[derive(Debug, Parser)]
#[command(name = "sim", after_help = "Example:\n  sim payload --seeds 1000\n  sim trace --seed 7")]
struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Bytes arrive as they were sent, both ways, over loss to 30 %, reordering to 25 %,
    /// duplication to 10 % and wrong bits to 1 %.
    Payload {
        /// Worlds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Bytes each way.
        #[arg(long, default_value_t = 10 << 20)]
        len: u64,
    },
    /// One seed, one trace: each world twice, and the hashes of all packets are the same.
    Determinism {
        /// Worlds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
    },
    /// A day of connections that come and go over links that get better and worse: every byte
    /// right, the engine's invariants hold at each event, and memory returns to the start.
    Soak {
        /// Hours of virtual time.
        #[arg(long, default_value_t = 24)]
        hours: u64,
        /// The same seed gives the same day.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A listener under spoofed SYNs: legitimate clients get in, and it holds no more than before.
    Synflood {
        /// Spoofed packets per second of virtual time.
        #[arg(long, default_value_t = 1_000_000)]
        rate: u64,
        /// Seconds of virtual time.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// The same seed gives the same flood.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Goodput × loss × round-trip time × congestion control, and fairness.
    Table {
        /// Fail if the result is not what ci/netsim/table.txt says.
        #[arg(long)]
        check: bool,
        /// Write the result there.
        #[arg(long, conflicts_with = "check")]
        update: bool,
    },
    /// A connection as tcpdump would show it.
    Trace {
        /// The same seed gives the same lines.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Bytes each way.
        #[arg(long, default_value_t = 8_000)]
        len: u64,
        /// Lost packets in percent.
        #[arg(long, default_value_t = 5)]
        loss: u32,
        /// The world of `payload` with that seed instead.
        #[arg(long)]
        payload: bool,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let begin = Instant::now();
    let (passed, failed) = match args.question {
        Question::Payload { seeds, first, len } => payload(first, seeds, len),
        Question::Determinism { seeds } => determinism(seeds),
        Question::Soak { hours, seed } => soak(hours, seed),
        Question::Synflood { rate, seconds, seed } => synflood(rate, seconds, seed),
        Question::Table { check, update } => table(check, update),
        Question::Trace { seed, len, payload: true, .. } => trace_payload(seed, len),
        Question::Trace { seed, len, loss, .. } => trace(seed, len, loss),
    };
    println!("took {:.1} s", begin.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn payload(first: u64, count: u64, len: u64) -> (u64, u64) {
    let results = seeds::try_run(count, |number| payload::run(first + number, len));
    for (seed, _) in (first..).zip(&results).filter(|(_, result)| result.is_none()) {
        println!("FAILED: seed {seed}: an assertion, see standard error");
    }
    let panicked = results.iter().filter(|result| result.is_none()).count() as u64;
    let outcomes: Vec<_> = results.into_iter().flatten().collect();
    for outcome in outcomes.iter().filter(|outcome| !outcome.holds()) {
        println!("FAILED: {outcome:?}");
    }
    let equal = outcomes.iter().filter(|outcome| outcome.equal).count();
    let packets: u64 = outcomes.iter().map(|outcome| outcome.packets).sum();
    let corrupted: u64 = outcomes.iter().map(|outcome| outcome.corrupted.0).sum();
    let found: u64 = outcomes.iter().map(|outcome| outcome.corrupted.1).sum();
    let virtual_time: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    println!("{packets} packets, {:.1} h of virtual time", virtual_time.as_secs_f64() / 3_600.0);
    let given_up: u64 = outcomes.iter().map(|outcome| outcome.given_up).sum();
    println!("connections given up after 15 retransmissions, and opened again: {given_up}");
    println!("wrong bits found {found}/{corrupted}");
    if let Some(slowest) = outcomes.iter().max_by_key(|outcome| outcome.took) {
        println!("slowest: seed {}, {:.0?} for {}", slowest.seed, slowest.took, slowest.path);
    }
    println!("sha256 equal {equal}/{count}");
    let failed = outcomes.iter().filter(|outcome| !outcome.holds()).count() as u64 + panicked;
    (count - failed, failed)
}

fn determinism(count: u64) -> (u64, u64) {
    const LEN: u64 = 200_000;
    let hashes = seeds::run(count, |seed| [(); 2].map(|()| payload::run(seed, LEN).hash));
    for (seed, [first, second]) in hashes.iter().enumerate() {
        if first != second {
            println!("FAILED: seed {seed}: {first:016x} and {second:016x}");
        }
    }
    let mut all = Digest::default();
    hashes.iter().for_each(|[first, _]| all.word(*first));
    let same = hashes.iter().filter(|[first, second]| first == second).count() as u64;
    println!("same trace {same}/{count}; hash of all traces {:016x}", all.0);
    (same, count - same)
}

fn soak(hours: u64, seed: u64) -> (u64, u64) {
    let allocated = || {
        let stats = ALLOCATIONS.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    };
    let outcome = soak::run(seed, hours, allocated);
    let counts = &outcome.counts;
    let (before, after) = outcome.allocated;
    println!("{hours} h of virtual time, {} events: {counts:?}", outcome.events);
    println!("at most {} sockets at a time", outcome.sockets_max);
    println!("{} connections opened by Fast Open", outcome.fast_opened);
    println!("allocated before {before} B, after {after} B; left: {}", outcome.left);
    println!("wrong bits found {}/{}", outcome.corrupted.1, outcome.corrupted.0);
    outcome.stuck.iter().for_each(|socket| println!("stuck: {socket}"));
    judge(&[
        ("the engine's invariants were checked at each event", tcp::Tcb::CHECKS_INVARIANTS),
        ("every byte was right", counts.wrong == 0),
        ("every wrong bit was found", outcome.corrupted.0 == outcome.corrupted.1),
        ("no connection is stuck", outcome.stuck.is_empty()),
        ("95 % of peaceful clients got all", counts.completed * 100 >= counts.peaceful * 95),
        ("tables are empty, no timer runs", outcome.left + outcome.scheduled == 0),
        ("memory returned to the start", after <= before + 4_096),
    ])
}

fn synflood(rate: u64, seconds: u64, seed: u64) -> (u64, u64) {
    let flood = Flood { rate, time: Duration::from_secs(seconds), seed };
    let outcome = synflood::run(&flood);
    let PassiveCounts { remembered, cookies_sent, cookies_good, cookies_bad, refused, .. } =
        outcome.passive;
    let [median, most, longest] = outcome.handshakes;
    println!("{} spoofed packets in {seconds} s of virtual time", outcome.spoofed);
    println!("SYNs: {remembered} remembered, {cookies_sent} cookies, {refused} refused");
    println!("cookies back: {cookies_good}; ACKs that guessed: {cookies_bad}");
    println!("half-open at the end of each second: {:?}", outcome.half_open);
    println!("handshakes: median {median:?}, 99 % {most:?}, longest {longest:?}");
    println!("connected within 3 s and served: {}/{}", outcome.served, outcome.clients);
    let quarter = tcp::limits::SYN_COOKIES_ON as usize;
    judge(&[
        ("99 % of legitimate clients are served", outcome.served * 100 >= outcome.clients * 99),
        ("the listener holds a quarter of its limit at most", outcome.half_open_max <= quarter),
        ("no guessed ACK opens a connection", outcome.intruders == 0),
        ("everything is forgotten afterwards", outcome.left.total() == 0),
    ])
}

/// Prints what holds and what does not.
fn judge(results: &[(&str, bool)]) -> (u64, u64) {
    for (what, holds) in results {
        println!("{}: {what}", if *holds { "ok" } else { "FAILED" });
    }
    let passed = results.iter().filter(|(_, holds)| *holds).count() as u64;
    (passed, results.len() as u64 - passed)
}

/// The table that is checked in.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/table.txt");

fn table(check: bool, update: bool) -> (u64, u64) {
    let new = table::render();
    if update {
        let written = std::fs::write(TABLE, &new);
        written.iter().for_each(|()| println!("wrote {TABLE}"));
        return if written.is_ok() { (1, 0) } else { (0, 1) };
    }
    if !check {
        print!("{new}");
        return (1, 0);
    }
    let old = std::fs::read_to_string(TABLE).unwrap_or_default();
    if old == new {
        println!("the table is as checked in");
        return (1, 0);
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    for line in 0..old.len().max(new.len()) {
        let (old, new) = (old.get(line), new.get(line));
        if old != new {
            old.iter().for_each(|old| println!("-{old}"));
            new.iter().for_each(|new| println!("+{new}"));
        }
    }
    println!("the table has changed; if for the better: ci/sim table --update");
    (0, 1)
}

fn trace(seed: u64, len: u64, loss: u32) -> (u64, u64) {
    let (lines, right) = example::run(seed, len, loss.saturating_mul(10_000));
    lines.iter().for_each(|line| println!("{line}"));
    if right { (1, 0) } else { (0, 1) }
}

fn trace_payload(seed: u64, len: u64) -> (u64, u64) {
    let (outcome, lines) = payload::trace(seed, len);
    lines.iter().for_each(|line| println!("{line}"));
    println!("{outcome:?}");
    if outcome.holds() { (1, 0) } else { (0, 1) }
}
