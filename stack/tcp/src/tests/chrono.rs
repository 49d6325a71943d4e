//! Busy and limited times of `TCP_INFO`.

use core::time::Duration;

use super::support::*;
use crate::*;

fn waited_ms(host: &Host) -> (u128, u128, u128) {
    let Waited { busy, window, room } = host.tcb.waited(host.now);
    (busy.as_millis(), window.as_millis(), room.as_millis())
}

#[test]
fn busy_is_from_the_first_byte_queued_to_the_last_acknowledged() {
    let mut host = Host::nodelay();
    host.wait_ms(50);
    let _ = host.queue(100);
    host.wait_ms(20);
    assert_eq!(waited_ms(&host), (20, 0, 0));
    let _ = host.gets(&seg(1, 51));
    let _ = host.sends();
    host.wait_ms(10);
    let _ = host.gets(&seg(1, 101));
    host.wait_ms(100);
    assert_eq!(waited_ms(&host), (30, 0, 0));
}

#[test]
fn many_short_waits_are_as_long_as_one() {
    let mut host = Host::nodelay();
    for byte in 1..=1000 {
        let _ = host.queue(1);
        let _ = host.sends();
        host.now += Duration::from_nanos(1_500);
        let _ = host.gets(&seg(1, byte + 1));
        host.now += Duration::from_nanos(700);
    }
    assert_eq!(host.tcb.waited(host.now).busy, Duration::from_micros(1_500));
}

#[test]
fn a_shut_window_limits() {
    let mut host = Host::nodelay();
    let _ = host.gets(&seg(1, 1).window(0));
    assert_eq!(host.queue(100), []);
    host.wait_ms(40);
    assert_eq!(waited_ms(&host), (40, 40, 0));
    let _ = host.gets(&seg(1, 1).window(1000));
    assert_eq!(host.sends(), [text(1, 100, 1)]);
    host.wait_ms(5);
    assert_eq!(waited_ms(&host), (45, 40, 0));
}

#[test]
fn a_small_congestion_window_is_not_the_peers() {
    let mut host = Host::nodelay();
    let Info { cwnd, snd_wnd, .. } = host.tcb.info();
    assert!(cwnd < snd_wnd);
    let _ = host.queue(10 * cwnd);
    host.wait_ms(5);
    assert_eq!(waited_ms(&host), (5, 0, 0));
}

#[test]
fn a_user_without_room_limits_once_all_is_sent() {
    let mut host = Host::nodelay();
    let _ = host.queue(100);
    host.wait_ms(5);
    host.tcb.user_waits(true, host.now);
    host.wait_ms(20);
    assert_eq!(waited_ms(&host), (25, 0, 20));
    host.tcb.user_waits(false, host.now);
    host.wait_ms(10);
    assert_eq!(waited_ms(&host), (35, 0, 20));
}

#[test]
fn a_connection_at_rest_remembers() {
    let mut host = Host::nodelay();
    let _ = host.gets(&seg(1, 1).window(0));
    let _ = host.queue(100);
    host.wait_ms(7);
    let _ = host.gets(&seg(1, 1).window(1000));
    let _ = host.sends();
    let _ = host.gets(&seg(1, 101));
    let before = host.tcb.waited(host.now);
    assert_eq!(before.window, Duration::from_millis(7));
    let nap = host.tcb.nap().expect("nothing goes on");
    host.tcb.wake(nap);
    let after = host.tcb.waited(host.now);
    assert_eq!((after.window, after.room), (before.window, before.room));
    assert!(after.busy.abs_diff(before.busy) <= Duration::from_micros(8));
}
