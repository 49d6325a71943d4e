//! `sim table`: goodput and fairness as text, so that a change of the engine shows as a diff.

use core::fmt::Write as _;
use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::BTreeMap;

use tcp::{Algorithm, Config, EcnMode};

use crate::app::Plan;
use crate::host::{HostSettings, algorithms};
use crate::link::{LinkCounts, LinkSettings};
use crate::{HostId, LinkId, World, seeds};

/// The bottleneck: 100 Mbit/s.
const RATE: u64 = 12_500_000;

/// Round-trip times of the goodput table.
const RTTS_MS: [u64; 3] = [1, 20, 100];

/// Loss of the goodput table, in packets of a million.
const LOSSES: [u32; 4] = [0, 1_000, 10_000, 50_000];

/// How long a flow of the goodput table runs.
const GOODPUT_TIME: Duration = Duration::from_secs(10);

/// Seeds whose mean is shown: one flow's luck is not the algorithm's.
const SEEDS: u64 = 4;

/// Flows that share the bottleneck.
const FLOWS: [usize; 3] = [2, 8, 32];

/// Flows settle before they are compared.
const SETTLING_TIME: Duration = Duration::from_secs(10);

/// Then their bytes count for so long.
const FAIRNESS_TIME: Duration = Duration::from_secs(30);

/// Smallest queue: a burst of the initial window and some more.
const QUEUE_LEN_MIN: u64 = 32_000;

/// Flows that never end.
const ENDLESS: Plan = Plan::exchange(1 << 40, 0);

/// All tables.
#[must_use]
pub fn render() -> String {
    let mut text = String::from(HEAD);
    goodput(&mut text);
    fairness(&mut text);
    rivals(&mut text);
    marks(&mut text);
    text
}

const HEAD: &str = "\
Written by ci/sim table --update; ci/sim table --check fails when a line changes.
The bottleneck carries 100 Mbit/s of IP packets; its queue holds one bandwidth-delay product.
Segments have 1448 bytes of text; 96.5 Mbit/s is all that can arrive. ECN only in the last table.
";

/// Goodput × loss × round-trip time × congestion control.
fn goodput(text: &mut String) {
    let algorithms = algorithms();
    let cells: Vec<(u64, u32, Algorithm)> = RTTS_MS
        .iter()
        .flat_map(|rtt| LOSSES.iter().map(|loss| (*rtt, *loss)))
        .flat_map(|(rtt, loss)| algorithms.iter().map(move |algorithm| (rtt, loss, *algorithm)))
        .collect();
    let runs = seeds::run(cells.len() as u64 * SEEDS, |run| {
        let (rtt, loss, algorithm) = cells[index(run / SEEDS)];
        let mut race = Race::new(run % SEEDS, rtt, loss);
        race.start(algorithm, 1);
        race.measure(Duration::ZERO, GOODPUT_TIME).values().sum::<u64>()
    });
    let _ = write!(
        text,
        "\nGoodput of one flow in its first 10 s, Mbit/s, mean of {SEEDS} seeds; loss of data only.\n"
    );
    text.push_str("Mathis: what loss-based control can reach, MSS / RTT × 1.22 / √loss.\n\n");
    let _ = write!(text, "{:>6} {:>7}", "RTT ms", "loss %");
    algorithms.iter().for_each(|algorithm| {
        let _ = write!(text, " {:>8}", algorithm.name());
    });
    text.push_str("   Mathis\n");
    for (cells, runs) in
        cells.chunks(algorithms.len()).zip(runs.chunks(algorithms.len() * index(SEEDS)))
    {
        let (rtt, loss, _) = cells[0];
        let _ = write!(text, "{rtt:>6} {:>7.1}", f64::from(loss) / 10_000.0);
        for runs in runs.chunks(index(SEEDS)) {
            let mean = runs.iter().sum::<u64>() / SEEDS;
            let _ = write!(text, " {:>8.2}", megabits(mean, GOODPUT_TIME));
        }
        let _ = writeln!(text, " {:>8}", mathis(rtt, loss));
    }
}

/// Flows of one kind.
fn fairness(text: &mut String) {
    let algorithms = algorithms();
    let cells: Vec<(Algorithm, usize)> = algorithms
        .iter()
        .flat_map(|algorithm| FLOWS.iter().map(move |flows| (*algorithm, *flows)))
        .collect();
    let shares = seeds::run(cells.len() as u64, |run| {
        let (algorithm, flows) = cells[index(run)];
        let mut race = Race::new(run, 20, 0);
        race.start(algorithm, flows);
        let shares: Vec<u64> = race.measure(SETTLING_TIME, FAIRNESS_TIME).into_values().collect();
        (shares, race.drops())
    });
    text.push_str(
        "\nFlows of one kind at one bottleneck, RTT 20 ms, from second 10 to second 40.\n",
    );
    text.push_str(
        "Jain's index: 1 if all get the same, 1/n if one gets all. Dropped: by the queue.\n\n",
    );
    let _ = writeln!(
        text,
        "{:>6} {:>6} {:>7} {:>10} {:>9} {:>9} {:>10}",
        "", "flows", "Jain", "all Mbit/s", "least", "most", "dropped %"
    );
    for ((algorithm, flows), (shares, drops)) in cells.iter().zip(&shares) {
        let rates: Vec<f64> = shares.iter().map(|len| megabits(*len, FAIRNESS_TIME)).collect();
        let _ = writeln!(
            text,
            "{:>6} {flows:>6} {:>7.3} {:>10.2} {:>9.2} {:>9.2} {drops:>10.2}",
            algorithm.name(),
            jain(&rates),
            rates.iter().sum::<f64>(),
            rates.iter().copied().fold(f64::INFINITY, f64::min),
            rates.iter().copied().fold(0.0, f64::max),
        );
    }
}

/// Two kinds of flows.
fn rivals(text: &mut String) {
    let algorithms = algorithms();
    let pairs: Vec<(Algorithm, Algorithm)> = algorithms
        .iter()
        .enumerate()
        .flat_map(|(at, left)| algorithms[at + 1..].iter().map(move |right| (*left, *right)))
        .collect();
    let results = seeds::run(pairs.len() as u64, |run| {
        let (left, right) = pairs[index(run)];
        let mut race = Race::new(run, 20, 0);
        race.start(left, 4);
        race.start(right, 4);
        let shares = race.measure(SETTLING_TIME, FAIRNESS_TIME);
        let of = |host: HostId| -> u64 {
            shares.iter().filter(|(flow, _)| flow.0 == host).map(|(_, len)| len).sum()
        };
        [of(race.senders[0]), of(race.senders[1])]
    });
    text.push_str(
        "\nFour flows of each of two kinds at one bottleneck, RTT 20 ms, all Mbit/s of each.\n\n",
    );
    for ((left, right), [one, other]) in pairs.iter().zip(&results) {
        let _ = writeln!(
            text,
            "{:>6} {:>6.2}   {:>6} {:>6.2}",
            left.name(),
            megabits(*one, FAIRNESS_TIME),
            right.name(),
            megabits(*other, FAIRNESS_TIME),
        );
    }
}

/// Flows that answer marks: nothing needs to be dropped.
fn marks(text: &mut String) {
    const ALGORITHMS: [Algorithm; 2] = [Algorithm::NewReno, Algorithm::Cubic];
    let cells = ALGORITHMS.map(|algorithm| FLOWS.map(|flows| (algorithm, flows))).concat();
    let results = seeds::run(cells.len() as u64, |run| {
        let (algorithm, flows) = cells[index(run)];
        let mut race = Race::new(run, 20, 0);
        race.mark();
        race.start(algorithm, flows);
        let shares = race.measure(SETTLING_TIME, FAIRNESS_TIME).into_values();
        let rates: Vec<f64> = shares.map(|len| megabits(len, FAIRNESS_TIME)).collect();
        (rates, race.drops(), race.marked())
    });
    text.push_str(
        "\nThe same flows with ECN; what finds more than a third of the queue taken is marked.\n\n",
    );
    let _ = writeln!(
        text,
        "{:>6} {:>6} {:>7} {:>10} {:>10} {:>10}",
        "", "flows", "Jain", "all Mbit/s", "dropped %", "marked %"
    );
    for ((algorithm, flows), (rates, drops, marked)) in cells.iter().zip(&results) {
        let (name, jain, all) = (algorithm.name(), jain(rates), rates.iter().sum::<f64>());
        let _ = writeln!(
            text,
            "{name:>6} {flows:>6} {jain:>7.3} {all:>10.2} {drops:>10.2} {marked:>10.2}"
        );
    }
}

/// Senders that share one link to one receiver.
struct Race {
    world: World,
    receiver: HostId,
    senders: Vec<HostId>,
    bottleneck: Option<LinkId>,
    path: LinkSettings,
    ecn: EcnMode,
}

impl Race {
    fn new(seed: u64, rtt_ms: u64, loss: u32) -> Self {
        let mut world = World::new(seed);
        let receiver = world.add_host(Ipv4Addr::new(10, 0, 0, 1), settings(Algorithm::default()));
        world.hosts[receiver.0].listen(80, 1_000, Plan::exchange(0, 0));
        let path = LinkSettings {
            rate: Some(RATE),
            queue_len: (RATE * rtt_ms / 1_000).max(QUEUE_LEN_MIN),
            loss,
            ..LinkSettings::perfect(Duration::from_micros(rtt_ms * 500))
        };
        Self { world, receiver, senders: Vec::new(), bottleneck: None, path, ecn: EcnMode::Off }
    }

    /// The bottleneck marks, and the flows ask it to.
    fn mark(&mut self) {
        self.path.mark_len = Some(self.path.queue_len / 3);
        self.ecn = EcnMode::Ask;
    }

    /// Flows begin one after another, within one second.
    fn start(&mut self, algorithm: Algorithm, flows: usize) {
        let number = u8::try_from(self.senders.len()).unwrap_or(u8::MAX);
        let address = Ipv4Addr::new(10, 0, 1, number);
        let mut settings = settings(algorithm);
        settings.tcp.ecn = self.ecn;
        let sender = self.world.add_host(address, settings);
        match self.bottleneck {
            Some(link) => self.world.add_route(sender, self.receiver, link),
            None => {
                self.bottleneck = Some(self.world.add_link(sender, self.receiver, self.path));
            }
        }
        let back = LinkSettings::perfect(self.path.delay);
        let _ = self.world.add_link(self.receiver, sender, back);
        let pause = Duration::from_secs(1) / u32::try_from(flows).unwrap_or(1);
        for flow in 0..flows {
            let _ = self.world.connect(sender, self.receiver, 80, ENDLESS);
            if flow + 1 < flows {
                self.world.run_until(self.world.now() + pause);
            }
        }
        self.senders.push(sender);
    }

    /// What each flow delivers in `time` after `settling`.
    fn measure(&mut self, settling: Duration, time: Duration) -> BTreeMap<(HostId, u16), u64> {
        self.world.run_until(self.world.now() + settling);
        let before = self.received();
        self.world.run_until(self.world.now() + time);
        let mut after = self.received();
        for (flow, len) in &mut after {
            *len -= before.get(flow).unwrap_or(&0);
        }
        after
    }

    fn received(&self) -> BTreeMap<(HostId, u16), u64> {
        let sender = |address| {
            let of =
                |id: &&HostId| core::net::IpAddr::from(self.world.hosts[id.0].address) == address;
            self.senders.iter().find(of).copied()
        };
        let sockets = self.world.hosts[self.receiver.0].sockets();
        let flows = sockets.filter_map(|socket| {
            let from = sender(socket.flow.remote_addr)?;
            Some(((from, socket.flow.remote_port), socket.app.received))
        });
        flows.collect()
    }

    /// Packets that the queue dropped, in percent.
    fn drops(&self) -> f64 {
        let counts = self.counts();
        float(counts.overflowed) * 100.0 / float(counts.offered.max(1))
    }

    /// Packets that were marked, in percent.
    fn marked(&self) -> f64 {
        let counts = self.counts();
        float(counts.marked) * 100.0 / float(counts.offered.max(1))
    }

    fn counts(&self) -> LinkCounts {
        self.bottleneck.map(|link| self.world.links[link.0].counts).unwrap_or_default()
    }
}

/// Buffers that are never in the way.
fn settings(congestion: Algorithm) -> HostSettings {
    let tcp = Config { congestion, window_scale: 9, ..Config::default() };
    HostSettings { tcp, recv_buffer: 8 << 20, send_buffer: 8 << 20 }
}

fn mathis(rtt_ms: u64, loss: u32) -> String {
    if loss == 0 {
        return "-".to_owned();
    }
    let bits = 1_448.0 * 8.0 * 1.22 / (float(rtt_ms) / 1_000.0);
    format!("{:.2}", bits / (f64::from(loss) / 1e6).sqrt() / 1e6)
}

fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    sum * sum / (float(rates.len() as u64) * squares)
}

fn megabits(len: u64, time: Duration) -> f64 {
    float(len) * 8.0 / time.as_secs_f64() / 1e6
}

/// Counts here are far below 2^52.
fn float(count: u64) -> f64 {
    let high = u32::try_from(count >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(count & 0xffff_ffff).unwrap_or(0);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
