//! Listening: who may wait, when cookies take over, what the others are told.

use core::time::Duration;

use types::{DropReason, Instant};

use super::support::*;
use crate::*;

const NOW: Instant = Instant::from_millis(50_000);

fn syn(listener: &Listener) -> ListenVerdict {
    listener.segment_arrives(&seg(0, 0).flags(Flags::SYN).arrived(), NOW)
}

#[test]
fn one_more_than_the_backlog_may_wait_to_be_accepted() {
    let mut listener = Listener::new(3);
    for _ in 0..4 {
        assert_eq!(syn(&listener), ListenVerdict::Open);
        listener.opened();
        assert!(listener.established());
    }
    assert_eq!((listener.waiting(), listener.half_open()), (4, 0));
    assert_eq!(syn(&listener), ListenVerdict::Drop(DropReason::TcpListenOverflow));
    listener.left();
    assert_eq!(syn(&listener), ListenVerdict::Open);
}

#[test]
fn handshake_that_finds_the_queue_full_stays_half_open() {
    let mut listener = Listener::new(0);
    listener.opened();
    listener.opened();
    assert!(listener.established());
    assert!(!listener.established());
    assert_eq!((listener.waiting(), listener.half_open()), (1, 1));
    listener.left();
    assert!(listener.established());
}

#[test]
fn cookies_begin_at_a_quarter_and_end_at_an_eighth() {
    let mut listener = Listener::new(5);
    let mut count = 0;
    while syn(&listener) == ListenVerdict::Open {
        listener.opened();
        count += 1;
    }
    assert_eq!((count, syn(&listener)), (limits::SYN_COOKIES_ON, ListenVerdict::Cookie));
    while syn(&listener) == ListenVerdict::Cookie {
        listener.abandoned();
        count -= 1;
    }
    assert_eq!((count, syn(&listener)), (limits::SYN_COOKIES_OFF, ListenVerdict::Open));
}

#[test]
fn cookies_are_always_or_never_sent_if_the_operator_says_so() {
    let mut listener = Listener::new(5);
    listener.set_syn_cookies(SynCookies::Always);
    assert_eq!(syn(&listener), ListenVerdict::Cookie);
    listener.set_syn_cookies(SynCookies::Off);
    for _ in 0..limits::HALF_OPEN_MAX {
        assert_eq!(syn(&listener), ListenVerdict::Open);
        listener.opened();
    }
    assert_eq!(syn(&listener), ListenVerdict::Drop(DropReason::TcpListenOverflow));
}

#[test]
fn an_ack_is_a_cookie_only_for_two_minutes_after_one_was_sent() {
    let mut listener = Listener::new(5);
    let at = |listener: &Listener, s| {
        listener.segment_arrives(&seg(1, 4).arrived(), NOW + Duration::from_secs(s))
    };
    let ListenVerdict::Reset(reset) = at(&listener, 0) else {
        panic!("an ACK for a listener is answered with RST");
    };
    assert_eq!((reset.seq, reset.flags), (ISS + 4, Flags::RST));
    listener.cookie_sent(NOW);
    assert_eq!(at(&listener, 119), ListenVerdict::Validate(reset));
    assert_eq!(at(&listener, 120), ListenVerdict::Reset(reset));
}

#[test]
fn what_is_no_syn_opens_nothing() {
    let listener = Listener::new(1);
    for flags in [Flags::NONE, Flags::FIN, Flags::SYN | Flags::FIN] {
        let verdict = listener.segment_arrives(&seg(0, 0).flags(flags).arrived(), NOW);
        assert_eq!(verdict, ListenVerdict::Drop(DropReason::TcpFlags));
    }
    let verdict = listener.segment_arrives(&seg(0, 0).flags(Flags::RST).arrived(), NOW);
    assert_eq!(verdict, ListenVerdict::Drop(DropReason::TcpResetUnacceptable));
    let syn_ack = seg(0, 9).flags(Flags::SYN | Flags::ACK).arrived_at(&listener);
    assert!(matches!(syn_ack, ListenVerdict::Reset(_)));
}

#[test]
fn fast_open_fills_its_own_limit_and_the_accept_queue() {
    let mut listener = Listener::new(10);
    assert!(!listener.fast_opened(0, NOW), "off");
    let opened = [(); 3].map(|()| listener.fast_opened(2, NOW));
    assert_eq!(opened, [true, true, false]);
    listener.fast_open_ended();
    assert!(listener.fast_opened(2, NOW));
    assert_eq!(listener.waiting(), 3);
    let mut full = Listener::new(0);
    assert!(full.fast_opened(9, NOW) && !full.fast_opened(9, NOW));
}

impl Seg {
    fn arrived_at(&self, listener: &Listener) -> ListenVerdict {
        listener.segment_arrives(&self.arrived(), NOW)
    }
}

#[test]
fn one_that_is_reset_counts_for_a_minute_or_two() {
    let mut listener = Listener::new(5);
    assert!(listener.fast_opened(1, NOW));
    listener.fast_open_reset(NOW);
    let second = Duration::from_secs(1);
    assert!(!listener.fast_opened(1, NOW + limits::FAST_OPEN_RESET_TIME - second));
    assert!(listener.fast_opened(1, NOW + limits::FAST_OPEN_RESET_TIME * 2));
    // One in each of two periods: the older one goes first.
    let (mut listener, later) = (Listener::new(5), NOW + limits::FAST_OPEN_RESET_TIME);
    assert!(listener.fast_opened(2, NOW));
    listener.fast_open_reset(NOW);
    assert!(listener.fast_opened(2, later));
    listener.fast_open_reset(later);
    assert!(!listener.fast_opened(2, later + second));
    let opened = [(); 2].map(|()| listener.fast_opened(2, later + limits::FAST_OPEN_RESET_TIME));
    assert_eq!(opened, [true, false]);
}
