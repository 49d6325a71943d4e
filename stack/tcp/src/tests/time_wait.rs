//! TIME-WAIT in its small form: RFC 6191 reuse, RFC 1337, the last ACK again.

use core::time::Duration;

use types::{DropReason, Instant};

use super::support::*;
use crate::*;

/// Both FINs have passed: our numbers end at 2, the peer's at 2.
fn time_wait(timestamps: bool) -> (TimeWait, Instant) {
    let theirs = timestamps.then_some(Timestamps { value: 100, echo: 0 });
    let config = Config { timestamps, ..plain() };
    let mut host = Host::established_with(config, Options { timestamps: theirs, ..syn_options() });
    host.tcb.shutdown(host.now);
    let _ = host.sends();
    let last = if timestamps { seg(1, 2).fin().ts(100, 0) } else { seg(1, 2).fin() };
    let _ = host.gets(&last);
    let _ = host.sends();
    assert_eq!(host.state(), State::TimeWait);
    (TimeWait::new(&host.tcb, host.now), host.now)
}

fn acknowledges(verdict: TimeWaitVerdict) -> bool {
    matches!(verdict, TimeWaitVerdict::Acknowledge(out)
        if (out.seq, out.ack, out.flags) == (ISS + 2, IRS + 2, Flags::ACK))
}

#[test]
fn repeated_fin_is_acknowledged_and_restarts_the_wait() {
    let (mut wait, start) = time_wait(false);
    assert_eq!(wait.expires(), start + limits::TIME_WAIT);
    let later = start + Duration::from_secs(30);
    assert!(acknowledges(wait.segment_arrives(&seg(1, 2).fin().arrived(), later)));
    assert_eq!(wait.expires(), later + limits::TIME_WAIT);
}

#[test]
fn rst_does_not_assassinate() {
    let (mut wait, now) = time_wait(false);
    for at in [1, 2, 3] {
        let verdict = wait.segment_arrives(&seg(at, 2).flags(Flags::RST).arrived(), now);
        assert_eq!(verdict, TimeWaitVerdict::Drop(DropReason::TcpResetUnacceptable));
    }
}

#[test]
fn newer_syn_reopens() {
    let (mut wait, now) = time_wait(false);
    let verdict = wait.segment_arrives(&seg(3, 0).flags(Flags::SYN).arrived(), now);
    assert_eq!(verdict, TimeWaitVerdict::Reopen(ISS + 2 + limits::REOPEN_ISN_STEP));
    for old in [0, 1, 2] {
        assert!(acknowledges(wait.segment_arrives(&seg(old, 0).flags(Flags::SYN).arrived(), now)));
    }
}

#[test]
fn timestamp_decides_before_the_sequence_number() {
    let syn = |seq, ts| seg(seq, 0).flags(Flags::SYN).ts(ts, 0);
    let reopens = |syn: Seg| {
        let (mut wait, now) = time_wait(true);
        matches!(wait.segment_arrives(&syn.arrived(), now), TimeWaitVerdict::Reopen(_))
    };
    assert!(reopens(syn(0, 101)), "newer timestamp, old number");
    assert!(reopens(syn(3, 100)), "same timestamp, newer number");
    assert!(!reopens(syn(2, 100)));
    assert!(!reopens(syn(1000, 99)), "older timestamp");
    assert!(!reopens(syn(1000, 200).flags(Flags::SYN | Flags::ACK)));
}

#[test]
fn strays_are_answered_within_the_limit() {
    let (mut wait, _) = time_wait(false);
    let now = Instant::from_millis(9_000_000);
    let answered = (0..100)
        .filter(|_| acknowledges(wait.segment_arrives(&seg(1, 2).text(4).arrived(), now)))
        .count();
    assert_eq!(answered, usize::from(limits::CHALLENGE_ACKS));
}

#[test]
fn last_ack_of_the_peer_is_no_stray() {
    let (mut wait, now) = time_wait(false);
    let verdict = wait.segment_arrives(&seg(2, 2).arrived(), now);
    assert_eq!(verdict, TimeWaitVerdict::Drop(DropReason::TcpDuplicate));
}
