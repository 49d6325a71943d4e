//! Connections that are laid to rest and woken.

use super::support::*;
use crate::*;

/// A dialogue of small messages, as a server sees it: request, response, its acknowledgement.
fn exchange(host: &mut Host, at: &mut u32) {
    let _ = host.gets(&seg(*at, *at).text(64));
    let _ = host.buffer.read();
    assert_eq!(host.queue(64), [text(*at, 64, *at + 64)]);
    host.wait_ms(3);
    *at += 64;
    let _ = host.gets(&seg(*at, *at));
}

#[test]
fn nothing_that_users_see_is_lost() {
    let keepalive = Keepalive { idle_s: 60, ..Keepalive::default() };
    let config = Config { nodelay: true, keepalive: Some(keepalive), ..plain() };
    let mut host = Host::established_with(config, syn_options());
    let mut at = 1;
    exchange(&mut host, &mut at);
    let before = Info { delivery_rate: DeliveryRate::default(), ..host.tcb.info() };
    let nap = host.tcb.nap().expect("nothing goes on");
    let due = nap.next_timeout();
    host.tcb.wake(nap);
    assert_eq!(host.tcb.info(), before);
    assert_eq!(host.tcb.next_timeout(), due);
    assert_eq!(due, Some(host.now + core::time::Duration::from_secs(60)));
    exchange(&mut host, &mut at);
}

#[test]
fn a_block_serves_another_connection_meanwhile() {
    let (mut one, mut two) = (Host::nodelay(), Host::nodelay());
    let (mut at_one, mut at_two) = (1, 1);
    for _ in 0..5 {
        exchange(&mut one, &mut at_one);
        let nap = one.tcb.nap().expect("nothing goes on");
        core::mem::swap(&mut one.tcb, &mut two.tcb);
        // `two` has a block that sleeps and `one` the other connection, which goes on.
        core::mem::swap(&mut at_one, &mut at_two);
        exchange(&mut one, &mut at_one);
        let other = one.tcb.nap().expect("nothing goes on");
        one.tcb.wake(nap);
        two.tcb.wake(other);
        core::mem::swap(&mut at_one, &mut at_two);
    }
}

#[test]
fn a_connection_with_something_to_do_stays_awake() {
    let mut host = Host::nodelay();
    let _ = host.gets(&seg(1, 1).text(64));
    assert!(host.tcb.nap().is_none(), "an ACK is due");
    assert_eq!(host.queue(64), [text(1, 64, 65)]);
    assert!(host.tcb.nap().is_none(), "text is in flight");
    let _ = host.gets(&seg(65, 65));
    let _ = host.gets(&seg(165, 65).text(10));
    assert_eq!(host.sends(), [ack(65, 65)]);
    assert!(host.tcb.nap().is_none(), "text is out of order");
    let _ = host.gets(&seg(65, 65).text(100));
    let _ = host.sends();
    assert!(host.tcb.nap().is_some());
}

#[test]
fn what_was_learnt_from_much_text_is_kept_for_a_while() {
    let mut host = Host::fast();
    assert_eq!(host.queue(40_000).len(), 40);
    host.wait_ms(3);
    let _ = host.gets(&seg(1, 40_001));
    assert!(host.tcb.nap().is_none(), "the delivery rate is fresh");
    host.wait_ms(1_500);
    assert!(host.tcb.nap().is_some());
}
