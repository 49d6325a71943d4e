//! Peers who take and give nothing back, after their users are gone: shut windows with text waiting
//! behind them, and half-closed connections whose other half never closes.

use core::time::Duration;

use inet::command::Command;
use inet::limits::{ORPHAN_BYTES_MAX, ORPHANS_MAX};
use wire::tcp::flag;

use crate::World;
use crate::peers::{BATCH, Peers, TIMESTAMPS};

/// Connections of one client that is killed.
const PER_CLIENT: u16 = 7_500;
/// Of these, how many have text for a peer whose window is shut: each takes a block of its client.
const SHUT: usize = 1_500;
/// Text behind a shut window.
const TEXT: [u8; 8_192] = [7; 8_192];
/// Where honest clients connect to.
const HONEST: u16 = 80;
/// What one orphan may cost besides its text.
const ORPHAN_COST_MAX: u64 = 1_024;

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Connections whose users were killed.
    pub hoarders: usize,
    /// Most sockets at any time.
    pub sockets_max: usize,
    /// Growth of private memory, its peak.
    pub memory_max: u64,
    /// Connections reset because there were too many orphans.
    pub orphans_reset: u64,
    /// Honest connections tried and served.
    pub honest: (u32, u32),
    /// Buffers in use when all had timed out.
    pub buffers_left: u32,
}

impl Outcome {
    /// What was promised and does not hold.
    #[must_use]
    pub fn broken(&self) -> Option<&'static str> {
        let (tried, served) = self.honest;
        let kept = u64::try_from(ORPHANS_MAX).unwrap_or(u64::MAX).saturating_mul(ORPHAN_COST_MAX);
        let memory = kept.saturating_add(u64::try_from(ORPHAN_BYTES_MAX).unwrap_or(0));
        let broken = [
            (self.sockets_max > ORPHANS_MAX + usize::from(PER_CLIENT) + 64, "too many orphans"),
            (self.memory_max > memory, "too much memory"),
            (u64::from(served) * 100 < u64::from(tried) * 99, "honest clients got nothing"),
            (self.hoarders > ORPHANS_MAX && self.orphans_reset == 0, "no orphan was reset"),
            (self.buffers_left > 0, "buffers were left behind"),
        ];
        broken.iter().find_map(|(is_so, what)| is_so.then_some(*what))
    }
}

/// `count` hoarders, in clients that are killed one after the other; honest connections between.
///
/// # Errors
/// A hoarder was not let in, or DPDK or the kernel refused something.
pub fn run(count: usize) -> Result<Outcome, String> {
    let mut world = World::new()?;
    world.listen(HONEST, 128);
    let mut honest = Peers::new()?;
    let mut outcome = Outcome::default();
    serve(&mut world, &mut honest, &mut outcome);
    let before = private_memory();
    while outcome.hoarders < count {
        let left = u16::try_from(count - outcome.hoarders).unwrap_or(u16::MAX);
        kill_one_client(&mut world, left.min(PER_CLIENT), &mut honest, &mut outcome)?;
        outcome.memory_max = outcome.memory_max.max(private_memory().saturating_sub(before));
        eprintln!("    {} hoarders, {:?}", outcome.hoarders, world.worker.usage());
    }
    outcome.orphans_reset = world.worker.counters().tcp.orphans_reset.value();
    // A breath runs a limited number of timers: enough breaths for all that hoarders leave.
    for _ in 0..20_000 {
        world.pass(Duration::from_millis(50));
        world.each_sent(|_| {});
        world.events.clear();
    }
    outcome.buffers_left = world.wind_up();
    let usage = world.worker.usage();
    if usage.sockets != 0 || usage.flows != 0 {
        return Err(format!("left behind: {usage:?}"));
    }
    Ok(outcome)
}

fn kill_one_client(
    world: &mut World,
    count: u16,
    honest: &mut Peers,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let client = world.add_client()?;
    let port = HONEST + client;
    world.listen_as(client, port, 128);
    let mut peers = Peers::new()?;
    let mut next = 10_000;
    while next < 10_000 + count {
        let end = (next + 8 * BATCH).min(10_000 + count);
        peers.open(world, (client, port), next..end, &mut pass)?;
        serve(world, honest, outcome);
        next = end;
    }
    for index in 0..SHUT.min(peers.list.len()) {
        peers.shut_window(world, index)?;
        rest(world, index);
    }
    pass(world);
    for index in 0..SHUT.min(peers.list.len()) {
        peers.write(index, &TEXT)?;
        rest(world, index);
    }
    pass(world);
    outcome.sockets_max = outcome.sockets_max.max(world.worker.usage().sockets);
    world.send(Command::Detach { client });
    pass(world);
    for index in SHUT..peers.list.len() {
        // Our FIN is acknowledged, theirs never comes.
        peers.acknowledge(world, index, 1)?;
        rest(world, index);
    }
    pass(world);
    outcome.hoarders += peers.list.len();
    outcome.sockets_max = outcome.sockets_max.max(world.worker.usage().sockets);
    serve(world, honest, outcome);
    Ok(())
}

/// 32 honest connections: opened, a request, its response, closed.
fn serve(world: &mut World, honest: &mut Peers, outcome: &mut Outcome) {
    let batch = u32::from(BATCH);
    let first = 30_000 + u16::try_from(outcome.honest.0 % 30_000).unwrap_or(0);
    let all: [usize; BATCH as usize] = core::array::from_fn(|index| index);
    let mut served = || {
        honest.open(world, (0, HONEST), first..first + BATCH, &mut pass)?;
        honest.exchange(world, &all, &mut pass)?;
        honest.close(world, &mut pass)
    };
    outcome.honest.0 += batch;
    match served() {
        Ok(()) => outcome.honest.1 += batch,
        Err(why) => {
            eprintln!("    an honest batch failed: {why}");
            honest.list.clear();
        }
    }
}

/// One breath for each burst of what was injected.
fn rest(world: &mut World, index: usize) {
    if index.is_multiple_of(BATCH.into()) {
        pass(world);
        world.each_sent(|_| {});
    }
}

fn pass(world: &mut World) {
    world.pass(Duration::from_micros(20));
}

/// Bytes of private memory, the kernel's count.
pub(crate) fn private_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

/// What a flood at one established connection and at nobody came to.
#[derive(Debug, Default)]
pub struct Flood {
    /// Segments of the flood.
    pub segments: u64,
    /// Requests sent on the established connection, and those answered within two breaths.
    pub requests: (u64, u64),
    /// RSTs and challenge ACKs sent.
    pub answers: u64,
    /// Endpoints made by the flood.
    pub flows_made: usize,
    /// Virtual seconds.
    pub seconds: f64,
}

/// What floods.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Kind {
    /// ACKs.
    Ack,
    /// RSTs.
    Rst,
    /// ICMP messages that say the peer is unreachable.
    Icmp,
}

/// Two million segments a second of virtual time: every other one forged in the name of an
/// established connection, the rest of none; on that connection a request every 32 µs.
///
/// # Errors
/// The connection was lost, or DPDK or the kernel refused something.
pub fn flood(kind: Kind, count: u64) -> Result<Flood, String> {
    let mut world = World::new()?;
    world.listen(HONEST, 128);
    let mut peers = Peers::new()?;
    peers.open(&mut world, (0, HONEST), 9_000..9_001, &mut pass)?;
    let before = world.worker.usage().flows;
    let (started, mut random) = (world.now, crate::frame::Random::new(1));
    let mut flood = Flood::default();
    while flood.segments < count {
        flood.requests.0 += 1;
        peers.inject(&mut world, 0, flag::ACK | flag::PSH, &[7; 64])?;
        let _ = breathe(&mut world, kind, &mut random, &mut flood);
        if peers.read(0)? != 64 {
            return Err(format!("request {} was not read", flood.requests.0));
        }
        peers.write(0, &[7; 64])?;
        if breathe(&mut world, kind, &mut random, &mut flood) == 1 {
            flood.requests.1 += 1;
        }
        peers.acknowledge(&mut world, 0, 64)?;
    }
    flood.flows_made = world.worker.usage().flows.saturating_sub(before);
    flood.seconds = world.now.since(started).as_secs_f64();
    let counters = world.worker.counters();
    for reason in types::DropReason::ALL {
        let drops = counters.drops.value(*reason as usize);
        if drops > 0 {
            println!("  {drops:>10}  {}", reason.label());
        }
    }
    Ok(flood)
}

/// 31 segments of the flood behind what else was injected; how many responses went out.
fn breathe(
    world: &mut World,
    kind: Kind,
    random: &mut crate::frame::Random,
    flood: &mut Flood,
) -> u64 {
    for n in 0..31_u16 {
        let src_port = if n % 2 == 0 { 9_000 } else { 10_000 + random.port() % 50_000 };
        let _ = world.inject(&forged(kind, src_port, random));
        flood.segments += 1;
    }
    world.pass(Duration::from_nanos(15_500));
    let (mut responses, mut answers) = (0, 0);
    world.each_sent(|frame| {
        if frame.len() > 100 {
            responses += 1;
        } else {
            answers += 1;
        }
    });
    flood.answers += answers;
    responses
}

fn forged(kind: Kind, src_port: u16, random: &mut crate::frame::Random) -> Vec<u8> {
    use crate::frame::{Segment, quoted, tcp, unreachable};
    let (seq, ack) = (random.word(), random.word());
    // Half of them have timestamps that are current, so that they get past PAWS.
    let options: &[u8] = if random.below(2) == 0 { &TIMESTAMPS } else { &[] };
    let segment =
        |flags| tcp(&Segment { src_port, dst_port: HONEST, seq, ack, flags, options, text: &[] });
    match kind {
        Kind::Ack => segment(flag::ACK),
        Kind::Rst => segment(flag::RST),
        Kind::Icmp => unreachable(
            wire::icmp::Code::PORT_UNREACHABLE,
            &quoted(wire::ipv4::Protocol::TCP, HONEST, src_port, seq),
        ),
    }
}
