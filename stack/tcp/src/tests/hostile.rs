//! Peers who are connected and lie: about what they have received, and about what a router said.

use core::time::Duration;

use super::support::*;
use crate::*;

/// Bytes that a peer makes us send within a minute, each round trip of 100 ms acknowledging all it
/// has; `ahead`: and then text that nobody has sent yet, up to a megabyte of it.
fn sent_within_a_minute(ahead: &[u32]) -> u32 {
    let mut host = Host::nodelay();
    let end = host.now + Duration::from_secs(60);
    host.tcb.send(1 << 29);
    let mut received = 1;
    while host.now < end {
        for sent in host.sends() {
            received = received.max(sent.seq + sent.len);
        }
        host.wait_ms(100);
        let _ = host.gets(&seg(1, received));
        for ahead in ahead {
            // What the last ACK let out is beyond what a liar can know of; more than that is unsent.
            let sent = host.tcb.snd.max.since(ISS);
            let arrival = host.gets(&seg(1, sent + ahead));
            assert_eq!(arrival.acked_len, 0);
        }
    }
    received
}

/// Threat 18, the half that TCP alone can tell: who acknowledges what was never sent gets no more
/// than an honest peer. (Text in flight that is acknowledged before it arrives looks like a shorter
/// path.)
#[test]
fn acks_of_text_not_sent_yet_make_us_send_no_more() {
    let honest = sent_within_a_minute(&[]);
    let liar = sent_within_a_minute(&[1, 1_000, 60_000, 1_000_000]);
    println!("{liar} bytes for a liar, {honest} for an honest peer");
    assert!(honest > 10_000_000);
    assert!(u64::from(liar) * 10 <= u64::from(honest) * 11);
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
