//! `sim`: what the TCP engine does in worlds that a seed determines.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use netsim::random::Digest;
use netsim::{example, payload, seeds, table};

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
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let begin = Instant::now();
    let (passed, failed) = match args.question {
        Question::Payload { seeds, first, len } => payload(first, seeds, len),
        Question::Determinism { seeds } => determinism(seeds),
        Question::Table { check, update } => table(check, update),
        Question::Trace { seed, len, loss } => trace(seed, len, loss),
    };
    println!("took {:.1} s", begin.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn payload(first: u64, count: u64, len: u64) -> (u64, u64) {
    let outcomes = seeds::run(count, |number| payload::run(first + number, len));
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
    println!("sha256 equal {equal}/{count}");
    let failed = outcomes.iter().filter(|outcome| !outcome.holds()).count() as u64;
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
