//! When text is acknowledged: delayed ACKs, quick ACKs, dialogues.

use super::support::*;
use crate::*;

#[test]
fn every_second_segment_is_acknowledged_at_once_the_first_waits() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).text(1000));
    assert_eq!(host.sends(), []);
    let _ = host.gets(&seg(1001, 1).text(1000));
    assert_eq!(host.sends(), [ack(1, 2001)]);
    let _ = host.gets(&seg(2001, 1).text(1000));
    assert_eq!((host.sends(), host.fire()), (vec![], 40));
    assert_eq!(host.sends(), [ack(1, 3001)]);
}

#[test]
fn first_segments_are_acknowledged_at_once() {
    let mut host = Host::established();
    host.tcb.quick_acks = limits::QUICK_ACKS;
    for i in 0..u32::from(limits::QUICK_ACKS) {
        let _ = host.gets(&seg(1 + i, 1).text(1));
        assert_eq!(host.sends(), [ack(1, 2 + i)]);
    }
    let _ = host.gets(&seg(9, 1).text(1));
    assert_eq!(host.sends(), []);
}

#[test]
fn in_a_dialogue_the_answer_carries_the_ack() {
    let mut host = Host::nodelay();
    host.tcb.quick_acks = limits::QUICK_ACKS;
    let _ = host.gets(&seg(1, 1).text(10));
    assert_eq!(host.sends(), [ack(1, 11)], "nobody has answered yet");
    host.tcb.set_quick_ack(false);
    let _ = host.gets(&seg(11, 1).text(10));
    assert_eq!(host.queue(10), [text(1, 10, 21)]);
    let _ = host.gets(&seg(21, 11).text(10));
    assert_eq!((host.sends(), host.queue(10)), (vec![], vec![text(11, 10, 31)]));
}

#[test]
fn an_answer_begins_the_dialogue() {
    let mut host = Host::nodelay();
    let _ = host.gets(&seg(1, 1).text(10));
    let _ = host.queue(10);
    host.tcb.quick_acks = limits::QUICK_ACKS;
    let _ = host.gets(&seg(11, 11).text(10));
    assert_eq!(host.sends(), [], "although quick ACKs are left");
}

#[test]
fn quick_ack_acknowledges_what_waits_and_what_comes_next() {
    let mut host = Host::established();
    host.tcb.set_quick_ack(false);
    let _ = host.gets(&seg(1, 1).text(10));
    assert_eq!(host.sends(), []);
    assert!(!host.tcb.info().quick_ack);
    host.tcb.set_quick_ack(true);
    assert_eq!(host.sends(), [ack(1, 11)]);
    let _ = host.gets(&seg(11, 1).text(10));
    assert_eq!(host.sends(), [ack(1, 21)]);
    assert!(host.tcb.info().quick_ack);
}

#[test]
fn segments_are_counted() {
    let mut host = Host::nodelay();
    let before = host.tcb.info();
    let _ = host.queue(1_500);
    let _ = host.gets(&seg(1, 1501).text(10));
    let _ = host.queue(10);
    let _ = host.fire();
    let _ = host.sends();
    let after = host.tcb.info();
    assert_eq!(after.segments_in - before.segments_in, 1);
    assert_eq!(after.text_segments_in - before.text_segments_in, 1);
    assert_eq!(after.segments_out - before.segments_out, 4);
    assert_eq!(after.text_segments_out - before.text_segments_out, 4);
    assert_eq!(after.retransmitted, 1);
}

/// A port or a burst may hand us several segments as one. That must change neither what is
/// delivered nor how often we acknowledge: every two segments' worth (RFC 5681 §4.2).
#[test]
fn merged_segments_do_what_they_would_do_one_by_one() {
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        let (mut single, mut merged) = (Host::established(), Host::established());
        let mut at = 1;
        for _ in 0..20 {
            let count = 1 + random.below(5);
            let last = 1 + random.below(1000);
            let len = (count - 1) * 1000 + last;
            for i in 0..count {
                let piece = if i == count - 1 { last } else { 1000 };
                let _ = single.gets(&seg(at + i * 1000, 1).text(piece));
            }
            let _ = merged.gets(&seg(at, 1).text(len));
            at += len;
            if random.chance(70) {
                assert_eq!(single.sends(), merged.sends(), "seed {seed} at {at}");
            }
            if random.chance(20) {
                single.wait_ms(40);
                merged.wait_ms(40);
            }
            assert_eq!(single.buffer.read(), merged.buffer.read());
        }
        single.wait_ms(40);
        merged.wait_ms(40);
        assert_eq!(single.sends(), merged.sends());
        assert_eq!(single.tcb.next_timeout(), merged.tcb.next_timeout());
        assert_eq!(single.tcb.info().rcv_wnd, merged.tcb.info().rcv_wnd);
    }
}
