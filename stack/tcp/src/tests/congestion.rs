//! Congestion control on a model of one bottleneck link: a rate, a propagation time, a queue of
//! limited length, and losses by chance. The sender has always text; recovery is the model's own
//! (every loss is known when the segment after it arrives).

use core::time::Duration;
use std::collections::VecDeque;

use proptest::prelude::*;
use types::Instant;

use super::support::Random;
use crate::cc::{AckSample, Cause, Congestion, RateSample};
use crate::*;

const MSS: u32 = 1_000;

#[derive(Clone, Copy)]
struct Link {
    /// Bytes per second.
    rate: u64,
    rtt: Duration,
    /// Bytes that may wait.
    queue: u64,
    /// Losses by chance, per mille.
    loss: u32,
}

#[derive(Clone, Copy)]
struct InFlight {
    number: u64,
    sent_at: Instant,
    /// When its ACK arrives.
    due: Instant,
    lost: bool,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
}

struct Model {
    cc: Congestion,
    link: Link,
    random: Random,
    now: Instant,
    link_free: Instant,
    send_at: Instant,
    flight: VecDeque<InFlight>,
    sent: u64,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    round_end: u64,
    /// Recovery lasts until this segment.
    recover: Option<u64>,
    srtt: Duration,
    losses: u64,
    rtt_sum: Duration,
}

/// What happened in a stretch of time.
#[derive(Debug)]
struct Stretch {
    /// Bytes per second.
    goodput: u64,
    mean_rtt: Duration,
    losses: u64,
}

impl Model {
    fn new(algorithm: Algorithm, link: Link) -> Self {
        let now = Instant::from_millis(1_000);
        Self {
            cc: Congestion::new(algorithm, 1_000),
            link,
            random: Random::new(7),
            now,
            link_free: now,
            send_at: now,
            flight: VecDeque::new(),
            sent: 0,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            round_end: 0,
            recover: None,
            srtt: Duration::ZERO,
            losses: 0,
            rtt_sum: Duration::ZERO,
        }
    }

    fn pipe(&self) -> u32 {
        self.flight.len() as u32 * MSS
    }

    fn send(&mut self) {
        let waiting = self.link_free.since(self.now);
        let queued = waiting.as_nanos() as u64 * self.link.rate / 1_000_000_000;
        let lost = queued > self.link.queue || self.random.below(1000) < self.link.loss;
        if !lost {
            let serialization = u64::from(MSS) * 1_000_000_000 / self.link.rate;
            self.link_free = self.link_free.max(self.now) + Duration::from_nanos(serialization);
        }
        if self.flight.is_empty() {
            (self.first_sent_at, self.delivered_at) = (self.now, self.now);
        }
        self.flight.push_back(InFlight {
            number: self.sent,
            sent_at: self.now,
            due: self.link_free.max(self.now) + self.link.rtt,
            lost,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
        });
        self.sent += 1;
        let gap = self.cc.pacing_rate().map_or(0, |rate| u64::from(MSS) * 1_000_000_000 / rate);
        self.send_at = self.now + Duration::from_nanos(gap);
    }

    fn ack(&mut self) {
        let segment = self.flight.pop_front().unwrap();
        let in_flight = self.pipe() + MSS;
        if segment.lost {
            self.losses += 1;
            if self.recover.is_none() {
                self.recover = Some(self.sent);
                self.cc.on_congestion(Cause::Loss, in_flight, 1_000);
            }
        } else if self.recover.is_some_and(|end| segment.number >= end) {
            self.recover = None;
            self.cc.on_exit_recovery();
        }
        let delivered_len = if segment.lost { 0 } else { MSS };
        self.delivered += u64::from(delivered_len);
        let rtt = self.now.since(segment.sent_at);
        if !segment.lost {
            self.delivered_at = self.now;
            self.first_sent_at = segment.sent_at;
            self.rtt_sum += rtt;
            self.srtt = if self.srtt.is_zero() { rtt } else { (self.srtt * 7 + rtt) / 8 };
        }
        let round_start = !segment.lost && segment.delivered >= self.round_end;
        if round_start {
            self.round_end = self.delivered;
        }
        let rate = RateSample {
            delivered: (self.delivered - segment.delivered) as u32,
            interval: self
                .now
                .since(segment.delivered_at)
                .max(segment.sent_at.since(segment.first_sent_at)),
            app_limited: false,
        };
        self.cc.on_ack(&AckSample {
            now: self.now,
            acked_len: delivered_len,
            delivered_len,
            lost_len: MSS - delivered_len,
            in_flight,
            pipe: in_flight - MSS,
            rtt: (!segment.lost).then_some(rtt),
            srtt: self.srtt,
            rate: (!segment.lost).then_some(rate),
            mss: 1_000,
            cwnd_limited: true,
            in_recovery: self.recover.is_some(),
            ece: false,
            round_start,
        });
    }

    fn run(&mut self, length: Duration) -> Stretch {
        let end = self.now + length;
        let (delivered, losses) = (self.delivered, self.losses);
        self.rtt_sum = Duration::ZERO;
        while self.now < end {
            let may_send = self.pipe() + MSS <= self.cc.cwnd().max(MSS);
            let ack = self.flight.front().map_or(Instant::FAR_FUTURE, |segment| segment.due);
            if may_send && self.send_at.max(self.now) <= ack {
                self.now = self.send_at.max(self.now);
                self.send();
            } else {
                self.now = ack;
                self.ack();
            }
        }
        let bytes = self.delivered - delivered;
        Stretch {
            goodput: bytes * 1000 / length.as_millis() as u64,
            mean_rtt: self.rtt_sum / ((bytes / 1000).max(1) as u32),
            losses: self.losses - losses,
        }
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// 80 Mbit/s, 40 ms: a bandwidth-delay product of 400 segments.
const LONG: Link = Link { rate: 10_000_000, rtt: ms(40), queue: 1_600_000, loss: 0 };

#[test]
fn bbr_finds_the_rate_and_keeps_the_queue_short() {
    for link in [LONG, Link { rate: 1_000_000, rtt: ms(10), ..LONG }] {
        let mut model = Model::new(Algorithm::Bbr, link);
        let startup = model.run(Duration::from_secs(1));
        assert!(startup.goodput > link.rate / 2, "{startup:?}");
        let steady = model.run(Duration::from_secs(8));
        assert!(steady.goodput > link.rate * 95 / 100, "{steady:?}");
        // Three quanta of two segments are allowed for what the hosts hold back.
        let quanta = Duration::from_micros(6 * u64::from(MSS) * 1_000_000 / link.rate);
        assert!(steady.mean_rtt < link.rtt * 12 / 10 + quanta, "{steady:?}");
        assert_eq!(startup.losses + steady.losses, 0);
        let most = link.rate * link.rtt.as_millis() as u64 / 1000 * 2 + 300_000;
        assert!(u64::from(model.cc.cwnd()) <= most, "two BDP: {}", model.cc.cwnd());
    }
}

#[test]
fn bbr_takes_no_loss_for_congestion() {
    let link = Link { loss: 10, ..LONG };
    let goodput = |algorithm| {
        let mut model = Model::new(algorithm, link);
        let _ = model.run(Duration::from_secs(2));
        model.run(Duration::from_secs(10)).goodput
    };
    let (bbr, cubic) = (goodput(Algorithm::Bbr), goodput(Algorithm::Cubic));
    assert!(bbr > link.rate * 90 / 100, "{bbr}");
    assert!(cubic < bbr / 4, "one in a hundred lost costs CUBIC most of the path: {cubic}");
}

#[test]
fn bbr_drains_the_pipe_every_ten_seconds_and_comes_back() {
    let mut model = Model::new(Algorithm::Bbr, LONG);
    let _ = model.run(Duration::from_secs(5));
    // The path gets longer; only an empty pipe can tell, once the old minimum has expired.
    model.link.rtt = ms(60);
    let mut smallest = u32::MAX;
    let mut goodputs = Vec::new();
    for _ in 0..200 {
        goodputs.push(model.run(ms(100)).goodput);
        smallest = smallest.min(model.cc.cwnd());
    }
    assert_eq!(smallest, 4 * MSS, "ProbeRTT");
    assert!(*goodputs.last().unwrap() > LONG.rate * 9 / 10);
    let slow = goodputs.iter().filter(|rate| **rate < LONG.rate / 2).count();
    assert!(slow <= 8, "200 ms and a round trip, twice: {slow} of 200 tenths of a second");
}

#[test]
fn bbr_remembers_the_rate_through_a_timeout() {
    let mut model = Model::new(Algorithm::Bbr, Link { rtt: ms(100), queue: 4_000_000, ..LONG });
    let _ = model.run(Duration::from_secs(3));
    // The path is bad for longer than ten round trips.
    model.recover = Some(u64::MAX);
    for repeated in 0..5 {
        model.cc.on_timeout(repeated == 0, 1_000_000, 1_000);
        model.flight.clear();
        let _ = model.run(ms(400));
    }
    model.recover = Some(0);
    let _ = model.run(ms(300));
    let after = model.run(Duration::from_secs(1));
    assert!(after.goodput > model.link.rate * 85 / 100, "{after:?}");
}

#[test]
fn hystart_leaves_slow_start_before_the_queue_overflows() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
        // The rise is seen a round trip late, and the window may still triple in the five rounds
        // of conservative slow start.
        let mut model = Model::new(algorithm, Link { queue: 5_000_000, ..LONG });
        let mut losses = 0;
        while model.cc.ssthresh() == u32::MAX {
            losses += model.run(ms(10)).losses;
            assert!(model.now < Instant::from_millis(6_000), "never left");
        }
        assert_eq!(losses, 0, "{algorithm:?}: by losses only");
        assert!(model.cc.cwnd() > 400 * MSS / 2, "{}", model.cc.cwnd());
        assert!(model.cc.cwnd() < 4_500 * MSS, "{}", model.cc.cwnd());
    }
}

#[test]
fn loss_based_algorithms_fill_a_link_with_a_queue_of_one_bdp() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
        let mut model = Model::new(algorithm, Link { queue: 400_000, ..LONG });
        let _ = model.run(Duration::from_secs(5));
        let steady = model.run(Duration::from_secs(30));
        assert!(steady.goodput > LONG.rate * 95 / 100, "{algorithm:?}: {steady:?}");
    }
}

proptest! {
    #[test]
    fn window_stays_in_bounds_whatever_is_reported(
        events in prop::collection::vec((0_u8..10, any::<[u32; 6]>(), any::<[bool; 5]>()), 1..200),
        algorithm in 0_u8..3,
        mss in 52_u16..10_000,
    ) {
        let algorithm =
            [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr][usize::from(algorithm)];
        let mut cc = Congestion::new(algorithm, mss);
        let mut now = Instant::ZERO;
        for (event, numbers, [limited, in_recovery, round_start, with_rtt, with_rate]) in events {
            let [len, delivered, lost, flight, time, interval] = numbers;
            now += Duration::from_nanos(u64::from(time) * 100);
            let rtt = Duration::from_micros(u64::from(interval));
            match event {
                0 => cc.on_congestion(Cause::Loss, flight, mss),
                1 => cc.on_congestion(Cause::Ecn, flight, mss),
                2 => cc.on_timeout(limited, flight, mss),
                3 => cc.on_exit_recovery(),
                4 => cc.undo(),
                5 => cc.on_idle(mss),
                6 => cc.set_cwnd(len, mss),
                _ => cc.on_ack(&AckSample {
                    now,
                    acked_len: len,
                    delivered_len: delivered,
                    lost_len: lost,
                    in_flight: flight,
                    pipe: flight >> 1,
                    rtt: with_rtt.then_some(rtt),
                    srtt: rtt,
                    rate: with_rate.then_some(RateSample { delivered, interval: rtt, app_limited: limited }),
                    mss,
                    cwnd_limited: limited,
                    in_recovery,
                    ece: false,
                    round_start,
                }),
            }
            prop_assert!(cc.cwnd() >= u32::from(mss) && cc.cwnd() <= limits::CWND_MAX);
            prop_assert!(cc.ssthresh() >= u32::from(mss) * 2);
            prop_assert!(cc.pacing_rate() != Some(0));
        }
    }
}
