//! Proportional rate reduction: the examples of RFC 6937 §4, and its two bounds.

use super::support::*;
use crate::prr::{Prr, PrrAck};

const MSS: u32 = 1000;

/// Twenty segments are out, the window is halved. Each ACK reports one segment; as many segments as
/// it lets go are sent. What each ACK let go, and the flight at the end.
fn run(lost: u32, ssthresh: u32, acks: u32) -> (Vec<u32>, u32) {
    let flight = 20;
    let mut prr = Prr::begin(flight * MSS);
    // The first ACKs have reported three segments; the rest of the lost ones is known at once.
    let mut pipe = (flight - lost) * MSS;
    let mut sent = Vec::new();
    for _ in 0..acks {
        pipe -= MSS;
        let ack = PrrAck { delivered_len: MSS, pipe, ssthresh, mss: MSS, safe: false };
        let window = prr.window(&ack).unwrap();
        let count = (window - pipe) / MSS;
        prr.sent(count * MSS);
        pipe += count * MSS;
        sent.push(count);
    }
    (sent, pipe / MSS)
}

/// RFC 6937 §4, first example: one loss of twenty; every second ACK lets a segment go, once the
/// fast retransmit is paid for, and from ssthresh on every one. (Counted in bytes, the third ACK
/// waits for a whole segment.)
#[test]
fn one_loss_is_repaired_at_half_the_rate() {
    let (sent, flight) = run(1, 10 * MSS, 19);
    assert_eq!(sent, [1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1, 1]);
    assert_eq!(flight, 10, "ssthresh, neither a pause nor a burst on the way");
}

/// RFC 6937 §4, second example: 15 of 20 lost. The conservative bound: one out for one in.
#[test]
fn heavy_loss_conserves_segments() {
    let (sent, flight) = run(15, 10 * MSS, 4);
    assert_eq!((sent, flight), (vec![1, 1, 1, 1], 5));
}

#[test]
fn slow_start_bound_adds_a_segment_per_ack_while_all_goes_well() {
    let mut prr = Prr::begin(20 * MSS);
    let ack =
        PrrAck { delivered_len: MSS, pipe: 4 * MSS, ssthresh: 10 * MSS, mss: MSS, safe: true };
    assert_eq!(prr.window(&ack), Some(6 * MSS));
    prr.sent(2 * MSS);
    assert_eq!(prr.window(&PrrAck { safe: false, ..ack }), Some(5 * MSS));
}

#[test]
fn window_never_grows_beyond_ssthresh_by_catching_up() {
    let mut prr = Prr::begin(20 * MSS);
    let ack =
        PrrAck { delivered_len: 9 * MSS, pipe: 9 * MSS, ssthresh: 10 * MSS, mss: MSS, safe: true };
    assert_eq!(prr.window(&ack), Some(10 * MSS));
}

#[test]
fn an_ack_without_news_changes_nothing() {
    let mut prr = Prr::begin(20 * MSS);
    let ack =
        PrrAck { delivered_len: 0, pipe: 19 * MSS, ssthresh: 10 * MSS, mss: MSS, safe: false };
    assert_eq!(prr.window(&ack), Some(20 * MSS), "the fast retransmit itself");
    prr.sent(MSS);
    let _ = prr.window(&PrrAck { delivered_len: MSS, ..ack });
    assert_eq!(prr.window(&ack), None);
}

/// The same in a connection: the window is ssthresh when recovery ends.
#[test]
fn recovery_ends_at_ssthresh() {
    let mut host = Host::sacking(100);
    assert_eq!(host.queue(30_000).len(), 10);
    host.wait_ms(100);
    for i in 2..=10 {
        let _ = host.gets(&seg(1, 1).sack(&[(1001, 1 + i * 1000)]));
        let _ = host.sends();
    }
    let info = host.tcb.info();
    assert!(info.in_recovery);
    assert_eq!(info.cwnd, info.ssthresh);
    let _ = host.gets(&seg(1, 10_001));
    let _ = host.sends();
    let recover = host.tcb.snd_max();
    let _ = host.gets(&Seg { ack: recover, ..seg(1, 0) });
    let info = host.tcb.info();
    assert_eq!((info.in_recovery, info.cwnd), (false, info.ssthresh));
}
