//! `sim payload`: many bytes both ways over a bad path arrive as they were sent.

use core::net::Ipv4Addr;
use core::time::Duration;

use sha2::{Digest as _, Sha256};
use tcp::{Config, ConnectionError, EcnMode};
use types::Instant;

use crate::app::{Plan, Reading, Writing};
use crate::host::{HostSettings, algorithms};
use crate::link::LinkSettings;
use crate::packet::HEADERS_LEN;
use crate::socket::Report;
use crate::stream::Stream;
use crate::{HostId, LinkId, Random, World};

/// The port that serves.
const PORT: u16 = 80;

/// A SYN that is lost seven times ends a connection attempt; programs try again.
const ATTEMPTS_MAX: u32 = 20;

/// How long a connection may take by the world's clock.
const PATIENCE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was chosen, for people.
    pub path: String,
    /// Both directions have the sum of what was sent.
    pub equal: bool,
    /// Copies with a flipped bit that arrived, and how many of them were found out.
    pub corrupted: (u64, u64),
    /// Connection attempts.
    pub attempts: u32,
    /// Connections that an end gave up: so many losses in a row are R2 (RFC 9293 §3.8.3).
    pub given_up: u64,
    /// Time it took in the world.
    pub took: Duration,
    /// Packets sent.
    pub packets: u64,
    /// The trace's hash.
    pub hash: u64,
}

impl Outcome {
    /// All that must hold does.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.equal && self.corrupted.0 == self.corrupted.1
    }
}

/// Moves `len` bytes each way over the path that `seed` chooses.
#[must_use]
pub fn run(seed: u64, len: u64) -> Outcome {
    run_in(World::new(seed), seed, len).0
}

/// The same, with every packet as a line.
#[must_use]
pub fn trace(seed: u64, len: u64) -> (Outcome, Vec<String>) {
    let mut world = World::new(seed);
    world.trace.record();
    let (outcome, mut world) = run_in(world, seed, len);
    (outcome, world.trace.take_lines())
}

fn run_in(mut world: World, seed: u64, len: u64) -> (Outcome, World) {
    let mut random = world.fork();
    let settings = random_link(&mut random);
    let client = world.add_host(Ipv4Addr::new(10, 0, 0, 1), random_host(&mut random));
    let server = world.add_host(Ipv4Addr::new(10, 0, 0, 2), random_host(&mut random));
    let links = [
        world.add_link(client, server, settings),
        world.add_link(server, client, LinkSettings { mtu: u16::MAX, ..settings }),
    ];
    let plan = Plan {
        sum: true,
        reading: random_reading(&mut random),
        writing: random_writing(&mut random),
        ..Plan::exchange(len, len)
    };
    let served =
        Plan { reading: random_reading(&mut random), writing: random_writing(&mut random), ..plan };
    world.hosts[server.0].listen(PORT, 8, served);
    let begin = world.now();
    let mut transfer = Transfer { world, client, server, plan, random, links, reports: Vec::new() };
    let mut attempts = 0;
    while attempts < ATTEMPTS_MAX && !transfer.is_complete() {
        attempts += 1;
        transfer.attempt(transfer.world.now() + PATIENCE);
    }
    let path = describe(&settings, &transfer.world.hosts[client.0].settings);
    let took = transfer.world.now().since(begin);
    transfer.drain();
    (transfer.outcome(seed, path, took, attempts), transfer.world)
}

struct Transfer {
    world: World,
    client: HostId,
    server: HostId,
    plan: Plan,
    random: Random,
    links: [LinkId; 2],
    reports: Vec<Report>,
}

impl Transfer {
    /// What is still on the way arrives, so that all damage can be counted.
    fn drain(&mut self) {
        self.world.run_until(self.world.now() + Duration::from_secs(10));
    }

    /// Connects, and changes the path while bytes flow.
    fn attempt(&mut self, end: Instant) {
        let _ = self.world.connect(self.client, self.server, PORT, self.plan);
        let mut turn = self.world.now() + Duration::from_millis(self.random.between(50, 2_000));
        while self.world.now() < end && !self.world.is_still() {
            if !self.world.step(turn) {
                self.world.run_until(turn);
                self.disturb();
                turn += Duration::from_millis(self.random.between(100, 20_000));
            }
            for host in [self.client, self.server] {
                self.reports.append(&mut self.world.hosts[host.0].reports);
            }
            let open = self.world.hosts.iter().any(|host| host.population().sockets > 0);
            if !open && (self.is_complete() || !self.reports.is_empty()) {
                break;
            }
        }
    }

    /// The route changes to one with a smaller MTU, or a clock leaps.
    fn disturb(&mut self) {
        match self.random.below(20) {
            0 => {
                let link = self.random.pick(&self.links);
                let settings = &mut self.world.links[link.0].settings;
                settings.mtu = (settings.mtu / 10 * 9).max(576);
            }
            1 => {
                let host = self.random.pick(&[self.client, self.server]);
                let leap = Duration::from_millis(self.random.between(1, 3_000));
                self.world.jump(host, leap);
            }
            _ => {}
        }
    }

    fn is_complete(&self) -> bool {
        self.pair().is_some()
    }

    /// Both ends of the connection over which everything arrived.
    fn pair(&self) -> Option<(&Report, &Report)> {
        let complete = |client: bool| {
            let wanted = move |end: &&Report| end.client == client && end.completed_at.is_some();
            self.reports.iter().filter(wanted)
        };
        complete(true).find_map(|client| {
            let server = complete(false).find(|server| server.ours == client.theirs)?;
            Some((client, server))
        })
    }

    fn outcome(&self, seed: u64, path: String, took: Duration, attempts: u32) -> Outcome {
        let corrupted = self.links.iter().map(|link| self.world.links[link.0].counts.corrupted);
        let damaged = self.world.hosts.iter().map(|host| host.damaged);
        let equal = self
            .pair()
            .is_some_and(|(client, server)| is_equal(client, server) && is_equal(server, client));
        let equal = equal && self.reports.iter().all(|end| !end.wrong);
        let timed_out = |end: &&Report| end.error == Some(ConnectionError::TimedOut);
        Outcome {
            seed,
            path,
            equal,
            corrupted: (corrupted.sum(), damaged.sum()),
            attempts,
            given_up: self.reports.iter().filter(timed_out).count() as u64,
            took,
            packets: self.world.trace.packets,
            hash: self.world.trace.hash(),
        }
    }
}

/// The receiver's sum is that of what the sender generated.
fn is_equal(from: &Report, to: &Report) -> bool {
    from.ours.is_some_and(|ours| to.sum == Some(sum(&ours)) && to.received == ours.len) && !to.wrong
}

fn sum(stream: &Stream) -> [u8; 32] {
    let mut sum = Sha256::new();
    let mut piece = [0; 4096];
    let mut at = 0;
    while at < stream.len {
        let len = (stream.len - at).min(piece.len() as u64);
        let piece = &mut piece[..usize::try_from(len).unwrap_or(0)];
        stream.fill(at, piece);
        sum.update(&piece);
        at += len;
    }
    sum.finalize().into()
}

/// Loss 0–30 %, reordering to 25 %, duplication to 10 %, corruption to 1 %.
fn random_link(random: &mut Random) -> LinkSettings {
    let part = |random: &mut Random, limit: u64| u32::try_from(random.below(limit)).unwrap_or(0);
    let delay = Duration::from_micros(random.between(100, 100_000));
    let slow = random.chance(400_000);
    LinkSettings {
        delay,
        jitter: delay * part(random, 100) / 100,
        rate: slow.then(|| random.between(100_000, 20_000_000)),
        queue_len: random.between(20_000, 500_000),
        mark_len: random.chance(300_000).then_some(15_000),
        loss: part(random, 300_001),
        reorder: part(random, 250_001),
        reorder_delay: Duration::from_millis(random.between(1, 50)),
        duplicate: part(random, 100_001),
        corrupt: part(random, 10_001),
        mtu: random.pick(&[u16::MAX, 1_500, 1_400, 576]),
        up: true,
    }
}

fn random_host(random: &mut Random) -> HostSettings {
    let recv_buffer = u32::try_from(random.between(8_192, 1 << 20)).unwrap_or(8_192);
    // A window can only be told in steps of 2^scale bytes: at least eight steps.
    let scale = random.below(u64::from(recv_buffer.ilog2() - 3).min(15));
    HostSettings {
        tcp: Config {
            mss: random.pick(&[536, 1_000, 1_460, 8_960]).min(u16::MAX - HEADERS_LEN),
            window_scale: u8::try_from(scale).unwrap_or(0),
            timestamps: random.chance(700_000),
            nodelay: random.chance(500_000),
            sack: random.chance(800_000),
            ecn: random.pick(&[EcnMode::Off, EcnMode::Accept, EcnMode::Ask]),
            congestion: random.pick(&algorithms()),
            ..Config::default()
        },
        recv_buffer,
        send_buffer: random.between(8_192, 1 << 20),
    }
}

fn random_reading(random: &mut Random) -> Reading {
    if random.chance(800_000) {
        return Reading::AtOnce;
    }
    Reading::Slowly {
        every: Duration::from_millis(random.between(1, 50)),
        len: usize::try_from(random.between(4_000, 400_000)).unwrap_or(4_000),
    }
}

pub(crate) fn random_writing(random: &mut Random) -> Writing {
    if random.chance(700_000) {
        return Writing::AtOnce;
    }
    let piece = 1 << random.between(8, 16);
    Writing::Fidgeting(piece)
}

fn describe(link: &LinkSettings, host: &HostSettings) -> String {
    let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
    format!(
        "loss {:.1} %, reorder {:.1} %, duplicate {:.1} %, corrupt {:.2} %, delay {:?}, rate {:?}, mtu {}, mss {}",
        percent(link.loss),
        percent(link.reorder),
        percent(link.duplicate),
        percent(link.corrupt),
        link.delay,
        link.rate,
        link.mtu,
        host.tcp.mss,
    )
}
