//! What acknowledgements cost: those of an honest peer, and those of one who announces tiny segments
//! and tells of every second one (CVE-2019-11477, CVE-2019-11478, CVE-2019-11479, CVE-2026-101307).
//! One engine, no frames, virtual time.

use core::time::Duration;
use std::time::Instant as Clock;

use tcp::{
    Codepoint, Config, Flags, Options, RecvBuffer, SackBlock, SackBlocks, SegmentIn, SeqNum, State,
    Tcb, limits,
};
use types::Instant;

use crate::hoarders::private_memory;

/// Text that always waits to be sent.
const QUEUED: u32 = 1 << 20;
/// Time between two ACKs: a hundred thousand a second.
const PACE: Duration = Duration::from_micros(10);
/// Hostile ACKs in a row, and honest ones before them, which open the window.
const PHASE: u64 = 1024;
/// Widest kept cost, in steps of 16 ns.
const BUCKETS: usize = 4096;
const BUCKET_NS: u64 = 16;

/// Who acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every second segment, in order.
    Honest,
    /// SACKs of every second segment, the window moves now and then.
    Alternating,
    /// The same, with announced sizes from 1 to 64 bytes in turn, and no floor under them but the
    /// engine's own.
    TinyMss,
    /// The same, after routers have told of a path MTU of 68 bytes.
    TinyPathMtu,
}

impl Kind {
    /// All but the honest one.
    pub const HOSTILE: [Self; 3] = [Self::Alternating, Self::TinyMss, Self::TinyPathMtu];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Alternating => "alternating SACKs",
            Self::TinyMss => "alternating SACKs, MSS 1 to 64",
            Self::TinyPathMtu => "alternating SACKs, path MTU 68",
        }
    }
}

/// What they cost.
#[derive(Debug)]
pub struct Cost {
    /// ACKs that arrived.
    pub acks: u64,
    /// Length of the segments they acknowledged.
    pub segment_len: u16,
    /// Growth of private memory after the first tenth of them.
    pub memory_growth: u64,
    total_ns: u64,
    buckets: Vec<u64>,
}

impl Cost {
    fn new() -> Self {
        let buckets = vec![0; BUCKETS];
        Self { acks: 0, segment_len: 0, memory_growth: 0, total_ns: 0, buckets }
    }

    /// The mean, in nanoseconds.
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        self.total_ns as f64 / self.acks.max(1) as f64
    }

    /// The 99th percentile, in nanoseconds.
    #[must_use]
    pub fn p99_ns(&self) -> u64 {
        let mut left = self.acks.saturating_sub(self.acks / 100);
        let reached = |count: &u64| {
            left = left.saturating_sub(*count);
            left == 0
        };
        let at = self.buckets.iter().position(reached).unwrap_or(BUCKETS);
        (at as u64).saturating_add(1).saturating_mul(BUCKET_NS)
    }

    /// A line for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{} ACKs, mean {:.0} ns, p99 {} ns, memory +{} KiB",
            self.acks,
            self.mean_ns(),
            self.p99_ns(),
            self.memory_growth / 1024
        )
    }

    fn add(&mut self, ns: u64) {
        self.acks += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
        let at = usize::try_from(ns / BUCKET_NS).unwrap_or(BUCKETS).min(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
    }
}

/// Nothing is received.
struct Deaf;

impl RecvBuffer for Deaf {
    fn window(&self) -> u32 {
        65_535
    }

    fn write(&mut self, _offset: u32, text: &[u8]) -> u32 {
        u32::try_from(text.len()).unwrap_or(u32::MAX)
    }

    fn advance(&mut self, _len: u32) {}

    fn mark_urgent(&mut self, _offset: u32) {}
}

/// A connection and its peer.
struct Victim {
    tcb: Tcb,
    now: Instant,
    una: SeqNum,
    max: SeqNum,
    queued: u32,
}

const ISS: SeqNum = SeqNum::new(1_000);
const IRS: SeqNum = SeqNum::new(2_000);

fn segment(seq: SeqNum, ack: SeqNum, flags: Flags, options: Options) -> SegmentIn<'static> {
    let (window, urgent, ecn) = (u16::MAX, 0, Codepoint::NotEct);
    SegmentIn { seq, ack, flags, window, urgent, ecn, options, text: &[] }
}

impl Victim {
    /// Connected to a peer that announces this MSS.
    fn connect(mss: u16, floor: u16) -> Result<Self, String> {
        let config = Config { mss_floor: floor, timestamps: false, ..Config::default() };
        let now = Instant::from_millis(1_000);
        let una = ISS + 1;
        let mut victim =
            Self { tcb: Tcb::connect(&config, ISS, now), now, una, max: una, queued: 0 };
        victim.transmit();
        let options = Options {
            mss: Some(mss),
            window_scale: Some(7),
            sack_permitted: true,
            ..Options::default()
        };
        let syn_ack = segment(IRS, una, Flags::SYN | Flags::ACK, options);
        let _ = victim.tcb.segment_arrives(&syn_ack, now, &mut Deaf);
        if victim.tcb.state() != State::Established {
            return Err(format!("no connection with an MSS of {mss}"));
        }
        victim.transmit();
        Ok(victim)
    }

    /// Sends all that may go.
    fn transmit(&mut self) {
        if self.tcb.state() == State::Established && self.queued < QUEUED {
            self.tcb.send(QUEUED);
            self.queued += QUEUED;
        }
        while let Some(sent) = self.tcb.poll_transmit(self.now, &Deaf) {
            if sent.text_len > 0 {
                self.max = self.max.later(sent.seq + sent.text_len);
            }
        }
    }

    /// An ACK arrives; what it cost.
    fn acknowledge(&mut self, ack: SeqNum, sack: SackBlocks, cost: &mut Cost) {
        self.now += PACE;
        if self.tcb.next_timeout().is_some_and(|at| at <= self.now) {
            let _ = self.tcb.timeout(self.now);
        }
        let options = Options { sack, ..Options::default() };
        let arriving = segment(IRS + 1, ack, Flags::ACK, options);
        let began = Clock::now();
        let arrival = self.tcb.segment_arrives(&arriving, self.now, &mut Deaf);
        cost.add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.una = self.una.later(ack);
        self.queued = self.queued.saturating_sub(arrival.acked_len);
        self.transmit();
    }

    /// Two segments in order.
    fn honest(&mut self, len: u32, cost: &mut Cost) {
        let len = len.saturating_mul(2);
        let ack = self.una + len.min(self.max.since(self.una));
        self.acknowledge(ack, SackBlocks::NONE, cost);
    }

    /// Three segments that have holes between them; each sixteenth time the first hole is filled.
    fn hostile(&mut self, number: u32, len: u32, cost: &mut Cost) {
        let in_flight = self.max.since(self.una);
        let ack = if number.is_multiple_of(16) { self.una + len.min(in_flight) } else { self.una };
        let pairs = (self.max.since(ack) / len / 2).max(1);
        let mut sack = SackBlocks::NONE;
        for place in 0..3 {
            let pair = number.wrapping_mul(3).wrapping_add(place) % pairs;
            let start = ack + pair * 2 * len + len;
            if (start + len).at_or_before(self.max) {
                sack.push(SackBlock { start, end: start + len });
            }
        }
        self.acknowledge(ack, sack, cost);
    }
}

/// `count` ACKs from one kind of peer.
///
/// # Errors
/// A connection that should be there is not.
pub fn run(kind: Kind, count: u64) -> Result<Cost, String> {
    let (mut cost, mut unpaid) = (Cost::new(), Cost::new());
    let sizes: &[u16] = &match kind {
        Kind::TinyMss => (1..=64).collect::<Vec<u16>>(),
        Kind::Honest | Kind::Alternating | Kind::TinyPathMtu => vec![1_460],
    };
    let each = count.div_ceil(sizes.len() as u64);
    let mut memory = None;
    for mss in sizes {
        let mut victim = Victim::connect(*mss, limits::MSS_MIN)?;
        if kind == Kind::TinyPathMtu {
            let _ = victim.tcb.path_mtu(68 - 40, victim.una, victim.now);
        }
        cost.segment_len = victim.tcb.info().mss;
        let len = u32::from(cost.segment_len).max(1);
        for number in 0..each {
            let phase = u32::try_from(number % PHASE).unwrap_or(0);
            if phase == 0 && kind != Kind::Honest {
                // An attacker who never behaves gets no window to do harm in.
                (0..PHASE).for_each(|_| victim.honest(len, &mut unpaid));
            }
            match kind {
                Kind::Honest => victim.honest(len, &mut cost),
                Kind::Alternating | Kind::TinyMss | Kind::TinyPathMtu => {
                    victim.hostile(phase, len, &mut cost);
                }
            }
            if memory.is_none() && cost.acks >= count / 10 {
                memory = Some(private_memory());
            }
        }
        if victim.tcb.state() != State::Established {
            return Err(format!("{}: the connection ended", kind.name()));
        }
    }
    cost.memory_growth = private_memory().saturating_sub(memory.unwrap_or(u64::MAX));
    Ok(cost)
}
