//! Closing: FIN in every order, half close, abort, orphans.

use types::DropReason;

use super::support::*;
use crate::*;

#[test]
fn we_close_first() {
    let mut host = Host::established();
    let _ = host.queue(10);
    host.tcb.shutdown(host.now);
    assert_eq!((host.state(), host.sends()), (State::FinWait1, vec![fin(11, 0, 1)]));
    let arrival = host.gets(&seg(1, 12));
    assert_eq!((host.state(), arrival.acked_len), (State::FinWait2, 10));
    let arrival = host.gets(&seg(1, 12).fin());
    assert_eq!(arrival.events, Events::FIN_RECEIVED | Events::TIME_WAIT);
    assert_eq!((host.state(), host.sends()), (State::TimeWait, vec![ack(12, 2)]));
    assert_eq!(host.fire(), 60_000);
    assert_eq!(host.state(), State::Closed);
}

#[test]
fn peer_closes_first() {
    let mut host = Host::established();
    let arrival = host.gets(&seg(1, 1).text(5).fin());
    assert_eq!(arrival.events, Events::READABLE | Events::FIN_RECEIVED);
    assert_eq!((host.state(), host.sends()), (State::CloseWait, vec![ack(1, 7)]));
    assert_eq!(host.queue(20), [text(1, 20, 7)], "half closed: we may still send");
    host.tcb.shutdown(host.now);
    assert_eq!((host.state(), host.sends()), (State::LastAck, vec![fin(21, 0, 7)]));
    let arrival = host.gets(&seg(7, 22));
    assert!(arrival.events.contains(Events::CLOSED));
    assert_eq!((host.state(), host.sends()), (State::Closed, vec![]));
}

#[test]
fn half_closed_receives_on() {
    let mut host = Host::established();
    host.tcb.shutdown(host.now);
    let _ = host.sends();
    let _ = host.gets(&seg(1, 2));
    assert_eq!(host.gets(&seg(1, 2).text(700)).delivered_len, 700);
    assert_eq!(host.state(), State::FinWait2);
}

#[test]
fn both_close_at_once() {
    let mut host = Host::established();
    host.tcb.shutdown(host.now);
    let _ = host.sends();
    let _ = host.gets(&seg(1, 1).fin());
    assert_eq!((host.state(), host.sends()), (State::Closing, vec![ack(2, 2)]));
    let arrival = host.gets(&seg(2, 2));
    assert_eq!((host.state(), arrival.events), (State::TimeWait, Events::TIME_WAIT));
}

#[test]
fn fin_and_ack_of_ours_in_one_segment() {
    let mut host = Host::established();
    host.tcb.shutdown(host.now);
    let _ = host.sends();
    let _ = host.gets(&seg(1, 2).fin());
    assert_eq!((host.state(), host.sends()), (State::TimeWait, vec![ack(2, 2)]));
}

#[test]
fn fin_before_its_text_waits_for_it() {
    let mut host = Host::established();
    let arrival = host.gets(&seg(1001, 1).text(10).fin());
    assert_eq!((arrival.events, host.state()), (Events::NONE, State::Established));
    assert_eq!(host.sends(), [ack(1, 1)]);
    let arrival = host.gets(&seg(1, 1).text(1000));
    assert_eq!(arrival.events, Events::READABLE | Events::FIN_RECEIVED);
    assert_eq!((host.state(), host.sends()), (State::CloseWait, vec![ack(1, 1012)]));
}

#[test]
fn text_after_the_fin_is_ignored() {
    let mut host = Host::established();
    let _ = host.gets(&seg(11, 1).fin());
    let arrival = host.gets(&seg(1, 1).text(100));
    assert_eq!((arrival.delivered_len, host.state()), (10, State::CloseWait));
    let _ = host.gets(&seg(12, 1).text(100));
    assert_eq!(host.buffer.total, 10);
}

#[test]
fn repeated_fin_is_acknowledged_again() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).fin());
    let _ = host.sends();
    let arrival = host.gets(&seg(1, 1).fin());
    assert_eq!(arrival.drop, Some(DropReason::TcpDuplicate));
    assert_eq!(host.sends(), [ack(1, 2)]);
}

#[test]
fn fin_follows_all_queued_text() {
    let mut host = Host::nodelay();
    host.tcb.send(15_000);
    host.tcb.shutdown(host.now);
    assert_eq!(host.sends().len(), 10);
    let _ = host.gets(&seg(1, 10_001));
    assert_eq!(host.sends().last(), Some(&fin(14_001, 1000, 1)));
}

#[test]
fn fin_goes_out_into_a_closed_window() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(0));
    host.tcb.shutdown(host.now);
    assert_eq!(host.sends(), [fin(1, 0, 1)]);
}

#[test]
fn abort_sends_rst_with_the_number_the_peer_expects() {
    let mut host = Host::nodelay();
    let _ = host.queue(500);
    host.tcb.abort();
    let reset = Sent { seq: 501, len: 0, ack: 1, flags: Flags::RST | Flags::ACK };
    assert_eq!((host.state(), host.sends()), (State::Closed, vec![reset]));
    assert_eq!(host.tcb.next_timeout(), None);
}

#[test]
fn close_with_unread_text_resets() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).text(10));
    host.tcb.close(host.now, true);
    assert!(host.sends()[0].flags.contains(Flags::RST));
    assert_eq!(host.state(), State::Closed);
}

#[test]
fn text_for_a_user_who_left_resets() {
    let mut host = Host::established();
    host.tcb.close(host.now, false);
    assert_eq!(host.sends(), [fin(1, 0, 1)]);
    let _ = host.gets(&seg(1, 2));
    let arrival = host.gets(&seg(1, 2).text(1));
    assert_eq!(arrival.drop, Some(DropReason::TcpAfterClose));
    assert!(arrival.events.contains(Events::CLOSED));
    assert!(host.sends()[0].flags.contains(Flags::RST));
}

#[test]
fn orphan_in_fin_wait_2_is_freed_after_a_minute() {
    let mut host = Host::established();
    host.tcb.close(host.now, false);
    let _ = host.sends();
    let _ = host.gets(&seg(1, 2));
    assert_eq!((host.state(), host.fire()), (State::FinWait2, 60_000));
    assert_eq!((host.state(), host.sends()), (State::Closed, vec![]));
    assert!(host.events.contains(Events::CLOSED));
}

#[test]
fn half_close_has_no_limit_until_the_user_leaves() {
    let mut host = Host::established();
    host.tcb.shutdown(host.now);
    let _ = host.sends();
    let _ = host.gets(&seg(1, 2));
    assert_eq!(host.tcb.next_timeout(), None);
    host.tcb.close(host.now, false);
    assert_eq!(host.fire(), 60_000);
    assert_eq!(host.state(), State::Closed);
}

#[test]
fn orphan_gives_up_sooner() {
    let mut host = Host::established();
    let _ = host.queue(10);
    host.tcb.close(host.now, false);
    let _ = host.sends();
    let mut tries = 0;
    while host.state() != State::Closed {
        let _ = host.fire();
        tries += u8::from(!host.sends().is_empty());
    }
    assert_eq!(tries, limits::ORPHAN_RETRIES_MAX);
}
