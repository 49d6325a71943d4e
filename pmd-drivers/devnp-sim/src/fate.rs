//! What befalls a frame, drawn from a seed.

use std::fmt;
use std::time::{Duration, Instant};

use devnp_sdk::{Host, Packet};

use crate::line::Line;

/// How much later than it came a frame goes that is overtaken without a delay.
const OVERTAKEN: Duration = Duration::from_millis(2);

/// How likely what is, of 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Odds {
    loss: u64,
    duplicate: u64,
    corrupt: u64,
    reorder: u64,
    delay: Duration,
    jitter: Duration,
    seed: u64,
}

impl Odds {
    /// From the operator's options.
    ///
    /// # Errors
    /// Which one makes no sense.
    pub(crate) fn of(option: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let seed = option("seed").map_or(Ok(1), |text| text.parse());
        let seed = seed.map_err(|_| "seed= is a number".to_owned())?;
        Self { seed, ..Self::default() }.with(option)
    }

    /// With those that the options name.
    ///
    /// # Errors
    /// Which one makes no sense.
    pub(crate) fn with(self, option: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let percent = |key: &str, now| option(key).map_or(Ok(now), |text| chance(key, &text));
        let millis = |key: &str, now| option(key).map_or(Ok(now), |text| duration(key, &text));
        Ok(Self {
            loss: percent("loss", self.loss)?,
            duplicate: percent("duplicate", self.duplicate)?,
            corrupt: percent("corrupt", self.corrupt)?,
            reorder: percent("reorder", self.reorder)?,
            delay: millis("delay", self.delay)?,
            jitter: millis("jitter", self.jitter)?,
            seed: self.seed,
        })
    }
}

impl fmt::Display for Odds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // To a millionth: what was asked for is not a multiple of 2^-32.
        let percent = |odds: u64| (odds as f64 / 4_294_967_296.0 * 1e8).round() / 1e6;
        let chances = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("corrupt", self.corrupt),
            ("reorder", self.reorder),
        ];
        chances.iter().try_for_each(|(key, odds)| write!(f, "{key}={},", percent(*odds)))?;
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, "delay={},jitter={}", millis(self.delay), millis(self.jitter))
    }
}

fn number(key: &str, text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| format!("{key}={text}: not a number"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2^32")]
fn chance(key: &str, text: &str) -> Result<u64, String> {
    let value = number(key, text)?;
    if value > 100.0 {
        return Err(format!("{key}={text}: more than 100 percent"));
    }
    Ok((value / 100.0 * 4_294_967_296.0) as u64)
}

fn duration(key: &str, text: &str) -> Result<Duration, String> {
    let value = number(key, text)?;
    if value > 60_000.0 {
        return Err(format!("{key}={text}: more than a minute"));
    }
    Ok(Duration::from_secs_f64(value / 1000.0))
}

/// The dice of one queue.
pub(crate) struct Fate {
    odds: Odds,
    state: u64,
}

impl Fate {
    pub(crate) fn new(odds: Odds, queue: u16) -> Self {
        Self { odds, state: odds.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(queue) }
    }

    pub(crate) fn odds(&self) -> Odds {
        self.odds
    }

    pub(crate) fn set_odds(&mut self, odds: Odds) {
        self.odds = odds;
    }

    /// The next number (splitmix64).
    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether it happens. Draws a number in any case, so that one option does not shift another's.
    fn happens(&mut self, odds: u64) -> bool {
        self.roll() >> 32 < odds
    }

    /// Puts a frame on the line, or loses it.
    pub(crate) fn meet(&mut self, mut frame: Packet, line: &mut Line, host: &Host, now: Instant) {
        let odds = self.odds;
        if self.happens(odds.loss) {
            line.lost += 1;
            return;
        }
        if self.happens(odds.corrupt) {
            self.corrupt(&mut frame);
        }
        if self.happens(odds.duplicate)
            && let Some(copy) = duplicate(&frame, host)
        {
            line.hold(copy, now + odds.delay);
        }
        let jitter = odds.jitter.mul_f64((self.roll() >> 32) as f64 / 4_294_967_296.0);
        let mut due = now + odds.delay + jitter;
        if self.happens(odds.reorder) {
            // With a delay it overtakes the others, without one it is overtaken.
            due = if odds.delay.is_zero() { now + OVERTAKEN } else { now };
        }
        line.hold(frame, due);
    }

    /// Flips a bit behind the addresses.
    fn corrupt(&mut self, frame: &mut Packet) {
        let at = self.roll();
        let bytes = frame.data_mut();
        let Some(len) = (bytes.len() as u64).checked_sub(12).filter(|len| *len > 0) else { return };
        let place = usize::try_from(12 + (at >> 3) % len).unwrap_or(0);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1 << (at & 7);
        }
    }
}

fn duplicate(frame: &Packet, host: &Host) -> Option<Packet> {
    let mut copy = Vec::new();
    host.alloc(&mut copy, 1);
    let mut copy = copy.pop()?;
    copy.fill(frame.data()).then_some(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_percent_and_milliseconds() {
        assert_eq!(chance("loss", "50"), Ok(1 << 31));
        let five = |key: &str| (key == "loss").then(|| "5".to_owned());
        let odds = Odds::of(five).unwrap().with(|key| (key == "delay").then(|| "2".to_owned()));
        let said = odds.unwrap().to_string();
        assert!(said.starts_with("loss=5,") && said.ends_with("delay=2,jitter=0"), "{said}");
        assert!(chance("loss", "101").is_err());
        assert!(chance("loss", "-1").is_err());
        assert!(chance("loss", "many").is_err());
        assert_eq!(duration("delay", "2.5"), Ok(Duration::from_micros(2500)));
    }

    #[test]
    fn the_same_seed_has_the_same_dice() {
        let odds = Odds { seed: 7, ..Odds::default() };
        let rolls = |queue| {
            let mut fate = Fate::new(odds, queue);
            [(); 8].map(|()| fate.roll())
        };
        assert_eq!(rolls(0), rolls(0));
        assert_ne!(rolls(0), rolls(1));
    }

    #[test]
    fn odds_are_kept() {
        let odds = Odds { seed: 1, ..Odds::default() };
        let mut fate = Fate::new(odds, 0);
        let tenth = chance("loss", "10").unwrap();
        let happened = (0..100_000).filter(|_| fate.happens(tenth)).count();
        assert!((9_500..10_500).contains(&happened), "{happened}");
    }
}
