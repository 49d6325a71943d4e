//! `sim synflood`: a listener under a million spoofed SYNs per second, and clients who want in.

use core::net::Ipv4Addr;
use core::time::Duration;

use tcp::{Config, Flags, SegmentOut, SeqNum, Tcb};
use types::{FlowKey, Instant};

use crate::app::Plan;
use crate::buffer::RecvRing;
use crate::host::{HostSettings, Population};
use crate::link::LinkSettings;
use crate::packet;
use crate::passive::PassiveCounts;
use crate::{HostId, Random, World};

/// The port under attack.
const PORT: u16 = 80;

/// Attackers' packets arrive in bursts of so many, as a worker takes them from a port.
const BURST: usize = 20;

/// One in so many of the attackers' packets is an ACK that guesses a cookie.
const GUESS_EVERY: u64 = 50;

/// Clients that begin per second.
const CLIENTS_PER_SECOND: u32 = 500;

/// A legitimate client must be connected after so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Flood and clients begin together; so long after both end everything must be forgotten: the
/// last half-open entry's SYN-ACK has been sent six times by then, and TIME-WAIT is over.
const AFTERMATH: Duration = Duration::from_secs(200);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Spoofed packets per second.
    pub rate: u64,
    /// How long.
    pub time: Duration,
    /// The same seed gives the same flood.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Spoofed packets.
    pub spoofed: u64,
    /// Legitimate clients.
    pub clients: usize,
    /// Those that were connected in time and got what they asked for.
    pub served: usize,
    /// The longest of their handshakes, in order of length: median, 99th percentile, maximum.
    pub handshakes: [Duration; 3],
    /// What the listener did.
    pub passive: PassiveCounts,
    /// Most half-open entries at a time.
    pub half_open_max: usize,
    /// What the server held at the end of each second of the flood, without legitimate clients'.
    pub half_open: Vec<usize>,
    /// Connections that nobody legitimate opened.
    pub intruders: usize,
    /// What the server holds long after.
    pub left: Population,
}

/// Floods a listener.
#[must_use]
pub fn run(flood: &Flood) -> Outcome {
    let mut world = World::new(flood.seed);
    let server = world.add_host(Ipv4Addr::new(10, 0, 0, 1), HostSettings::default());
    world.hosts[server.0].listen(PORT, 128, Plan::exchange(0, 0));
    let clients: Vec<HostId> =
        (0..16).map(|number| add_client(&mut world, server, number)).collect();
    let mut attacker = Attacker::new(&mut world, server);
    let mut random = world.fork();
    let begin = world.now();
    let end = begin + flood.time;
    let pause = Duration::from_nanos(BURST as u64 * 1_000_000_000 / flood.rate.max(1));
    let every = Duration::from_secs(1) / CLIENTS_PER_SECOND;
    let (mut next_burst, mut next_client, mut next_look) = (begin, begin, begin);
    let (mut half_open, mut half_open_max, mut spoofed) = (Vec::new(), 0, 0);
    while next_burst < end {
        world.run_until(next_burst);
        attacker.attack(&mut world, server);
        spoofed += BURST as u64;
        next_burst += pause;
        if next_client <= world.now() {
            let _ = world.connect(random.pick(&clients), server, PORT, Plan::exchange(200, 2_000));
            next_client += every;
        }
        if next_look <= world.now() {
            let held = world.hosts[server.0].population().half_open;
            half_open_max = half_open_max.max(held);
            half_open.push(held);
            next_look += Duration::from_secs(1);
        }
    }
    world.run_until(end + AFTERMATH);
    let (served, handshakes) = judge(&world, &clients);
    let reports = &world.hosts[server.0].reports;
    let legitimate = |address| clients.iter().any(|id| address == world.hosts[id.0].address);
    Outcome {
        spoofed,
        clients: clients.iter().map(|id| world.hosts[id.0].reports.len()).sum(),
        served,
        handshakes,
        passive: world.hosts[server.0].passive,
        half_open_max,
        half_open,
        intruders: reports.iter().filter(|end| !legitimate(end.flow.remote_addr)).count(),
        left: world.hosts[server.0].population(),
    }
}

/// Clients near and far, over paths that lose one packet in a hundred.
fn add_client(world: &mut World, server: HostId, number: u8) -> HostId {
    let tcp = Config { timestamps: !number.is_multiple_of(4), ..Config::default() };
    let settings = HostSettings { tcp, ..HostSettings::default() };
    let client = world.add_host(Ipv4Addr::new(10, 0, 1, number), settings);
    let delay = Duration::from_millis(1 + u64::from(number) * 8);
    let path = LinkSettings { loss: 10_000, ..LinkSettings::perfect(delay) };
    let _ = world.add_link(client, server, path);
    let _ = world.add_link(server, client, path);
    client
}

fn judge(world: &World, clients: &[HostId]) -> (usize, [Duration; 3]) {
    let reports = clients.iter().flat_map(|id| &world.hosts[id.0].reports);
    let mut handshakes: Vec<Duration> = reports
        .filter(|end| end.completed_at.is_some() && !end.wrong)
        .filter_map(|end| Some(end.established_at?.since(end.opened_at)))
        .collect();
    handshakes.sort_unstable();
    let served = handshakes.partition_point(|time| *time <= PATIENCE);
    let at = |percent: usize| {
        let last = handshakes.len().saturating_sub(1);
        handshakes.get(last * percent / 100).copied().unwrap_or_default()
    };
    (served, [at(50), at(99), at(100)])
}

/// Makes packets from addresses that do not answer.
struct Attacker {
    random: Random,
    target: Ipv4Addr,
    syn: SegmentOut,
    burst: Vec<Vec<u8>>,
}

impl Attacker {
    fn new(world: &mut World, server: HostId) -> Self {
        let now = Instant::ZERO;
        let mut tcb = Tcb::connect(&Config::default(), SeqNum::new(0), now);
        let syn = tcb.poll_transmit(now, &RecvRing::new(65_535)).expect("SYN is due");
        let target = world.hosts[server.0].address;
        Self { random: world.fork(), target, syn, burst: vec![Vec::new(); BURST] }
    }

    fn attack(&mut self, world: &mut World, server: HostId) {
        let (random, target) = (&mut self.random, self.target);
        for packet in &mut self.burst {
            let bits = random.bits();
            let low = |shift: u32| u32::try_from((bits >> shift) & 0xffff_ffff).unwrap_or(0);
            let flow = FlowKey {
                local_addr: Ipv4Addr::from_bits(0x4000_0000 | (low(0) >> 2)).into(),
                remote_addr: target.into(),
                local_port: u16::try_from(low(32) & 0xffff).unwrap_or(0) | 1,
                remote_port: PORT,
            };
            let mut segment = SegmentOut { seq: SeqNum::new(low(16)), ..self.syn };
            if random.below(GUESS_EVERY) == 0 {
                segment.flags = Flags::ACK;
                segment.ack = SeqNum::new(low(8));
            }
            packet::emit(packet, &flow, &segment, |_| {});
        }
        world.inject(server, self.burst.iter().map(Vec::as_slice));
    }
}
