//! `sim soak`: a day of connections that come and go over links that get better and worse.

use core::net::Ipv4Addr;
use core::time::Duration;

use tcp::{Config, ConnectionError, EcnMode, Keepalive};
use types::Instant;

use crate::app::{Ending, Plan, Reading};
use crate::host::{HostSettings, algorithms};
use crate::link::LinkSettings;
use crate::payload::random_writing;
use crate::socket::Report;
use crate::{HostId, LinkId, Random, World};

/// Stacks; each has a link to each.
const HOSTS: u8 = 6;

/// The port where somebody listens.
const PORT: u16 = 80;

/// A port where nobody does.
const CLOSED_PORT: u16 = 81;

/// Mean time between two connection attempts.
const ARRIVAL_MEAN: Duration = Duration::from_millis(600);

/// A connection that is older than this will never end.
const AGE_MAX: Duration = Duration::from_secs(4 * 3_600);

/// After the last connection: keepalive, R2 and TIME-WAIT take at most so long.
const AFTERMATH: Duration = Duration::from_secs(4 * 3_600);

/// Counts of one hour, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients that ended.
    pub clients: u64,
    /// Of these, those that were to get all they asked for.
    pub peaceful: u64,
    /// Of these, those that did.
    pub completed: u64,
    /// Ends that gave up.
    pub timed_out: u64,
    /// Ends that were reset.
    pub reset: u64,
    /// Clients that were refused.
    pub refused: u64,
    /// Ends that read a wrong byte.
    pub wrong: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Counts {
    fn add(&mut self, end: &Report) {
        let is = |error| u64::from(end.error == Some(error));
        self.timed_out += is(ConnectionError::TimedOut);
        self.reset += is(ConnectionError::Reset);
        self.refused += is(ConnectionError::Refused);
        self.wrong += u64::from(end.wrong);
        self.bytes += end.received;
        self.clients += u64::from(end.client);
        let peaceful = end.client && end.tag == PEACEFUL;
        self.peaceful += u64::from(peaceful);
        self.completed += u64::from(peaceful && end.completed_at.is_some());
    }
}

/// Tag of plans that end when all was sent and received.
const PEACEFUL: u64 = 1;

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of all connections.
    pub counts: Counts,
    /// Packets and timers.
    pub events: u64,
    /// Most sockets at a time.
    pub sockets_max: usize,
    /// Connections that Fast Open opened.
    pub fast_opened: u64,
    /// Sockets that would never have ended.
    pub stuck: Vec<String>,
    /// Entries of all tables that were left in the end.
    pub left: usize,
    /// Timers and packets that were left in the end.
    pub scheduled: usize,
    /// Bytes allocated before the first connection and after the last.
    pub allocated: (usize, usize),
    /// Copies with a flipped bit that arrived, and how many of them were found out.
    pub corrupted: (u64, u64),
}

/// Soaks for `hours` of virtual time; `allocated` says how many bytes are allocated.
#[must_use]
pub fn run(seed: u64, hours: u64, allocated: impl Fn() -> usize) -> Outcome {
    let mut soak = Soak::new(seed);
    let mut outcome = Outcome::default();
    soak.world.trim();
    outcome.allocated.0 = allocated();
    for hour in 0..hours {
        soak.hour(&mut outcome);
        eprintln!("  hour {} of {hours}: {:?}", hour + 1, outcome.counts);
    }
    soak.settle(&mut outcome);
    outcome.allocated.1 = allocated();
    outcome
}

struct Soak {
    world: World,
    random: Random,
    hosts: Vec<HostId>,
    links: Vec<LinkId>,
    /// Links that come up again then.
    down: Vec<(Instant, LinkId)>,
    next_fault: Instant,
    next_client: Instant,
}

impl Soak {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let mut random = world.fork();
        let address = |number| Ipv4Addr::new(10, 0, 0, number);
        let hosts: Vec<HostId> =
            (1..=HOSTS).map(|number| world.add_host(address(number), host(&mut random))).collect();
        let mut links = Vec::new();
        for from in &hosts {
            world.hosts[from.0].listen(PORT, 128, service(&mut random));
            for to in hosts.iter().filter(|to| *to != from) {
                links.push(world.add_link(*from, *to, link(&mut random)));
            }
        }
        let now = world.now();
        Self { world, random, hosts, links, down: Vec::new(), next_fault: now, next_client: now }
    }

    fn hour(&mut self, outcome: &mut Outcome) {
        let end = self.world.now() + Duration::from_secs(3_600);
        let mut next_look = self.world.now();
        while self.world.now() < end {
            let next = self.next_client.min(self.next_fault).min(next_look).min(end);
            self.world.run_until(next);
            if next == self.next_client {
                self.client();
            }
            if next == self.next_fault {
                self.fault();
            }
            if next == next_look {
                self.look(outcome);
                next_look += Duration::from_secs(60);
            }
        }
    }

    fn client(&mut self) {
        let from = self.random.pick(&self.hosts);
        let to = self.random.pick(&self.hosts);
        if from != to {
            let port = if self.random.chance(20_000) { CLOSED_PORT } else { PORT };
            let plan = plan(&mut self.random);
            let _ = self.world.connect(from, to, port, plan);
        }
        let nanos = u64::try_from(ARRIVAL_MEAN.as_nanos()).unwrap_or(u64::MAX);
        self.next_client = self.world.now() + Duration::from_nanos(self.random.below(2 * nanos));
    }

    /// A link changes, fails or comes back; a clock leaps.
    fn fault(&mut self) {
        let now = self.world.now();
        self.next_fault = now + Duration::from_millis(self.random.between(1_000, 120_000));
        let due = self.down.extract_if(.., |(at, _)| *at <= now);
        for (_, link) in due.collect::<Vec<_>>() {
            self.world.links[link.0].settings.up = true;
        }
        let victim = self.random.pick(&self.links);
        match self.random.below(10) {
            0 => {
                self.world.links[victim.0].settings.up = false;
                let outage = Duration::from_secs(self.random.between(1, 300));
                self.down.push((now + outage, victim));
            }
            1 => {
                let host = self.random.pick(&self.hosts);
                let leap = Duration::from_millis(self.random.between(1, 60_000));
                self.world.jump(host, leap);
            }
            _ => {
                let up = self.world.links[victim.0].settings.up;
                self.world.links[victim.0].settings = LinkSettings { up, ..link(&mut self.random) };
            }
        }
    }

    /// Collects reports and looks for what has been there for too long.
    fn look(&mut self, outcome: &mut Outcome) {
        let (mut sockets, world_now) = (0, self.world.now());
        for host in &mut self.world.hosts {
            host.reports.drain(..).for_each(|end| outcome.counts.add(&end));
            let now = world_now + host.skew;
            host.assert_consistent();
            for socket in host.sockets() {
                sockets += 1;
                if now.since(socket.opened_at) > AGE_MAX && outcome.stuck.len() < 10 {
                    let (app, info) = (&socket.app, socket.tcb.info());
                    outcome.stuck.push(format!("{} {app:?} {info:?}", socket.flow.remote()));
                }
            }
        }
        outcome.sockets_max = outcome.sockets_max.max(sockets);
        outcome.events = self.world.events;
    }

    /// All links become good; what is there ends, and nothing remains.
    fn settle(&mut self, outcome: &mut Outcome) {
        let mut corrupted = 0;
        for link in &self.links {
            let link = &mut self.world.links[link.0];
            corrupted += link.counts.corrupted;
            link.settings = LinkSettings::perfect(Duration::from_millis(10));
        }
        self.world.run_until(self.world.now() + AFTERMATH);
        self.look(outcome);
        let damaged = self.world.hosts.iter().map(|host| host.damaged).sum();
        outcome.fast_opened = self.world.hosts.iter().map(|host| host.passive.fast_opened).sum();
        outcome.corrupted = (corrupted, damaged);
        outcome.left = self.world.hosts.iter().map(|host| host.population().total()).sum();
        outcome.scheduled = self.world.scheduled();
        self.down = Vec::new();
        self.world.trim();
    }
}

fn host(random: &mut Random) -> HostSettings {
    let keepalive = Keepalive {
        idle_s: u32::try_from(random.between(30, 300)).unwrap_or(60),
        interval_s: u32::try_from(random.between(5, 60)).unwrap_or(60),
        count: u8::try_from(random.between(2, 9)).unwrap_or(5),
    };
    HostSettings {
        tcp: Config {
            timestamps: random.chance(700_000),
            sack: random.chance(700_000),
            nodelay: random.chance(300_000),
            fast_open: random.chance(500_000),
            ecn: random.pick(&[EcnMode::Off, EcnMode::Accept, EcnMode::Ask]),
            congestion: random.pick(&algorithms()),
            keepalive: Some(keepalive),
            ..Config::default()
        },
        recv_buffer: u32::try_from(random.between(8_192, 131_072)).unwrap_or(8_192),
        send_buffer: random.between(8_192, 131_072),
    }
}

fn service(random: &mut Random) -> Plan {
    Plan { reading: reading(random), writing: random_writing(random), ..Plan::exchange(0, 0) }
}

/// Mostly good, at times bad.
fn link(random: &mut Random) -> LinkSettings {
    let bad = random.chance(200_000);
    let part = |random: &mut Random, good: u64, worst: u64| {
        u32::try_from(random.below(if bad { worst } else { good } + 1)).unwrap_or(0)
    };
    LinkSettings {
        delay: Duration::from_micros(random.between(50, 150_000)),
        jitter: Duration::from_micros(random.below(20_000)),
        rate: random.chance(500_000).then(|| random.between(50_000, 10_000_000)),
        queue_len: random.between(10_000, 300_000),
        mark_len: random.chance(300_000).then_some(10_000),
        loss: part(random, 10_000, 200_000),
        reorder: part(random, 5_000, 200_000),
        reorder_delay: Duration::from_millis(random.between(1, 50)),
        duplicate: part(random, 1_000, 50_000),
        corrupt: part(random, 500, 10_000),
        mtu: random.pick(&[1_500, 1_500, 1_400, 576]),
        up: true,
    }
}

fn plan(random: &mut Random) -> Plan {
    let len = |random: &mut Random| {
        let limit = 1 << random.between(1, 20);
        random.below(limit)
    };
    let linger = Duration::from_secs(random.between(1, 600));
    let ending = match random.below(20) {
        0 => Ending::Abort,
        1 => Ending::CloseUnread,
        2 => Ending::Vanish,
        3 | 4 => Ending::Linger(linger),
        _ => Ending::Close,
    };
    let peaceful = matches!(ending, Ending::Close | Ending::Linger(_));
    Plan {
        reading: reading(random),
        writing: random_writing(random),
        ending,
        server_closes: peaceful && random.chance(200_000),
        tag: if peaceful { PEACEFUL } else { 0 },
        ..Plan::exchange(len(random), len(random))
    }
}

fn reading(random: &mut Random) -> Reading {
    if random.chance(800_000) {
        return Reading::AtOnce;
    }
    Reading::Slowly {
        every: Duration::from_millis(random.between(1, 500)),
        len: usize::try_from(random.between(4_000, 100_000)).unwrap_or(4_000),
    }
}
