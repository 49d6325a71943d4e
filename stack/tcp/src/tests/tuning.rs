//! Buffers that grow: by what is read in a round trip, by cwnd.

use super::support::*;

/// Bytes per millisecond arrive and are read at once; returns the buffer proposed after `ms`.
fn limit_after(per_ms: u32, ms: u32, begin: u32) -> u32 {
    let mut host = Host::established();
    let mut limit = begin;
    let mut at = 1;
    for _ in 0..ms {
        let _ = host.gets(&seg(at, 1).text(per_ms));
        at += per_ms;
        let _ = host.buffer.read();
        host.wait_ms(1);
        let _ = host.sends();
        limit = host.tcb.tune_receive(limit, 0, host.now);
    }
    limit
}

#[test]
fn receive_buffer_grows_to_twice_what_is_read_in_a_round_trip_and_more() {
    let limit = limit_after(50_000, 10, 20_000);
    assert!(limit >= 100_000, "{limit}");
}

#[test]
fn slow_reader_keeps_the_buffer_it_has() {
    assert_eq!(limit_after(500, 100, 20_000), 20_000);
}

#[test]
fn what_arrives_and_is_not_read_does_not_count() {
    let mut host = Host::established();
    let mut limit = 20_000;
    for i in 0..40_u32 {
        let _ = host.gets(&seg(1 + i * 1000, 1).text(1000));
        host.wait_ms(1);
        let _ = host.sends();
        limit = host.tcb.tune_receive(limit, (i + 1) * 1000, host.now);
    }
    assert_eq!(limit, 20_000);
}

#[test]
fn a_round_trip_is_measured_as_a_whole() {
    let mut host = Host::nodelay();
    host.tcb.rtt.srtt_us = 50_000;
    assert_eq!(host.tcb.tune_receive(1_000, 0, host.now), 1_000);
    let _ = host.gets(&seg(1, 1).text(30_000));
    host.wait_ms(49);
    assert_eq!(host.tcb.tune_receive(1_000, 0, host.now), 1_000, "not yet");
    host.wait_ms(1);
    // 2 × 30000, 16 segments, and 2 × 200 % of that for the growth from the first ten segments.
    assert_eq!(host.tcb.tune_receive(1_000, 0, host.now), 5 * (60_000 + 16_000));
}

#[test]
fn send_buffer_follows_cwnd() {
    let host = Host::established();
    assert_eq!(host.tcb.send_buffer_wanted(), 2 * host.tcb.info().cwnd);
}
