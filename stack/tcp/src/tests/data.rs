//! Text in both directions: order and ACKs.

use types::DropReason;

use super::support::*;
use crate::*;

#[test]
fn text_is_cut_into_segments_and_released_when_acknowledged() {
    let mut host = Host::nodelay();
    assert_eq!(host.queue(2_500), [text(1, 1000, 1), text(1001, 1000, 1), text(2001, 500, 1)]);
    let arrival = host.gets(&seg(1, 1501));
    assert_eq!((arrival.acked_len, arrival.events), (1500, Events::WRITABLE));
    assert_eq!((host.tcb.info().unacked, host.tcb.info().unsent), (1000, 0));
    assert_eq!(host.gets(&seg(1, 2501)).acked_len, 1000);
    assert!(host.rests());
}

#[test]
fn offsets_count_from_the_front_of_the_send_buffer() {
    let mut host = Host::fast();
    let _ = host.queue(2_000);
    let _ = host.gets(&seg(1, 1001));
    host.tcb.send(700);
    let segment = host.raw()[0];
    assert_eq!((segment.text_offset, segment.text_len), (1000, 700));
    assert!(segment.flags.contains(Flags::PSH));
}

#[test]
fn a_burst_costs_one_ack() {
    let mut host = Host::established();
    for i in 0..10 {
        let _ = host.gets(&seg(1 + i * 1000, 1).text(1000));
    }
    assert_eq!(host.sends(), [ack(1, 10_001)]);
}

#[test]
fn ack_rides_on_text() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).text(10));
    assert_eq!(host.queue(10), [text(1, 10, 11)]);
    assert_eq!(host.tcb.timers.due(timers::Timer::DelayedAck), types::Instant::FAR_FUTURE);
}

#[test]
fn out_of_order_text_is_kept_and_acknowledged_at_once() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1001, 1).text(1000));
    assert_eq!(host.sends(), [ack(1, 1)]);
    let _ = host.gets(&seg(3001, 1).text(1000));
    assert_eq!(host.sends(), [ack(1, 1)]);
    let arrival = host.gets(&seg(1, 1).text(1000));
    assert_eq!((arrival.delivered_len, host.sends()), (2000, vec![ack(1, 2001)]));
    let arrival = host.gets(&seg(2001, 1).text(1000));
    assert_eq!((arrival.delivered_len, host.sends()), (2000, vec![ack(1, 4001)]));
    let expected: Vec<u8> = (1..4001).map(pattern).collect();
    assert_eq!(host.buffer.read(), expected);
}

#[test]
fn overlapping_retransmission_delivers_only_what_is_new() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).text(100));
    let arrival = host.gets(&seg(51, 1).text(100));
    assert_eq!(arrival.delivered_len, 50);
    let duplicate = host.gets(&seg(1, 1).text(150));
    assert_eq!(duplicate.drop, Some(DropReason::TcpDuplicate));
    assert_eq!(host.sends(), [ack(1, 151)]);
    assert_eq!(host.buffer.read(), (1..151).map(pattern).collect::<Vec<u8>>());
}

#[test]
fn text_beyond_the_window_is_cut_off() {
    let mut host = Host::syn_sent(plain());
    host.buffer = Buffer::new(1_500);
    let _ = host.sends();
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK));
    let _ = host.sends();
    let arrival = host.gets(&seg(1, 1).text(2_000));
    assert_eq!((arrival.delivered_len, host.sends()), (1500, vec![ack(1, 1501)]));
}

#[test]
fn what_the_buffer_refuses_is_not_acknowledged() {
    struct Stingy(u32);
    impl RecvBuffer for Stingy {
        fn window(&self) -> u32 {
            10_000
        }
        fn write(&mut self, _: u32, _: &[u8]) -> u32 {
            self.0
        }
        fn advance(&mut self, _: u32) {}
    }
    let mut host = Host::established();
    let segment = seg(1, 1).text(1000);
    let arrival = host.tcb.segment_arrives(&segment.arrived(), host.now, &mut Stingy(0));
    assert_eq!(arrival.drop, Some(DropReason::TcpReceiveBuffer));
    assert_eq!(host.sends(), [ack(1, 1)]);
    let arrival = host.tcb.segment_arrives(&segment.arrived(), host.now, &mut Stingy(300));
    assert_eq!((arrival.drop, arrival.delivered_len), (None, 300));
    assert_eq!(host.sends(), [ack(1, 301)]);
}

#[test]
fn sequence_numbers_wrap_in_both_directions() {
    // ISS is 0x1000 before the wrap, IRS 0x100 before the half: 200 KB cross both.
    let mut host = Host::fast();
    for i in 0..200_u32 {
        let at = 1 + i * 1000;
        assert_eq!(host.queue(1000), [text(at, 1000, at)]);
        let arrival = host.gets(&seg(at, at + 1000).text(1000));
        assert_eq!((arrival.acked_len, arrival.delivered_len), (1000, 1000));
        let _ = host.buffer.read();
        let _ = host.gets(&seg(at + 1000, at + 1000));
        host.tcb.delayed_segments = 0;
    }
    assert_eq!(host.state(), State::Established);
}

#[test]
fn idle_connection_restarts_with_the_initial_window() {
    let mut host = Host::fast();
    host.wait_ms(10_000);
    assert_eq!(host.queue(50_000).len(), 10);
}

#[test]
fn sends_after_shutdown_are_ignored() {
    let mut host = Host::nodelay();
    host.tcb.shutdown(host.now);
    let _ = host.sends();
    assert_eq!(host.queue(10), []);
    assert_eq!(host.tcb.info().unsent, 0);
}
