//! Keepalive and the round-trip timer.

use super::support::*;
use crate::*;

fn idle_host() -> Host {
    let keepalive = Some(Keepalive { idle_s: 100, interval_s: 10, count: 3 });
    Host::established_with(Config { keepalive, ..plain() }, syn_options())
}

#[test]
fn silent_peer_is_probed_then_given_up() {
    let mut host = idle_host();
    assert_eq!((host.fire(), host.sends()), (100_000, vec![ack(0, 1)]));
    assert_eq!((host.fire(), host.sends()), (10_000, vec![ack(0, 1)]));
    assert_eq!((host.fire(), host.sends()), (10_000, vec![ack(0, 1)]));
    assert_eq!(host.fire(), 10_000);
    assert_eq!(host.events.error(), Some(ConnectionError::TimedOut));
    assert!(host.sends()[0].flags.contains(Flags::RST));
    assert_eq!(host.state(), State::Closed);
}

#[test]
fn answered_probe_keeps_the_connection() {
    let mut host = idle_host();
    for _ in 0..10 {
        let _ = host.fire();
        let _ = host.sends();
        let _ = host.gets(&seg(1, 1));
    }
    assert_eq!(host.state(), State::Established);
}

#[test]
fn keepalive_is_off_by_default_and_can_be_switched() {
    let mut host = Host::established();
    assert_eq!(host.tcb.next_timeout(), None);
    host.tcb.set_keepalive(Some(Keepalive::default()), host.now);
    assert_eq!(host.fire(), 7_200_000);
    host.tcb.set_keepalive(None, host.now);
    assert_eq!((host.sends(), host.tcb.next_timeout()), (vec![], None));
}

#[test]
fn zero_settings_do_not_spin() {
    let mut host = Host::established();
    host.tcb.set_keepalive(Some(Keepalive { idle_s: 0, interval_s: 0, count: 255 }), host.now);
    for _ in 0..255 {
        assert_eq!(host.fire(), 1000);
    }
}

#[test]
fn peer_answers_our_probe_as_any_tcp_does() {
    let mut host = Host::established();
    let _ = host.gets(&seg(0, 1));
    assert_eq!(host.sends(), [ack(1, 1)]);
}

#[test]
fn each_ack_of_text_sent_once_measures_the_round_trip() {
    let mut host = Host::nodelay();
    let _ = host.queue(3_000);
    host.wait_ms(80);
    let _ = host.gets(&seg(1, 1001));
    assert_eq!(host.tcb.info().srtt_us, 10_000, "an eighth");
    host.wait_ms(50);
    let _ = host.gets(&seg(1, 3001));
    assert_eq!(host.tcb.info().srtt_us, 25_000);
}
