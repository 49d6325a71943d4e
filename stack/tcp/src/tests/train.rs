//! A train is its segments one by one, only faster.

use core::fmt::Write;

use super::support::*;
use crate::*;

/// Adds up what several arrivals did; drops in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    drops: Vec<types::DropReason>,
    acked_len: u32,
    delivered_len: u32,
    events: Events,
}

impl Sum {
    fn add(&mut self, arrival: &Arrival) {
        self.drops.extend(arrival.drop);
        self.acked_len += arrival.acked_len;
        self.delivered_len += arrival.delivered_len;
        self.events |= arrival.events;
    }
}

/// Segments that differ from `head` in their text alone, and how many events they were.
fn as_train(host: &mut Host, head: &Seg, lens: &[u32]) -> (Sum, usize) {
    let all = head.clone().text(lens.iter().sum());
    let mut rest = all.text.as_slice();
    let mut texts: Vec<&[u8]> = Vec::new();
    for len in lens {
        let (text, later) = rest.split_at(*len as usize);
        texts.push(text);
        rest = later;
    }
    let (mut sum, mut done, mut events) = (Sum::default(), 0, 0);
    let mut seg = SegmentIn { text: &[], ..all.arrived() };
    while let Some((text, behind)) = texts[done..].split_first() {
        seg.text = text;
        let mut arrival = host.tcb.segment_arrives(&seg, host.now, &mut host.buffer);
        let mut taken = 1;
        if Events::ROUTINE.contains(arrival.events) {
            let Host { tcb, buffer, now, .. } = host;
            taken += tcb.train_arrives(&seg, behind, *now, buffer, &mut arrival);
        }
        sum.add(&arrival);
        seg.seq += texts[done..done + taken].iter().map(|text| text.len() as u32).sum();
        done += taken;
        events += 1;
    }
    (sum, events)
}

fn one_by_one(host: &mut Host, head: &Seg, lens: &[u32]) -> Sum {
    let mut sum = Sum::default();
    let mut at = head.seq.since(IRS);
    for len in lens {
        let segment = Seg { seq: IRS + at, ..head.clone() }.text(*len);
        sum.add(&host.gets(&segment));
        at += len;
    }
    sum
}

/// The whole block, but for the scoreboard's count of steps.
fn all_of(host: &Host) -> String {
    if let Some(flight) = &host.tcb.flight {
        flight.board.steps.set(0);
    }
    let mut text = String::new();
    write!(text, "{:?}", host.tcb).unwrap();
    text
}

#[test]
fn a_train_is_one_event() {
    let mut host = Host::established();
    let (sum, events) = as_train(&mut host, &seg(1, 1), &[1000; 32]);
    assert_eq!((sum.delivered_len, events), (32_000, 1));
    assert_eq!(host.sends(), [ack(1, 32_001)]);
    assert_eq!(host.buffer.read().len(), 32_000);
    assert_eq!(host.tcb.info().text_segments_in, 32);
}

#[test]
fn what_does_not_fit_ends_the_train() {
    let mut host = Host::established();
    host.buffer = Buffer::new(2_500);
    let (sum, events) = as_train(&mut host, &seg(1, 1), &[1000; 5]);
    // The third in part; what is behind it came out of order and found no room.
    assert_eq!((sum.delivered_len, sum.drops.len(), events), (2_500, 2, 3));
    assert_eq!(host.sends(), [ack(1, 2_501)]);
}

/// Any connection, any train: the same block, the same buffer, the same events, the same answers.
#[test]
fn a_train_does_what_its_segments_would_do_one_by_one() {
    let mut merged = 0;
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let timestamps = random.chance(50);
        let config = Config { timestamps, nodelay: true, ..plain() };
        let theirs = Options {
            timestamps: timestamps.then_some(Timestamps { value: 5, echo: 0 }),
            ..syn_options()
        };
        let mut hosts = [(); 2].map(|()| Host::established_with(config, theirs));
        let capacity = [2_000, 20_000, 64_000][random.below(3) as usize];
        for host in &mut hosts {
            host.buffer = Buffer::new(capacity);
            host.tcb.quick_acks = (seed % 20) as u8;
        }
        let (mut at, mut acked, mut clock, mut window) = (1_u32, 1_u32, 6, 60_000);
        for step in 0..12 {
            let text = if random.chance(30) { random.below(3_000) } else { 0 };
            let pause = [0, 1, 50, 400][random.below(4) as usize];
            if random.chance(15) {
                window = [0, 500, 30_000][random.below(3) as usize];
            }
            if random.chance(40) {
                let out = hosts[0].tcb.snd.max.since(ISS);
                acked = acked.max(out.saturating_sub(random.below(2) * (out - acked) / 2));
            }
            let lens: Vec<u32> =
                (0..1 + random.below(8)).map(|_| 1 + random.below(1_400)).collect();
            let seq = match random.below(12) {
                0 => at.saturating_sub(random.below(1_500)).max(1),
                1 => at + random.below(1_500),
                _ => at,
            };
            clock += random.below(3);
            let mut head = seg(seq, acked).window(window);
            if timestamps && !random.chance(3) {
                head = head.ts(if random.chance(5) { 1 } else { clock }, 0);
            }
            if random.chance(5) {
                head = head.ce();
            }
            if random.chance(5) {
                head = head.sack(&[(acked, acked + 10)]);
            }
            let read = random.chance(70);
            let [single, train] = &mut hosts;
            for host in [&mut *single, &mut *train] {
                let _ = host.queue(text);
                host.wait_ms(pause);
            }
            let expected = one_by_one(single, &head, &lens);
            let (sum, events) = as_train(train, &head, &lens);
            merged += lens.len() - events;
            assert_eq!(sum, expected, "seed {seed} step {step}");
            assert_eq!(all_of(train), all_of(single), "seed {seed} step {step}");
            if random.chance(80) {
                assert_eq!(train.raw(), single.raw(), "seed {seed} step {step}");
            }
            if read {
                assert_eq!(train.buffer.read(), single.buffer.read(), "seed {seed} step {step}");
                for host in [single, train] {
                    host.tcb.window_opened(&host.buffer, host.now);
                }
            }
            at = hosts[0].tcb.rcv.nxt.since(IRS);
        }
    }
    assert!(merged > 30_000, "hardly anything was merged: {merged}");
}
