//! Pacing: text leaves in quanta at a rate.

use super::support::*;
use crate::*;

/// Established with a window that is never in the way, at most so many bytes per second.
fn paced(rate: u64) -> Host {
    let mut host = Host::fast();
    host.tcb.set_max_pacing_rate(rate);
    host
}

/// Microseconds between bursts, and their segments, while all of the text goes out.
fn bursts(host: &mut Host, len: u32) -> Vec<(u64, usize)> {
    host.tcb.send(len);
    let mut all = vec![(0, host.raw().len())];
    while let Some(due) = host.tcb.pacing_due() {
        let waited = due.since(host.now).as_micros();
        host.now = due;
        host.events |= host.tcb.timeout(host.now);
        all.push((waited as u64, host.raw().len()));
    }
    all
}

#[test]
fn slow_rates_send_segment_by_segment_at_exact_times() {
    let mut host = paced(100_000);
    assert_eq!(
        bursts(&mut host, 4_000),
        [(0, 1), (10_000, 1), (10_000, 1), (10_000, 1), (10_000, 0)]
    );
}

#[test]
fn quantum_is_two_segments_and_later_a_millisecond_of_text() {
    let mut host = paced(1_000_000);
    assert_eq!(bursts(&mut host, 5_000), [(0, 2), (2_000, 2), (2_000, 1)]);
    let mut host = paced(20_000_000);
    assert_eq!(bursts(&mut host, 50_000), [(0, 20), (1_000, 20), (1_000, 10)]);
}

#[test]
fn release_is_named_by_next_timeout_and_nothing_is_due_before() {
    let mut host = paced(100_000);
    host.tcb.send(3_000);
    assert_eq!(host.raw().len(), 1);
    assert!(!host.tcb.wants_transmit());
    let due = host.tcb.next_timeout().unwrap();
    assert_eq!(due.since(host.now).as_millis(), 10);
    assert_eq!(host.tcb.timeout(due), Events::NONE);
    assert!(host.tcb.wants_transmit());
}

#[test]
fn acks_pass_while_text_waits() {
    let mut host = paced(100_000);
    host.tcb.send(3_000);
    let _ = host.raw();
    let _ = host.gets(&seg(1, 1).text(1000).fin());
    assert_eq!(host.sends(), [ack(1001, 1002)]);
}

#[test]
fn late_timers_are_made_up_for() {
    let mut host = paced(1_000_000);
    host.tcb.send(60_000);
    assert_eq!(host.raw().len(), 2);
    // Two milliseconds would do; it comes after three: the next quantum leaves at four.
    host.now += core::time::Duration::from_millis(3);
    let _ = host.tcb.timeout(host.now);
    assert_eq!(host.raw().len(), 2);
    assert_eq!(host.tcb.pacing_due().unwrap().since(host.now).as_micros(), 1_000);
    // After a long pause of the caller ten milliseconds are made up for, and a quantum is due.
    host.now += core::time::Duration::from_millis(50);
    let _ = host.tcb.timeout(host.now);
    assert_eq!(host.raw().len(), 12);
    assert_eq!(host.tcb.pacing_due().unwrap().since(host.now).as_micros(), 2_000);
}

#[test]
fn silence_gives_no_credit() {
    let mut host = paced(1_000_000);
    assert_eq!(bursts(&mut host, 1_000), [(0, 1)]);
    let _ = host.gets(&seg(1, 1001));
    host.wait_ms(100);
    assert_eq!(bursts(&mut host, 4_000), [(0, 2), (2_000, 2), (2_000, 0)]);
}

#[test]
fn rate_cap_holds_whatever_the_algorithm() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr] {
        let mut host = paced(500_000);
        host.tcb.set_congestion(algorithm);
        assert_eq!(host.tcb.pacing_rate(), Some(500_000), "{algorithm:?}");
    }
}

#[test]
fn window_can_be_spread_over_the_round_trip() {
    let mut host = Host::established_with(Config { pacing: true, ..plain() }, syn_options());
    host.tcb.send(20_000);
    let _ = host.raw();
    host.wait_ms(100);
    let _ = host.gets(&seg(1, 1001));
    // Slow start: twice the window per round trip.
    let expected =
        u64::from(host.tcb.info().cwnd) * 2 * 1_000_000 / u64::from(host.tcb.info().srtt_us);
    assert_eq!(host.tcb.pacing_rate(), Some(expected));
    host.tcb.set_pacing(false);
    assert_eq!(host.tcb.pacing_rate(), None);
}

#[test]
fn bbr_paces_by_itself_and_stops_with_another_algorithm() {
    let config = Config { congestion: Algorithm::Bbr, ..plain() };
    let mut host = Host::established_with(config, syn_options());
    assert_eq!(host.tcb.congestion().name(), "bbr");
    assert!(host.tcb.pacing_rate().is_some());
    host.tcb.set_congestion(Algorithm::from_name("cubic").unwrap());
    assert_eq!(host.tcb.pacing_rate(), None);
    assert_eq!(Algorithm::from_name("vegas"), None);
}
