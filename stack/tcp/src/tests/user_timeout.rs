//! `TCP_USER_TIMEOUT` and the user timeout option (RFC 5482).

use core::time::Duration;

use super::support::*;
use crate::*;

fn limited(seconds: u64) -> Host {
    let mut host = Host::established();
    host.tcb.set_user_timeout(Duration::from_secs(seconds));
    host
}

/// Milliseconds until the connection is given up; the peer is silent.
fn until_closed(host: &mut Host) -> u64 {
    let mut waited = 0;
    while host.state() != State::Closed {
        waited += host.fire();
        let _ = host.sends();
    }
    assert!(host.events.contains(Events::TIMED_OUT | Events::CLOSED));
    waited
}

#[test]
fn unacknowledged_text_ends_the_connection_at_the_timeout() {
    for seconds in [2, 30] {
        let mut host = limited(seconds);
        let _ = host.queue(10);
        assert_eq!(until_closed(&mut host), seconds * 1_000);
    }
}

#[test]
fn a_long_timeout_outlasts_the_number_of_retransmissions() {
    let mut host = Host::established();
    let _ = host.queue(10);
    let default = until_closed(&mut host);
    let mut host = limited(7_200);
    let _ = host.queue(10);
    assert!(default < 7_200_000);
    assert_eq!(until_closed(&mut host), 7_200_000);
}

#[test]
fn progress_starts_the_time_again() {
    let mut host = limited(5);
    let _ = host.queue(10);
    while host.fire() < 1_000 {
        let _ = host.sends();
    }
    let _ = host.gets(&seg(1, 11));
    let _ = host.queue(10);
    assert_eq!(until_closed(&mut host), 5_000);
}

#[test]
fn a_window_that_stays_closed_ends_the_connection_too() {
    let mut host = limited(20);
    let _ = host.gets(&seg(1, 1).window(0));
    let _ = host.queue(10);
    let mut waited = 0;
    while host.state() != State::Closed {
        waited += host.fire();
        if !host.sends().is_empty() {
            let _ = host.gets(&seg(1, 1).window(0));
        }
    }
    assert_eq!(waited, 20_000);
}

#[test]
fn a_silent_peer_is_dropped_by_the_first_probe_after_the_timeout() {
    let mut host = limited(10);
    host.tcb.set_keepalive(Some(Keepalive { idle_s: 4, interval_s: 4, count: 100 }), host.now);
    assert_eq!(until_closed(&mut host), 12_000);
}

#[test]
fn connecting_ends_at_the_timeout() {
    let mut host = Host::syn_sent(plain());
    host.tcb.set_user_timeout(Duration::from_secs(10));
    let _ = host.sends();
    assert_eq!(until_closed(&mut host), 10_000);
}

#[test]
fn the_option_is_sent_only_when_enabled_and_once() {
    let mut host = limited(90);
    let _ = host.queue(1);
    host.tcb.set_user_timeout_option(true);
    host.tcb.send(1);
    host.tcb.set_nodelay(true);
    assert_eq!(host.raw()[0].options.user_timeout, Some(90));
    host.tcb.set_user_timeout(Duration::from_secs(100_000));
    host.tcb.send(1);
    assert_eq!(host.raw()[0].options.user_timeout, Some(1 << 15 | 1_667), "in minutes");
    host.tcb.send(1);
    assert_eq!(host.raw()[0].options.user_timeout, None);
}

#[test]
fn the_option_is_on_the_syn() {
    let mut host = Host::syn_sent(Config::default());
    host.tcb.set_user_timeout(Duration::from_secs(300));
    host.tcb.set_user_timeout_option(true);
    assert_eq!(host.raw()[0].options.user_timeout, Some(300));
}

#[test]
fn the_peers_wish_counts_within_limits_if_enabled_and_ours_is_not_set() {
    let wish = |option| Options { user_timeout: Some(option), ..Options::default() };
    for (option, seconds) in [(1, 100), (200, 200), (1 << 15 | 5, 300), (u16::MAX, 3_600)] {
        let mut host = Host::established();
        host.tcb.set_user_timeout_option(true);
        let _ = host.gets(&seg(1, 1).options(wish(option)));
        let _ = host.queue(10);
        assert_eq!(until_closed(&mut host), seconds * 1_000);
    }
    let mut host = limited(7);
    host.tcb.set_user_timeout_option(true);
    let _ = host.gets(&seg(1, 1).options(wish(200)));
    let _ = host.queue(10);
    assert_eq!(until_closed(&mut host), 7_000, "our user's own");
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).options(wish(200)));
    assert!(host.tcb.rare.is_none(), "not enabled: not even remembered");
}

#[test]
fn a_timeout_set_while_the_peer_is_silent_counts_from_the_last_timer() {
    let mut host = Host::established();
    host.wait_ms(100_000);
    let _ = host.queue(10);
    let rto = host.fire();
    let _ = host.sends();
    host.tcb.set_user_timeout(Duration::from_secs(30));
    assert!(host.fire() > rto, "not at once");
    let _ = host.sends();
    assert!(host.state() == State::Established);
    assert_eq!(until_closed(&mut host) + 2 * rto, 30_000);
}
