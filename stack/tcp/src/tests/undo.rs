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

/// F-RTO with SACK (RFC 5682 §3), without timestamps: what was never sent again arrives.
#[test]
fn originals_that_arrive_after_a_timeout_show_that_it_was_a_mistake() {
    let mut host = Host::sacking(60);
    let _ = host.queue(10_000);
    let _ = time_out(&mut host);
    let _ = host.gets(&seg(1, 1001));
    let info = host.tcb.info();
    assert!(info.in_recovery, "of the first segment nothing is known");
    let _ = host.gets(&seg(1, 4001));
    let info = host.tcb.info();
    assert_eq!((info.in_recovery, info.ssthresh, info.lost_len), (false, u32::MAX, 0));
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
