//! The record of what is in flight: against a model, and what an ACK costs an honest peer and a
//! hostile one (CVE-2019-11477, CVE-2019-11478, CVE-2026-101307).

use proptest::prelude::*;
use types::Instant;

use super::support::*;
use crate::delivery::Stamp;
use crate::sack::SackBlock;
use crate::scoreboard::{Place, Scoreboard, Segment};
use crate::*;

const UNA: SeqNum = SeqNum::new(0xffff_ff00);

fn board(count: u32, len: u32) -> Scoreboard {
    let mut board = Scoreboard::new(UNA);
    for i in 0..count {
        let at = Instant::from_millis(u64::from(i));
        board.push(UNA + (i + 1) * len, len, false, Stamp::default(), at);
    }
    board
}

proptest! {
    /// Every byte is in the place where a model of single bytes has it.
    #[test]
    fn agrees_with_a_model_of_segments(
        steps in prop::collection::vec((0_u8..6, 0_u32..40, 1_u32..12), 1..120),
    ) {
        let mut board = board(40, 10);
        // Per segment: acknowledged, SACKed, lost.
        let mut model = [0_u8; 40];
        let mut una = 0;
        for (kind, at, len) in steps {
            let end = (at + len).min(40);
            match kind {
                0 | 1 => {
                    let block = SackBlock { start: UNA + at * 10, end: UNA + end * 10 };
                    if at >= una {
                        let mut news = 0;
                        board.sack(block, |segment| news += segment.len());
                        for place in &mut model[at as usize..end as usize] {
                            news -= if *place == 1 { 0 } else { 10 };
                            *place = 1;
                        }
                        prop_assert_eq!(news, 0);
                    }
                }
                2 => {
                    if let Some((id, oldest)) = board.oldest().map(|(id, s)| (id, *s)) {
                        board.lose(id);
                        model[(oldest.start.since(UNA) / 10) as usize] = 2;
                    }
                }
                3 => {
                    if let Some((start, end)) = board.next_lost() {
                        prop_assert!(board.resend_lost(end, Stamp::default(), Instant::ZERO));
                        model[(start.since(UNA) / 10) as usize] = 0;
                    }
                }
                4 => {
                    una = una.max((una + len / 4).min(40));
                    board.acknowledge(UNA + una * 10, |_| {});
                }
                _ => {
                    board.restore_lost();
                    model.iter_mut().for_each(|place| *place = if *place == 2 { 0 } else { *place });
                }
            }
            board.assert_invariants(UNA + una * 10, UNA + 400);
            let rest = &model[una as usize..];
            let count = |what: u8| 10 * rest.iter().filter(|place| **place == what).count() as u32;
            prop_assert_eq!(board.sacked_len(), count(1));
            prop_assert_eq!(board.lost_len(), count(2));
            prop_assert_eq!(board.pipe(), count(0));
        }
    }
}

proptest! {
    /// Whatever part of which segment a block covers: the accounts agree, what is sent again was lost,
    /// and in the end each byte has been reported once.
    #[test]
    fn parts_of_segments_are_reported_once(
        origin: u32,
        steps in prop::collection::vec((0_u8..6, 0_u32..400, 1_u32..90), 1..150),
    ) {
        let origin = SeqNum::new(origin);
        let mut board = Scoreboard::new(origin);
        for i in 0..20 {
            board.push(origin + (i + 1) * 20, 20, false, Stamp::default(), Instant::ZERO);
        }
        let mut una = 0;
        let mut told = [0_u8; 400];
        for (kind, at, len) in steps {
            let end = (at + len).min(400);
            let mut tell = |segment: &Segment| {
                if segment.place != Place::Sacked {
                    let from = segment.start.since(origin) as usize;
                    told[from..from + segment.len() as usize].iter_mut().for_each(|n| *n += 1);
                }
            };
            match kind {
                0..=2 if at >= una => {
                    board.sack(SackBlock { start: origin + at, end: origin + end }, tell);
                }
                3 => {
                    una = una.max(at / 4);
                    board.acknowledge(origin + una, &mut tell);
                }
                4 => {
                    if let Some((id, _)) = board.oldest() {
                        board.lose(id);
                    }
                }
                _ => {
                    if let Some((start, end)) = board.next_lost() {
                        prop_assert!(end.after(start) && start.at_or_after(origin + una));
                        let end = end.earlier(start + len);
                        let _ = board.resend_lost(end, Stamp::default(), Instant::ZERO);
                    }
                }
            }
            board.assert_invariants(origin + una, origin + 400);
            let known = told[una as usize..].iter().filter(|n| **n == 1).count();
            prop_assert_eq!(board.sacked_len() as usize, known);
        }
        board.acknowledge(origin + 400, |segment| {
            if segment.place != Place::Sacked {
                let from = segment.start.since(origin) as usize;
                told[from..from + segment.len() as usize].iter_mut().for_each(|n| *n += 1);
            }
        });
        prop_assert!(told.iter().all(|n| *n == 1), "{:?}", told);
    }
}

#[test]
fn a_segment_of_which_a_part_has_arrived_is_repeated_without_it() {
    let mut board = board(1, 1000);
    board.sack(SackBlock { start: UNA + 300, end: UNA + 600 }, |_| {});
    assert_eq!((board.sacked_len(), board.pipe()), (300, 700));
    board.sack(SackBlock { start: UNA + 800, end: UNA + 900 }, |_| {});
    assert_eq!(board.sacked_len(), 300, "a second stretch is not remembered");
    assert_eq!(board.lose_front(), 700);
    assert_eq!(board.next_lost(), Some((UNA, UNA + 300)));
    assert!(!board.resend_lost(UNA + 300, Stamp::default(), Instant::ZERO));
    assert_eq!(board.next_lost(), Some((UNA + 600, UNA + 1000)));
    assert!(board.resend_lost(UNA + 1000, Stamp::default(), Instant::ZERO));
    assert_eq!((board.next_lost(), board.pipe()), (None, 700));
}

#[test]
fn a_long_flight_shares_entries_and_the_record_stays_small() {
    let mut board = board(100_000, 10);
    board.assert_invariants(UNA, UNA + 1_000_000);
    assert!(board.entries() <= limits::FLIGHT_SEGMENTS);
    let mut arrived = 0;
    board.acknowledge(UNA + 1_000_000, |segment| arrived += segment.len());
    assert_eq!((arrived, board.pipe()), (1_000_000, 0));
}

#[test]
fn smaller_segments_after_the_path_shrank_keep_what_is_known() {
    let mut board = board(10, 1000);
    board.sack(SackBlock { start: UNA + 2000, end: UNA + 3000 }, |_| {});
    board.divide(400);
    board.assert_invariants(UNA, UNA + 10_000);
    assert_eq!((board.sacked_len(), board.lost_len(), board.pipe()), (1000, 9000, 0));
    assert_eq!(board.next_lost(), Some((UNA, UNA + 400)));
}

/// Threat 6: SACKs of every other segment, over and over, cost what honest ones cost.
#[test]
fn alternating_blocks_cost_no_more_than_twice_an_honest_ack() {
    let count = limits::FLIGHT_SEGMENTS as u32 / 2;
    // Honest: one segment is lost, each ACK's first block grows by a segment, two more are repeated.
    let mut honest = board(count, 10);
    let start = honest.steps.get();
    for i in 20..count {
        for block in [(12, i), (4, 8), (1, 3)] {
            sack(&mut honest, block);
        }
    }
    let honest_mean = (honest.steps.get() - start) / u64::from(count - 20);
    // Hostile: every other segment, three far apart in each ACK, four times over.
    let mut hostile = board(count, 10);
    let mut acks = 0;
    for i in (0..4).flat_map(|_| (2..count - 2).step_by(2)) {
        for at in [i, count - i, (i * 5 % count) & !1] {
            sack(&mut hostile, (at, at + 1));
        }
        acks += 1;
    }
    let mean = hostile.steps.get() / acks;
    // Hostile: one byte of every segment, then the next byte of each, as long as there are any.
    let mut split = board(count, 10);
    let mut acks = 0;
    for byte in 0..10 {
        for i in (2..count - 2).step_by(3) {
            for at in [i, i + 1, count - i] {
                let start = UNA + at * 10 + (byte * 7 % 10);
                split.sack(SackBlock { start, end: start + 1 }, |_| {});
            }
            acks += 1;
        }
    }
    let split_mean = split.steps.get() / acks;
    println!("steps an ACK: {mean}, in pieces {split_mean}, an honest one {honest_mean}");
    assert!(mean <= 2 * honest_mean, "{mean} steps an ACK; an honest one {honest_mean}");
    assert!(split_mean <= 2 * honest_mean, "{split_mean} in pieces; an honest one {honest_mean}");
    assert_eq!(split.entries(), count as usize, "no block makes the record longer");
}

fn sack(board: &mut Scoreboard, (from, to): (u32, u32)) {
    board.sack(SackBlock { start: UNA + from * 10, end: UNA + to * 10 }, |_| {});
}

/// Threat 5: a million ACKs on one connection; memory is what it was after the first thousand.
#[test]
fn a_million_acks_leave_memory_constant() {
    let mut host = Host::sacking(1);
    let acks = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let mut at: u32 = 1;
    let mut capacity = 0;
    for i in 0..acks {
        let _ = host.queue(1000);
        at = at.wrapping_add(1000);
        let mut segment = seg(1, at);
        if i % 3 == 0 {
            segment = segment.sack(&[(at.wrapping_sub(1000), at)]);
        }
        let _ = host.gets(&segment);
        let now = host.tcb.flight.as_ref().map(|flight| flight.board.capacity()).unwrap();
        if i == 1_000 {
            capacity = now;
        }
        assert!(i <= 1_000 || now == capacity, "{now} entries after {i} ACKs");
    }
}

/// Threat 20: a record of a request and its answer is not made anew each time, and goes when idle.
#[test]
fn the_record_is_kept_between_requests_and_dropped_when_idle() {
    let mut host = Host::sacking(1);
    let mut place = None;
    for i in 0..10 {
        let _ = host.queue(100);
        let _ = host.gets(&seg(1, 101 + 100 * i));
        let flight = host.tcb.flight.as_deref().unwrap();
        let here = Some(std::ptr::from_ref(flight));
        assert!(place.is_none() || place == here);
        place = here;
        host.wait_ms(500);
    }
    host.wait_ms(1_000);
    assert!(host.tcb.flight.is_none());
    assert_eq!(host.tcb.next_timeout(), None);
}
