//! Blind and off-path attacks: RFC 5961, PAWS, challenge ACKs, ISN.

use core::time::Duration;

use types::{DropReason, FlowKey, Instant};

use super::support::*;
use crate::*;

#[test]
fn only_the_exact_rst_resets() {
    let mut host = Host::established();
    for at in [0, 2, 100, 63_000] {
        let arrival = host.gets(&seg(at, 1).flags(Flags::RST));
        assert_eq!(arrival.drop, Some(DropReason::TcpResetUnacceptable));
        let expected = if at == 0 { vec![] } else { vec![ack(1, 1)] };
        assert_eq!(host.sends(), expected, "in the window: a challenge ACK, at {at}");
    }
    let arrival = host.gets(&seg(64_001, 1).flags(Flags::RST));
    assert_eq!((arrival.drop, host.sends()), (Some(DropReason::TcpResetUnacceptable), vec![]));
    let arrival = host.gets(&seg(1, 1).flags(Flags::RST));
    assert_eq!(arrival.events, Events::RESET | Events::CLOSED);
    assert_eq!(arrival.events.error(), Some(ConnectionError::Reset));
    assert_eq!((host.state(), host.sends()), (State::Closed, vec![]));
}

#[test]
fn syn_in_a_connection_is_challenged_wherever_it_is() {
    for at in [0, 1, 500, 100_000, 1 << 31] {
        let mut host = Host::established();
        let arrival = host.gets(&seg(at, 1).flags(Flags::SYN));
        assert_eq!(arrival.drop, Some(DropReason::TcpSynUnacceptable));
        assert_eq!((host.state(), host.sends()), (State::Established, vec![ack(1, 1)]));
    }
}

#[test]
fn rebooted_peer_gets_through_by_challenge_and_exact_rst() {
    let mut host = Host::established();
    let _ = host.gets(&seg(70_000, 0).flags(Flags::SYN));
    let challenge = host.raw()[0];
    // The peer knows nothing of this ACK: <SEQ=SEG.ACK><CTL=RST>.
    let reset = Seg { seq: challenge.ack, ..seg(0, 0).flags(Flags::RST) };
    assert!(host.gets(&reset).events.contains(Events::RESET));
}

#[test]
fn ack_of_text_never_sent_is_challenged() {
    let mut host = Host::nodelay();
    let _ = host.queue(100);
    for wrong in [102, 1000, 1 << 30] {
        let arrival = host.gets(&seg(1, wrong).text(5));
        assert_eq!(arrival.drop, Some(DropReason::TcpAckUnacceptable));
        assert_eq!((arrival.acked_len, host.sends()), (0, vec![ack(101, 1)]));
    }
    assert_eq!(host.buffer.total, 0, "RFC 5961 5.2: the text is not taken");
}

#[test]
fn ack_older_than_any_window_is_challenged() {
    let mut host = Host::nodelay();
    let old = Seg { ack: ISS + 1 - 60_001, ..seg(1, 0).text(5) };
    assert_eq!(host.gets(&old).drop, Some(DropReason::TcpAckUnacceptable));
    let recent = Seg { ack: ISS + 1 - 59_999, ..seg(1, 0).text(5) };
    assert_eq!(host.gets(&recent).delivered_len, 5);
}

#[test]
fn challenge_acks_are_limited_per_connection() {
    let mut host = Host::established();
    host.now = Instant::from_millis(2_000_000);
    let mut count = 0;
    for _ in 0..1000 {
        let _ = host.gets(&seg(500, 1).flags(Flags::SYN));
        count += host.sends().len();
    }
    assert_eq!(count, usize::from(limits::CHALLENGE_ACKS));
    host.now += Duration::from_secs(1);
    let _ = host.gets(&seg(500, 1).flags(Flags::SYN));
    assert_eq!(host.sends().len(), 1);
}

#[test]
fn blind_guesses_are_harmless() {
    let mut host = Host::established();
    let mut random = Random::new(1);
    let flags = [Flags::RST, Flags::SYN, Flags::ACK, Flags::RST | Flags::ACK];
    let count = if cfg!(debug_assertions) { 100_000 } else { 10_000_000 };
    for i in 0..count {
        let mut blind = seg(2 + random.below(60_000), 0).flags(flags[i % 4]);
        blind.ack = SeqNum::new(random.next() as u32);
        // A hit on the acceptable 60 KB of 4 GB ACK numbers is not blind luck we test here.
        if blind.ack.since(ISS + 1 - 60_000) <= 60_000 {
            continue;
        }
        blind.text = if i % 4 == 2 { vec![0xbd] } else { vec![] };
        let _ = host.gets(&blind);
    }
    assert_eq!((host.state(), host.buffer.total), (State::Established, 0));
    assert!(host.tcb.reassembly.is_empty());
}

fn with_timestamps() -> Host {
    let theirs = Options { timestamps: Some(Timestamps { value: 100, echo: 0 }), ..syn_options() };
    Host::established_with(Config { timestamps: true, ..plain() }, theirs)
}

#[test]
fn old_timestamp_is_rejected_and_answered() {
    let mut host = with_timestamps();
    assert_eq!(host.gets(&seg(1, 1).text(10).ts(105, 0)).delivered_len, 10);
    let _ = host.gets(&seg(11, 1).text(10).ts(105, 0));
    let _ = host.sends();
    let arrival = host.gets(&seg(21, 1).text(10).ts(104, 0));
    assert_eq!(arrival.drop, Some(DropReason::TcpPaws));
    assert_eq!(host.sends(), [ack(1, 21)]);
    assert_eq!(host.gets(&seg(21, 1).text(10).ts(105, 0)).delivered_len, 10);
}

#[test]
fn timestamp_clock_may_wrap() {
    let theirs =
        Options { timestamps: Some(Timestamps { value: u32::MAX, echo: 0 }), ..syn_options() };
    let mut host = Host::established_with(Config { timestamps: true, ..plain() }, theirs);
    assert_eq!(host.gets(&seg(1, 1).text(10).ts(3, 0)).drop, None);
    let arrival = host.gets(&seg(11, 1).text(10).ts(u32::MAX - 1, 0));
    assert_eq!(arrival.drop, Some(DropReason::TcpPaws));
}

#[test]
fn after_24_days_the_old_timestamp_counts_no_more() {
    let mut host = with_timestamps();
    host.now += Duration::from_nanos(u64::from(limits::PAWS_IDLE) << 40);
    assert_eq!(host.gets(&seg(1, 1).text(10).ts(50, 0)).delivered_len, 10);
}

#[test]
fn segment_without_the_negotiated_timestamp_is_dropped_a_rst_is_not() {
    let mut host = with_timestamps();
    let arrival = host.gets(&seg(1, 1).text(10));
    assert_eq!(arrival.drop, Some(DropReason::TcpTimestampMissing));
    assert_eq!(host.sends(), []);
    assert!(host.gets(&seg(1, 1).flags(Flags::RST)).events.contains(Events::RESET));
}

#[test]
fn echo_is_the_timestamp_of_the_segment_that_caused_the_ack() {
    let mut host = with_timestamps();
    let _ = host.gets(&seg(1, 1).text(10).ts(200, 0));
    let _ = host.gets(&seg(11, 1).text(10).ts(300, 0));
    // RFC 7323 4.3: the first unacknowledged segment's, so that delayed ACKs count in the RTT.
    assert_eq!(host.raw()[0].options.timestamps.unwrap().echo, 200);
    let _ = host.gets(&seg(31, 1).text(10).ts(400, 0));
    assert_eq!(host.raw()[0].options.timestamps.unwrap().echo, 200, "out of order: unchanged");
}

#[test]
fn timestamp_of_a_segment_with_a_wrong_ack_is_not_believed() {
    let mut host = with_timestamps();
    let _ = host.gets(&seg(1, 1 << 30).ts(1 << 30, 0));
    assert_eq!(host.gets(&seg(1, 1).text(1).ts(101, 0)).delivered_len, 1);
}

#[test]
fn segment_without_ack_is_dropped() {
    let mut host = Host::established();
    let arrival = host.gets(&seg(1, 1).text(10).flags(Flags::PSH));
    assert_eq!((arrival.drop, host.sends()), (Some(DropReason::TcpAckMissing), vec![]));
}

#[test]
fn holes_beyond_the_limit_are_refused_not_stored() {
    let mut host = Host::established();
    for i in 0..1000 {
        let arrival = host.gets(&seg(3 + 2 * i, 1).text(1));
        let full = i as usize >= limits::REASSEMBLY_RANGES;
        assert_eq!(arrival.drop, full.then_some(DropReason::TcpReceiveBuffer));
    }
    assert_eq!(host.gets(&seg(1, 1).text(2)).delivered_len, 3, "in order always fits");
}

#[test]
fn initial_sequence_numbers_follow_the_clock_and_hide_the_rest() {
    let flow = |port| FlowKey {
        local_addr: [10, 0, 0, 1].into(),
        remote_addr: [10, 0, 0, 2].into(),
        local_port: port,
        remote_port: 80,
    };
    let secret = isn::Secret([7; 16]);
    let at = |port, us: u64| {
        isn::initial_sequence(&secret, &flow(port), Instant::from_nanos(us * 1000)).value()
    };
    assert_eq!(at(1, 4_000_000).wrapping_sub(at(1, 0)), 1_000_000, "one step in 4 us");
    // Different flows: uniform over 256 cells of the top byte (chi squared, 255 degrees, p > 0.001).
    let mut cells = [0_u32; 256];
    for port in 0..=u16::MAX {
        cells[(at(port, 0) >> 24) as usize] += 1;
    }
    let chi: f64 = cells.iter().map(|n| (f64::from(*n) - 256.0).powi(2) / 256.0).sum();
    assert!(chi < 330.5, "{chi}");
    assert_ne!(
        isn::initial_sequence(&isn::Secret([8; 16]), &flow(1), Instant::ZERO).value(),
        at(1, 0)
    );
    assert_ne!(isn::timestamp_offset(&secret, &flow(1)), at(1, 0));
    assert_eq!(format!("{secret:?}"), "Secret(..)");
}
