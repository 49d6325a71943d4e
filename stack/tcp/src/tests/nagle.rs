//! Small segments: Nagle with Minshall's change, `TCP_NODELAY`, `TCP_CORK`, `MSG_MORE`.

use super::support::*;

#[test]
fn nagle_keeps_small_segments_while_something_is_in_flight() {
    let mut host = Host::established();
    assert_eq!(host.queue(10), [text(1, 10, 1)], "nothing in flight: at once");
    assert_eq!(host.queue(10), []);
    assert_eq!(host.queue(990), [text(11, 1000, 1)], "a full segment goes");
    assert_eq!(host.queue(5), []);
    let _ = host.gets(&seg(1, 1011));
    assert_eq!(host.sends(), [text(1011, 5, 1)]);
}

#[test]
fn nodelay_turns_nagle_off() {
    let mut host = Host::established();
    let _ = host.queue(10);
    host.tcb.set_nodelay(true);
    assert_eq!(host.queue(10), [text(11, 10, 1)]);
}

#[test]
fn fin_does_not_wait_for_nagle() {
    let mut host = Host::established();
    let _ = host.queue(10);
    let _ = host.queue(10);
    host.tcb.shutdown(host.now);
    assert_eq!(host.sends(), [fin(11, 10, 1)]);
}

#[test]
fn one_small_segment_may_follow_full_ones() {
    let mut host = Host::established();
    assert_eq!(host.queue(2_010), [text(1, 1000, 1), text(1001, 1000, 1), text(2001, 10, 1)]);
    assert_eq!(host.queue(10), [], "the second small one waits for the first");
    let _ = host.gets(&seg(1, 2001));
    assert_eq!(host.sends(), [], "which is still in flight");
    let _ = host.gets(&seg(1, 2011));
    assert_eq!(host.sends(), [text(2011, 10, 1)]);
}

#[test]
fn cork_lets_full_segments_go_and_keeps_the_rest() {
    let mut host = Host::nodelay();
    host.tcb.set_cork(true);
    assert_eq!(host.queue(10), [], "cork is stronger than no delay");
    assert_eq!(host.queue(1_000), [text(1, 1000, 1)]);
    host.tcb.set_cork(false);
    assert_eq!(host.sends(), [text(1001, 10, 1)]);
}

#[test]
fn cork_comes_off_by_itself_after_200_ms() {
    let mut host = Host::nodelay();
    host.tcb.set_cork(true);
    let _ = host.queue(10);
    assert_eq!((host.fire(), host.sends()), (200, vec![text(1, 10, 1)]));
    assert_eq!(host.queue(10), [], "for what was queued then");
}

#[test]
fn nodelay_sends_what_a_cork_holds_and_no_more() {
    let mut host = Host::established();
    host.tcb.set_cork(true);
    let _ = host.queue(10);
    host.tcb.set_nodelay(true);
    assert_eq!(host.sends(), [text(1, 10, 1)]);
    assert_eq!(host.queue(10), []);
}

#[test]
fn more_waits_for_the_next_send() {
    let mut host = Host::nodelay();
    host.tcb.send_more(10);
    assert_eq!(host.sends(), []);
    host.tcb.send_more(1_000);
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    assert_eq!(host.queue(5), [text(1001, 15, 1)]);
}

#[test]
fn more_does_not_hold_back_what_was_sent_without_it() {
    let mut host = Host::nodelay();
    host.tcb.send(10);
    host.tcb.send_more(5);
    assert_eq!(host.sends(), [text(1, 15, 1)], "before the first has gone");
    host.tcb.send_more(5);
    assert_eq!(host.sends(), []);
}

#[test]
fn fin_does_not_wait_for_a_cork() {
    let mut host = Host::established();
    host.tcb.set_cork(true);
    let _ = host.queue(10);
    host.tcb.shutdown(host.now);
    assert_eq!(host.sends(), [fin(1, 10, 1)]);
}
