//! One direction of a path: a rate, a queue, a delay, and everything that can go wrong.

use core::time::Duration;

use types::Instant;

use crate::random::Random;

/// What a link is like. Chances are in parts per million.
#[derive(Clone, Copy, Debug)]
pub struct LinkSettings {
    /// Propagation delay.
    pub delay: Duration,
    /// Up to so much more delay; packets stay in order.
    pub jitter: Duration,
    /// Bytes per second; `None`: no limit and no queue.
    pub rate: Option<u64>,
    /// Bytes that wait at most; a packet that would exceed it is dropped at the tail.
    pub queue_len: u64,
    /// Packets that find more than so many bytes in the queue are marked instead of dropped, if
    /// they can be (RFC 3168 §5).
    pub mark_len: Option<u64>,
    /// Packets that vanish.
    pub loss: u32,
    /// Packets that take up to `reorder_delay` longer and are overtaken.
    pub reorder: u32,
    /// How much longer.
    pub reorder_delay: Duration,
    /// Packets that arrive twice.
    pub duplicate: u32,
    /// Packets with one wrong bit.
    pub corrupt: u32,
    /// Largest packet; for a larger one the sender gets an ICMP message.
    pub mtu: u16,
    /// Everything vanishes while this is off.
    pub up: bool,
}

impl LinkSettings {
    /// A perfect link.
    #[must_use]
    pub const fn perfect(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            rate: None,
            queue_len: 0,
            mark_len: None,
            loss: 0,
            reorder: 0,
            reorder_delay: Duration::ZERO,
            duplicate: 0,
            corrupt: 0,
            mtu: u16::MAX,
            up: true,
        }
    }
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Packets offered.
    pub offered: u64,
    /// Packets lost at random or while the link was down.
    pub lost: u64,
    /// Packets the full queue dropped.
    pub overflowed: u64,
    /// Packets marked with congestion experienced.
    pub marked: u64,
    /// Packets overtaken.
    pub reordered: u64,
    /// Copies delivered beyond the first.
    pub duplicated: u64,
    /// Copies delivered with a wrong bit.
    pub corrupted: u64,
    /// Packets larger than the MTU.
    pub too_big: u64,
}

/// What happens to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Arrives at this time, and perhaps again.
    Arrives(Instant, Option<Instant>),
    /// Vanishes.
    Lost,
    /// The queue was full.
    Overflow,
    /// Answered with ICMP.
    TooBig(u16),
}

/// A link and its state.
#[derive(Debug)]
pub struct Link {
    /// Host at the far end.
    pub to: usize,
    /// May be changed at any time.
    pub settings: LinkSettings,
    /// What happened so far.
    pub counts: LinkCounts,
    random: Random,
    /// When the last bit in the queue will have been sent.
    free_at: Instant,
    newest_arrival: Instant,
}

impl Link {
    /// A link to host `to`.
    #[must_use]
    pub fn new(to: usize, settings: LinkSettings, seed: u64) -> Self {
        Self {
            to,
            settings,
            counts: LinkCounts::default(),
            random: Random::new(seed),
            free_at: Instant::ZERO,
            newest_arrival: Instant::ZERO,
        }
    }

    /// Takes a packet. What the queue and the rate do comes first; then chance.
    pub fn carry(&mut self, packet: &mut [u8], now: Instant) -> Fate {
        self.counts.offered += 1;
        let settings = self.settings;
        if packet.len() > usize::from(settings.mtu) {
            self.counts.too_big += 1;
            return Fate::TooBig(settings.mtu);
        }
        let Some(sent_at) = self.enqueue(packet, now) else {
            self.counts.overflowed += 1;
            return Fate::Overflow;
        };
        if !settings.up || self.random.chance(settings.loss) {
            self.counts.lost += 1;
            return Fate::Lost;
        }
        let on_time = sent_at + settings.delay + self.up_to(settings.jitter);
        let arrival = if self.random.chance(settings.reorder) {
            self.counts.reordered += 1;
            on_time + self.up_to(settings.reorder_delay)
        } else {
            self.newest_arrival = self.newest_arrival.max(on_time);
            self.newest_arrival
        };
        let again = self.random.chance(settings.duplicate).then(|| {
            self.counts.duplicated += 1;
            arrival + self.up_to(settings.reorder_delay)
        });
        Fate::Arrives(arrival, again)
    }

    /// Flips one bit, or not; each copy of a packet has its own chance.
    pub fn damage(&mut self, packet: &mut [u8]) {
        if self.random.chance(self.settings.corrupt) {
            self.counts.corrupted += 1;
            let bit = self.random.below(packet.len() as u64 * 8);
            packet[usize::try_from(bit / 8).unwrap_or(0)] ^= 1 << (bit % 8);
        }
    }

    /// When the packet's last bit leaves; `None`: the queue is full.
    fn enqueue(&mut self, packet: &mut [u8], now: Instant) -> Option<Instant> {
        let Some(rate) = self.settings.rate else { return Some(now) };
        let nanos = |bytes: u64| Duration::from_nanos(bytes * 1_000_000_000 / rate);
        let wait = self.free_at.since(now);
        if wait + nanos(packet.len() as u64) > nanos(self.settings.queue_len) && !wait.is_zero() {
            return None;
        }
        if self.settings.mark_len.is_some_and(|mark_len| wait > nanos(mark_len)) {
            self.counts.marked += u64::from(mark(packet));
        }
        self.free_at = self.free_at.max(now) + nanos(packet.len() as u64);
        Some(self.free_at)
    }

    fn up_to(&mut self, limit: Duration) -> Duration {
        Duration::from_nanos(self.random.below(u64::try_from(limit.as_nanos()).unwrap_or(0) + 1))
    }
}

/// ECT becomes CE (RFC 3168 §5). `false`: the packet is not ECN-capable.
fn mark(packet: &mut [u8]) -> bool {
    let capable = packet[1] & 0b11 != 0;
    if capable {
        let checksum = u16::from_be_bytes([packet[10], packet[11]]);
        let old = u16::from_be_bytes([packet[0], packet[1]]);
        packet[1] |= 0b11;
        let new = u16::from_be_bytes([packet[0], packet[1]]);
        let checksum = wire::checksum::update_u16(checksum, old, new);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    capable
}
