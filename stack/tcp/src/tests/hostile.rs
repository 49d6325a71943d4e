//! Peers who are connected and lie: about what they have received, and about what a router said.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use types::Instant;

use super::support::*;
use crate::*;

/// A peer behind a path without loss: what has arrived there, and when its ACK of that is here.
struct Far {
    host: Host,
    rtt: Duration,
    /// What is on its way: when its ACK will be here, from where, up to where.
    wire: VecDeque<(Instant, u32, u32)>,
    /// What has arrived beyond `received`.
    beyond: BTreeMap<u32, u32>,
    received: u32,
    /// Bytes that left, again or not.
    sent: u64,
}

impl Far {
    /// The handshake has taken 100 ms; the user has more to send than will go. The window is 60 KB,
    /// times 2^`scale`.
    fn new(sack: bool, scale: u8, rtt_ms: u64) -> Self {
        let theirs = Options { sack_permitted: sack, window_scale: Some(scale), ..syn_options() };
        let mut host = Host::syn_sent(Config { nodelay: true, ..plain() });
        let _ = host.raw();
        host.wait_ms(100);
        let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(theirs));
        let _ = host.raw();
        host.tcb.send(1 << 29);
        let (wire, beyond) = (VecDeque::new(), BTreeMap::new());
        let rtt = Duration::from_millis(rtt_ms);
        Self { host, rtt, wire, beyond, received: 1, sent: 0 }
    }

    /// A millisecond passes: what has arrived, and an ACK for each segment, if `acks`.
    fn pass(&mut self, acks: bool) {
        for sent in self.host.sends() {
            self.sent += u64::from(sent.len);
            let due = self.host.now + self.rtt;
            self.wire.push_back((due, sent.seq, sent.seq + sent.len));
        }
        self.host.wait_ms(1);
        while let Some((_, start, end)) = self.wire.pop_front_if(|(due, ..)| *due <= self.host.now)
        {
            let _ = self.beyond.insert(start, end);
            while let Some(first) = self.beyond.first_entry().filter(|e| *e.key() <= self.received)
            {
                self.received = self.received.max(first.remove());
            }
            if acks {
                let _ = self.acknowledge(self.received);
            }
        }
    }

    /// Says if the ACK was taken.
    fn acknowledge(&mut self, at: u32) -> bool {
        let mut segment = seg(1, at);
        if at == self.received
            && let Some((start, _)) = self.beyond.first_key_value()
        {
            segment = segment.sack(&[(*start, self.beyond.values().copied().max().unwrap())]);
        }
        self.host.gets(&segment).drop.is_none()
    }

    fn newest(&self) -> u32 {
        self.host.tcb.snd.max.since(ISS)
    }
}

/// Bytes that leave within a minute over a path of 100 ms, for an honest peer.
fn honest_minute(sack: bool) -> u64 {
    let mut far = Far::new(sack, 0, 100);
    (0..60_000).for_each(|_| far.pass(true));
    far.sent
}

/// The same for one that acknowledges every `early_ms` all that may have been sent, less `behind`
/// bytes, and where that is refused what it has.
fn liars_minute(sack: bool, early_ms: u64, behind: u32) -> u64 {
    let mut far = Far::new(sack, 0, 100);
    for ms in 0..60_000 {
        far.pass(false);
        if ms % early_ms == 0 {
            let ahead = far.newest().saturating_sub(behind).max(far.received);
            let _ = far.acknowledge(ahead) || far.acknowledge(far.received);
        }
    }
    far.sent
}

/// Threat 18: who acknowledges text in flight before it has arrived gets no more than an honest peer.
#[test]
fn acks_of_text_that_has_not_arrived_make_us_send_no_more() {
    for sack in [false, true] {
        let honest = honest_minute(sack);
        let liars =
            [(1, 0), (10, 0), (10, 3_000), (10, 40_000), (1, 59_000), (50, 0), (80, 20_000)];
        for (early_ms, behind) in liars {
            let liar = liars_minute(sack, early_ms, behind);
            println!(
                "{liar} bytes for a liar of {early_ms} ms, {behind} behind, {honest} for an honest peer"
            );
            assert!(liar * 10 <= honest * 11, "{liar} bytes every {early_ms} ms, {honest}");
        }
    }
}

/// Threat 18, the other half: so does who acknowledges what was never sent.
#[test]
fn acks_of_text_not_sent_yet_make_us_send_no_more() {
    let honest = honest_minute(true);
    let mut far = Far::new(true, 0, 100);
    for _ in 0..60_000 {
        far.pass(true);
        for ahead in [1, 1_000, 60_000, 1_000_000] {
            let unsent = far.newest() + ahead;
            assert!(!far.acknowledge(unsent));
        }
    }
    assert!(far.sent * 10 <= honest * 11, "{} bytes for a liar, {honest}", far.sent);
}

/// A path that has become shorter since the handshake costs one segment a round trip, and no window.
#[test]
fn a_shorter_path_is_tested_and_believed() {
    let mut far = Far::new(true, 4, 40);
    (0..2_000).for_each(|_| far.pass(true));
    let info = far.host.tcb.info();
    assert_eq!((info.ssthresh, info.in_recovery), (u32::MAX, false), "{info:?}");
    assert_eq!((info.retransmitted, info.min_rtt_us), (1, 40_000), "what was held back");
    // The window of 960 KB per 40 ms, after a second.
    assert!(far.sent > 30_000_000, "{} bytes", far.sent);
}

/// Without SACK it gives what a path of the handshake's 100 ms would, and loses no window either.
#[test]
fn a_shorter_path_without_sack_is_as_good_as_the_handshakes() {
    let mut far = Far::new(false, 4, 40);
    (0..2_000).for_each(|_| far.pass(true));
    let info = far.host.tcb.info();
    assert_eq!((info.ssthresh, info.in_recovery), (u32::MAX, false), "{info:?}");
    assert!(far.sent > 10_000_000, "{} bytes", far.sent);
}

/// Threat 17: what an unreachable message quotes is believed only if it is in flight.
#[test]
fn unreachables_forged_in_mass_quote_nothing_in_flight() {
    let mut host = Host::fast();
    let _ = host.queue(10_000);
    let mut random = Random::new(17);
    let count = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let hits = (0..count).filter(|_| host.tcb.is_in_flight(SeqNum::new(random.next() as u32)));
    let hits = hits.count();
    // 10 KB in flight of 4 GB: one in 430 000.
    assert!(hits <= 10, "{hits}");
}
