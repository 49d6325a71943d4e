//! Spurious retransmission: the window goes back to where it was (RFC 3522, 3708, 4015, 5682).

use super::support::*;
use crate::*;

fn with_timestamps() -> Host {
    let theirs = Options {
        timestamps: Some(Timestamps { value: 1, echo: 0 }),
        sack_permitted: true,
        ..syn_options()
    };
    let config = Config { timestamps: true, nodelay: true, ..plain() };
    Host::established_with(config, theirs)
}

/// Fires timers, and sends, up to the retransmission timeout.
fn time_out(host: &mut Host) -> Vec<Sent> {
    while host.tcb.info().retransmits == 0 {
        let _ = host.sends();
        let _ = host.fire();
    }
    host.sends()
}

/// Eifel (RFC 3522): the ACK echoes the timestamp of the original.
#[test]
fn a_delay_spike_is_recognized_by_the_echo() {
    let mut host = with_timestamps();
    let sent_at = host.now;
    assert_eq!(host.queue(10_000).len(), 10);
    let before = host.tcb.info();
    assert_eq!(time_out(&mut host).len(), 1);
    assert!(host.tcb.info().cwnd < before.cwnd);
    let echo = host.tcb.timestamps.value(sent_at);
    let _ = host.gets(&seg(1, 1001).ts(2, echo));
    let info = host.tcb.info();
    assert_eq!((info.ssthresh, info.in_recovery, info.lost_len), (before.ssthresh, false, 0));
    assert!(info.cwnd >= before.cwnd);
    assert!(host.sends().iter().all(|sent| sent.seq >= 10_001), "nothing more is repeated");
}

#[test]
fn the_echo_of_the_retransmission_undoes_nothing() {
    let mut host = with_timestamps();
    let _ = host.queue(10_000);
    let _ = time_out(&mut host);
    let echo = host.tcb.timestamps.value(host.now);
    host.wait_ms(50);
    let _ = host.gets(&seg(1, 1001).ts(2, echo));
    let info = host.tcb.info();
    assert!(info.in_recovery && info.ssthresh < u32::MAX);
}

/// RFC 2883 §4, RFC 3708: all that was sent again was a duplicate.
#[test]
fn duplicates_of_all_retransmissions_undo_a_fast_retransmit() {
    let mut host = Host::sacking(100);
    let _ = host.queue(10_000);
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1).sack(&[(2001, 6001)]));
    let mut again = host.sends();
    let _ = host.gets(&seg(1, 1).sack(&[(2001, 9001)]));
    again.extend(host.sends());
    assert_eq!(again, [text(1, 1000, 1), text(1001, 1000, 1)]);
    let _ = host.gets(&seg(1, 10_001));
    assert!(host.tcb.info().ssthresh < u32::MAX);
    let _ = host.gets(&seg(1, 10_001).sack(&[(1, 1001)]));
    assert!(host.tcb.info().ssthresh < u32::MAX, "one of two");
    let _ = host.gets(&seg(1, 10_001).sack(&[(1001, 2001)]));
    assert_eq!(host.tcb.info().ssthresh, u32::MAX);
    assert!(host.tcb.info().cwnd >= 10_000);
}

#[test]
fn a_duplicate_of_something_else_undoes_nothing() {
    let mut host = Host::sacking(100);
    let _ = host.queue(10_000);
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1001));
    let _ = host.gets(&seg(1, 1001).sack(&[(2001, 9001)]));
    assert_eq!(host.sends(), [text(1001, 1000, 1)]);
    let _ = host.gets(&seg(1, 10_001).sack(&[(1, 1001)]));
    assert!(host.tcb.info().ssthresh < u32::MAX);
}

/// F-RTO (RFC 5682), without timestamps: more text is queued than the window of ten segments takes.
/// With SACK the eleventh was a tail loss probe. New text begins at the number returned.
fn timed_out(sack: bool) -> (Host, u32) {
    let mut host = if sack { Host::sacking(60) } else { Host::nodelay() };
    assert_eq!(host.queue(20_000).len(), 10);
    assert_eq!(time_out(&mut host), [text(1, 1000, 1)]);
    (host, if sack { 11_001 } else { 10_001 })
}

/// Step 2b, 3b: new text goes, and an original decides.
#[test]
fn originals_that_arrive_after_new_text_was_sent_show_that_the_timeout_was_spurious() {
    for sack in [false, true] {
        let (mut host, new) = timed_out(sack);
        let _ = host.gets(&seg(1, 1001));
        assert_eq!(host.sends(), [text(new, 1000, 1), text(new + 1000, 1000, 1)]);
        assert!(host.tcb.info().in_recovery, "one ACK decides nothing");
        let _ = host.gets(&seg(1, 2001));
        let info = host.tcb.info();
        assert_eq!((info.in_recovery, info.ssthresh, info.lost_len), (false, u32::MAX, 0));
        assert!(host.sends().iter().all(|sent| sent.seq >= new + 2000), "nothing is repeated");
    }
}

/// Step 3b: a SACK block of an original is as good.
#[test]
fn a_block_of_an_original_shows_that_the_timeout_was_spurious() {
    let (mut host, _) = timed_out(true);
    let _ = host.gets(&seg(1, 1001));
    let _ = host.sends();
    let _ = host.gets(&seg(1, 1001).sack(&[(3001, 4001)]));
    assert!(!host.tcb.info().in_recovery);
    assert_eq!(host.tcb.info().ssthresh, u32::MAX);
}

/// Step 3a: only new text has arrived.
#[test]
fn a_duplicate_ack_after_new_text_goes_on_with_what_is_lost() {
    for sack in [false, true] {
        let (mut host, new) = timed_out(sack);
        let _ = host.gets(&seg(1, 1001));
        assert_eq!(host.sends().len(), 2);
        let block = [(new, new + 1000)];
        let blocks = if sack { &block[..] } else { &[] };
        let _ = host.gets(&seg(1, 1001).sack(blocks));
        let info = host.tcb.info();
        assert!(info.in_recovery && info.ssthresh < u32::MAX);
        assert_eq!(host.sends()[0], text(1001, 1000, 1));
        let _ = host.gets(&seg(1, 2001).sack(blocks));
        assert_eq!(host.sends()[0], text(2001, 1000, 1), "by the conventional way");
    }
}

/// Step 2a, basic variant: a duplicate before the first new ACK. With SACK it is waited for.
#[test]
fn a_duplicate_ack_right_after_the_timeout_ends_the_test_without_sack() {
    let (mut host, _) = timed_out(false);
    let _ = host.gets(&seg(1, 1));
    let _ = host.gets(&seg(1, 1001));
    assert_eq!(host.sends()[0], text(1001, 1000, 1));
    let (mut host, new) = timed_out(true);
    let _ = host.gets(&seg(1, 1).sack(&[(9001, 10_001)]));
    let _ = host.gets(&seg(1, 1001).sack(&[(9001, 10_001)]));
    assert_eq!(host.sends()[0], text(new, 1000, 1));
}

/// Step 2b: without new text, or without room for it at the peer, recovery is the conventional one.
#[test]
fn without_new_text_that_may_go_the_lost_text_is_sent() {
    for (queued, window) in [(10_000, 60_000), (20_000, 9_000)] {
        let mut host = Host::nodelay();
        let _ = host.queue(queued);
        let _ = time_out(&mut host);
        let _ = host.gets(&seg(1, 1001).window(window));
        assert_eq!(host.sends(), [text(1001, 1000, 1), text(2001, 1000, 1)], "{queued}");
        let _ = host.gets(&seg(1, 3001).window(window));
        assert!(host.tcb.info().ssthresh < u32::MAX);
    }
}

/// Step 1: the timeout of a retransmission that others have followed tells nothing.
#[test]
fn a_timeout_within_recovery_is_not_tested() {
    let (mut host, _) = timed_out(false);
    let _ = host.gets(&seg(1, 1001));
    let _ = host.gets(&seg(1, 1001));
    let _ = host.sends();
    let _ = host.fire();
    assert_eq!(host.sends()[0].seq, 1001);
    let _ = host.gets(&seg(1, 2001));
    assert_eq!(host.sends()[0], text(2001, 1000, 1));
}

#[test]
fn a_second_timeout_for_the_same_segment_is_tested_like_the_first() {
    let (mut host, new) = timed_out(false);
    let _ = host.fire();
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    let _ = host.gets(&seg(1, 1001));
    assert_eq!(host.sends(), [text(new, 1000, 1), text(new + 1000, 1000, 1)]);
    let _ = host.gets(&seg(1, 3001));
    assert_eq!(host.tcb.info().ssthresh, u32::MAX);
}

/// RFC 4015 §3.2: the path has become slower, from 60 ms to 700. The timeout was spurious; the next
/// segment that takes as long must not time out again.
#[test]
fn after_a_spurious_timeout_the_timer_has_learnt_from_the_delay() {
    for timestamps in [false, true] {
        let mut host = if timestamps { with_timestamps() } else { Host::sacking(60) };
        // What two round trips of 60 ms have taught.
        for at in [1001, 2001] {
            let sent_at = host.now;
            let _ = host.queue(1000);
            host.wait_ms(60);
            let echo = host.tcb.timestamps.value(sent_at);
            let ack = if timestamps { seg(1, at).ts(2, echo) } else { seg(1, at) };
            let _ = host.gets(&ack);
        }
        let sent_at = host.now;
        let _ = host.queue(14_000);
        let _ = time_out(&mut host);
        let late = 700 - u64::try_from(host.now.since(sent_at).as_millis()).unwrap();
        host.wait_ms(late);
        let echo = host.tcb.timestamps.value(sent_at);
        for at in [3001, 4001] {
            let ack = if timestamps { seg(1, at).ts(2, echo) } else { seg(1, at) };
            let _ = host.gets(&ack);
            let _ = host.sends();
        }
        let info = host.tcb.info();
        assert_eq!((info.in_recovery, info.lost_len), (false, 0), "timestamps: {timestamps}");
        assert!(info.rto_ms >= 1400, "timestamps: {timestamps}, {info:?}");
    }
}

/// RFC 4015 §3.2 step 9: text that was new after the timeout has the last word, if the delay was
/// the only one.
#[test]
fn new_text_that_comes_in_time_brings_the_timer_back() {
    let (mut host, new) = timed_out(true);
    let rto_ms = host.tcb.info().rto_ms;
    host.wait_ms(300);
    let _ = host.gets(&seg(1, 1001));
    assert_eq!(host.sends().len(), 2);
    host.wait_ms(60);
    let _ = host.gets(&seg(1, new));
    assert!(host.tcb.info().rto_ms > 2 * rto_ms, "the originals took long");
    let _ = host.gets(&seg(1, new + 2000));
    assert!(host.tcb.info().rto_ms < 300, "{:?}", host.tcb.info());
}

#[test]
fn a_real_timeout_stays_one() {
    let mut host = Host::sacking(60);
    let _ = host.queue(10_000);
    let mut at = 1;
    let _ = time_out(&mut host);
    while at < 10_001 {
        at += 1000;
        host.wait_ms(60);
        let _ = host.gets(&seg(1, at));
        let _ = host.sends();
    }
    let info = host.tcb.info();
    assert_eq!((info.in_recovery, info.ssthresh), (false, 5000));
    assert!(host.rests());
}
