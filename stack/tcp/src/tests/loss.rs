//! Recovery: timeout, fast retransmit, NewReno.

use super::support::*;
use crate::*;

/// Text 1..=10000 in ten segments; nothing acknowledged.
fn ten_in_flight() -> Host {
    let mut host = Host::nodelay();
    assert_eq!(host.queue(20_000).len(), 10);
    host
}

fn dup_acks(host: &mut Host, at: u32, count: usize) -> Vec<Sent> {
    (0..count)
        .flat_map(|_| {
            let _ = host.gets(&seg(1, at));
            host.sends()
        })
        .collect()
}

#[test]
fn lost_syn_is_repeated_six_times_then_times_out() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let mut waits = Vec::new();
    while host.state() == State::SynSent {
        waits.push(host.fire() / 1000);
        let expected = usize::from(host.state() == State::SynSent);
        assert_eq!(host.sends().len(), expected);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64]);
    assert_eq!(host.events, Events::TIMED_OUT | Events::CLOSED);
    assert_eq!(host.events.error(), Some(ConnectionError::TimedOut));
}

#[test]
fn after_a_lost_syn_the_window_is_one_segment() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let _ = host.fire();
    let _ = host.sends();
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(syn_options()));
    assert_eq!(host.queue(5_000), [text(1, 1000, 1)]);
}

#[test]
fn lost_text_is_repeated_with_back_off() {
    let mut host = Host::established();
    let _ = host.queue(100);
    for wait in [200, 400, 800, 1600] {
        assert_eq!((host.fire(), host.sends()), (wait, vec![text(1, 100, 1)]));
    }
    let _ = host.gets(&seg(1, 101));
    assert!(host.rests());
    assert_eq!(host.tcb.info().rto_ms, 3200, "Karn: no sample, the back-off stays");
    let _ = host.queue(100);
    let _ = host.gets(&seg(1, 201));
    assert_eq!(host.tcb.info().rto_ms, 200, "a sample ends it");
}

#[test]
fn timestamps_end_the_back_off_at_once() {
    let config = Config { window_scale: 0, ..Config::default() };
    let theirs = Options { timestamps: Some(Timestamps { value: 1, echo: 0 }), ..syn_options() };
    let mut host = Host::syn_sent(config);
    let _ = host.raw();
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(theirs));
    let _ = host.queue(100);
    let _ = host.fire();
    let sent = host.raw()[0].options.timestamps.unwrap();
    host.wait_ms(30);
    let _ = host.gets(&seg(1, 101).ts(2, sent.value));
    assert!(host.tcb.info().rto_ms < 400, "{:?}", host.tcb.info());
}

#[test]
fn echo_from_before_the_timeout_is_no_sample() {
    let config = Config { window_scale: 0, ..Config::default() };
    let theirs = Options { timestamps: Some(Timestamps { value: 1, echo: 0 }), ..syn_options() };
    let mut host = Host::established_with(config, theirs);
    let first = host.now;
    let _ = host.queue(100);
    for _ in 0..6 {
        let _ = host.fire();
        let _ = host.sends();
    }
    // The peer had it all along, its ACKs were lost: the echo is of the first transmission.
    let echo = host.tcb.timestamps.value(first);
    let before = host.tcb.info();
    assert_eq!(host.gets(&seg(1, 101).ts(1, echo)).acked_len, 100);
    assert_eq!(host.tcb.info().srtt_us, before.srtt_us);
}

#[test]
fn unanswered_text_is_given_up_after_fifteen_tries_in_a_quarter_of_an_hour() {
    let mut host = Host::established();
    let _ = host.queue(100);
    let mut waited_ms = 0;
    let mut sent = 0;
    while host.state() != State::Closed {
        waited_ms += host.fire();
        sent += host.sends().len();
    }
    assert_eq!((sent, waited_ms / 60_000), (15, 15));
    assert_eq!(host.events.error(), Some(ConnectionError::TimedOut));
}

#[test]
fn lost_fin_is_repeated() {
    let mut host = Host::established();
    host.tcb.shutdown(host.now);
    assert_eq!(host.sends(), [fin(1, 0, 1)]);
    assert_eq!((host.fire(), host.sends()), (200, vec![fin(1, 0, 1)]));
    let _ = host.gets(&seg(1, 2));
    assert_eq!((host.state(), host.tcb.next_timeout()), (State::FinWait2, None));
}

#[test]
fn timeout_goes_back_to_the_first_segment_in_slow_start() {
    let mut host = Host::nodelay();
    let _ = host.queue(10_000);
    let _ = host.fire();
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    assert_eq!((host.tcb.info().cwnd, host.tcb.info().ssthresh), (1000, 5000));
    let _ = host.gets(&seg(1, 1001));
    assert_eq!(host.sends(), [text(1001, 1000, 1), text(2001, 1000, 1)]);
    // The rest had arrived: no need to send it again.
    let _ = host.gets(&seg(1, 10_001));
    assert_eq!(host.queue(1000), [text(10_001, 1000, 1)]);
}

#[test]
fn two_duplicate_acks_send_new_text_the_third_retransmits() {
    let mut host = ten_in_flight();
    assert_eq!(dup_acks(&mut host, 1, 1), [text(10_001, 1000, 1)], "limited transmit");
    assert_eq!(dup_acks(&mut host, 1, 1), [text(11_001, 1000, 1)]);
    assert_eq!(dup_acks(&mut host, 1, 1), [text(1, 1000, 1)], "fast retransmit");
    assert_eq!((host.tcb.info().ssthresh, host.tcb.info().cwnd), (5000, 9000));
}

#[test]
fn every_second_further_duplicate_lets_a_segment_go_until_the_flight_is_halved() {
    let mut host = ten_in_flight();
    let _ = dup_acks(&mut host, 1, 3);
    let more = dup_acks(&mut host, 1, 5);
    assert_eq!(more, [text(12_001, 1000, 1)], "13 sent, 8 arrived: 5 in the network");
}

#[test]
fn full_ack_ends_fast_recovery_at_ssthresh() {
    let mut host = ten_in_flight();
    let _ = dup_acks(&mut host, 1, 3);
    let _ = host.gets(&seg(1, 12_001));
    assert!(host.tcb.info().cwnd <= 6000);
    assert!(!host.tcb.info().in_recovery);
}

#[test]
fn partial_acks_retransmit_the_next_hole() {
    let mut host = ten_in_flight();
    let _ = dup_acks(&mut host, 1, 3);
    let _ = host.gets(&seg(1, 3001));
    assert_eq!(host.sends()[0], text(3001, 1000, 1));
    let _ = host.gets(&seg(1, 7001));
    assert_eq!(host.sends()[0], text(7001, 1000, 1));
    let _ = host.gets(&seg(1, 12_001));
    assert_eq!(host.tcb.info().ssthresh, 5000, "one reduction for one window");
}

#[test]
fn duplicates_after_a_timeout_do_not_retransmit_again() {
    let mut host = ten_in_flight();
    let _ = host.fire();
    assert_eq!(host.sends(), [text(1, 1000, 1)]);
    let _ = host.gets(&seg(1, 1001));
    let _ = host.sends();
    assert_eq!(dup_acks(&mut host, 1001, 5), [text(1001, 1000, 1)], "F-RTO ends with the first");
    assert_eq!(host.tcb.info().ssthresh, 5000);
}

/// RFC 6582 §3.2 step 2: `recover` follows SND.UNA, so that the numbers do not come round to it.
#[test]
fn after_two_gibibytes_without_loss_three_duplicates_still_retransmit() {
    let mut host = Host::nodelay();
    host.tcb.snd.wnd_max = 60_000;
    let step = 60_000;
    let mut at: u32 = 1;
    for _ in 0..((1_u64 << 31) + (1 << 20)) / u64::from(step) {
        let _ = host.queue(step);
        let mut got = at;
        at = at.wrapping_add(step);
        while got != at {
            // The window may be less than a step at first.
            got = host.tcb.snd.nxt.since(ISS);
            let _ = host.gets(&seg(1, got));
            let _ = host.sends();
        }
    }
    let _ = host.queue(10_000);
    assert_eq!(dup_acks(&mut host, at, 3), [text(at, 1000, 1)]);
}

#[test]
fn window_updates_and_text_are_not_duplicate_acks() {
    let mut host = ten_in_flight();
    for i in 0..5_u16 {
        let _ = host.gets(&seg(1, 1).window(50_000 + i));
    }
    for i in 0..5 {
        let _ = host.gets(&seg(1 + i, 1).text(1).window(50_004));
    }
    assert_eq!(host.tcb.info().ssthresh, u32::MAX);
}

#[test]
fn cwnd_grows_by_what_is_acknowledged_in_slow_start() {
    let mut host = ten_in_flight();
    let _ = host.gets(&seg(1, 2001));
    assert_eq!(host.sends().len(), 4, "two left, two more: doubling per round trip");
}
