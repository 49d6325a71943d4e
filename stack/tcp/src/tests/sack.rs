//! What a receiver says in SACK blocks: RFC 2018 §4, and the scenarios of RFC 2883 §4.

use super::support::*;
use crate::*;

/// SACK without timestamps; quick ACKs are spent.
fn receiver() -> Host {
    Host::established_with(plain(), Options { sack_permitted: true, ..syn_options() })
}

/// `bytes` arrive; the ACK that goes out and its blocks.
fn told(host: &mut Host, start: u32, end: u32) -> (u32, Vec<(u32, u32)>) {
    let _ = host.gets(&seg(start, 1).text(end - start));
    let sent = host.raw();
    let last = sent.last().expect("an ACK");
    (last.ack.since(IRS), blocks(last))
}

fn blocks(segment: &SegmentOut) -> Vec<(u32, u32)> {
    let pair = |block: &SackBlock| (block.start.since(IRS), block.end.since(IRS));
    segment.options.sack.as_slice().iter().map(pair).collect()
}

#[test]
fn sack_is_used_only_if_both_offer_it() {
    let mut host = Host::established();
    assert_eq!(told(&mut host, 1001, 1101), (1, vec![]));
    let offers = Options { sack_permitted: true, ..syn_options() };
    let mut host = Host::established_with(Config { sack: false, ..plain() }, offers);
    assert_eq!(told(&mut host, 1001, 1101), (1, vec![]));
    let mut host = Host::syn_sent(plain());
    assert!(host.raw()[0].options.sack_permitted);
    let _ = host.gets(&seg(0, 0).flags(Flags::SYN).options(syn_options()));
    assert!(!host.raw()[0].options.sack_permitted, "simultaneous open: not offered, not answered");
}

#[test]
fn block_of_the_newest_segment_comes_first() {
    let mut host = receiver();
    assert_eq!(told(&mut host, 501, 1001), (1, vec![(501, 1001)]));
    assert_eq!(told(&mut host, 1501, 2001), (1, vec![(1501, 2001), (501, 1001)]));
    assert_eq!(told(&mut host, 2501, 3001), (1, vec![(2501, 3001), (1501, 2001), (501, 1001)]));
    assert_eq!(told(&mut host, 1001, 1201).1, [(501, 1201), (2501, 3001), (1501, 2001)]);
    assert_eq!(told(&mut host, 1, 501), (1201, vec![(2501, 3001), (1501, 2001)]));
    assert_eq!(told(&mut host, 1201, 1501), (2001, vec![(2501, 3001)]));
    assert_eq!(told(&mut host, 2001, 2501), (3001, vec![]));
    assert!(!host.tcb.reassembly.has_news(), "the side block is gone");
}

#[test]
fn each_block_is_repeated_in_the_next_three_acks() {
    let mut host = receiver();
    for i in 0..8 {
        let start = 101 + 200 * i;
        let (_, told) = told(&mut host, start, start + 100);
        let expected: Vec<_> =
            (0..=i).rev().take(4).map(|j| (101 + 200 * j, 201 + 200 * j)).collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn ranges_that_were_pushed_out_come_back_when_there_is_room() {
    let mut host = receiver();
    for i in (0..6).rev() {
        let _ = told(&mut host, 101 + 200 * i, 201 + 200 * i);
    }
    // The four newest ones are complete now; the two old ones are told again.
    let _ = told(&mut host, 1, 101);
    let _ = told(&mut host, 201, 301);
    let _ = told(&mut host, 401, 501);
    assert_eq!(told(&mut host, 601, 701), (801, vec![(901, 1001), (1101, 1201)]));
}

/// RFC 2883 §4.1.1.
#[test]
fn duplicate_segment_is_reported_below_the_ack() {
    let mut host = receiver();
    let _ = host.gets(&seg(1, 1).text(500));
    assert_eq!(told(&mut host, 501, 1001), (1001, vec![]));
    assert_eq!(told(&mut host, 1, 501), (1001, vec![(1, 501)]));
    assert_eq!(told(&mut host, 1501, 1601), (1001, vec![(1501, 1601)]), "once only");
}

/// RFC 2883 §4.1.2.
#[test]
fn duplicate_and_hole_are_reported_together() {
    let mut host = receiver();
    let _ = host.gets(&seg(1, 1).text(500));
    assert_eq!(told(&mut host, 1001, 1501), (501, vec![(1001, 1501)]));
    assert_eq!(told(&mut host, 1, 501), (501, vec![(1, 501), (1001, 1501)]));
}

/// RFC 2883 §4.1.3.
#[test]
fn duplicate_of_text_out_of_order_is_followed_by_the_block_around_it() {
    let mut host = receiver();
    assert_eq!(told(&mut host, 501, 1001), (1, vec![(501, 1001)]));
    assert_eq!(told(&mut host, 1001, 1501), (1, vec![(501, 1501)]));
    assert_eq!(told(&mut host, 2001, 2501), (1, vec![(2001, 2501), (501, 1501)]));
    assert_eq!(told(&mut host, 501, 1001), (1, vec![(501, 1001), (501, 1501), (2001, 2501)]));
}

/// RFC 2883 §4.2.1.
#[test]
fn only_the_part_that_is_duplicate_is_reported() {
    let mut host = receiver();
    assert_eq!(told(&mut host, 1001, 1501), (1, vec![(1001, 1501)]));
    assert_eq!(told(&mut host, 501, 2001), (1, vec![(1001, 1501), (501, 2001)]));
    assert_eq!(told(&mut host, 1, 1001), (2001, vec![(501, 1001)]));
}

/// RFC 2883 §4.2.3.
#[test]
fn of_two_duplicate_parts_the_first_is_reported() {
    let mut host = receiver();
    let _ = told(&mut host, 501, 1001);
    let _ = told(&mut host, 1501, 2001);
    assert_eq!(told(&mut host, 401, 2101), (1, vec![(501, 1001), (401, 2101)]));
}

#[test]
fn the_late_original_of_a_retransmission_is_reported_though_paws_drops_it() {
    let theirs = Options {
        timestamps: Some(Timestamps { value: 100, echo: 0 }),
        sack_permitted: true,
        ..syn_options()
    };
    let mut host = Host::established_with(Config { timestamps: true, ..plain() }, theirs);
    let _ = host.gets(&seg(1, 1).text(500).ts(200, 0));
    let _ = host.gets(&seg(501, 1).text(500).ts(300, 0));
    let _ = host.raw();
    let late = host.gets(&seg(1, 1).text(500).ts(150, 0));
    assert_eq!(late.drop, Some(types::DropReason::TcpPaws));
    let answer = host.raw()[0];
    assert_eq!((answer.ack.since(IRS), blocks(&answer)), (1001, vec![(1, 501)]));
}

#[test]
fn text_and_blocks_share_the_segment() {
    let mut host = receiver();
    let _ = host.gets(&seg(501, 1).text(100));
    host.tcb.send(1000);
    let sent = host.raw();
    assert_eq!(sent[0].text_len, 0, "blocks go first where text leaves no room");
    assert_eq!((blocks(&sent[0]), sent[1].text_len), (vec![(501, 601)], 1000));
    assert_eq!(blocks(&sent[1]), []);
    host.tcb.set_nodelay(true);
    host.tcb.send(988);
    assert_eq!(blocks(&host.raw()[0]), [(501, 601)], "988 bytes and an option of 12");
}

#[test]
fn text_older_than_a_window_is_nobodys_duplicate() {
    let mut host = receiver();
    let stray = Seg { seq: IRS + 1 - 64_001, ..seg(1, 1).text(100) };
    let _ = host.gets(&stray);
    assert_eq!(blocks(&host.raw()[0]), []);
}
