//! Tail loss probes (RFC 8985 §7).

use super::support::*;

#[test]
fn the_end_of_a_flight_is_probed_after_two_round_trips() {
    let mut host = Host::sacking(60);
    let _ = host.queue(3_000);
    assert_eq!((host.fire(), host.sends()), (120, vec![text(2001, 1000, 1)]));
    let info = host.tcb.info();
    assert_eq!((info.retransmits, info.in_recovery), (0, false));
}

/// RFC 8985 §7.2: the peer may hold back the ACK of a single segment; but not beyond the timeout.
#[test]
fn a_single_segment_is_probed_no_later_than_the_timeout() {
    let mut host = Host::sacking(60);
    let _ = host.queue(100);
    let rto = u64::from(host.tcb.info().rto_ms);
    assert_eq!((host.fire(), host.sends()), (rto.min(320), vec![text(1, 100, 1)]));
    assert_eq!(host.tcb.info().cwnd, 10_000, "a probe is no timeout");
    assert_eq!((host.fire(), host.sends()), (rto, vec![text(1, 100, 1)]));
    assert_eq!(host.tcb.info().cwnd, 1000, "the second time it is one");
}

/// RFC 8985 §7.3: new text is the better probe, whatever cwnd says.
#[test]
fn new_text_probes_beyond_the_window() {
    let mut host = Host::sacking(60);
    assert_eq!(host.queue(12_000).len(), 10);
    let _ = host.fire();
    assert_eq!(host.sends(), [text(10_001, 1000, 1)]);
}

/// RFC 8985 §7.1, figure: the probe's SACK lets RACK find the rest.
#[test]
fn a_probe_uncovers_the_loss_of_a_whole_tail() {
    let mut host = Host::sacking(60);
    let _ = host.queue(5_000);
    host.wait_ms(60);
    let _ = host.gets(&seg(1, 2001));
    let _ = host.fire();
    assert_eq!(host.sends(), [text(4001, 1000, 1)], "3 to 5 are lost; the probe is the last");
    host.wait_ms(60);
    let _ = host.gets(&seg(1, 2001).sack(&[(4001, 5001)]));
    let mut repaired = host.sends();
    if repaired.is_empty() {
        let _ = host.fire();
        repaired = host.sends();
    }
    assert_eq!(repaired[0], text(2001, 1000, 1));
    assert_eq!(host.tcb.info().retransmits, 0, "no timeout");
}

/// RFC 8985 §7.4: the probe repaired the loss of the last segment: congestion all the same.
#[test]
fn a_loss_repaired_by_the_probe_lowers_the_window() {
    let mut host = Host::sacking(60);
    let _ = host.queue(10_000);
    host.wait_ms(60);
    let _ = host.gets(&seg(1, 9001));
    let _ = host.fire();
    assert_eq!(host.sends(), [text(9001, 1000, 1)]);
    host.wait_ms(60);
    let _ = host.gets(&seg(1, 10_001));
    assert_eq!(host.tcb.info().ssthresh, u32::MAX, "the original may have arrived");
    let _ = host.queue(1000);
    let _ = host.gets(&seg(1, 11_001));
    assert!(host.tcb.info().ssthresh < u32::MAX, "no duplicate was reported");
}

#[test]
fn a_duplicate_report_clears_the_probe() {
    let mut host = Host::sacking(60);
    let _ = host.queue(10_000);
    host.wait_ms(60);
    let _ = host.gets(&seg(1, 9001));
    let _ = host.fire();
    let _ = host.sends();
    let _ = host.gets(&seg(1, 10_001));
    let _ = host.gets(&seg(1, 10_001).sack(&[(9001, 10_001)]));
    let _ = host.queue(1000);
    let _ = host.gets(&seg(1, 11_001));
    assert_eq!(host.tcb.info().ssthresh, u32::MAX);
}

#[test]
fn one_probe_at_a_time_and_none_without_sack() {
    let mut host = Host::sacking(60);
    let _ = host.queue(3_000);
    let _ = host.fire();
    let _ = host.sends();
    let _ = host.fire();
    assert_eq!(host.tcb.info().retransmits, 1, "then the timeout");
    let mut host = Host::nodelay();
    let _ = host.queue(3_000);
    let _ = host.fire();
    assert_eq!(host.tcb.info().retransmits, 1);
}
