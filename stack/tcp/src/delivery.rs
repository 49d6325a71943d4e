//! How fast the path delivers (draft-cheng-iccrg-delivery-rate-estimation): each segment remembers
//! how much had been delivered when it was sent; its ACK tells how much more was in between.

use core::time::Duration;

use types::Instant;

use crate::cc::RateSample;
use crate::rtt::micros;
use crate::scoreboard::Segment;

/// What a segment remembers from when it was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp {
    /// C.delivered.
    delivered: u32,
    /// How long ago that was so: P.sent_time - P.delivered_time.
    delivered_ago_us: u32,
    /// P.sent_time - P.first_sent_time.
    send_elapsed_us: u32,
    app_limited: bool,
}

/// How fast text was delivered of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryRate {
    /// Bytes per second.
    pub bytes_per_second: u64,
    /// The user wrote no faster.
    pub app_limited: bool,
}

/// A connection's deliveries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// C.delivered, modulo 2^32.
    delivered: u32,
    /// C.delivered_time.
    delivered_at: Instant,
    /// C.first_sent_time.
    first_sent_at: Instant,
    /// C.app_limited: until so much is delivered, samples say what the user wrote.
    app_limited: Option<u32>,
    /// The next round trip begins when a segment sent after this much was delivered arrives.
    next_round: u32,
    /// The newest sample, for people to see.
    rate: Option<RateSample>,
    /// Of the segments that this ACK reports: the one sent last.
    newest: Option<Segment>,
}

impl Delivery {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            app_limited: None,
            next_round: 0,
            rate: None,
            newest: None,
        }
    }

    /// Bytes that have arrived since the record began, modulo 2^32.
    pub(crate) const fn delivered(&self) -> u32 {
        self.delivered
    }

    /// The newest sample.
    pub(crate) fn rate(&self) -> Option<DeliveryRate> {
        let sample = self.rate?;
        let (bytes_per_second, app_limited) = (sample.bytes_per_second(), sample.app_limited);
        Some(DeliveryRate { bytes_per_second, app_limited })
    }

    /// A segment leaves; `idle`: nothing was in flight.
    pub(crate) fn on_send(&mut self, idle: bool, now: Instant) -> Stamp {
        let (delivered, app_limited) = (self.delivered, self.app_limited.is_some());
        if idle {
            (self.first_sent_at, self.delivered_at) = (now, now);
            return Stamp { delivered, delivered_ago_us: 0, send_elapsed_us: 0, app_limited };
        }
        let delivered_ago_us = micros(now.since(self.delivered_at));
        let send_elapsed_us = micros(now.since(self.first_sent_at));
        Stamp { delivered, delivered_ago_us, send_elapsed_us, app_limited }
    }

    /// A segment has arrived.
    pub(crate) fn on_delivered(&mut self, segment: &Segment, now: Instant) {
        self.delivered = self.delivered.wrapping_add(segment.len());
        self.delivered_at = now;
        if self.newest.is_none_or(|newest| segment.is_sent_after(newest.sent_at, newest.end)) {
            self.newest = Some(*segment);
            self.first_sent_at = segment.sent_at;
        }
    }

    /// [`Delivery::finish`] where segments of `len` bytes in all have arrived, the only ones that the ACK
    /// reports; `last` was sent last.
    pub(crate) fn finish_run(
        &mut self,
        len: u32,
        last: &Segment,
        min_rtt: Duration,
        now: Instant,
    ) -> (Option<RateSample>, bool) {
        self.delivered = self.delivered.wrapping_add(len);
        self.delivered_at = now;
        self.first_sent_at = last.sent_at;
        self.sample(last, min_rtt, now)
    }

    /// There was nothing more to send though the window was open.
    pub(crate) fn on_app_limited(&mut self, pipe: u32) {
        self.app_limited = Some(self.delivered.wrapping_add(pipe));
    }

    /// The ACK is read to its end: the sample it makes, and whether a round trip begins.
    pub(crate) fn finish(&mut self, min_rtt: Duration, now: Instant) -> (Option<RateSample>, bool) {
        let Some(newest) = self.newest.take() else { return (None, false) };
        self.sample(&newest, min_rtt, now)
    }

    /// The sample that `newest` makes, and whether a round trip begins with it.
    #[inline]
    fn sample(
        &mut self,
        newest: &Segment,
        min_rtt: Duration,
        now: Instant,
    ) -> (Option<RateSample>, bool) {
        let stamp = newest.stamp;
        let passed = |mark: u32| self.delivered.wrapping_sub(mark) < HALF;
        if self.app_limited.is_some_and(passed) {
            self.app_limited = None;
        }
        let round_start = stamp.delivered.wrapping_sub(self.next_round) < HALF;
        if round_start {
            self.next_round = self.delivered;
        }
        let ago = Duration::from_micros(u64::from(stamp.delivered_ago_us));
        let ack_elapsed = now.since(newest.sent_at).saturating_add(ago);
        let send_elapsed = Duration::from_micros(u64::from(stamp.send_elapsed_us));
        let interval = ack_elapsed.max(send_elapsed);
        // Shorter than any round trip: ACKs were compressed, or a copy was taken for the original.
        let believable = interval >= min_rtt && !interval.is_zero();
        let sample = believable.then(|| RateSample {
            delivered: self.delivered.wrapping_sub(stamp.delivered),
            interval,
            app_limited: stamp.app_limited,
        });
        self.rate = sample.or(self.rate);
        (sample, round_start)
    }
}

/// Half of a 32-bit counter: a mark further ahead is one not reached yet.
const HALF: u32 = 1 << 31;
