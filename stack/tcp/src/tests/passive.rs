//! Opening: the passive side, a half-open entry that becomes a connection.

use core::time::Duration;

use types::{DropReason, Instant};

use super::support::*;
use crate::*;

fn half_open(config: &Config, options: Options) -> (HalfOpen, Instant) {
    let now = Instant::from_millis(50_000);
    let syn = seg(0, 0).flags(Flags::SYN).options(options);
    (HalfOpen::new(&syn.arrived(), config, ISS, 30_000, now), now)
}

fn promote(mut half: HalfOpen, config: &Config, now: Instant, last: &Seg) -> (Host, Arrival) {
    assert_eq!(half.segment_arrives(&last.arrived(), now), HalfOpenVerdict::Established);
    let tcb = half.into_tcb(config, now);
    assert_eq!(tcb.state(), State::SynReceived);
    let mut host = Host { tcb, buffer: Buffer::new(64_000), now, events: Events::NONE };
    let arrival = host.gets(last);
    (host, arrival)
}

#[test]
fn syn_is_answered_and_the_ack_establishes() {
    let (mut half, now) = half_open(&plain(), syn_options());
    let syn_ack = half.poll_transmit(now).unwrap();
    assert_eq!((syn_ack.seq, syn_ack.ack), (ISS, IRS + 1));
    assert_eq!((syn_ack.flags, syn_ack.window), (Flags::SYN | Flags::ACK, 30_000));
    assert_eq!(half.poll_transmit(now), None);
    let later = now + Duration::from_millis(30);
    let (mut host, arrival) = promote(half, &plain(), later, &seg(1, 1));
    assert_eq!(arrival.events, Events::ESTABLISHED);
    assert_eq!(host.tcb.info().srtt_us, 30_000, "the handshake is the first sample");
    assert_eq!(host.queue(100), [text(1, 100, 1)]);
}

#[test]
fn text_on_the_last_ack_is_delivered() {
    let (half, now) = half_open(&plain(), syn_options());
    let (mut host, arrival) = promote(half, &plain(), now, &seg(1, 1).text(20).fin());
    let expected = Events::ESTABLISHED | Events::READABLE | Events::FIN_RECEIVED;
    assert_eq!((arrival.events, arrival.delivered_len), (expected, 20));
    assert_eq!((host.state(), host.sends()), (State::CloseWait, vec![ack(1, 22)]));
}

#[test]
fn only_offered_options_are_answered() {
    let config = Config { timestamp_offset: 0, ..Config::default() };
    let (mut half, now) = half_open(&config, Options::default());
    let options = half.poll_transmit(now).unwrap().options;
    assert_eq!((options.mss, options.window_scale, options.timestamps), (Some(1460), None, None));
    assert!(!options.sack_permitted);
    let theirs = Options {
        mss: Some(1200),
        window_scale: Some(3),
        timestamps: Some(Timestamps { value: 9, echo: 0 }),
        sack_permitted: true,
        ..Options::default()
    };
    let (mut half, now) = half_open(&config, theirs);
    let options = half.poll_transmit(now).unwrap().options;
    assert_eq!(options.timestamps, Some(Timestamps { value: 50_000, echo: 9 }));
    assert_eq!((options.window_scale, options.sack_permitted), (Some(7), true));
    let (host, _) = promote(half, &config, now, &seg(1, 1).ts(10, 50_000).window(100));
    let info = host.tcb.info();
    assert_eq!((info.mss, info.snd_scale, info.rcv_scale, info.snd_wnd), (1188, 3, 7, 800));
}

#[test]
fn syn_ack_is_repeated_five_times_then_given_up() {
    let (mut half, start) = half_open(&plain(), syn_options());
    let _ = half.poll_transmit(start);
    let mut waits = Vec::new();
    let mut last = start;
    loop {
        let due = half.next_timeout();
        waits.push(due.since(last).as_secs());
        last = due;
        if !half.timeout(due) {
            break;
        }
        assert!(half.poll_transmit(due).is_some());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32]);
}

#[test]
fn repeated_syn_repeats_the_syn_ack() {
    let (mut half, now) = half_open(&plain(), syn_options());
    let _ = half.poll_transmit(now);
    let again = seg(0, 0).flags(Flags::SYN);
    assert_eq!(half.segment_arrives(&again.arrived(), now), HalfOpenVerdict::Retransmit);
    assert!(half.poll_transmit(now).is_some());
}

#[test]
fn only_the_exact_rst_kills_a_half_open_connection() {
    let (mut half, now) = half_open(&plain(), syn_options());
    for at in [0, 2, 100, 29_999] {
        let verdict = half.segment_arrives(&seg(at, 1).flags(Flags::RST).arrived(), now);
        assert_eq!(verdict, HalfOpenVerdict::Drop(DropReason::TcpResetUnacceptable));
    }
    let verdict = half.segment_arrives(&seg(1, 1).flags(Flags::RST).arrived(), now);
    assert_eq!(verdict, HalfOpenVerdict::Closed);
}

#[test]
fn strange_acks_do_not_establish() {
    let (mut half, now) = half_open(&plain(), syn_options());
    for wrong in [0, 2, 77] {
        let verdict = half.segment_arrives(&seg(1, wrong).arrived(), now);
        let HalfOpenVerdict::Reset(reset) = verdict else { panic!("{verdict:?}") };
        assert_eq!((reset.seq, reset.flags), (ISS + wrong, Flags::RST));
    }
    let verdict = half.segment_arrives(&seg(40_000, 1).arrived(), now);
    assert_eq!(verdict, HalfOpenVerdict::Drop(DropReason::TcpSequence));
    let verdict = half.segment_arrives(&seg(1, 1).flags(Flags::NONE).arrived(), now);
    assert_eq!(verdict, HalfOpenVerdict::Drop(DropReason::TcpAckMissing));
}

#[test]
fn after_a_lost_syn_ack_the_window_is_one_segment() {
    let (mut half, now) = half_open(&plain(), syn_options());
    let _ = half.poll_transmit(now);
    let due = half.next_timeout();
    assert!(half.timeout(due));
    let _ = half.poll_transmit(due);
    let (mut host, _) = promote(half, &plain(), due, &seg(1, 1));
    assert_eq!(host.queue(9_000), [text(1, 1000, 1)]);
    assert_eq!(host.tcb.info().rto_ms, 3_000, "RFC 6298 5.7");
}

fn deferring() -> Config {
    Config { defer_accept: 3, ..plain() }
}

#[test]
fn deferred_handshake_completes_with_the_first_text() {
    let (mut half, now) = half_open(&deferring(), syn_options());
    let _ = half.poll_transmit(now);
    assert_eq!(half.segment_arrives(&seg(1, 1).arrived(), now), HalfOpenVerdict::Deferred);
    let later = now + Duration::from_secs(2);
    assert!(half.timeout(later));
    assert_eq!(half.poll_transmit(later), None, "the peer has the SYN-ACK");
    let (mut host, arrival) = promote(half, &plain(), later, &seg(1, 1).text(9));
    assert_eq!(arrival.delivered_len, 9);
    assert_eq!(host.tcb.info().srtt_us, 0, "nobody knows how long the peer thought");
    assert_eq!(host.queue(3_000).len(), 3, "and nothing was lost");
}

#[test]
fn deferred_handshake_completes_without_text_after_the_last_syn_ack() {
    let (mut half, now) = half_open(&deferring(), syn_options());
    let _ = half.poll_transmit(now);
    let mut sent = 0;
    for _ in 0..3 {
        let due = half.next_timeout();
        assert_eq!(half.segment_arrives(&seg(1, 1).arrived(), due), HalfOpenVerdict::Deferred);
        assert!(half.timeout(due));
        sent += u8::from(half.poll_transmit(due).is_some());
    }
    assert_eq!(sent, 1);
    let _ = promote(half, &plain(), half.next_timeout(), &seg(1, 1));
}

#[test]
fn fin_without_text_is_not_deferred() {
    let (half, now) = half_open(&deferring(), syn_options());
    let (host, _) = promote(half, &plain(), now, &seg(1, 1).fin());
    assert_eq!(host.state(), State::CloseWait);
}

#[test]
fn who_asks_for_a_fast_open_cookie_is_remembered_if_we_give_them() {
    let asks = Options { fast_open: Some(FastOpenCookie::REQUEST), ..syn_options() };
    assert!(!half_open(&plain(), asks).0.wants_cookie());
    let giving = Config { fast_open: true, ..plain() };
    assert!(half_open(&giving, asks).0.wants_cookie());
    assert!(!half_open(&giving, syn_options()).0.wants_cookie());
}
