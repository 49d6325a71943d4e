//! Settings that few users change.

use super::support::*;
use crate::*;

#[test]
fn window_clamp_limits_what_is_offered_from_now_on() {
    let mut host = Host::established();
    host.tcb.set_window_clamp(5_000);
    let _ = host.gets(&seg(1, 1).text(2_000));
    let _ = host.buffer.read();
    assert_eq!(host.raw()[0].window, 62_000, "what was promised stays");
    for at in (2_001..60_000).step_by(1000) {
        let _ = host.gets(&seg(at, 1).text(1000));
        let _ = host.buffer.read();
    }
    let _ = host.gets(&seg(60_001, 1).text(1000));
    assert_eq!(host.raw()[0].window, 5_000);
}

#[test]
fn low_water_mark_counts_what_was_not_sent() {
    let mut host = Host::nodelay();
    assert!(!host.tcb.limits_unsent() && host.tcb.wants_text());
    host.tcb.set_not_sent_low(3_000);
    assert_eq!(host.tcb.send_limit(100_000), 3_000);
    host.tcb.send(2_000);
    assert!(!host.tcb.wants_text(), "half of it is unsent");
    let _ = host.sends();
    assert!(host.tcb.wants_text());
    assert_eq!(host.tcb.send_limit(100_000), 5_000, "what is in flight comes on top");
    assert_eq!(host.tcb.send_limit(4_000), 4_000);
}

#[test]
fn syn_is_repeated_as_often_as_the_user_says() {
    let mut host = Host::syn_sent(plain());
    host.tcb.set_syn_retries(2);
    let mut syns = host.sends().len();
    while host.state() != State::Closed {
        let _ = host.fire();
        syns += host.sends().len();
    }
    assert_eq!(syns, 3);
    assert_eq!(host.events.error(), Some(ConnectionError::TimedOut));
}

/// FIN sent and acknowledged, the user gone.
fn orphan_in_fin_wait_2(seconds: Option<u32>) -> Host {
    let mut host = Host::established();
    host.tcb.set_fin_wait_2(seconds);
    host.tcb.close(host.now, false);
    let _ = host.sends();
    let _ = host.gets(&seg(1, 2));
    host
}

#[test]
fn orphan_stays_in_fin_wait_2_as_long_as_its_user_said() {
    let mut host = orphan_in_fin_wait_2(Some(7));
    assert_eq!((host.state(), host.fire()), (State::FinWait2, 7_000));
    assert_eq!(host.state(), State::Closed);
}

#[test]
fn orphan_without_fin_wait_2_resets() {
    let mut host = orphan_in_fin_wait_2(None);
    assert_eq!(host.state(), State::Closed);
    assert!(host.raw()[0].flags.contains(Flags::RST));
}
