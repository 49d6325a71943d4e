//! RACK (RFC 8985): what is lost, and when.

use super::support::*;

/// A window of ten segments is out, sent at once; the round trip is 100 ms.
fn ten_in_flight() -> Host {
    let mut host = Host::sacking(100);
    assert_eq!(host.queue(10_000).len(), 10);
    host
}

#[test]
fn three_segments_beyond_a_hole_lose_it_at_once() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 2001)]));
    assert_eq!(host.sends(), []);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 3001)]));
    assert_eq!(host.sends(), []);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 4001)]));
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    assert!(host.tcb.info().in_recovery);
}

/// What `TCP_INFO` says while a hole is being filled, and when it was filled twice.
#[test]
fn what_is_sent_again_and_what_arrives_twice_is_counted() {
    let mut host = ten_in_flight();
    assert_eq!((host.tcb.info().delivered, host.tcb.info().resent_len), (1, 0));
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 4001)]));
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    let info = host.tcb.info();
    assert_eq!((info.resent_len, info.resent_in_flight_len, info.delivered), (1000, 1000, 4));
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 10_001).sack(&[(1, 1001)]));
    let info = host.tcb.info();
    assert_eq!((info.resent_in_flight_len, info.delivered, info.duplicates), (0, 11, 1));
    assert!(info.delivery_rate.bytes_per_second > 0 && info.backoff == 0);
    let _ = host.gets(&seg(1001, 10_001).text(100));
    assert_eq!(host.tcb.info().out_of_order, 1);
}

/// RFC 8985 §3.2: fewer than three, at the end of a flight: the reordering timer, a quarter of the
/// round trip.
#[test]
fn a_hole_before_the_last_segment_is_lost_after_a_quarter_of_the_round_trip() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 8001).sack(&[(9001, 10_001)]));
    assert_eq!(host.sends(), []);
    assert_eq!((host.fire(), host.sends()), (25, vec![text(8001, 1000, 1)]));
}

/// RFC 8985 §6.2 step 5: of all that were overtaken the one sent last has the timer.
#[test]
fn the_reordering_timer_waits_for_the_last_that_was_overtaken() {
    let mut host = Host::sacking(100);
    let _ = host.queue(1000);
    host.wait_ms(10);
    let _ = host.queue(2000);
    host.wait_ms(90);
    let _ = host.gets(&seg(1, 1).sack(&[(2001, 3001)]));
    assert_eq!(host.sends(), []);
    // The second was sent 10 ms after the first, and the round trip is 90 ms for now.
    assert_eq!((host.fire(), host.tcb.info().lost_len), (22, 2000));
}

#[test]
fn reordering_within_the_window_is_no_loss() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 2001)]));
    host.wait_ms(10);
    let _ = host.gets(&seg(1, 2001));
    let info = host.tcb.info();
    assert_eq!((host.sends(), info.in_recovery, info.retransmitted), (vec![], false, 0));
    assert!(info.reordering_seen);
}

/// RFC 8985 §6.2 step 4: once reordering was seen, three segments are no longer enough.
#[test]
fn a_path_that_reorders_gets_patience() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 2001)]));
    let _ = host.gets(&seg(1, 2001));
    let _ = host.gets(&seg(1, 2001).sack(&[(3001, 8001)]));
    assert_eq!(host.sends(), [], "five segments beyond the hole, but within the window");
    assert_eq!((host.fire(), host.sends()), (25, vec![text(2001, 1000, 1)]));
}

/// RFC 8985 §3.1, figure 1: a retransmission that is lost again is found by what was sent after it.
#[test]
fn a_lost_retransmission_is_found_without_a_timeout() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 6001)]));
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    host.tcb.send(10_000);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 9001)]));
    host.wait_ms(1);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 10_001)]));
    let new = host.sends();
    assert_eq!(new[0].seq, 10_001, "new text after the retransmission");
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 11_001)]));
    assert_eq!(host.sends()[0], text(1, 1000, 1), "overtaken, so lost");
    assert_eq!(host.tcb.info().retransmits, 0, "no timeout");
}

/// RFC 8985 §6.2 step 4: each round trip that reports a duplicate widens the reordering window.
#[test]
fn duplicates_widen_the_window_up_to_the_round_trip() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1001).sack(&[(1, 1001)]));
    let _ = host.gets(&seg(1, 1001).sack(&[(1, 1001)]));
    let _ = host.gets(&seg(1, 8001).sack(&[(9001, 10_001)]));
    assert_eq!(host.fire(), 50, "twice a quarter: two duplicates in one round trip count once");
}

#[test]
fn without_sack_nothing_is_lost_by_time() {
    let mut host = Host::nodelay();
    let _ = host.queue(10_000);
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 9001)]));
    assert!(!host.tcb.info().in_recovery);
    assert_eq!(host.tcb.info().sacked_len, 0, "not negotiated, not read");
}

#[test]
fn several_holes_are_repaired_in_one_round_trip_in_the_order_of_the_stream() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(9001, 10_001), (5001, 8001), (1001, 4001)]));
    let mut repaired = host.sends();
    let _ = host.gets(&seg(1, 4001).sack(&[(9001, 10_001), (5001, 8001)]));
    repaired.extend(host.sends());
    let _ = host.gets(&seg(1, 8001).sack(&[(9001, 10_001)]));
    repaired.extend(host.sends());
    assert_eq!(repaired, [text(1, 1000, 1), text(4001, 1000, 1), text(8001, 1000, 1)]);
    let _ = host.gets(&seg(1, 10_001));
    assert!(!host.tcb.info().in_recovery && host.rests());
}

/// RFC 8985 §6.3: a timeout loses the first segment and what is old enough, not what was sent a
/// moment ago.
#[test]
fn a_timeout_spares_what_was_just_sent() {
    let mut host = Host::sacking(100);
    let _ = host.queue(1000);
    host.wait_ms(1);
    let rto = u64::from(host.tcb.info().rto_ms);
    let _ = host.fire();
    let _ = host.sends();
    host.wait_ms(rto - 10);
    let _ = host.queue(2000);
    host.wait_ms(20);
    let info = host.tcb.info();
    assert_eq!((info.retransmits, info.lost_len), (1, 1000));
    assert_eq!(host.sends(), [text(1, 1000, 1)], "in spite of two segments in the network");
}

/// A segment that the port cuts into ten is ten segments to the peer.
#[test]
fn a_hole_in_an_offloaded_segment_is_repaired_alone() {
    let mut host = Host::sacking(100);
    host.tcb.send(10_000);
    let burst = host.tcb.poll_transmit_burst(host.now, &host.buffer, 64_000).unwrap();
    assert_eq!(burst.text_len, 10_000);
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 3001).sack(&[(4001, 9001)]));
    assert_eq!(host.sends(), [text(3001, 1000, 1)]);
    let _ = host.gets(&seg(1, 10_001));
    assert!(host.rests());
}

/// Somebody on the way has cut our segments anew: what has arrived of one is not sent again.
#[test]
fn a_block_that_covers_a_segment_in_part_counts() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(601, 9001)]));
    assert_eq!(host.tcb.info().sacked_len, 8400);
    assert_eq!(host.sends(), [text(1, 600, 1)]);
    let _ = host.gets(&seg(1, 10_001));
    assert!(host.rests());
}

/// RFC 2018 §8: the peer may take back what it SACKed; after a timeout nothing of it counts.
#[test]
fn reneging_is_noticed_at_the_timeout() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(1001, 4001)]));
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    let _ = host.gets(&seg(1, 1001).sack(&[(2001, 4001)]));
    assert_eq!(host.tcb.info().sacked_len, 3000, "1001..2001 is still believed");
    while host.tcb.info().retransmits == 0 {
        let _ = host.sends();
        let _ = host.fire();
    }
    assert_eq!(host.tcb.info().sacked_len, 0);
    assert_eq!(host.sends()[0], text(1001, 1000, 1));
}

#[test]
fn blocks_of_what_was_never_sent_are_ignored_and_counted() {
    let mut host = ten_in_flight();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(5001, 10_002), (20_001, 21_001), (4001, 4001)]));
    let info = host.tcb.info();
    assert_eq!((info.sacked_len, info.sacks_refused, info.in_recovery), (0, 3, false));
}
