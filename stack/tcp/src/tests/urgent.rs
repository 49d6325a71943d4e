//! Urgent text: marks that move no byte (RFC 9293 §3.8.5, RFC 6093).

use super::support::*;
use crate::*;

/// Sequence number and urgent pointer of each segment with URG that goes out now.
fn urgent_sends(host: &mut Host) -> Vec<(u32, u16)> {
    let marked = |segment: &SegmentOut| segment.flags.contains(Flags::URG);
    host.raw().iter().filter(|s| marked(s)).map(|s| (s.seq.since(ISS), s.urgent)).collect()
}

#[test]
fn urgent_text_stays_in_the_stream_whatever_the_pointer() {
    for pointer in [0, 1, 10, 11, 65_535] {
        let mut host = Host::established();
        let arrival = host.gets(&seg(11, 1).text(10).urgent(pointer));
        assert!(arrival.events.contains(Events::URGENT), "beyond RCV.NXT");
        let _ = host.gets(&seg(1, 1).text(10).urgent(pointer));
        assert_eq!(host.buffer.read(), (1..21).map(pattern).collect::<Vec<u8>>());
        assert_eq!(host.sends(), [ack(1, 21)]);
    }
}

#[test]
fn mark_is_the_byte_before_the_pointer_or_the_first() {
    for (pointer, at) in [(0, 0), (1, 0), (10, 9), (11, 10), (65_535, 65_534)] {
        let mut host = Host::established();
        let arrival = host.gets(&seg(1, 1).text(10).urgent(pointer));
        assert!(arrival.events.contains(Events::URGENT));
        assert_eq!(host.buffer.marks, [at]);
    }
}

#[test]
fn mark_before_what_was_received_is_old_news() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).text(100));
    let arrival = host.gets(&seg(51, 1).text(100).urgent(50));
    assert!(!arrival.events.contains(Events::URGENT));
    assert_eq!((host.buffer.marks.len(), arrival.delivered_len), (0, 50));
}

#[test]
fn the_same_mark_is_told_once_and_a_later_one_again() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).urgent(500));
    assert!(!host.gets(&seg(1, 1).urgent(500)).events.contains(Events::URGENT));
    assert!(!host.gets(&seg(1, 1).urgent(400)).events.contains(Events::URGENT));
    assert!(host.gets(&seg(1, 1).urgent(600)).events.contains(Events::URGENT));
    assert_eq!(host.buffer.marks, [499, 599]);
}

#[test]
fn no_urgent_text_without_the_flag_or_after_fin() {
    let mut host = Host::established();
    let mut plain = seg(1, 1).text(10);
    plain.urgent = 5;
    let _ = host.gets(&plain);
    let _ = host.gets(&seg(11, 1).fin());
    let _ = host.gets(&seg(12, 1).urgent(9));
    assert_eq!(host.buffer.marks, [0_u64; 0]);
}

#[test]
fn urgent_byte_is_announced_by_every_segment_up_to_it() {
    let mut host = Host::fast();
    host.tcb.send_urgent(2_500);
    assert_eq!(urgent_sends(&mut host), [(1, 2500), (1001, 1500), (2001, 500)]);
    assert_eq!(host.queue(100), [text(2501, 100, 1)], "not beyond it");
    let _ = host.gets(&seg(1, 1001));
    let _ = host.fire();
    assert_eq!(urgent_sends(&mut host)[0], (1001, 1500), "nor forgotten when sent again");
}

#[test]
fn urgent_text_waits_for_neither_nagle_nor_cork() {
    let mut host = Host::established();
    let _ = host.queue(10);
    host.tcb.set_cork(true);
    host.tcb.send_urgent(1);
    assert_eq!(urgent_sends(&mut host), [(11, 1)]);
}

#[test]
fn pointer_that_does_not_fit_marks_no_byte_that_was_sent() {
    let mut host = Host::fast();
    let _ = host.gets(&seg(1, 1).window(u16::MAX));
    host.tcb.send_urgent(100_000);
    let sent = urgent_sends(&mut host);
    assert_eq!(sent[0], (1, u16::MAX), "it is coming");
    assert!(sent.iter().all(|(seq, pointer)| seq + u32::from(*pointer) > 65_000));
    let _ = host.gets(&seg(1, 60_001).window(u16::MAX));
    assert_eq!(urgent_sends(&mut host).last(), Some(&(99_001, 1000)), "the exact place at last");
}

#[test]
fn closed_window_does_not_hide_that_something_is_urgent() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(0));
    host.tcb.send_urgent(10);
    assert_eq!(urgent_sends(&mut host), [(1, 10)], "a bare ACK carries the pointer");
}

#[test]
fn acknowledged_urgent_text_is_not_announced_any_more() {
    let mut host = Host::nodelay();
    host.tcb.send_urgent(10);
    let _ = host.raw();
    let _ = host.gets(&seg(1, 11));
    host.tcb.send(10);
    assert_eq!(urgent_sends(&mut host), []);
}

/// What URGENT/11 was about (CVE-2019-12255 and its family): whatever the pointers and the order,
/// each byte is delivered once and at its place, and each mark lies where the last news put it.
#[test]
fn no_urgent_pointer_shifts_the_stream() {
    for seed in 0..100_000 {
        let mut random = Random::new(seed);
        let mut host = Host::established();
        let pieces: Vec<(u32, u32)> = (0..8_u32)
            .scan(1, |at, _| {
                let len = 1 + random.below(40);
                *at += len;
                Some((*at - len, len))
            })
            .collect();
        let end = pieces.last().map_or(1, |(at, len)| at + len);
        let mut mark = None;
        while host.tcb.rcv.nxt != IRS + end {
            let (at, len) = pieces[random.below(8) as usize];
            let pointer = [0, 1, len, len + 1, 65_535][random.below(5) as usize] as u16;
            let next = host.tcb.rcv.nxt.since(IRS);
            let is_new = at + len > next;
            let urgent = random.chance(70);
            let segment =
                if urgent { seg(at, 1).text(len).urgent(pointer) } else { seg(at, 1).text(len) };
            let place = at + u32::from(pointer).saturating_sub(1);
            if urgent
                && is_new
                && place >= next
                && mark.is_none_or(|mark| mark < next || place > mark)
            {
                mark = Some(place);
            }
            let _ = host.gets(&segment);
            let told = host.buffer.marks.last().map(|at| *at as u32 + 1);
            assert_eq!(told, mark, "seed {seed}");
        }
        assert_eq!(host.buffer.read(), (1..end).map(pattern).collect::<Vec<u8>>(), "seed {seed}");
    }
}
