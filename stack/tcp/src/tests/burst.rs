//! Segments of several MSS that are cut at the edge.

use super::support::*;
use crate::*;

impl Host {
    /// What goes on the wire if bursts of so many bytes may be made, and how many were.
    fn bursts(&mut self, burst_len: u32) -> (Vec<SegmentOut>, usize) {
        let (mut wire, mut count) = (Vec::new(), 0);
        while let Some(segment) = self.tcb.poll_transmit_burst(self.now, &self.buffer, burst_len) {
            let before = wire.len();
            wire.extend(segment.cuts().map(|cut| segment.cut(&cut)));
            assert_eq!(wire.len() - before, segment.cut_count() as usize);
            count += 1;
        }
        (wire, count)
    }
}

#[test]
fn a_burst_is_cut_into_what_would_have_been_sent_else() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let (mut plain, mut burst) = (Host::fast(), Host::fast());
        let mut acked = 1;
        for _ in 0..10 {
            let len = 1 + random.below(20_000);
            for host in [&mut plain, &mut burst] {
                host.tcb.send(len);
            }
            if random.chance(10) {
                plain.tcb.shutdown(plain.now);
                burst.tcb.shutdown(burst.now);
            }
            let expected = plain.raw();
            let (wire, _) = burst.bursts(2_000 + random.below(60_000));
            assert_eq!(wire, expected, "seed {seed}");
            assert_eq!(plain.tcb.info(), burst.tcb.info(), "seed {seed}");
            let sent = plain.tcb.snd.max.since(ISS);
            acked += random.below(sent - acked + 1);
            let _ = (plain.gets(&seg(1, acked)), burst.gets(&seg(1, acked)));
            if plain.state() == State::Closed {
                break;
            }
        }
    }
}

#[test]
fn a_burst_holds_whole_segments_only() {
    let mut host = Host::fast();
    host.tcb.send(5_500);
    let first = host.tcb.poll_transmit_burst(host.now, &host.buffer, 64_000).unwrap();
    assert_eq!((first.text_len, first.gso_size), (5_000, 1_000));
    let rest = host.tcb.poll_transmit_burst(host.now, &host.buffer, 64_000).unwrap();
    assert_eq!((rest.text_len, rest.gso_size), (500, 0));
}

#[test]
fn a_burst_is_no_longer_than_the_windows() {
    let mut host = Host::nodelay();
    host.tcb.send(50_000);
    let (wire, count) = host.bursts(64_000);
    assert_eq!((wire.len(), count), (10, 1), "the initial window");
}

#[test]
fn urgent_and_paced_text_goes_segment_by_segment() {
    let mut host = Host::fast();
    host.tcb.send_urgent(3_000);
    assert_eq!(host.bursts(64_000).1, 3);
    let mut host = Host::fast();
    host.tcb.set_max_pacing_rate(1 << 40);
    host.tcb.send(3_000);
    assert_eq!(host.bursts(64_000).1, 3);
}

#[test]
fn one_lost_segment_of_a_burst_is_repeated_alone() {
    let mut host = Host::fast();
    host.tcb.send(10_000);
    assert_eq!(host.bursts(64_000).1, 1);
    for _ in 0..4 {
        let _ = host.gets(&seg(1, 3_001));
    }
    let repeated = host.sends();
    assert_eq!(repeated.first(), Some(&text(3_001, 1_000, 1)));
}
