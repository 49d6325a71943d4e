//! What a bad link does to frames, decided by a seed.
//!
//! The decisions on the n-th frame of a direction depend on the seed, the direction and n alone, so
//! two runs with one seed lose the same places in the sequence, whatever the timing.
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use crate::frame::Random;

/// What a link does to the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Share of frames lost, in 0..=1.
    pub loss: f64,
    /// Share of frames that arrive twice.
    pub duplicate: f64,
    /// Share of frames that arrive with one bit flipped.
    pub corrupt: f64,
    /// Share of frames that wait [`Self::behind`] longer, so that later ones pass them.
    pub reorder: f64,
    /// How much longer a reordered frame waits.
    pub behind: Duration,
    /// Time on the way.
    pub delay: Duration,
    /// At most this much more, evenly spread.
    pub jitter: Duration,
    /// Bits per second; 0 is unlimited.
    pub rate: u64,
    /// Bytes that may wait for the rate; more are dropped. 0 is unlimited.
    pub queue_len: u64,
}

/// A specification that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseImpairmentError(String);

impl fmt::Display for ParseImpairmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; an example: loss=1%,delay=5ms,rate=100M,queue=64K", self.0)
    }
}

impl core::error::Error for ParseImpairmentError {}

/// `"12ms"` with the units `[("us", 1e-6), ("ms", 1e-3)]` is 0.012.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (digits, scale) = units
        .iter()
        .find_map(|&(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .unwrap_or((text, 1.0));
    digits.parse().ok().map(|value: f64| value * scale).filter(|value| *value >= 0.0)
}

fn share(text: &str) -> Option<f64> {
    number(text, &[("%", 0.01)]).filter(|share| *share <= 1.0)
}

fn time(text: &str) -> Option<Duration> {
    let seconds = number(text, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0)])?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and a float too large saturates"
)]
fn count(text: &str) -> Option<u64> {
    number(text, &[("K", 1e3), ("M", 1e6), ("G", 1e9)]).map(|value| value as u64)
}

impl FromStr for Impairment {
    type Err = ParseImpairmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut it = Self { behind: Duration::from_millis(1), ..Self::default() };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let known = match name {
                "loss" => share(value).map(|v| it.loss = v),
                "duplicate" => share(value).map(|v| it.duplicate = v),
                "corrupt" => share(value).map(|v| it.corrupt = v),
                "reorder" => share(value).map(|v| it.reorder = v),
                "behind" => time(value).map(|v| it.behind = v),
                "delay" => time(value).map(|v| it.delay = v),
                "jitter" => time(value).map(|v| it.jitter = v),
                "rate" => count(value).map(|v| it.rate = v),
                "queue" => count(value).map(|v| it.queue_len = v),
                _ => None,
            };
            known.ok_or_else(|| ParseImpairmentError(format!("'{word}' is not understood")))?;
        }
        Ok(it)
    }
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that came to the link.
    pub received: u64,
    /// Lost by decision.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Sent on twice.
    pub duplicated: u64,
    /// Sent on with one bit flipped.
    pub corrupted: u64,
    /// Made to wait for later ones.
    pub reordered: u64,
}

/// When copies of a frame arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Never.
    Dropped,
    /// At this time.
    Once(Duration),
    /// At both times.
    Twice(Duration, Duration),
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct Lane {
    impairment: Impairment,
    seed: u64,
    idle_at: Duration,
    tally: Tally,
}

impl Lane {
    /// `direction` makes the lanes of one seed differ.
    #[must_use]
    pub fn new(impairment: Impairment, seed: u64, direction: u64) -> Self {
        let seed = Random::new(seed ^ (direction << 32)).number();
        Self { impairment, seed, idle_at: Duration::ZERO, tally: Tally::default() }
    }

    /// What has happened so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Decides on the next frame, which came at `now`, and spoils it if it is to be spoiled.
    pub fn pass(&mut self, frame: &mut [u8], now: Duration) -> Passage {
        let it = self.impairment;
        let mut random = Random::new(self.seed ^ self.tally.received.wrapping_mul(0x9e37_79b9));
        self.tally.received += 1;
        let lost = happens(&mut random, it.loss);
        let corrupted = happens(&mut random, it.corrupt);
        let duplicated = happens(&mut random, it.duplicate);
        let reordered = happens(&mut random, it.reorder);
        let bit = random.below(frame.len() * 8);
        let (first, second) =
            (it.jitter.mul_f64(even(&mut random)), it.jitter.mul_f64(even(&mut random)));
        if lost {
            self.tally.lost += 1;
            return Passage::Dropped;
        }
        let Some(left_at) = self.queue(frame.len(), now) else {
            self.tally.overflowed += 1;
            return Passage::Dropped;
        };
        if corrupted && let Some(byte) = frame.get_mut(bit / 8) {
            self.tally.corrupted += 1;
            *byte ^= 1 << (bit % 8);
        }
        let mut arrives = left_at + it.delay;
        if reordered {
            self.tally.reordered += 1;
            arrives += it.behind;
        }
        if duplicated {
            self.tally.duplicated += 1;
            return Passage::Twice(arrives + first, arrives + second);
        }
        Passage::Once(arrives + first)
    }

    /// When a frame of this length has left a line of this rate; `None` if too much waits.
    fn queue(&mut self, len: usize, now: Duration) -> Option<Duration> {
        let it = self.impairment;
        if it.rate == 0 {
            return Some(now);
        }
        let (bits, rate) = (8.0 * len as f64, it.rate as f64);
        let wait = self.idle_at.saturating_sub(now);
        if it.queue_len > 0 && wait.as_secs_f64() * rate / 8.0 > it.queue_len as f64 {
            return None;
        }
        self.idle_at = now + wait + Duration::from_secs_f64(bits / rate);
        Some(self.idle_at)
    }
}

/// A number in 0..1.
fn even(random: &mut Random) -> f64 {
    f64::from(random.word()) / (f64::from(u32::MAX) + 1.0)
}

fn happens(random: &mut Random, share: f64) -> bool {
    even(random) < share
}
