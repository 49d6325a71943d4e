//! Arbitrary segments in arbitrary states: nothing panics, the invariants hold (every event checks
//! them), and a block always comes to rest when the peer falls silent.

use core::time::Duration;

use proptest::prelude::*;
use types::Instant;

use super::support::*;
use crate::*;

struct Fuzz {
    random: Random,
    host: Host,
    /// The last numbers the engine used, to aim near them.
    seq: SeqNum,
    ack: SeqNum,
    text: Vec<u8>,
    /// Whether header prediction is used, and how often it was.
    predicts: bool,
    predicted: u32,
    acks: u32,
    requests: u32,
    arrival: Arrival,
}

impl Fuzz {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let keepalive = Some(Keepalive { idle_s: random.below(3), interval_s: 1, count: 2 });
        let config = Config {
            mss: random.below(10_000) as u16,
            mss_default: random.below(3_000) as u16,
            window_scale: random.below(20) as u8,
            timestamps: random.chance(50),
            sack: random.chance(80),
            nodelay: random.chance(50),
            congestion: algorithm(&mut random),
            pacing: random.chance(20),
            ecn: [EcnMode::Off, EcnMode::Accept, EcnMode::Ask][random.below(3) as usize],
            keepalive: keepalive.filter(|_| random.chance(30)),
            timestamp_offset: random.next() as u32,
            mss_floor: random.below(600) as u16,
            ..Config::default()
        };
        let iss = SeqNum::new(random.next() as u32);
        let now = Instant::from_millis(random.next() >> 32);
        let irs = SeqNum::new(random.next() as u32);
        let mut tcb = Tcb::connect(&config, iss, now);
        if random.chance(50) {
            let syn = Seg { seq: irs, ..seg(0, 0).flags(Flags::SYN) };
            let half = HalfOpen::new(&syn.arrived(), &config, iss, random.next() as u16, now);
            tcb = half.into_tcb(&config, now);
        }
        let buffer = Buffer::new(random.below(20_000));
        let host = Host { tcb, buffer, now, events: Events::NONE };
        let text = vec![0xaa; 3_000];
        let mut fuzz = Self {
            random,
            host,
            seq: iss,
            ack: irs,
            text,
            predicts: true,
            predicted: 0,
            acks: 0,
            requests: 0,
            arrival: Arrival::default(),
        };
        fuzz.drain();
        fuzz
    }

    /// Near a number that matters, or anywhere.
    fn near(&mut self, at: SeqNum) -> SeqNum {
        match self.random.below(8) {
            0 => SeqNum::new(self.random.next() as u32),
            1 => at + self.random.below(20_000) - 10_000,
            2 => at + self.random.below(4) - 2,
            _ => at,
        }
    }

    /// SACK blocks, many of them around what is in flight.
    fn blocks(&mut self) -> SackBlocks {
        let mut blocks = SackBlocks::NONE;
        while self.random.chance(40) {
            let sent = self.host.tcb.snd;
            let place = sent.una + self.random.below(sent.in_flight().saturating_add(3));
            let start = self.near(place);
            let len = self.random.below(4_000);
            blocks.push(SackBlock { start, end: self.near(start + len) });
        }
        blocks
    }

    fn segment(&mut self) {
        let flags = match self.random.below(12) {
            0 => Flags::from_bits(self.random.next() as u8),
            1 => Flags::SYN,
            2 => Flags::SYN | Flags::ACK,
            3 => Flags::FIN | Flags::ACK,
            4 if self.random.chance(3) => Flags::RST,
            5 => Flags::URG | Flags::ACK,
            _ => Flags::ACK,
        };
        let value = self.host.tcb.timestamps.recent.wrapping_add(self.random.below(9));
        let timestamps = self.random.chance(80).then_some(Timestamps {
            value: if self.random.chance(5) { self.random.next() as u32 } else { value },
            echo: self.random.next() as u32,
        });
        let len = if self.random.chance(50) { 0 } else { self.random.below(3_000) } as usize;
        let text = std::mem::take(&mut self.text);
        let (seq, ack) = (self.ack, self.seq);
        let segment = SegmentIn {
            seq: self.near(seq),
            ack: self.near(ack),
            flags,
            window: if self.random.chance(20) { 0 } else { self.random.next() as u16 },
            urgent: self.random.next() as u16,
            ecn: Codepoint::from_tos(self.random.next() as u8),
            options: Options {
                mss: self.random.chance(50).then_some(self.random.next() as u16),
                window_scale: self.random.chance(50).then_some(self.random.next() as u8),
                sack_permitted: self.random.chance(80),
                sack: self.blocks(),
                timestamps,
                user_timeout: self.random.chance(5).then_some(self.random.next() as u16),
                ..Options::default()
            },
            text: &text[..len],
        };
        self.arrives(&segment);
        self.text = text;
    }

    /// The next piece of text, as a peer would send it that only sends.
    fn next_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        let tcb = &self.host.tcb;
        let value = tcb.timestamps.recent.wrapping_add(self.random.below(3));
        let segment = SegmentIn {
            seq: tcb.rcv.nxt,
            ack: tcb.snd.una,
            flags: if self.random.chance(20) { Flags::ACK | Flags::PSH } else { Flags::ACK },
            window: self.random.next() as u16,
            urgent: 0,
            ecn: Codepoint::from_tos(self.random.next() as u8),
            options: Options {
                timestamps: Some(Timestamps { value, echo: 0 }),
                ..Options::default()
            },
            text: &text[..self.random.below(600) as usize],
        };
        self.arrives(&segment);
        self.text = text;
    }

    /// The next ACK, as a peer would send it that only receives or answers: of whole segments, as a rule.
    fn next_ack(&mut self) {
        let text = std::mem::take(&mut self.text);
        let len = if self.random.chance(50) { self.random.below(600) } else { 0 };
        self.next_ack_with(&text[..len as usize]);
        self.text = text;
    }

    fn next_ack_with(&mut self, text: &[u8]) {
        let tcb = &self.host.tcb;
        let Some(flight) = &tcb.flight else { return };
        let count = 1 + self.random.below(3) as usize;
        let edge = flight.board.oldest_while(count, |_| true).last().map(|segment| segment.end);
        let value = tcb.timestamps.recent.wrapping_add(self.random.below(3));
        let echo = tcb.timestamps.value(self.host.now).wrapping_sub(self.random.below(40));
        let segment = SegmentIn {
            seq: tcb.rcv.nxt,
            ack: edge.unwrap_or(tcb.snd.una) - u32::from(self.random.chance(5)),
            flags: if text.is_empty() { Flags::ACK } else { Flags::ACK | Flags::PSH },
            window: (self.random.next() as u16) | 0x8000,
            urgent: 0,
            ecn: Codepoint::NotEct,
            options: Options { timestamps: Some(Timestamps { value, echo }), ..Options::default() },
            text,
        };
        self.arrives(&segment);
    }

    fn arrives(&mut self, segment: &SegmentIn<'_>) {
        let host = &mut self.host;
        let predicted = host.tcb.predict(segment, host.now);
        self.predicted += u32::from(predicted.is_some());
        self.acks += u32::from(predicted == Some(fast_path::Predicted::Ack));
        self.requests += u32::from(predicted == Some(fast_path::Predicted::TextAndAck));
        let predicted = predicted.filter(|_| self.predicts);
        let arrival = host.tcb.arrives(segment, host.now, &mut host.buffer, predicted);
        assert!(arrival.acked_len <= limits::SEND_QUEUE_MAX);
        self.arrival = arrival;
    }

    fn user(&mut self) {
        let host = &mut self.host;
        match self.random.below(60) {
            0 => host.tcb.shutdown(host.now),
            1 if self.random.chance(20) => {
                host.tcb.close(host.now, self.random.chance(20));
            }
            2 if self.random.chance(5) => host.tcb.abort(),
            3 => {
                let quoted = host.tcb.snd.una + self.random.below(3_000);
                let _ = host.tcb.path_mtu(self.random.next() as u16, quoted, host.now);
            }
            4 => host.tcb.set_keepalive(Some(Keepalive::default()), host.now),
            5 => host.tcb.send(u32::MAX),
            6 => host.tcb.set_cork(self.random.chance(50)),
            7 => host.tcb.set_quick_ack(self.random.chance(50)),
            8 => host.tcb.set_window_clamp(self.random.below(9_000)),
            9 => host.tcb.send_more(self.random.below(9_000)),
            10 => host.tcb.send_urgent(self.random.below(200_000)),
            11 if self.random.chance(50) => host.tcb.set_max_pacing_rate(self.random.next() >> 40),
            11 => host.tcb.set_congestion(algorithm(&mut self.random)),
            12..22 => {
                let _ = host.buffer.read();
                host.tcb.window_opened(&host.buffer, host.now);
            }
            _ => host.tcb.send(self.random.below(9_000)),
        }
    }

    fn drain(&mut self) {
        for _ in 0..64 {
            let host = &mut self.host;
            let Some(out) = host.tcb.poll_transmit(host.now, &host.buffer) else { return };
            if !out.flags.contains(Flags::RST) {
                self.seq = out.seq + out.text_len;
                if out.flags.contains(Flags::ACK) {
                    self.ack = out.ack;
                }
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(10) {
            0 => self.user(),
            1 => {
                self.host.now += Duration::from_millis(u64::from(self.random.below(400)));
                let _ = self.host.tcb.timeout(self.host.now);
            }
            2 | 3 => self.drain(),
            _ => self.segment(),
        }
    }
}

fn algorithm(random: &mut Random) -> Algorithm {
    match random.below(3) {
        0 => Algorithm::NewReno,
        1 => Algorithm::Bbr,
        _ => Algorithm::Cubic,
    }
}

#[test]
fn arbitrary_segments_never_panic_and_keep_the_invariants() {
    // A look while working; ci/fuzz does the same by the million.
    let steps = 200_000;
    let mut seen = std::collections::HashSet::new();
    let mut seed = 0;
    let mut done = 0;
    while done < steps {
        let mut fuzz = Fuzz::new(seed);
        seed += 1;
        for _ in 0..300 {
            fuzz.step();
            done += 1;
            let _ = seen.insert(fuzz.host.state());
            if fuzz.host.state() == State::Closed {
                break;
            }
        }
    }
    assert_eq!(seen.len(), 10, "every state but LISTEN was visited: {seen:?}");
}

#[test]
fn header_prediction_does_what_the_steps_do() {
    let (mut predicted, mut acks, mut requests) = (0, 0, 0);
    for seed in 0..1_000 {
        let (mut fast, mut slow) = (Fuzz::new(seed), Fuzz::new(seed));
        slow.predicts = false;
        for step in 0..200 {
            for fuzz in [&mut fast, &mut slow] {
                match step % 3 {
                    0 => fuzz.step(),
                    1 => fuzz.next_text(),
                    _ => fuzz.next_ack(),
                }
                if let Some(flight) = &fuzz.host.tcb.flight {
                    flight.board.steps.set(0);
                }
            }
            let state = |fuzz: &Fuzz| {
                (format!("{:?}", fuzz.host.tcb), fuzz.host.buffer.total, fuzz.arrival)
            };
            assert_eq!(state(&fast), state(&slow), "seed {seed}, step {step}");
        }
        predicted += fast.predicted;
        acks += fast.acks;
        requests += fast.requests;
    }
    assert!(requests > 1_000, "only {requests} segments with text and ACK were predicted");
    assert!(acks > 1_000, "only {acks} ACKs were predicted");
    assert!(predicted > 1_000, "only {predicted} segments were predicted");
}

#[test]
fn a_block_whose_user_and_peer_are_gone_comes_to_rest() {
    for seed in 0..2_000 {
        let mut fuzz = Fuzz::new(seed);
        for _ in 0..50 {
            fuzz.step();
        }
        fuzz.host.tcb.close(fuzz.host.now, false);
        for _ in 0..100_000 {
            fuzz.drain();
            let Some(due) = fuzz.host.tcb.next_timeout() else { break };
            fuzz.host.now = fuzz.host.now.max(due);
            let _ = fuzz.host.tcb.timeout(fuzz.host.now);
        }
        assert_eq!(fuzz.host.state(), State::Closed, "seed {seed}: {:?}", fuzz.host.tcb);
    }
}

proptest! {
    #[test]
    fn any_option_bytes_parse(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Options::parse(&bytes);
    }

    #[test]
    fn small_endpoints_take_any_segment(
        seq: u32, ack: u32, bits: u8, window: u16, ts in any::<Option<(u32, u32)>>(), len in 0_usize..3000,
    ) {
        let text = vec![0; len];
        let timestamps = ts.map(|(value, echo)| Timestamps { value, echo });
        let segment = SegmentIn {
            seq: SeqNum::new(seq), ack: SeqNum::new(ack), flags: Flags::from_bits(bits), window,
            urgent: window, ecn: Codepoint::from_tos(bits), options: Options { timestamps, ..Options::default() }, text: &text,
        };
        let now = Instant::from_millis(u64::from(seq));
        let mut half = HalfOpen::new(&segment, &Config::default(), SeqNum::new(1), window, now);
        let _ = half.segment_arrives(&segment, now);
        let tcb = half.into_tcb(&Config::default(), now);
        let _ = TimeWait::new(&tcb, now).segment_arrives(&segment, now);
        let _ = Listener::new(1).segment_arrives(&segment, now);
        let _ = closed_reply(&segment);
    }
}
